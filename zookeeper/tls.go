package zookeeper

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// check says in one line what is wrong with the files.
func (t *TLS) check(now time.Time) error {
	cert, _, err := t.load()
	if err != nil {
		return err
	}
	switch leaf := cert.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the client certificate %s expired at %s: renew it", t.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the client certificate %s is valid only from %s on: check this host's clock",
			t.Cert, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// load reads the files.
func (t *TLS) load() (tls.Certificate, *x509.CertPool, error) {
	var none tls.Certificate
	for _, f := range []struct{ what, path string }{{"certificate", t.Cert}, {"key", t.Key}, {"CA certificate", t.CA}} {
		if f.path == "" {
			return none, nil, fmt.Errorf("no file given for the %s", f.what)
		}
		if _, err := os.ReadFile(f.path); err != nil {
			return none, nil, fmt.Errorf("read the %s: %w", f.what, err)
		}
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return none, nil, fmt.Errorf("read the client certificate %s with the key %s: %w", t.Cert, t.Key, err)
	}
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return none, nil, fmt.Errorf("read the CA certificate: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return none, nil, fmt.Errorf("read the CA certificate %s: there is no certificate in it", t.CA)
	}
	return cert, pool, nil
}

// client makes a connection one of TLS.
func (t *TLS) client(ctx context.Context, raw net.Conn, host string) (net.Conn, error) {
	cert, pool, err := t.load()
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: host}
	if !t.VerifyHostname {
		config.InsecureSkipVerify = true // the chain is verified all the same, as Zuul's client does it
		config.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, pool) }
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// verifyChain checks that a server's certificate is valid and signed by the CA,
// whatever its name.
func verifyChain(state tls.ConnectionState, pool *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	options := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool()}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// refusedTLS tells whether a connection failed because one side does not accept
// the other's certificate, or because only one of them speaks TLS: time does
// not heal that.
func refusedTLS(err error) bool {
	var unverified *tls.CertificateVerificationError
	var alert tls.AlertError
	var noTLS tls.RecordHeaderError
	return errors.As(err, &unverified) || errors.As(err, &alert) || errors.As(err, &noTLS) || isRemoteAlert(err)
}

// isRemoteAlert recognises an alert that the other side sent: Go's type for it
// is its own.
func isRemoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

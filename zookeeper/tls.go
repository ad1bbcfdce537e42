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

// check reports in one line what is wrong with the files.
func (t *TLS) check(now time.Time) error {
	cert, _, err := t.load()
	if err != nil {
		return err
	}
	switch leaf := cert.Leaf; {
	case now.After(leaf.NotAfter):
		return fmt.Errorf("the client certificate %s expired at %s: renew it",
			t.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		return fmt.Errorf("the client certificate %s is not valid before %s: check this host's clock",
			t.Cert, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// load reads the files.
func (t *TLS) load() (tls.Certificate, *x509.CertPool, error) {
	files := []struct{ what, path string }{{"certificate", t.Cert}, {"key", t.Key}, {"CA certificate", t.CA}}
	var content [3][]byte
	for i, f := range files {
		if f.path == "" {
			return tls.Certificate{}, nil, fmt.Errorf("no file given for the %s", f.what)
		}
		var err error
		if content[i], err = os.ReadFile(f.path); err != nil {
			return tls.Certificate{}, nil, fmt.Errorf("read the %s: %w", f.what, err)
		}
	}
	cert, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("read the client certificate %s with the key %s: %w",
			t.Cert, t.Key, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content[2]) {
		return tls.Certificate{}, nil, fmt.Errorf("read the CA certificate: %s contains no certificate", t.CA)
	}
	return cert, pool, nil
}

// Handshake makes a TLS connection to a server of a plain one, which it closes
// if that fails. address is the server's, HOST:PORT.
func (t *TLS) Handshake(ctx context.Context, plain net.Conn, address string) (_ net.Conn, err error) {
	defer func() {
		if err != nil {
			_ = plain.Close()
			err = fmt.Errorf("TLS: %w", err)
		}
	}()
	cert, pool, err := t.load()
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, RootCAs: pool, ServerName: host,
	}
	if !t.VerifyHostname { // verify the chain alone, as Zuul's client does
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, pool) }
	}
	conn := tls.Client(plain, config)
	return conn, conn.HandshakeContext(ctx)
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

// isTLSMismatch reports whether a connection failed because one side does not
// accept the other's certificate, or because only one side speaks TLS: time
// does not heal that.
func isTLSMismatch(err error) bool {
	var unverified *tls.CertificateVerificationError
	var alert tls.AlertError
	var noTLS tls.RecordHeaderError
	var remote *net.OpError // with an alert of the other side, whose type is not exported
	return errors.As(err, &unverified) || errors.As(err, &alert) || errors.As(err, &noTLS) ||
		errors.As(err, &remote) && remote.Op == "remote error"
}

package peers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are PEM files for a server and clients that trust one authority,
// and some that such a server must refuse. They are in the test's folder.
type Certificates struct {
	CA      string // the authority's certificate
	OtherCA string // the certificate of another authority
	Server  KeyPair
	Client  KeyPair
	Expired KeyPair // a client's, which expired an hour ago
	Foreign KeyPair // a client's, of the other authority
}

// KeyPair names the files of one certificate.
type KeyPair struct {
	Cert string
	Key  string // PKCS #8
	Both string // the key and the certificate in one file, as ZooKeeper wants it
}

// MakeCertificates makes certificates. The server's is for the names and
// addresses given; without any, for "localhost" and 127.0.0.1.
func MakeCertificates(tb testing.TB, serverNames ...string) *Certificates {
	tb.Helper()
	if len(serverNames) == 0 {
		serverNames = []string{"localhost", "127.0.0.1"}
	}
	dir := tb.TempDir()
	ca, other := newAuthority(tb, dir, "ca"), newAuthority(tb, dir, "other-ca")
	now := time.Now()
	valid := period{now.Add(-time.Hour), now.Add(24 * time.Hour)}
	return &Certificates{
		CA:      ca.file,
		OtherCA: other.file,
		Server:  ca.issue(tb, "server", valid, serverNames...),
		Client:  ca.issue(tb, "client", valid),
		Expired: ca.issue(tb, "expired", period{now.Add(-2 * time.Hour), now.Add(-time.Hour)}),
		Foreign: other.issue(tb, "foreign", valid),
	}
}

// authority signs certificates.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

// period is when a certificate is valid.
type period struct{ from, to time.Time }

func newAuthority(tb testing.TB, dir, name string) *authority {
	tb.Helper()
	now := time.Now()
	template := template(name, period{now.Add(-24 * time.Hour), now.Add(24 * time.Hour)})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	template.ExtKeyUsage = nil
	a := &authority{dir: dir, cert: template, key: newKey(tb), file: filepath.Join(dir, name+".pem")}
	writeFile(tb, a.file, pemBlock("CERTIFICATE", a.sign(tb, template, a.key)))
	return a
}

// sign returns a certificate for a key, signed by the authority.
func (a *authority) sign(tb testing.TB, template *x509.Certificate, key *ecdsa.PrivateKey) (der []byte) {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatalf("make certificate %s: %v", template.Subject.CommonName, err)
	}
	return der
}

// issue makes a certificate of the authority and writes its files.
func (a *authority) issue(tb testing.TB, name string, valid period, hosts ...string) KeyPair {
	tb.Helper()
	template := template(name, valid)
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	key := newKey(tb)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatalf("make certificate %s: %v", name, err)
	}
	certPEM, keyPEM := pemBlock("CERTIFICATE", a.sign(tb, template, key)), pemBlock("PRIVATE KEY", pkcs8)
	file := func(suffix string) string { return filepath.Join(a.dir, name+suffix) }
	pair := KeyPair{Cert: file("-cert.pem"), Key: file("-key.pem"), Both: file(".pem")}
	writeFile(tb, pair.Cert, certPEM)
	writeFile(tb, pair.Key, keyPEM)
	writeFile(tb, pair.Both, append(keyPEM, certPEM...))
	return pair
}

func template(name string, valid period) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // its Reader never fails
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    valid.from,
		NotAfter:     valid.to,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("make key: %v", err)
	}
	return key
}

func pemBlock(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func writeFile(tb testing.TB, path string, b []byte) {
	tb.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		tb.Fatal(err)
	}
}

package capturetest

import (
	"crypto"
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
	"time"
)

// CA is a certificate authority of a test. Its files are readable for the servers' user.
type CA struct {
	// File holds its certificate.
	File string

	dir         string
	key         crypto.Signer
	certificate *x509.Certificate
	issued      int64
}

// NewCA makes a certificate authority whose files go with the test.
func NewCA(tb TB) *CA {
	tb.Helper()
	// Not in the test's own directory, which only we may enter.
	dir, err := os.MkdirTemp("", "rowhook-ca-")
	Must(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	Must(tb, os.Chmod(dir, 0o755))
	ca := &CA{File: filepath.Join(dir, "ca.pem"), dir: dir, issued: 1}
	ca.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Must(tb, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "rowhook test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, ca.key.Public(), ca.key)
	Must(tb, err)
	ca.certificate, err = x509.ParseCertificate(der)
	Must(tb, err)
	writePEM(tb, ca.File, "CERTIFICATE", der)
	return ca
}

// Issue makes a certificate for names and addresses, for servers and clients alike, and
// returns the files of it and its key. It is valid from an hour ago for the given time.
func (ca *CA) Issue(tb TB, valid time.Duration, hosts ...string) (certificate, key string) {
	tb.Helper()
	ca.issued++
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	Must(tb, err)
	from := time.Now().Add(-time.Hour)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(ca.issued), Subject: pkix.Name{CommonName: hosts[0]}, NotBefore: from, NotAfter: from.Add(valid),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, signer.Public(), ca.key)
	Must(tb, err)
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	Must(tb, err)
	base := filepath.Join(ca.dir, template.SerialNumber.String())
	writePEM(tb, base+".pem", "CERTIFICATE", der)
	writePEM(tb, base+".key", "PRIVATE KEY", private)
	return base + ".pem", base + ".key"
}

// writePEM writes a file that the servers' user can read, whatever our umask.
func writePEM(tb TB, name, kind string, der []byte) {
	tb.Helper()
	Must(tb, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644))
	Must(tb, os.Chmod(name, 0o644))
}

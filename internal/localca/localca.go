// Package localca is a certificate authority for one node on a network that has none: where
// no public authority gives certificates, browsers still want TLS before they lend a camera.
//
// [Open] makes the authority once and reads it after that; [Authority.Issue] makes the
// certificate a listener serves. The authority may vouch for its own domain, for this machine
// and for private addresses, and for nothing else: the extension says so, and a stolen key
// cannot speak for the rest of the web in a client that heeds it (RFC 5280, 4.2.1.10).
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The two files of an authority. The certificate is what people install; the key never
// leaves the folder.
const (
	CertFile = "ca.crt"
	keyFile  = "ca.key"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	// leafLife is below the 398 days that browsers accept of public authorities, and short
	// enough that renewing is not a rare event.
	leafLife = 90 * 24 * time.Hour
	// RenewBefore is when a certificate is made anew: with a third of its life left.
	RenewBefore = leafLife / 3

	maxFile = 64 << 10
)

// Authority signs certificates for one node.
type Authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open reads the authority in dir, or makes one for domain there, with its key for the owner
// alone. made reports which.
func Open(dir, domain string, now time.Time) (a *Authority, made bool, err error) {
	a, err = read(dir)
	if errors.Is(err, fs.ErrNotExist) {
		a, err = create(dir, domain, now)
		return a, err == nil, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("local authority: %w", err)
	}
	if !slices.Contains(a.cert.PermittedDNSDomains, domain) {
		return nil, false, fmt.Errorf("local authority: the one in %s is for %s and not for %s; move the folder away and the next start makes another", dir, a.cert.PermittedDNSDomains[0], domain)
	}
	if now.After(a.cert.NotAfter) {
		return nil, false, fmt.Errorf("local authority: the one in %s ended on %s; move the folder away and the next start makes another", dir, a.cert.NotAfter.Format(time.DateOnly))
	}
	return a, false, nil
}

func read(dir string) (*Authority, error) {
	cert, err := readPEM(filepath.Join(dir, CertFile), "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	key, err := readPEM(filepath.Join(dir, keyFile), "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir}
	if a.cert, err = x509.ParseCertificate(cert); err != nil {
		return nil, fmt.Errorf("%s: %w", CertFile, err)
	}
	// The decoder's error may quote what it read; this is a key.
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: not a key of this authority", keyFile)
	}
	if public, ok := a.cert.PublicKey.(*ecdsa.PublicKey); !ok || !public.Equal(private.Public()) || !a.cert.IsCA || len(a.cert.PermittedDNSDomains) == 0 {
		return nil, fmt.Errorf("%s and %s do not belong together", CertFile, keyFile)
	}
	a.key = private
	return a, nil
}

func readPEM(path, kind string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: larger than %d bytes", filepath.Base(path), maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != kind {
		return nil, fmt.Errorf("%s: no %s in PEM", filepath.Base(path), strings.ToLower(kind))
	}
	return block.Bytes, nil
}

// private is what an authority may vouch for beside its domain.
var private = []string{"127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"}

func create(dir, domain string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Trunkline local authority of " + domain, Organization: []string{domain}},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{domain, "localhost"},
	}
	for _, s := range private {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			return nil, err
		}
		template.PermittedIPRanges = append(template.PermittedIPRanges, n)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	// The key first: a certificate without one would be taken for a damaged authority.
	if err := write(dir, keyFile, "PRIVATE KEY", pkcs8, 0o600); err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	if err := write(dir, CertFile, "CERTIFICATE", der, 0o644); err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	return &Authority{dir: dir, cert: cert, key: key}, nil
}

// write makes a file whole or not at all.
func write(dir, name, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(dir, name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(f.Chmod(mode), pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(dir, name))
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	return serial, nil
}

// Issue makes a certificate for names, which are DNS names or addresses. One that the
// authority may not vouch for is an error.
func (a *Authority) Issue(names []string, now time.Time) (*tls.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: a.cert.Subject.Organization},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     minTime(now.Add(leafLife), a.cert.NotAfter),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.Unmap().AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, strings.ToLower(name))
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("local authority: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now}); err != nil {
		return nil, fmt.Errorf("local authority: it vouches for %s and private addresses, and is asked for %s: %w", a.cert.PermittedDNSDomains[0], strings.Join(names, ", "), err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Path is the certificate to install where the node is to be trusted.
func (a *Authority) Path() string { return filepath.Join(a.dir, CertFile) }

// PEM is the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// NotAfter is when the authority ends.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// Fingerprint is SHA-256 of the certificate as browsers show it: pairs of hexadecimal digits.
// Who installs the certificate compares it with what the node printed.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.cert.Raw)
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = strings.ToUpper(hex.EncodeToString([]byte{b}))
	}
	return strings.Join(pairs, ":")
}

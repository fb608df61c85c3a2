package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A client trusts the authorities of its system, and one more if its node has one of its own:
// that certificate is kept in the client's folder, so that nothing else on the machine trusts
// it.

const (
	authorityFile = "ca.crt"
	maxAuthority  = 64 << 10
)

// trustAuthority keeps the certificate of a node's own authority for the identity in the data
// folder.
func (a *app) trustAuthority(file string) error {
	dir, err := a.clientData()
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return failed(err, "there is no identity in "+dir, "make one with trunkline id new"+a.dataFlag())
	}
	data, err := a.readInput(file, maxAuthority)
	if err != nil {
		return err
	}
	certificates, err := authorities(data)
	if err != nil {
		return &exitError{code: exitUsage, what: file + " is not the certificate of an authority: " + err.Error(), do: "give the ca.crt of the node, in PEM", err: err}
	}
	for _, c := range certificates {
		a.hint("Trusting %s\n  SHA-256 %s", oneLine(c.Subject.CommonName), fingerprint(c.Raw))
	}
	path := filepath.Join(dir, authorityFile)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return failed(err, "the certificate cannot be kept", "check who owns "+dir)
	}
	return nil
}

// authorities reads certificates that may sign others.
func authorities(data []byte) (out []*x509.Certificate, err error) {
	for len(data) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("there is a %s in it", strings.ToLower(block.Type))
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if !c.IsCA {
			return nil, errors.New("it is the certificate of a server")
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate in it")
	}
	return out, nil
}

// trustedAuthorities are those of the system and the one in a client's folder, or nil for
// those of the system alone.
func trustedAuthorities(dir string) (*x509.CertPool, error) {
	path := filepath.Join(dir, authorityFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, failed(err, path+" cannot be read", "check who owns it")
	}
	certificates, err := authorities(data)
	if err != nil {
		return nil, failed(err, path+" is damaged", "remove it, and register again with --ca")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without authorities of its own
	}
	for _, c := range certificates {
		pool.AddCert(c)
	}
	return pool, nil
}

// fingerprint is how browsers and the node show that of a certificate.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

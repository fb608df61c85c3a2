package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// writeCertificate makes a self-signed certificate for loopback.
func writeCertificate(t *testing.T, dir string, serial int64) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

func TestTheLinkRunsOverTLSAndAReloadBringsTheNewCertificate(t *testing.T) {
	certs := t.TempDir()
	pool := writeCertificate(t, certs, 1)
	r := start(t, t.TempDir(), "acme.example", openPolicy, func(c *Config) {
		c.HTTP.TLS, c.HTTP.CertFile, c.HTTP.KeyFile = "files", filepath.Join(certs, "cert.pem"), filepath.Join(certs, "key.pem")
	})
	if !strings.HasPrefix(r.Facts().HTTP, "https://") || !strings.HasPrefix(r.Facts().Invite, "https://") {
		t.Errorf("facts %+v", r.Facts())
	}
	dialTLS := func(pool *x509.CertPool) (*websocket.Conn, error) {
		// HTTP/2 is offered first, as a browser does; a WebSocket needs 1.1.
		d := websocket.Dialer{Subprotocols: []string{link.Subprotocol}, TLSClientConfig: &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}}}
		ws, _, err := d.Dial("wss://"+r.httpAddr+link.Path, nil)
		return ws, err
	}
	ws, err := dialTLS(pool)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ws.Close() })
	c := &raw{t: t, ws: ws, frames: make(chan *pb.NodeFrame, 4)}
	go c.readLoop()
	if _, err := link.VerifyChallenge(c.read().GetChallenge()); err != nil {
		t.Error(err)
	}

	next := writeCertificate(t, certs, 2)
	if ws, err := dialTLS(next); err == nil {
		_ = ws.Close()
		t.Error("the new certificate is served before the reload")
	}
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	ws, err = dialTLS(next)
	if err != nil {
		t.Fatalf("after the reload: %v", err)
	}
	_ = ws.Close()
	if err := os.WriteFile(filepath.Join(certs, "key.pem"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(); err == nil || !strings.Contains(err.Error(), "http.cert_file") {
		t.Errorf("a broken key: %v", err)
	}
	if ws, err = dialTLS(next); err != nil {
		t.Errorf("after a reload that failed: %v", err)
	} else {
		_ = ws.Close()
	}
}

package node

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/internal/localca"
)

func local(c *Config) { c.HTTP.TLS = "local" }

// trusting is a browser in which the node's own authority is installed, and nothing else.
func trusting(t *testing.T, file string) *http.Client {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(b) {
		t.Fatal("ca.crt holds no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: wait}
}

func TestANodeWithItsOwnAuthorityIsTrustedWhereThatIsInstalled(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy, local)
	ca := r.Facts().Authority
	if ca == nil || !strings.HasPrefix(r.Facts().HTTP, "https://") || !strings.HasPrefix(ca.URL, "https://") {
		t.Fatalf("facts %+v", r.Facts())
	}
	browser := trusting(t, ca.File)
	get := func(path string) string {
		t.Helper()
		resp, err := browser.Get("https://" + r.httpAddr + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got := get("/healthz"); got != "ok\n" {
		t.Errorf("health: %q", got)
	}
	file, err := os.ReadFile(ca.File)
	if err != nil {
		t.Fatal(err)
	}
	if got := get(caPath); got != string(file) {
		t.Error("the address gives another certificate than the file")
	}
	if _, err := (&http.Client{Timeout: wait}).Get("https://" + r.httpAddr + "/healthz"); err == nil {
		t.Error("it is trusted where nothing was installed")
	}
	r.stopped()

	// The next start has the same authority: nobody has to install anything again.
	again := start(t, dir, "acme.example", "", local)
	if got := again.Facts().Authority; got.Fingerprint != ca.Fingerprint {
		t.Errorf("another authority after a restart: %s", got.Fingerprint)
	}
	resp, err := browser.Get("https://" + again.httpAddr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}

func TestACertificateOfTheLocalAuthorityIsRenewedInTime(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy, local)
	first := r.certificate.Load()
	r.renewCertificate()
	if r.certificate.Load() != first {
		t.Error("a fresh one was made anew")
	}
	late, leaf := *first, *first.Leaf
	leaf.NotAfter = time.Now().Add(localca.RenewBefore - time.Hour)
	late.Leaf = &leaf
	r.certificate.Store(&late)
	r.renewCertificate()
	if got := r.certificate.Load(); got == &late || time.Until(got.Leaf.NotAfter) < 2*localca.RenewBefore {
		t.Error("one with a third of its life left was not made anew")
	}
	// The machine got another address.
	r.certified = append(r.certified, "192.168.99.99")
	old := r.certificate.Load()
	r.renewCertificate()
	if r.certificate.Load() == old {
		t.Error("it was not made anew for other addresses")
	}
}

func TestWithoutAnAuthorityThereIsNoneToGet(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	resp, err := http.Get("http://" + r.httpAddr + caPath)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound || r.Facts().Authority != nil {
		t.Errorf("status %d, facts %+v", resp.StatusCode, r.Facts())
	}
}

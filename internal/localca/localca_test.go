package localca

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, dir, domain string, at time.Time) (*Authority, bool) {
	t.Helper()
	a, made, err := Open(dir, domain, at)
	if err != nil {
		t.Fatal(err)
	}
	return a, made
}

func TestAnAuthorityIsMadeOnceAndReadAfterThat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a, made := open(t, dir, "acme.example", now)
	if !made {
		t.Error("it was not made")
	}
	b, made := open(t, dir, "acme.example", now.Add(365*24*time.Hour))
	if made || !bytes.Equal(a.PEM(), b.PEM()) || a.Fingerprint() != b.Fingerprint() {
		t.Error("the second start has another authority")
	}
	for name, mode := range map[string]os.FileMode{keyFile: 0o600, CertFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.*.*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if len(a.Fingerprint()) != 32*3-1 {
		t.Errorf("fingerprint %s", a.Fingerprint())
	}
}

func TestItsCertificatesAreTrustedForTheNamesOfTheNode(t *testing.T) {
	a, _ := open(t, t.TempDir(), "acme.example", now)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(a.PEM()) {
		t.Fatal("the PEM holds no certificate")
	}
	c, err := a.Issue([]string{"acme.example", "node.acme.example", "localhost", "192.168.7.1", "127.0.0.1", "::1"}, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"acme.example", "node.acme.example", "localhost", "192.168.7.1", "127.0.0.1", "[::1]"} {
		for _, at := range []time.Time{now, now.Add(leafLife - time.Minute)} {
			if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: at}); err != nil {
				t.Errorf("%s at %s: %v", name, at, err)
			}
		}
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "other.example", CurrentTime: now}); err == nil {
		t.Error("it is trusted for another name")
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "acme.example", CurrentTime: now.Add(leafLife + time.Hour)}); err == nil {
		t.Error("it never ends")
	}
}

func TestItVouchesForNothingElse(t *testing.T) {
	a, _ := open(t, t.TempDir(), "acme.example", now)
	for _, name := range []string{"bank.example", "example", "notacme.example", "8.8.8.8", "2001:db8::1"} {
		if _, err := a.Issue([]string{"acme.example", name}, now); err == nil || !strings.Contains(err.Error(), "acme.example") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoAuthorityOfThisNodeIsRefusedWithWords(t *testing.T) {
	at := func(change func(dir string)) error {
		dir := t.TempDir()
		open(t, dir, "acme.example", now)
		change(dir)
		_, _, err := Open(dir, "acme.example", now)
		return err
	}
	write := func(dir, name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(string){
		"a damaged certificate": func(d string) { write(d, CertFile, "nonsense") },
		"a damaged key":         func(d string) { write(d, keyFile, "nonsense") },
		"a huge file":           func(d string) { write(d, CertFile, strings.Repeat("x", maxFile+1)) },
		"the key of another": func(d string) {
			other := t.TempDir()
			open(t, other, "acme.example", now)
			b, err := os.ReadFile(filepath.Join(other, keyFile))
			if err != nil {
				t.Fatal(err)
			}
			write(d, keyFile, string(b))
		},
	} {
		if err := at(change); err == nil || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	open(t, dir, "acme.example", now)
	if _, _, err := Open(dir, "globex.example", now); err == nil || !strings.Contains(err.Error(), "for acme.example") {
		t.Errorf("of another domain: %v", err)
	}
	if _, _, err := Open(dir, "acme.example", now.Add(authorityLife+time.Hour)); err == nil || !strings.Contains(err.Error(), "ended") {
		t.Errorf("ended: %v", err)
	}
}

// TestALostCertificateIsMadeAnew: a crash between the two files of a first start.
func TestALostCertificateIsMadeAnew(t *testing.T) {
	dir := t.TempDir()
	a, _ := open(t, dir, "acme.example", now)
	if err := os.Remove(a.Path()); err != nil {
		t.Fatal(err)
	}
	if _, made := open(t, dir, "acme.example", now); !made {
		t.Error("it was not made anew")
	}
}

package proof

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline-net/trunkline/federation/wire"
)

// site is a web server for example.com that a Fetcher reaches under any name.
func site(t *testing.T, h http.HandlerFunc) (*Fetcher, *httptest.Server) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return &Fetcher{
		RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs,
		Dial: func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
		},
	}, s
}

func TestFetchTakesADocumentAndNothingElse(t *testing.T) {
	good := doc(t, key("a"), 1, nil).Bytes()
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		ok      bool
	}{
		"a document": {func(w http.ResponseWriter, _ *http.Request) { w.Write(good) }, true},
		"the largest": {func(w http.ResponseWriter, _ *http.Request) {
			w.Write(bytes.Repeat([]byte{1}, wire.MaxDocument))
		}, true},
		"one byte more": {func(w http.ResponseWriter, _ *http.Request) {
			w.Write(bytes.Repeat([]byte{1}, wire.MaxDocument+1))
		}, false},
		"a stream without an end": {func(w http.ResponseWriter, r *http.Request) {
			chunk := make([]byte, 32<<10)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, false},
		"nothing":   {func(http.ResponseWriter, *http.Request) {}, false},
		"not found": {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, false},
		"a long header": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10))
			w.Write(good)
		}, false},
		"a redirect to itself once": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("n") == "" {
				http.Redirect(w, r, "?n=1", http.StatusFound)
				return
			}
			w.Write(good)
		}, true},
		"redirects without an end": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "?n="+r.URL.Query().Get("n")+"1", http.StatusFound)
		}, false},
		"a redirect elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.example.com"+WellKnown, http.StatusFound)
		}, false},
		"a redirect to http": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://example.com"+WellKnown, http.StatusFound)
		}, false},
		"a redirect to another port": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://example.com:8443"+WellKnown, http.StatusFound)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, _ := site(t, c.handler)
			b, err := f.Document(context.Background(), DefaultPlace("example.com", false))
			if (err == nil) != c.ok {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		})
	}
}

func TestFetchGivesUpWithItsContext(t *testing.T) {
	started := make(chan struct{})
	f, _ := site(t, func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-started
		cancel()
	}()
	if _, err := f.Document(ctx, DefaultPlace("example.com", false)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestFetchGivesUpAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, answer := range []string{"", "HTTP/1.1 200 OK\r\n\r\nsome"} { // silent, and silent in the middle
			here, there := net.Pipe()
			go func() {
				buf := make([]byte, 4096)
				if _, err := there.Read(buf); err == nil {
					there.Write([]byte(answer))
				}
			}()
			f := &Fetcher{Dial: func(context.Context, string) (net.Conn, error) { return here, nil }}
			began := time.Now()
			_, err := f.Document(context.Background(), Place{URL: "http://partner.example/", KeyKnown: true})
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != FetchTime {
				t.Errorf("%v after %v", err, took)
			}
			there.Close()
		}
	})
}

func TestFetchChecksTheName(t *testing.T) {
	f, _ := site(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte{1}) })
	_, err := f.Document(context.Background(), DefaultPlace("partner.example", false)) // the certificate is example.com's
	var verify *tls.CertificateVerificationError
	if !errors.As(err, &verify) {
		t.Errorf("%v", err)
	}
}

// A name that a stranger chose must not make this node call its own network, whatever the
// name resolves to; what the administrator wrote may.
func TestFetchLeavesPrivateAddressesAlone(t *testing.T) {
	called := make(chan struct{}, 16)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		called <- struct{}{}
		w.Write([]byte{1})
	}))
	t.Cleanup(s.Close)
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := &Fetcher{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	url := "https://127.0.0.1:" + port + WellKnown
	if _, err := f.Document(context.Background(), Place{URL: url}); !errors.Is(err, ErrAddress) {
		t.Errorf("not configured: %v", err)
	}
	for _, host := range []string{"10.1.2.3", "192.168.0.1", "169.254.169.254", "[::1]", "[fe80::1]", "[fd00::1]", "0.0.0.0", "100.64.0.1"} {
		if _, err := f.Document(context.Background(), Place{URL: "https://" + host + WellKnown}); !errors.Is(err, ErrAddress) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if len(called) != 0 {
		t.Fatal("the server was called")
	}
	if _, err := f.Document(context.Background(), Place{URL: url, Configured: true}); err != nil || len(called) != 1 {
		t.Errorf("configured: %v, called %d times", err, len(called))
	}
}

func TestPlacesAndWhatTheyProve(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "doc")
	if err := os.WriteFile(file, []byte("document"), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, wire.MaxDocument+1), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("document")) }))
	t.Cleanup(plain.Close)
	for name, c := range map[string]struct {
		place      Place
		ok, proves bool
	}{
		"file":                          {Place{URL: file, Configured: true}, true, true},
		"file that nobody configured":   {Place{URL: file}, false, false},
		"file that is too large":        {Place{URL: large, Configured: true}, false, true},
		"no file":                       {Place{URL: file + "x", Configured: true}, false, true},
		"http without a key":            {Place{URL: plain.URL, Configured: true}, false, false},
		"http with a key":               {Place{URL: plain.URL, Configured: true, KeyKnown: true}, true, false},
		"another scheme":                {Place{URL: "ftp://example.com/x", Configured: true}, false, true},
		"a URL without a host":          {Place{URL: "https:///x", Configured: true}, false, true},
		"a URL with a name for a login": {Place{URL: "https://a:b@127.0.0.1/x", Configured: true}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := (&Fetcher{}).Document(context.Background(), c.place)
			if (err == nil) != c.ok || c.ok && string(b) != "document" {
				t.Errorf("%q, %v", b, err)
			}
			if c.place.Proves() != c.proves {
				t.Errorf("proves: %v", !c.proves)
			}
		})
	}
	if !DefaultPlace("example.com", false).Proves() {
		t.Error(".well-known proves nothing")
	}
}

func TestPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "224.0.0.1": false, "255.255.255.255": false, "198.18.0.1": false, "192.0.2.1": false,
		"::1": false, "::": false, "fe80::1": false, "fc00::1": false, "ff02::1": false, "2001:db8::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::7f00:1": false, "64:ff9b::a00:1": false, "2002:7f00:1::": false,
	} {
		if Public(netip.MustParseAddr(addr)) != want {
			t.Errorf("%s: %v", addr, !want)
		}
	}
	if Public(netip.Addr{}) {
		t.Error("no address is public")
	}
}

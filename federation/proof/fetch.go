package proof

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/trunkline-net/trunkline/federation/wire"
)

// WellKnown is where a domain publishes its signed document, as the bare bytes.
const WellKnown = "/.well-known/trunkline/domain"

// Limits of a fetch. The body may be larger than a document so that an answer of another
// kind (a login page) is told apart from a document that is too long.
const (
	FetchTime = 5 * time.Second
	FetchBody = 64 << 10
)

var (
	// ErrAddress: the name leads to an address that a stranger may not make this node call.
	ErrAddress = errors.New("leads to a private, loopback or otherwise special address")
	// ErrPlain: http:// shows nothing about who answered.
	ErrPlain = errors.New("http:// proves nothing: pin the domain's key in the policy, or use https://")
	// ErrTooLarge: the answer is longer than a document can be.
	ErrTooLarge = errors.New("the answer is longer than a domain document may be")
)

// Fetcher gets documents from the web or from files. Its zero value works.
type Fetcher struct {
	RootCAs *x509.CertPool // default the system's

	// Dial, in tests, makes the connection for a host itself, past the guard of addresses.
	Dial func(ctx context.Context, host string) (net.Conn, error)
}

// Place says where a document is looked for, and by whose word.
type Place struct {
	// URL is https://, http:// or a path of a file.
	URL string
	// Configured: the administrator wrote this place down. A stranger's domain name must not
	// make this node call into its own network; the administrator may.
	Configured bool
	// KeyKnown: the policy pins the key, so the place proves nothing and needs to prove nothing.
	KeyKnown bool
}

// DefaultPlace is where a domain's document is when nobody says otherwise.
func DefaultPlace(domain string, keyKnown bool) Place {
	return Place{URL: "https://" + domain + WellKnown, KeyKnown: keyKnown}
}

// Proves says whether a document found at p is proven by having been found there.
func (p Place) Proves() bool {
	return strings.HasPrefix(p.URL, "https://") || p.Configured && !strings.HasPrefix(p.URL, "http://")
}

// IsFile says that looking costs nobody anything: it may be done again at once.
func (p Place) IsFile() bool {
	return !strings.HasPrefix(p.URL, "https://") && !strings.HasPrefix(p.URL, "http://")
}

// Document returns the bytes at p, at most wire.MaxDocument of them. They are not yet judged.
func (f *Fetcher) Document(ctx context.Context, p Place) ([]byte, error) {
	const max = wire.MaxDocument
	switch {
	case strings.HasPrefix(p.URL, "https://"):
	case strings.HasPrefix(p.URL, "http://"):
		if !p.KeyKnown {
			return nil, ErrPlain
		}
	case strings.Contains(p.URL, "://") || !p.Configured:
		return nil, fmt.Errorf("%q is not https://, http:// or a file", p.URL)
	default:
		return readFile(p.URL, max)
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%q is not a URL of a document", p.URL)
	}
	ctx, cancel := context.WithTimeout(ctx, FetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/octet-stream")
	req.Header.Set("User-Agent", "trunkline")

	transport := f.transport(p.Configured)
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport: transport,
		// A redirect elsewhere would let one host speak for another, and let a stranger choose
		// what this node calls. Within the same scheme and host it is harmless.
		CheckRedirect: func(next *http.Request, via []*http.Request) error {
			if next.URL.Scheme != u.Scheme || next.URL.Host != u.Host || len(via) > 3 {
				return errors.New("redirects elsewhere are not followed")
			}
			return nil
		},
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", u.Host, res.StatusCode)
	}
	return readAll(res.Body, max)
}

func (f *Fetcher) transport(configured bool) *http.Transport {
	dialer := &net.Dialer{Timeout: FetchTime}
	if !configured {
		// Control sees the address that is really connected to, after the name was resolved,
		// so a name that changes its answer between a check and a use wins nothing.
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !Public(ap.Addr()) {
				return ErrAddress
			}
			return nil
		}
	}
	dial := dialer.DialContext
	if f.Dial != nil {
		dial = func(ctx context.Context, _, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return f.Dial(ctx, host)
		}
	}
	return &http.Transport{
		// No proxy from the environment: it would connect where the guard cannot look.
		Proxy:                  nil,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: f.RootCAs, MinVersion: tls.VersionTLS12},
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true, // a small body must not become a large one
	}
}

func readFile(path string, max int) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readAll(file, max)
}

// readAll reads a body that may be at most max bytes long and is never read past FetchBody.
func readAll(r io.Reader, max int) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, FetchBody+1))
	if err != nil {
		return nil, err
	}
	if len(b) > max {
		return nil, ErrTooLarge
	}
	if len(b) == 0 {
		return nil, errors.New("the answer is empty")
	}
	return b, nil
}

// special are the ranges that do not lead to a host of the public Internet and that
// netip.Addr's own predicates do not name.
var special = func() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
		"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		// Addresses that carry an IPv4 address inside could carry a private one.
		"::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16", "fec0::/10",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// Public says whether a is an ordinary address of the public Internet.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsValid() || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

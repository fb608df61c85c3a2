package node

import (
	"crypto/tls"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/policy"
)

const (
	// maxLinks bounds the open links, and so does the process's limit of files, of which they
	// get three quarters: the store, the relay and other nodes need some too.
	maxLinks = 1 << 17
	// maxHandshakes bounds the links that have not authenticated yet. In a storm the rest is
	// told when to come back.
	maxHandshakes = 2048
	// maxStrangersPerPrefix bounds the links without a registered device from one IPv4
	// address or IPv6 /64.
	maxStrangersPerPrefix = 64
)

func (n *Node) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+link.Path, n.serveLink)
	mux.HandleFunc("GET /.well-known/trunkline/domain", n.serveDocument)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch {
		case n.draining.Load():
			plain(w, http.StatusServiceUnavailable, "draining\n")
		case !n.isReady():
			plain(w, http.StatusServiceUnavailable, "starting\n")
		default:
			plain(w, http.StatusOK, "ready\n")
		}
	})
	mux.HandleFunc("GET "+caPath, n.serveAuthority)
	mux.HandleFunc("GET /", n.serveApp)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// The client may be gone; there is nobody to tell.
	_, _ = io.WriteString(w, text)
}

// serveDocument shows which nodes speak for the domain. It is meant for everybody.
func (n *Node) serveDocument(w http.ResponseWriter, r *http.Request) {
	doc := n.documents.current.Load()
	if doc == nil || !n.isReady() {
		// One from before would name addresses at which nobody listens any more.
		w.Header().Set("Retry-After", "1")
		plain(w, http.StatusNotFound, "not yet\n")
		return
	}
	hash := doc.Hash()
	tag := `"` + hex.EncodeToString(hash[:16]) + `"`
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Cache-Control", "public, max-age=300")
	h.Set("ETag", tag)
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(doc.Bytes())
}

// serveLink upgrades to the client link and returns: the request's goroutine, with the
// stack that TLS and HTTP have grown, ends here, and a fresh one reads.
func (n *Node) serveLink(w http.ResponseWriter, r *http.Request) {
	if !slices.Contains(websocket.Subprotocols(r), link.Subprotocol) {
		plain(w, http.StatusBadRequest, "this is a Trunkline client link; it wants the WebSocket subprotocol "+link.Subprotocol+"\n")
		return
	}
	if !n.originAllowed(r) {
		plain(w, http.StatusForbidden, "this origin may not open the client link; see http.origins in node.toml\n")
		return
	}
	if n.draining.Load() || !n.isReady() || n.hub.full(n.maxLinks) {
		n.comeBack(w)
		return
	}
	if n.handshaking.Add(1) > maxHandshakes {
		n.handshaking.Add(-1)
		n.comeBack(w)
		return
	}
	opened, err := n.upgrader.Upgrade(w, r, nil)
	if err != nil {
		n.handshaking.Add(-1)
		return // Upgrade has answered
	}
	// The library has done the handshake, and nothing came behind it or Upgrade would have
	// failed. From here on the frames are read and written by ourselves.
	conn := opened.NetConn()
	l := &clientLink{n: n, sock: newSocket(conn), address: addressClass(conn.RemoteAddr())}
	l.heard.Store(n.coarse.Load())
	if !n.hub.add(l, n.maxLinks) {
		n.handshaking.Add(-1)
		_ = conn.Close()
		return
	}
	n.views.links.Add(1)
	n.group.Go(l.readLoop)
}

// comeBack tells those who come all at once when to come again.
func (n *Node) comeBack(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.FormatInt(n.line.place(n.coarse.Load()), 10))
	plain(w, http.StatusServiceUnavailable, "not now\n")
}

// lineRate is how many of those who were turned away are expected back in a second: what two
// processors take in. The last of a hundred thousand comes after lineMost.
const (
	lineRate = 2000
	lineMost = 30
)

// line gives those who are turned away their seconds, one after the other, so that as many
// come back in each as can be taken in, and the first of them soon.
type line struct {
	mu   sync.Mutex // guards next, left
	next int64      // the second on the coarse clock that is given out
	left int        // places in it
}

// place returns in how many seconds to come again, at least 1.
func (l *line) place(now int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.next <= now:
		l.next, l.left = now+1, lineRate
	case l.left == 0 && l.next-now < lineMost:
		l.next, l.left = l.next+1, lineRate
	}
	l.left = max(l.left-1, 0)
	return l.next - now
}

// originAllowed keeps pages of other sites from opening a link in a visitor's name. Clients
// that are no browsers send no Origin.
func (n *Node) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(n.cfg.HTTP.Origins, origin) {
		return true
	}
	if n.partnersPage(origin) {
		return true
	}
	u, err := url.Parse(origin)
	// The Host must be one of ours as well: a page whose name is made to point at this
	// machine sends its own name in both.
	return err == nil && u.Host != "" && u.Host == r.Host && n.ownHost(u.Host)
}

// partnersPage reports whether an origin is the app at the name of a domain whose people may come into rooms here:
// they come in it, since their identities are there. Under another name or port it has to be listed.
func (n *Node) partnersPage(origin string) bool {
	domain, secure := strings.CutPrefix(origin, "https://")
	return secure && domain != n.cfg.Domain && identity.CheckDomain(domain) == nil && n.decide(domain, policy.ActionSFU, policy.In).Allow
}

// linksWithin is how many links a limit of files leaves room for; 0 is no limit.
func linksWithin(files uint64) int {
	if files == 0 {
		return maxLinks
	}
	return int(min(files/4*3, maxLinks))
}

// addressClass is what strangers are counted by: an IPv4 address or an IPv6 /64. Empty for
// this machine, which is not counted. It is never logged or stored.
func addressClass(a net.Addr) string {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return ""
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.IsLoopback() {
		return ""
	}
	if ip.Is6() {
		p, err := ip.Prefix(64)
		if err != nil {
			return ""
		}
		return p.String()
	}
	return ip.String()
}

// newServer has limits for slow clients, and no voice: the library's log has addresses in
// it.
func newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
		// A WebSocket needs HTTP/1.1; nothing else here gains from HTTP/2.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

func (n *Node) metricsHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(n.metrics.registry, promhttp.HandlerOpts{}))
	return mux
}

func (n *Node) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return n.certificate.Load(), nil
		},
	}
}

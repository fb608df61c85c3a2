package node

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/web"
)

// appTypes are the kinds of files the app has. The system's own table is not asked: it
// differs between machines, and a worker of the wrong type does not start.
var appTypes = map[string]string{
	".html":        "text/html; charset=utf-8",
	".css":         "text/css; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".json":        "application/json",
	".webmanifest": "application/manifest+json",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".txt":         "text/plain; charset=utf-8",
}

// appFile is a file of the app as it goes over the wire. Names are stable, so every answer is
// checked with the node again; the tag makes that cheap.
type appFile struct {
	body    []byte
	kind    string
	tag     string        // of the content, without quotation marks
	smaller func() []byte // gzip, made once at the first request; nil: not worth it
}

type appFiles struct {
	at    map[string]*appFile // by path, the paths of screens included
	under map[string]*appFile // by the folder in which any one name is a screen, with a slash behind it
}

// builtApp is the app in this binary, made ready once for all nodes of a process.
var builtApp = sync.OnceValues(func() (*appFiles, error) {
	b, err := web.Load()
	if err != nil {
		return nil, err
	}
	return newAppFiles(b)
})

func newAppFiles(b *web.Bundle) (*appFiles, error) {
	files := &appFiles{at: make(map[string]*appFile, len(b.Files)+len(b.Routes)), under: map[string]*appFile{}}
	for _, f := range b.Files {
		kind, ok := appTypes[path.Ext(f.Name)]
		if !ok {
			return nil, fmt.Errorf("the app has a file of unknown type: %s", f.Name)
		}
		served := &appFile{body: f.Body, kind: kind, tag: hex.EncodeToString(f.Sum[:16])}
		if kind != "image/png" && len(f.Body) > 512 {
			served.smaller = sync.OnceValue(func() []byte { return compressed(f.Body) })
		}
		files.at["/"+f.Name] = served
	}
	index := files.at["/index.html"]
	if index == nil {
		return nil, fmt.Errorf("the app has no index.html")
	}
	for _, route := range b.Routes {
		if folder, ok := strings.CutSuffix(route, web.Whatever); ok {
			files.under[folder+"/"] = index
		} else {
			files.at[route] = index
		}
	}
	return files, nil
}

// find is the file at a path, or nil. A room's path holds its id: the page is the same for all of
// them, also for those that never were, so nobody learns here which there are.
func (a *appFiles) find(name string) *appFile {
	if f := a.at[name]; f != nil {
		return f
	}
	if folder, last := path.Split(name); last != "" && len(last) <= longestRoute {
		return a.under[folder]
	}
	return nil
}

// longestRoute bounds the part of a path that is not known beforehand: a room's id has 43.
const longestRoute = 64

func compressed(body []byte) []byte {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err == nil {
		if _, err = w.Write(body); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		panic(err) // a buffer takes everything, and the level is a constant
	}
	return out.Bytes()
}

// serveApp serves the app: files under their own names, and the first page under the path of
// every screen, so that a reload stays where it was.
func (n *Node) serveApp(w http.ResponseWriter, r *http.Request) {
	f := n.app.find(r.URL.Path)
	if f == nil {
		plain(w, http.StatusNotFound, "there is nothing here\n")
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", n.appPolicy(r.Host))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "require-corp")
	h.Set("Permissions-Policy", appPermissions)
	h.Set("Content-Type", f.kind)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept-Encoding")
	body, tag := f.body, f.tag
	if f.smaller != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
		body, tag = f.smaller(), f.tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	tag = `"` + tag + `"`
	h.Set("ETag", tag)
	if tagMatches(r.Header.Get("If-None-Match"), tag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the browser may be gone
}

// appPermissions gives the app what calls need and nothing else, and nothing to frames.
const appPermissions = "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), " +
	"fullscreen=(self), autoplay=(self), picture-in-picture=(self), clipboard-write=(self), screen-wake-lock=(self), " +
	"geolocation=(), payment=(), usb=(), serial=(), bluetooth=(), midi=(), hid=(), sensors=()"

// appPolicy allows the app its own files. It may open connections to other homes, always
// encrypted; on loopback, where there is no TLS, to its own origin besides. The one policy of
// Trusted Types names the worker scripts.
func (n *Node) appPolicy(host string) string {
	connect := "'self' https: wss:"
	// The Host is the visitor's word, so only one of our own is repeated, and nothing that
	// could end the directive.
	if link.Loopback(link.Hostname(host)) && n.ownHost(host) && strings.Trim(host, hostCharacters) == "" {
		connect += " http://" + host + " ws://" + host
	}
	return "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; " +
		"connect-src " + connect + "; worker-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; " +
		"form-action 'none'; frame-src 'none'; frame-ancestors 'none'; " +
		"require-trusted-types-for 'script'; trusted-types trunkline"
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyz0123456789.-:[]"

// takesGzip reads Accept-Encoding as far as one encoding needs it.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, weight, _ := strings.Cut(part, ";")
		if name = strings.TrimSpace(name); !strings.EqualFold(name, "gzip") && name != "*" {
			continue
		}
		q, found := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		value, err := strconv.ParseFloat(q, 64)
		return !found || (err == nil && value > 0)
	}
	return false
}

// tagMatches looks for a tag in If-None-Match, where weak tags compare like strong ones.
func tagMatches(header, tag string) bool {
	for part := range strings.SplitSeq(header, ",") {
		if part = strings.TrimSpace(part); part == "*" || strings.TrimPrefix(part, "W/") == tag {
			return true
		}
	}
	return false
}

package node

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/web"
)

// ask is a request as a browser makes it: nothing is unpacked and no redirect is followed.
func ask(t *testing.T, r *running, method, path string, headers map[string]string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+r.httpAddr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		if name == "Host" {
			req.Host = value
		}
		req.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableCompression: true}, Timeout: wait,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestTheAppIsServedWholeAndAsItWasBuilt(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	b, err := web.Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Files {
		resp, body := ask(t, r, "GET", "/"+f.Name, nil)
		if resp.StatusCode != http.StatusOK || sha256.Sum256(body) != f.Sum {
			t.Errorf("%s: status %d, %d bytes, not the built file", f.Name, resp.StatusCode, len(body))
		}
		if resp.Header.Get("Content-Type") == "" || resp.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: headers %v", f.Name, resp.Header)
		}
		resp, packed := ask(t, r, "GET", "/"+f.Name, map[string]string{"Accept-Encoding": "br, gzip;q=0.8"})
		if resp.Header.Get("Content-Encoding") == "gzip" {
			if len(packed) >= len(body) {
				t.Errorf("%s: gzip made %d bytes of %d", f.Name, len(packed), len(body))
			}
			z, err := gzip.NewReader(bytes.NewReader(packed))
			if err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
			if packed, err = io.ReadAll(z); err != nil {
				t.Fatalf("%s: %v", f.Name, err)
			}
		} else if strings.HasSuffix(f.Name, ".js") && len(body) > 512 { // less is not worth it
			t.Errorf("%s is not packed", f.Name)
		}
		if sha256.Sum256(packed) != f.Sum {
			t.Errorf("%s: the packed form holds something else", f.Name)
		}
	}
}

func TestEveryScreenIsTheFirstPageAndNothingElseIs(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	b, err := web.Load()
	if err != nil {
		t.Fatal(err)
	}
	index, _ := b.File("index.html")
	room := strings.Repeat("r", 43)
	for _, route := range b.Routes {
		route = strings.Replace(route, web.Whatever, "/"+room, 1)
		resp, body := ask(t, r, "GET", route, nil)
		if resp.StatusCode != http.StatusOK || !bytes.Equal(body, index.Body) {
			t.Errorf("%s: status %d, not the first page", route, resp.StatusCode)
		}
		if resp, body := ask(t, r, "HEAD", route, nil); resp.StatusCode != http.StatusOK || len(body) != 0 {
			t.Errorf("HEAD %s: status %d, %d bytes", route, resp.StatusCode, len(body))
		}
	}
	for _, path := range []string{"/nothing", "/app.js/", "/index.html/x", "/..%2fnode.toml", "/v1/nothing", "/.well-known/nothing", "/contact/x", "/r", "/r/", "/r/" + room + "/x", "/r/" + room + "/", "/r/" + strings.Repeat("r", 65), "/x/" + room} {
		if resp, body := ask(t, r, "GET", path, nil); resp.StatusCode != http.StatusNotFound || bytes.Contains(body, []byte("<")) {
			t.Errorf("%s: status %d, %q", path, resp.StatusCode, body)
		}
	}
	if resp, _ := ask(t, r, "POST", "/", nil); resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /: status %d", resp.StatusCode)
	}
}

func TestThePageMayLoadItsOwnFilesAndNothingElse(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	for _, path := range []string{"/", "/app.js", "/sw.js", "/contact", "/r/" + strings.Repeat("r", 43)} {
		resp, _ := ask(t, r, "GET", path, nil)
		for name, want := range map[string]string{
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Embedder-Policy": "require-corp",
			"Cross-Origin-Resource-Policy": "same-origin",
			"X-Content-Type-Options":       "nosniff",
			"Referrer-Policy":              "no-referrer",
			"Cache-Control":                "no-cache",
			"Vary":                         "Accept-Encoding",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
		policy := resp.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'self'", "script-src 'self';", "worker-src 'self'", "object-src 'none'", "base-uri 'none'",
			"frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types trunkline",
			"connect-src 'self' https: wss: http://" + r.httpAddr + " ws://" + r.httpAddr + ";"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy %q lacks %q", path, policy, want)
			}
		}
		for _, bad := range []string{"unsafe", "*", "http: ", "ws: "} {
			if strings.Contains(policy, bad) {
				t.Errorf("%s: the policy %q has %q", path, policy, bad)
			}
		}
	}
	// A name that is not the node's, and one that would end the directive, are not repeated.
	for _, host := range []string{"evil.example", "x;script-src-y.localhost:7420", "localhost:1"} {
		resp, _ := ask(t, r, "GET", "/", map[string]string{"Host": host})
		if policy := resp.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "connect-src 'self' https: wss:;") {
			t.Errorf("Host %q: %q", host, policy)
		}
	}
}

// A script or style in the page itself would not run under its own policy.
func TestThePageHasNoInlineScriptOrStyle(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	_, body := ask(t, r, "GET", "/", nil)
	for _, bad := range []string{`<script[^>]*>[^<]`, `<style`, `\son[a-z]+=`, `\sstyle=`, `https?://`, `="//`} {
		if regexp.MustCompile(bad).Match(body) {
			t.Errorf("the page matches %s", bad)
		}
	}
	if !bytes.Contains(body, []byte(`src="/app.js"`)) {
		t.Errorf("the page does not load the app: %s", body)
	}
}

func TestAnUnchangedFileIsNotSentAgain(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	b, err := web.Load()
	if err != nil {
		t.Fatal(err)
	}
	f, _ := b.File("app.js")
	resp, _ := ask(t, r, "GET", "/app.js", nil)
	tag := resp.Header.Get("ETag")
	if want := `"` + hex.EncodeToString(f.Sum[:16]) + `"`; tag != want {
		t.Fatalf("the tag is %s, want %s", tag, want)
	}
	for header, status := range map[string]int{
		tag: http.StatusNotModified, "W/" + tag: http.StatusNotModified, `"other", ` + tag: http.StatusNotModified,
		"*": http.StatusNotModified, `"other"`: http.StatusOK, "": http.StatusOK,
	} {
		resp, body := ask(t, r, "GET", "/app.js", map[string]string{"If-None-Match": header})
		if resp.StatusCode != status || (status == http.StatusNotModified) != (len(body) == 0) {
			t.Errorf("If-None-Match %q: status %d, %d bytes", header, resp.StatusCode, len(body))
		}
	}
	resp, _ = ask(t, r, "GET", "/app.js", map[string]string{"Accept-Encoding": "gzip"})
	packed := resp.Header.Get("ETag")
	if packed == tag {
		t.Error("both forms have one tag")
	}
	resp, _ = ask(t, r, "GET", "/app.js", map[string]string{"Accept-Encoding": "gzip", "If-None-Match": packed})
	if resp.StatusCode != http.StatusNotModified {
		t.Errorf("the packed form is sent again: status %d", resp.StatusCode)
	}
}

func TestAcceptEncoding(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"": false, "identity": false, "br": false, "gzip": true, "br, gzip": true, "GZIP": true, "*": true,
		"gzip;q=0": false, "gzip; q=0.0": false, "gzip;q=0.5": true, "gzip;q=": false, "gzip;q=x": false, "xgzip": false,
	} {
		if got := takesGzip(header); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}

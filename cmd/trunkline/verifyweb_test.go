package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/web"
)

// served is a node's app with one path answered otherwise.
func served(t *testing.T, path string, instead http.HandlerFunc) string {
	t.Helper()
	bundle, err := web.Load()
	if err != nil {
		t.Fatal(err)
	}
	index, _ := bundle.File("index.html")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			instead(w, r)
			return
		}
		for _, route := range bundle.Routes {
			if route == r.URL.Path {
				_, _ = w.Write(index.Body)
				return
			}
		}
		f, ok := bundle.File(strings.TrimPrefix(r.URL.Path, "/"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(f.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestVerifyWebNamesTheFileThatDiffers(t *testing.T) {
	same := func(http.ResponseWriter, *http.Request) {}
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
	}
	bundle, err := web.Load()
	if err != nil {
		t.Fatal(err)
	}
	js, _ := bundle.File("app.js")
	for name, c := range map[string]struct {
		path    string
		instead http.HandlerFunc
		exit    int
		says    []string
	}{
		"all the same":       {"/none", same, exitDone, []string{bundle.DigestText()}},
		"another script":     {"/app.js", write("alert(1)"), exitUnverified, []string{"different: app.js"}},
		"a longer script":    {"/app.js", write(string(js.Body) + ";"), exitUnverified, []string{"different: app.js"}},
		"another worker":     {"/sw.js", write(""), exitUnverified, []string{"different: sw.js"}},
		"a missing file":     {"/app.css", http.NotFound, exitUnverified, []string{"missing: app.css"}},
		"another first page": {"/", write("<!doctype html>"), exitUnverified, []string{"different: /"}},
		"a page that leads on": {"/", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/index.html", http.StatusFound) },
			exitUnverified, []string{"refused: /"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := served(t, c.path, c.instead)
			st := step{args: "verify web " + url + "/#invite=x", exit: c.exit, out: c.says, live: true}
			if c.exit != exitDone {
				st.err = []string{"serves another app", "do not use that page"}
			}
			script{steps: []step{st}}.run(t)
		})
	}
}

func TestVerifyWebAsksNobodyItCannotTrust(t *testing.T) {
	script{steps: []step{
		{args: "verify web acme.example", exit: exitUsage, err: []string{"no address", "https://"}},
		{args: "verify web http://acme.example", exit: exitUsage, err: []string{"without TLS", "https"}},
		{args: "verify web https://user@acme.example", exit: exitUsage, err: []string{"no address"}},
		{args: "verify web http://127.0.0.1:1", exit: exitUnreachable, live: true, err: []string{"does not answer", "node runs"}},
	}}.run(t)
}

func TestVerifyWebAgainstARealNode(t *testing.T) {
	w := newWorld(t)
	node := w.start("serve --data acme --domain acme.example" + nodeOnFreePorts + " --http-tls local --json")
	ready := node.line(any1)
	url, file := ready["http"].(string), ready["authority"].(map[string]any)["file"].(string)
	if _, stderr := w.output(exitUnverified, "verify web "+url); !strings.Contains(stderr, "--ca") {
		t.Errorf("without the authority: %s", stderr)
	}
	var got struct {
		OK     bool
		Digest string
		Files  int
	}
	w.object("verify web --ca "+file+" "+url, &got)
	var version struct{ Web string }
	w.object("version", &version)
	if !got.OK || got.Files == 0 || got.Digest != version.Web {
		t.Errorf("%+v, version says %s", got, version.Web)
	}
}

package web

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheBundleInThisBinaryIsWhole(t *testing.T) {
	t.Parallel()
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index.html", "app.js", "app.css", "sw.js", "files.js", "frames.js", "manifest.webmanifest", Listing} {
		f, ok := b.File(name)
		if !ok || len(f.Body) == 0 {
			t.Errorf("%s is missing or empty", name)
		}
	}
	if _, ok := b.File("nothing"); ok {
		t.Error("a file that is not there was found")
	}
	listing, _ := b.File(Listing)
	if got, want := b.DigestText(), fmt.Sprintf("sha256:%x", sha256.Sum256(listing.Body)); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
	if !slices.Contains(b.Routes, "/r"+Whatever) {
		t.Errorf("routes %q have no place for rooms", b.Routes)
	}
	if len(b.Routes) == 0 || b.Routes[0] != "/" {
		t.Errorf("routes %q do not begin with the home screen", b.Routes)
	}
}

// A page that loads anything from elsewhere would break the first promise of the app. Names of
// namespaces and of our own scheme are no requests.
func TestTheBundleNamesNoOtherHost(t *testing.T) {
	t.Parallel()
	b, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Files {
		if f.Name != "index.html" && !strings.HasSuffix(f.Name, ".css") && f.Name != "manifest.webmanifest" {
			continue
		}
		for _, bad := range []string{"http://", "https://", "//fonts", "@import"} {
			if strings.Contains(string(f.Body), bad) {
				t.Errorf("%s contains %q", f.Name, bad)
			}
		}
	}
}

func TestAChangedFileMakesTheListingUntrue(t *testing.T) {
	t.Parallel()
	index, script := []byte("<!doctype html>"), []byte("1")
	list := fmt.Sprintf("%x  index.html\n%x  main.js\n", sha256.Sum256(index), sha256.Sum256(script))
	files := func(script string) fstest.MapFS {
		return fstest.MapFS{"index.html": {Data: index}, "main.js": {Data: []byte(script)}, Listing: {Data: []byte(list)}}
	}
	if _, err := load(files("1")); err != nil {
		t.Fatalf("the true one: %v", err)
	}
	if _, err := load(files("2")); err == nil {
		t.Fatal("a changed file was taken")
	}
	extra := files("1")
	extra["z.js"] = &fstest.MapFile{Data: []byte("3")}
	if _, err := load(extra); err == nil {
		t.Fatal("a file that the listing does not name was taken")
	}
	missing := files("1")
	delete(missing, "main.js")
	if _, err := load(missing); err == nil {
		t.Fatal("a missing file was not noticed")
	}
}

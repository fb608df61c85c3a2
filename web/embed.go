// Package web is the app for the browser as it is built into the binary: call [Load] and serve
// what it returns. The folder dist is written by the build in web/app, committed, and compared
// with a fresh build by "make fresh", so "go build" needs no Node.
//
// It promises that the digest speaks for every byte that the files have, and never fetches
// anything from anywhere.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// Listing is the file whose SHA-256 is the digest of the bundle. It has a line for every other
// file in the form of sha256sum, so that the tools of any system can check it:
//
//	sha256sum --check bundle.txt && sha256sum bundle.txt
const Listing = "bundle.txt"

// routesFile names the paths at which the app has a screen.
const routesFile = "routes.json"

//go:embed all:dist
var dist embed.FS

// Whatever ends the route of a screen whose last part is not known when the app is built.
const Whatever = "/*"

// File is one file of the bundle. Body belongs to the bundle and is not to be changed.
type File struct {
	Name string // with slashes, without one in front
	Body []byte
	Sum  [sha256.Size]byte
}

// Bundle is the built app.
type Bundle struct {
	Files  []File            // by name; Listing is one of them
	Routes []string          // paths of screens, each with a slash in front; one that ends in /* stands for whatever comes there
	Digest [sha256.Size]byte // of Listing
}

// FS is the built app as a file system, for whoever serves it in another way.
func FS() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // only an invalid name does that
	}
	return sub
}

// Load reads the bundle in this binary, once, and checks that its listing is true.
var Load = sync.OnceValues(func() (*Bundle, error) { return load(FS()) })

func load(from fs.FS) (*Bundle, error) {
	b := new(Bundle)
	var listing []byte
	err := fs.WalkDir(from, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		f := File{Name: name, Body: body, Sum: sha256.Sum256(body)}
		b.Files = append(b.Files, f)
		switch name {
		case Listing:
			listing, b.Digest = body, f.Sum
			return nil
		case routesFile:
			if err := json.Unmarshal(body, &b.Routes); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the app: %w", err)
	}
	slices.SortFunc(b.Files, func(x, y File) int { return strings.Compare(x.Name, y.Name) })
	var want strings.Builder
	for _, f := range b.Files {
		if f.Name != Listing {
			fmt.Fprintf(&want, "%x  %s\n", f.Sum, f.Name)
		}
	}
	if !bytes.Equal(listing, []byte(want.String())) {
		return nil, fmt.Errorf("the app in this binary is not the one that its %s lists: build it again with make web", Listing)
	}
	for _, route := range b.Routes {
		if name := strings.TrimSuffix(route, Whatever); path.Clean("/"+name) != name || strings.Contains(name, "*") {
			return nil, fmt.Errorf("%s: %q is not a path", routesFile, route)
		}
	}
	return b, nil
}

// DigestText is the digest as people compare it.
func (b *Bundle) DigestText() string { return "sha256:" + hex.EncodeToString(b.Digest[:]) }

// File finds a file by its name.
func (b *Bundle) File(name string) (File, bool) {
	for _, f := range b.Files {
		if f.Name == name {
			return f, true
		}
	}
	return File{}, false
}

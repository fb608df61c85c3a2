// Package leak looks for planted secrets where they must not be: in a process's memory, in
// a folder, in a byte stream. A search counts only when it also finds a control: a marker
// that was handed to the searched process on purpose.
//
// A test starts with [NewHunt] and looks through one place after the other; each fails it where
// a secret is found or the control is not. A program that reports what it found starts with
// [New], then calls [Search.Memory], [Search.Dir] and [Search.Bytes], and reads [Search.Found].
// [Secret] and [Text] make needles in all forms in which a value leaks. The package never
// writes anything and never prints a needle.
package leak

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// Needle is one secret in every form in which it could leak: raw, hexadecimal, as text.
type Needle struct {
	Name  string
	Forms [][]byte
}

// minForm is the shortest form that is searched for. Shorter ones are found in any large
// process by chance: 8 random bytes appear in 1 GiB once in 2^34 searches.
const minForm = 8

// Search holds needles and what was found of them.
type Search struct {
	needles []Needle
	longest int
	// starts has, for every two bytes that a form begins with, those forms: memory is read
	// once, however many needles there are.
	starts [1 << 16][]form

	mu    sync.Mutex // guards found
	found map[string][]string
}

// New checks the needles. It refuses an empty list and forms that chance would find.
func New(needles []Needle) (*Search, error) {
	if len(needles) == 0 {
		return nil, errors.New("leak: no needles to search for")
	}
	s := &Search{needles: needles, found: make(map[string][]string)}
	for _, n := range needles {
		if n.Name == "" || len(n.Forms) == 0 {
			return nil, fmt.Errorf("leak: needle %q has no form", n.Name)
		}
		for _, form := range n.Forms {
			if len(form) < minForm {
				return nil, fmt.Errorf("leak: a form of needle %q has %d bytes; chance finds anything below %d", n.Name, len(form), minForm)
			}
			s.longest = max(s.longest, len(form))
		}
	}
	for i, n := range needles {
		for _, b := range n.Forms {
			at := start(b)
			s.starts[at] = append(s.starts[at], form{i, b})
		}
	}
	return s, nil
}

// form is one form of a needle.
type form struct {
	needle int
	b      []byte
}

func start(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

// Found returns the names of the needles that were found, each with the places, sorted.
func (s *Search) Found() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string][]string, len(s.found))
	for name, places := range s.found {
		out[name] = slices.Clone(places)
	}
	return out
}

// Bytes searches one piece of memory that the caller holds.
func (s *Search) Bytes(place string, b []byte) {
	found := make([]bool, len(s.needles))
	for i := 0; i+minForm <= len(b); i++ {
		for _, f := range s.starts[start(b[i:])] {
			if !found[f.needle] && bytes.HasPrefix(b[i:], f.b) {
				found[f.needle] = true
				s.hit(s.needles[f.needle].Name, place)
			}
		}
	}
}

func (s *Search) hit(name, place string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.found[name], place) {
		s.found[name] = append(s.found[name], place)
	}
}

// Reader searches a stream in pieces that overlap by the longest form, so that a needle
// across two pieces is found too.
func (s *Search) Reader(place string, r io.Reader) error {
	const piece = 1 << 20
	buf := make([]byte, 0, piece+s.longest)
	for {
		n, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		s.Bytes(place, buf)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return err
		}
		keep := min(s.longest, len(buf))
		buf = buf[:copy(buf[:cap(buf)], buf[len(buf)-keep:])]
	}
}

// Dir searches the contents and the names of all regular files below dir.
func (s *Search) Dir(place, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s.Bytes(place, []byte(d.Name()))
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		return s.Reader(place, f)
	})
}

// Package leak looks for planted secrets where they must not be: in a process's memory, in
// a folder, in a byte stream. A search counts only when it also finds a control: a marker
// that was handed to the searched process on purpose.
//
// Start with [New], then call [Search.Memory], [Search.Dir] and [Search.Bytes], and read
// [Search.Found]. The package never writes anything and never prints a needle.
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
	return s, nil
}

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
	for _, n := range s.needles {
		for _, form := range n.Forms {
			if bytes.Contains(b, form) {
				s.hit(n.Name, place)
				break
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

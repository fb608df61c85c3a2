package leak

import (
	"crypto/rand"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// TB is what a hunt needs of a test. This package is part of the program, which is not built
// with package testing.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// Hunt looks for the same secrets in many places. Each place comes with controls that must be
// found there: without them the search of it proves nothing, and the test fails.
type Hunt struct {
	t       TB
	secrets []Needle
}

// NewHunt takes what must be nowhere.
func NewHunt(t TB, secrets ...Needle) *Hunt { return &Hunt{t: t, secrets: slices.Clone(secrets)} }

// Marker is a text that exists nowhere else, to be handed to the searched process on purpose.
// A control is made of it with [Text].
func Marker() string { return "marker-" + strings.ToLower(rand.Text()) }

// In looks through one place in whatever way look does it.
func (h *Hunt) In(place string, look func(*Search) error, controls ...Needle) {
	h.t.Helper()
	if len(controls) == 0 {
		h.t.Errorf("%s: a search without a control proves nothing", place)
		return
	}
	s, err := New(append(slices.Clone(h.secrets), controls...))
	if err == nil {
		err = look(s)
	}
	if err != nil {
		h.t.Errorf("%s: it was not searched: %v", place, err)
		return
	}
	found := s.Found()
	for _, c := range controls {
		if len(found[c.Name]) == 0 {
			h.t.Errorf("%s: the control %q is not found, so the search proves nothing", place, c.Name)
		}
	}
	for _, n := range h.secrets {
		if places := found[n.Name]; len(places) != 0 && !slices.ContainsFunc(controls, func(c Needle) bool { return c.Name == n.Name }) {
			h.t.Errorf("%s: %s is there (%s)", place, n.Name, strings.Join(places, ", "))
		}
	}
	h.t.Logf("%s: searched for %d secrets", place, len(h.secrets))
}

// Memory looks through the memory of a running process, on Linux.
func (h *Hunt) Memory(place string, pid int, controls ...Needle) {
	h.t.Helper()
	h.In(place, func(s *Search) error { return s.Memory(place, pid) }, controls...)
}

// Dir looks through names and contents of all files below a folder.
func (h *Hunt) Dir(place, dir string, controls ...Needle) {
	h.t.Helper()
	h.In(place, func(s *Search) error { return s.Dir(place, dir) }, controls...)
}

// Bytes looks through what the test holds: a log, an answer.
func (h *Hunt) Bytes(place string, b []byte, controls ...Needle) {
	h.t.Helper()
	h.Pieces(place, slices.Values([][]byte{b}), controls...)
}

// Pieces looks through many of them: the packets and streams of a capture.
func (h *Hunt) Pieces(place string, pieces iter.Seq[[]byte], controls ...Needle) {
	h.t.Helper()
	h.In(place, func(s *Search) error {
		for b := range pieces {
			s.Bytes(place, b)
		}
		return nil
	}, controls...)
}

// Page looks through what a server answers, such as /metrics.
func (h *Hunt) Page(place, url string, client *http.Client, controls ...Needle) {
	h.t.Helper()
	h.In(place, func(s *Search) error {
		resp, err := client.Get(url)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the server answers %s", resp.Status)
		}
		const most = 64 << 20
		return s.Reader(place, io.LimitReader(resp.Body, most))
	}, controls...)
}

package testnet

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/trunkline-net/trunkline/internal/leak"
)

// The two marks. The first stands in everything that people write to each other for nobody
// else to read; where it is found, something has leaked. The second stands where everybody on
// the way may read it, so that a search which does not find it has not searched.
const (
	secretMark = "mark for the two ends alone"
	openMark   = "mark that anybody may read"
)

// leaks looks for marks in every byte that crosses the networks.
type leaks struct {
	mu     sync.Mutex // guards all below
	places map[string]string
	open   map[string]bool
}

func newLeaks() *leaks { return &leaks{places: map[string]string{}, open: map[string]bool{}} }

// stream sees what goes over a connection. A client's WebSocket frames are masked, which
// hides nothing from anybody: the mask stands in front.
func (l *leaks) stream(from, to string, _ uint64, b []byte) {
	l.search("between clients and nodes", from+" to "+to, b)
	if len(b) > 6 && b[1]&0x80 != 0 {
		at := 2
		switch b[1] & 0x7f {
		case 126:
			at = 4
		case 127:
			at = 10
		}
		if len(b) > at+4 {
			mask, plain := b[at:at+4], bytes.Clone(b[at+4:])
			for i := range plain {
				plain[i] ^= mask[i&3]
			}
			l.search("between clients and nodes", from+" to "+to+", unmasked", plain)
		}
	}
}

func (l *leaks) packet(from, to string, b []byte) {
	l.search("between nodes", from+" to "+to, b)
}

func (l *leaks) search(place, who string, b []byte) {
	secret, open := bytes.Contains(b, []byte(secretMark)), bytes.Contains(b, []byte(openMark))
	if !secret && !open {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if secret {
		l.places[place] = who
	}
	if open {
		l.open[place] = true
	}
}

// found is where the secret mark was, and what of the search did not work.
func (l *leaks) found(w *world) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for place, who := range l.places {
		out = append(out, fmt.Sprintf("what is for the two ends alone was seen %s (%s)", place, who))
	}
	if !l.open["between clients and nodes"] {
		out = append(out, "the search between clients and nodes did not find what everybody may read")
	}
	if l.open["between nodes"] {
		out = append(out, "what a node sends to another could be read on the way")
	}
	root := w.people[0].root.Public()
	needles := []leak.Needle{
		{Name: "secret", Forms: [][]byte{[]byte(secretMark)}},
		{Name: "control", Forms: [][]byte{root[:]}},
	}
	for _, h := range w.humans {
		seed := h.root.Seed()
		needles = append(needles, leak.Needle{Name: "the root key of " + h.name, Forms: [][]byte{seed[:]}})
	}
	search, err := leak.New(needles)
	if err != nil {
		return append(out, err.Error())
	}
	for _, s := range w.stations {
		if err := search.Dir(s.name, filepath.Clean(s.dir)); err != nil {
			out = append(out, err.Error())
		}
	}
	hits := search.Found()
	if len(hits["control"]) == 0 {
		out = append(out, "the search of the disks did not find what is there")
	}
	delete(hits, "control")
	for name, places := range hits {
		out = append(out, fmt.Sprintf("%s is on the disk of %v", name, places))
	}
	return out
}

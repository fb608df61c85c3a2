// Package memory carries a peer within the process, for tests that are to be the same every time: what is written on
// one end is given on the other at once, by the goroutine that writes.
package memory

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// Wire joins transports and clients by the answers that they exchange. One for each test.
type Wire struct {
	mu    sync.Mutex // guards all below
	next  uint32
	ends  map[string]*Transport
	ssrcs uint32
}

// New wire.
func New() *Wire { return &Wire{ends: map[string]*Transport{}, ssrcs: 1 << 20} }

// Transport is the server's end.
type Transport struct {
	w        *Wire
	name     string
	receiver peer.Receiver

	mu      sync.Mutex // guards all below
	client  *Client
	out     map[string]peer.Outgoing
	sources map[uint32]bool
	closed  bool
	strange bool
}

// Transport makes a server's end whose packets go to r.
func (w *Wire) Transport(r peer.Receiver) *Transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next++
	t := &Transport{w: w, name: fmt.Sprintf("memory %d", w.next), receiver: r, out: map[string]peer.Outgoing{}, sources: map[uint32]bool{}}
	w.ends[t.name] = t
	return t
}

// Answer implements peer.Transport.
func (t *Transport) Answer(_ context.Context, o *peer.Offer) (string, []peer.Outgoing, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []peer.Outgoing
	answer := t.name
	for i := range o.Sections {
		s := &o.Sections[i]
		if s.Direction != peer.Receives {
			continue
		}
		at, known := t.out[s.Mid]
		if !known {
			t.w.mu.Lock()
			t.w.ssrcs += 2
			at = peer.Outgoing{Mid: s.Mid, SSRC: t.w.ssrcs}
			if !s.Audio {
				at.Repair = t.w.ssrcs + 1
			}
			t.w.mu.Unlock()
			t.out[s.Mid] = at
		}
		out = append(out, at)
		answer += fmt.Sprintf("\n%s %d %d", at.Mid, at.SSRC, at.Repair)
	}
	return answer, out, nil
}

// WriteRTP implements peer.Transport.
func (t *Transport) WriteRTP(packet []byte) error {
	if c := t.far(); c != nil && c.o.OnRTP != nil {
		c.o.OnRTP(packet)
	}
	return nil
}

// WriteRTCP implements peer.Transport.
func (t *Transport) WriteRTCP(compound []byte) error {
	if c := t.far(); c != nil && c.o.OnRTCP != nil {
		c.o.OnRTCP(compound)
	}
	return nil
}

func (t *Transport) far() *Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	return t.client
}

// Close implements peer.Transport.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	return nil
}

// Client is the far end.
type Client struct {
	o     light.Options
	w     *Wire
	light *light.Client // writes the offers

	mu      sync.Mutex // guards all below
	t       *Transport
	sources map[string][2]uint32
}

// Client makes a far end.
func (w *Wire) Client(o light.Options) (*Client, error) {
	l, err := light.New(o)
	if err != nil {
		return nil, err
	}
	return &Client{o: o, w: w, light: l}, nil
}

// SetSections is that of light.Client, as are the others.
func (c *Client) SetSections(s []light.Section) { c.light.SetSections(s) }

// Offer writes the description.
func (c *Client) Offer() string { return c.light.Offer() }

// Restart begins an ICE restart.
func (c *Client) Restart() { c.light.Restart() }

// Connect joins the ends.
func (c *Client) Connect(_ context.Context, answer string) error {
	if err := c.Update(answer); err != nil {
		return err
	}
	name, _, _ := strings.Cut(answer, "\n")
	c.w.mu.Lock()
	t := c.w.ends[name]
	c.w.mu.Unlock()
	if t == nil {
		return fmt.Errorf("memory: no transport of that answer")
	}
	t.mu.Lock()
	t.client = c
	t.mu.Unlock()
	c.mu.Lock()
	c.t = t
	c.mu.Unlock()
	t.receiver.State(peer.Connected)
	return nil
}

// Move is Connect after Restart.
func (c *Client) Move(_ context.Context, answer string) error { return c.Update(answer) }

// Update takes the sources of an answer.
func (c *Client) Update(answer string) error {
	sources := map[string][2]uint32{}
	_, lines, _ := strings.Cut(answer, "\n")
	for line := range strings.Lines(lines) {
		var mid string
		var s [2]uint32
		if _, err := fmt.Sscan(line, &mid, &s[0], &s[1]); err != nil {
			return fmt.Errorf("memory: answer: %w", err)
		}
		sources[mid] = s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sources = sources
	return nil
}

// Source of a section.
func (c *Client) Source(mid string) (ssrc, repair uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sources[mid][0], c.sources[mid][1]
}

const sourcesMost = 1024

// WriteRTP gives a packet to the receiver.
func (c *Client) WriteRTP(packet []byte) error {
	var p wire.Packet
	if err := p.Parse(packet); err != nil {
		return err
	}
	t := c.end()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.sources[p.SSRC()] = true
	strange := len(t.sources) > sourcesMost && !t.strange
	t.strange = t.strange || strange
	t.mu.Unlock()
	if strange {
		t.receiver.Strange("sources")
	}
	t.receiver.RTP(packet)
	return nil
}

// WriteRTCP gives a compound to the receiver.
func (c *Client) WriteRTCP(compound []byte) error {
	if t := c.end(); t != nil {
		t.receiver.RTCP(compound)
	}
	return nil
}

func (c *Client) end() *Transport {
	c.mu.Lock()
	t := c.t
	c.mu.Unlock()
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	return t
}

// Break tells the server that nothing comes any more, and Mend that it does again.
func (c *Client) Break() { c.t.receiver.State(peer.Broken) }

// Mend undoes Break.
func (c *Client) Mend() { c.t.receiver.State(peer.Connected) }

// Close ends the client.
func (c *Client) Close() error {
	if t := c.end(); t != nil {
		t.mu.Lock()
		t.client = nil
		t.mu.Unlock()
	}
	return c.light.Close()
}

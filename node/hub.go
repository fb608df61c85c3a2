package node

import (
	"sync"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
)

// hub knows which links are open and which of them speaks for a device.
type hub struct {
	mu      sync.RWMutex // guards links, devices, closed
	links   map[*clientLink]struct{}
	devices map[identity.DeviceID]*clientLink
	closed  bool
}

func newHub() *hub {
	return &hub{links: map[*clientLink]struct{}{}, devices: map[identity.DeviceID]*clientLink{}}
}

// add takes a link in. False when the hub is full or closed.
func (h *hub) add(l *clientLink, most int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.links) >= most {
		return false
	}
	h.links[l] = struct{}{}
	return true
}

// full says whether so many links are open already.
func (h *hub) full(most int) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.links) >= most
}

// claim makes l the link of its device and returns the one it replaces.
func (h *hub) claim(l *clientLink) (replaced *clientLink) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.devices[l.device]
	h.devices[l.device] = l
	if old == l {
		return nil
	}
	return old
}

// remove forgets a link.
func (h *hub) remove(l *clientLink) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.links, l)
	if l.hasID && h.devices[l.device] == l {
		delete(h.devices, l.device)
	}
}

func (h *hub) device(id identity.DeviceID) *clientLink {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.devices[id]
}

// all is a snapshot of the links.
func (h *hub) all() []*clientLink {
	h.mu.RLock()
	defer h.mu.RUnlock()
	links := make([]*clientLink, 0, len(h.links))
	for l := range h.links {
		links = append(links, l)
	}
	return links
}

func (h *hub) count() (links, devices int) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.links), len(h.devices)
}

// close refuses further links and returns those that are open.
func (h *hub) close() []*clientLink {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	return h.all()
}

// deliverLive puts an envelope of the live class in line for a device's connection, without
// flushing it. With a code it was not taken, and the handover is the caller's again. Otherwise
// the handover ends once, by any goroutine: true means that the connection has taken the frame.
func (h *hub) deliverLive(device identity.DeviceID, hop *envelope.Hop, payload []byte, live *handover) (l *clientLink, code string) {
	l = h.device(device)
	switch {
	case l == nil || !l.registered():
		return nil, link.CodeUnreachable
	case l.stuck():
		return nil, link.CodeUnavailable
	}
	buf := message(link.DeliverSize(0, hop.Knock, len(payload)))
	buf.b = link.AppendDeliver(buf.b, 0, hop.Knock, hop.Hint[:], payload, live.id[:])
	buf.live = live
	if !l.pushLive(buf) && live.claim() {
		return nil, link.CodeUnavailable
	}
	return l, ""
}

// wake tells a connected device's pump that something was stored.
func (h *hub) wake(device identity.DeviceID) {
	if l := h.device(device); l != nil {
		l.wake()
	}
}

package node

import (
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/trunkline-net/trunkline/internal/link"
)

func TestConnectionsOfStrangersAreCountedByTheirAddress(t *testing.T) {
	g := newGuard(nil)
	g.most, g.mostPerPrefix = 5, 2
	for i, c := range []struct {
		from string
		want bool
	}{
		{"192.0.2.1", true}, {"192.0.2.1", true}, {"192.0.2.1", false},
		{"192.0.2.2", true}, {"", true}, {"", true}, {"192.0.2.3", false}, {"", false},
	} {
		if got := g.enter(c.from); got != c.want {
			t.Errorf("connection %d from %q: %v", i, c.from, got)
		}
	}
	g.leave("192.0.2.1")
	if g.enter("192.0.2.1") != true || g.enter("192.0.2.9") != false {
		t.Error("a place that was given back")
	}
	for _, from := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "", ""} {
		g.leave(from)
	}
	if g.total != 0 || len(g.byPrefix) != 0 {
		t.Errorf("%d and %v are left", g.total, g.byPrefix)
	}
}

// counted is how many connections the node counts as strangers'.
func (g *guard) counted() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.total
}

func TestMembersTakeNoPlaceOfStrangersAndStrangersAreTurnedAway(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	var away atomic.Int32
	r.guard.mu.Lock()
	r.guard.most, r.guard.turnedAway = 4, func() { away.Add(1) }
	r.guard.mu.Unlock()
	bob, _ := join(t, r) // published over this link: it was a stranger's at first
	until(t, "Bob's link is a member's", func() bool { return r.guard.counted() == 0 })
	again := dial(t, r, bob)
	until(t, "and so is his next", func() bool { return r.guard.counted() == 0 })

	var idle []net.Conn
	for range 4 {
		c, err := net.Dial("tcp", r.httpAddr)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	until(t, "four strangers are counted", func() bool { return r.guard.counted() == 4 })
	c, err := net.Dial("tcp", r.httpAddr)
	if err == nil {
		if _, err = c.Read(make([]byte, 1)); err == nil {
			t.Error("the fifth was answered")
		}
		_ = c.Close()
	}
	until(t, "the fifth is turned away", func() bool { return away.Load() > 0 })
	if f := again.register(bob, 0); f.GetRegistered() == nil {
		t.Errorf("the member's link: %v", f)
	}
	for _, c := range idle {
		_ = c.Close()
	}
	until(t, "they have gone", func() bool { return r.guard.counted() == 0 })
	stranger := dial(t, r, nil)
	if n := r.guard.counted(); n != 1 {
		t.Errorf("%d are counted beside one link without a device", n)
	}
	_ = stranger.ws.Close()
	until(t, "it has gone", func() bool { return r.guard.counted() == 0 })
	http.DefaultClient.CloseIdleConnections()
}

func TestLinksLeaveFilesForTheRest(t *testing.T) {
	for files, want := range map[uint64]int{0: maxLinks, 1024: 768, 20000: 15000, 1 << 20: maxLinks, 1 << 63: maxLinks} {
		if got := linksWithin(files); got != want {
			t.Errorf("%d files leave room for %d links, want %d", files, got, want)
		}
	}
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	r.maxLinks = 1
	dial(t, r, nil)
	if ws, resp, err := dialRaw(t, r, nil); err == nil {
		_ = ws.Close()
		t.Error("a second link was taken")
	} else if resp == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a second link is answered with %v, %v", resp, err)
	}
	// The first one is counted until its handshake's end has left.
	until(t, "no handshake is counted", func() bool { return r.handshaking.Load() == 0 })
}

func TestALinkHoldsLittleBeforeItSaysWhoItIs(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	const many = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	links := make([]*raw, many)
	for i := range links {
		links[i] = challenged(t, r)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	// Both ends of the connections are counted here, with the channel of the test's end.
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > many*24<<10 {
		t.Errorf("%d links without a handshake hold %d bytes", many, grown)
	}
	if got := r.handshaking.Load(); got != many {
		t.Errorf("%d handshakes are counted", got)
	}
	// What is over the bound is told when to come back and holds nothing.
	r.handshaking.Store(maxHandshakes)
	_, resp, err := dialRaw(t, r, nil)
	if err == nil || resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %v, %v", resp, err)
	}
	r.handshaking.Store(many)
	for _, c := range links {
		_ = c.ws.Close()
	}
	until(t, "they are gone", func() bool { return r.handshaking.Load() == 0 })
	if link.MaxBeforeAuth > 1024 {
		t.Errorf("a stranger's first frame may be %d bytes", link.MaxBeforeAuth)
	}
}

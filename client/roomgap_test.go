package client_test

import (
	"encoding/binary"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// numbered is a source whose frames say which they are.
func numbered() *client.Source {
	line := func(size int, d time.Duration) func() ([]byte, time.Duration, error) {
		n := uint32(0)
		return func() ([]byte, time.Duration, error) {
			n++
			b := make([]byte, size)
			b[0] = 1 // of VP8: no key frame
			binary.BigEndian.PutUint32(b[10:], n)
			return b, d, nil
		}
	}
	return &client.Source{NextAudio: line(80, 20*time.Millisecond), NextVideo: line(3000, 33*time.Millisecond), VideoCodec: sframe.VP8}
}

// counted looks at the numbers of what comes from one other member.
type counted struct {
	mu    sync.Mutex // guards lines
	lines [2]gaps    // of sound, of pictures
}

// gaps of one medium.
type gaps struct {
	last    uint32
	came    int
	missing int
	at      time.Time
	pause   time.Duration // the longest
}

func (c *counted) Audio(f rtc.Frame) error { return c.take(0, f) }
func (c *counted) Video(f rtc.Frame) error { return c.take(1, f) }
func (c *counted) Close() error            { return nil }

func (c *counted) take(line int, f rtc.Frame) error {
	n, now := binary.BigEndian.Uint32(f.Data[10:]), time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	g := &c.lines[line]
	if g.last != 0 {
		g.missing += int(n - g.last - 1)
		g.pause = max(g.pause, now.Sub(g.at))
	}
	g.last, g.at = n, now
	g.came++
	return nil
}

// anew gives what was missing, and counts from nothing.
func (c *counted) anew() (lines [2]gaps) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines = c.lines
	for i := range c.lines {
		c.lines[i].missing, c.lines[i].pause = 0, 0
	}
	return lines
}

// came counts frames.
func (c *counted) came() (sound, pictures int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[0].came, c.lines[1].came
}

// BenchmarkPromotion takes two people who talk over to the SFU, because a third comes, and back, because it goes, and
// counts which frames of theirs do not come: at most two of sound (40 ms) and two pictures should be missing each way.
// The longest pause between two frames is told too, beside that of as long a time without a switch, which is the
// machine's.
func BenchmarkPromotion(b *testing.B) {
	acme := startExchange(b, "acme.example", filepath.Join(b.TempDir(), "acme"))
	clock := newClock()
	alice := newHumanAt(b, "alice", acme.Facts().HTTP, func(h *human) { h.now = clock.Now })
	text := newRoom(b, alice, client.RoomSettings{MeshMost: 2}).Link.Text()
	var mu sync.Mutex
	var ears []*counted
	options := func(name string) client.RoomOptions {
		return client.RoomOptions{Name: name, Media: client.Video, Source: numbered(), Sink: func(m client.RoomMember) (client.Sink, error) {
			c := &counted{}
			if m.Name != "" { // who comes and goes sends nothing
				mu.Lock()
				ears = append(ears, c)
				mu.Unlock()
			}
			return c, nil
		}}
	}
	one := goIn(b, alice, text, options("alice"))
	r, err := client.JoinRoomAsGuest(within(b), client.Config{Loopback: true, Logger: logger(b, "bob"), Now: clock.Now}, text, options("bob"))
	if err != nil {
		b.Fatal(err)
	}
	two := follow(b, "bob", r)
	both := [][2]*inRoom{{one, two}, {two, one}}
	all := func(what string, holds func(in, other *inRoom) bool) {
		b.Helper()
		for _, p := range both {
			waitFor(b, p[0].name+" "+what, func() bool { return holds(p[0], p[1]) })
		}
	}
	var listened []*counted
	listens := func() {
		b.Helper()
		for _, c := range listened {
			sound, pictures := c.came()
			waitFor(b, "a second of media", func() bool {
				s, p := c.came()
				return s >= sound+50 && p >= pictures+30
			})
		}
	}
	overSFU := func(in, other *inRoom) bool { return strings.HasPrefix(in.route(other), "sfu/") }
	all("is in the mesh", func(in, other *inRoom) bool { return in.route(other) != "" && !overSFU(in, other) })
	mu.Lock() // who came later has no name, and no ear
	listened = ears
	mu.Unlock()
	listens()
	var worst [3][2]gaps // by way, up, down and none, and medium
	var sum [3][2]int
	for _, c := range listened {
		c.anew() // the beginning is no switch
	}
	sample := func(way int) {
		for _, c := range listened {
			for medium, g := range c.anew() {
				w := &worst[way][medium]
				w.missing, w.pause = max(w.missing, g.missing), max(w.pause, g.pause)
				sum[way][medium] += g.missing
			}
		}
	}
	switches := 0
	for b.Loop() {
		switches++
		third, err := client.JoinRoomAsGuest(within(b), client.Config{Loopback: true, Now: clock.Now}, text, client.RoomOptions{Media: client.DataOnly})
		if err != nil {
			b.Fatal(err)
		}
		all("is on the SFU", overSFU)
		listens()
		sample(0)
		if err := third.Leave(within(b)); err != nil {
			b.Fatal(err)
		}
		all("is with one", func(in, _ *inRoom) bool {
			_, err := in.HasLeg(within(b)) // asked in its own order of things, so that it has noticed
			return err == nil && len(in.Members()) == 1
		})
		clock.move(20 * time.Second)
		all("is in the mesh again", func(in, other *inRoom) bool {
			has, err := in.HasLeg(within(b))
			return err == nil && !has && in.route(other) != "" && !overSFU(in, other)
		})
		listens()
		sample(1)
		listens()
		listens()
		sample(2)
	}
	for way, name := range []string{"up", "down", "still"} {
		for medium, unit := range []string{"audio", "pictures"} {
			w := worst[way][medium]
			b.ReportMetric(float64(w.missing), unit+"-missing-worst-"+name)
			b.ReportMetric(float64(sum[way][medium])/float64(2*switches), unit+"-missing-mean-"+name)
			b.ReportMetric(float64(w.pause.Milliseconds()), unit+"-pause-ms-"+name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

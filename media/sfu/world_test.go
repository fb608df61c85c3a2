package sfu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/peer/express"
	"github.com/trunkline-net/trunkline/media/sfu/peer/memory"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// memoryCarrier carries within the process, so that rooms run in virtual time.
type memoryCarrier struct{ *memory.Wire }

type noLane struct{}

func (noLane) Flush() error { return nil }
func (noLane) Release()     {}

func (memoryCarrier) start()                 {}
func (memoryCarrier) addr() netip.AddrPort   { return netip.AddrPort{} }
func (memoryCarrier) lane() lane             { return noLane{} }
func (memoryCarrier) counts() express.Counts { return express.Counts{} }
func (memoryCarrier) close() error           { return nil }
func (c memoryCarrier) transport(_ lane, r peer.Receiver, _ bool) (peer.Transport, error) {
	return c.Wire.Transport(r), nil
}

// world is a server in virtual time.
type world struct {
	t *testing.T
	w *memory.Wire
	s *Server
}

var theRoom = RoomKey{1}

// inWorld runs f with a server that is there until f returns.
func inWorld(t *testing.T, cfg Config, f func(*world)) {
	t.Helper()
	if _, err := light.New(light.Options{}); err != nil { // its certificate is made outside the bubble
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, w: memory.New()}
		w.s = newServer(cfg, memoryCarrier{w.w})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.s.Run(ctx) }()
		defer func() { // also when the test gives up: the bubble has to end
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		f(w)
	})
}

// member is a participant.
type member struct {
	w    *world
	c    *memory.Client
	seat *Seat

	mu      sync.Mutex // guards all below
	packets map[string][][]byte
	control []byte
	keys    int
	nacks   []uint16
	count   uint8
	silent  bool                               // gives no feedback
	lose    func(ssrc uint32, seq uint16) bool // on the way to the member
	came    []int64
	base    uint16
	began   bool
	events  []Event
}

func (w *world) client(sections []light.Section) *member {
	w.t.Helper()
	m := &member{w: w, packets: map[string][][]byte{}}
	var err error
	m.c, err = w.w.Client(light.Options{Sections: sections, OnRTP: m.rtp, OnRTCP: m.rtcp})
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

// join seats a member.
func (w *world) join(index uint16, g Grant, sections ...light.Section) *member {
	w.t.Helper()
	m := w.client(sections)
	if err := m.tryJoin(theRoom, index, g); err != nil {
		w.t.Fatal(err)
	}
	return m
}

func (m *member) tryJoin(room RoomKey, index uint16, g Grant) error {
	g.Index = index
	seat, answer, err := m.w.s.Join(context.Background(), room, g, Description{SDP: m.c.Offer()})
	if err != nil {
		return err
	}
	m.seat = seat
	if err := m.c.Connect(context.Background(), answer.SDP); err != nil {
		return err
	}
	go func() {
		for e := range seat.Events() {
			m.mu.Lock()
			m.events = append(m.events, e)
			m.mu.Unlock()
		}
	}()
	synctest.Wait()
	return nil
}

func (m *member) rtp(b []byte) {
	var p wire.Packet
	if err := p.Parse(b); err != nil {
		m.w.t.Error(err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	lost := m.lose != nil && m.lose(p.SSRC(), p.Sequence())
	if n, ok := p.Extension(light.Extensions.Transport); ok {
		seq := binary.BigEndian.Uint16(n)
		if !m.began {
			m.began, m.base = true, seq
		}
		at := time.Now().UnixMicro() - 1_000_000_000_000
		if lost {
			at = -1
		}
		m.came = append(m.came, at)
	}
	if lost {
		return
	}
	mid := "?"
	for _, try := range []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"} {
		if ssrc, repair := m.c.Source(try); p.SSRC() == ssrc {
			mid = try
		} else if p.SSRC() == repair && repair != 0 {
			mid = try + "r"
		}
	}
	m.packets[mid] = append(m.packets[mid], bytes.Clone(b))
}

func (m *member) rtcp(b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := wire.NewCompound(b)
	for q, ok := c.Next(); ok; q, ok = c.Next() {
		_, fci, _ := q.Feedback()
		switch {
		case q.Type == wire.TypePayload && q.Format == wire.FormatPLI:
			m.keys++
		case q.Type == wire.TypeTransport && q.Format == wire.FormatNACK:
			wire.NACKs(fci, func(s uint16) { m.nacks = append(m.nacks, s) })
		}
	}
	if c.Bad() {
		m.w.t.Errorf("the server sent a bad compound %x", b)
	}
}

// feedback tells the server what came, as a client does each 50 ms.
func (m *member) feedback() {
	m.mu.Lock()
	if m.silent || len(m.came) == 0 {
		m.mu.Unlock()
		return
	}
	b, n := wire.AppendTWCC(nil, 9, 9, m.base, m.came, m.count)
	m.base += uint16(n)
	m.came = m.came[n:]
	m.count++
	m.mu.Unlock()
	if err := m.c.WriteRTCP(b); err != nil {
		m.w.t.Error(err)
	}
}

func (m *member) got(mid string) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.packets[mid]
}

func (m *member) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.packets)
	m.nacks = nil
}

func (m *member) requests() (keys int, nacks []uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.keys, m.nacks
}

// last event of a kind.
func last[E Event](m *member) (e E, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.events) - 1; i >= 0; i-- {
		if e, ok := m.events[i].(E); ok {
			return e, true
		}
	}
	return e, false
}

// allocated is the last that was told of a section.
func (m *member) allocated(mid string) (a Allocated) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		if x, ok := e.(Allocated); ok && x.Mid == mid {
			a = x
		}
	}
	return a
}

// sender makes the packets of one section.
type sender struct {
	m       *member
	mid     string
	rid     string
	ssrc    uint32
	audio   bool
	mode    scalable.Mode
	plain   bool // no descriptors
	packets int  // of each frame and spatial layer
	size    int
	seq     uint16
	ts      uint32
	frame   uint16
	tseq    *uint16
	level   uint8
	pt      uint8
}

func (m *member) camera(mid string, ssrc uint32) *sender {
	return &sender{m: m, mid: mid, ssrc: ssrc, mode: scalable.Mode{Spatial: 1, Temporal: 1}, packets: 2, size: 1000, pt: light.VP8, tseq: new(uint16)}
}

func (m *member) microphone(mid string, ssrc uint32) *sender {
	return &sender{m: m, mid: mid, ssrc: ssrc, audio: true, packets: 1, size: 80, pt: light.Opus, tseq: new(uint16), level: 127}
}

// one sends one frame: 20 ms of sound, or a picture.
func (x *sender) one(key bool) {
	x.m.w.t.Helper()
	spatial := max(x.mode.Spatial, 1)
	if x.audio {
		spatial = 1
	}
	temporal := 0
	if x.mode.Temporal > 1 && !key {
		temporal = int(x.frame) % x.mode.Temporal
	}
	if key {
		x.frame = 0
	}
	for s := range spatial {
		for part := range x.packets {
			h := wire.Header{PayloadType: x.pt, Sequence: x.seq, Timestamp: x.ts, SSRC: x.ssrc, Marker: part == x.packets-1 && s == spatial-1}
			h.Extensions[0] = wire.Extension{ID: light.Extensions.MID, Value: []byte(x.mid)}
			h.Extensions[1] = wire.Extension{ID: light.Extensions.Transport, Value: binary.BigEndian.AppendUint16(nil, *x.tseq)}
			*x.tseq++
			switch {
			case x.audio:
				h.Extensions[2] = wire.Extension{ID: light.Extensions.AudioLevel, Value: []byte{x.level}}
			case !x.plain:
				h.Extensions[2] = wire.Extension{ID: light.Extensions.Descriptor, Value: x.mode.Append(nil, scalable.Frame{
					Spatial: s, Temporal: temporal, Opens: key, Key: key && part == 0 && (s == 0 || x.mode.Kind == scalable.S)}, part == 0, part == x.packets-1, x.frame)}
			}
			if x.rid != "" {
				h.Extensions[3] = wire.Extension{ID: light.Extensions.RID, Value: []byte(x.rid)}
			}
			x.seq++
			payload := bytes.Repeat([]byte{byte(x.seq), 0xa5, byte(x.ssrc)}, x.size/3)
			if err := x.m.c.WriteRTP(append(h.Append(nil), payload...)); err != nil {
				x.m.w.t.Error(err)
			}
		}
	}
	x.frame++
	if x.audio {
		x.ts += 960
	} else {
		x.ts += 3000
	}
}

// run lets time pass in steps of 20 ms: everybody who sends does (pictures each 40 ms, a key frame when one was asked
// for), and everybody who receives gives feedback.
func (w *world) run(d time.Duration, members []*member, senders ...*sender) {
	keys := map[*member]int{}
	for _, m := range members {
		keys[m], _ = m.requests()
	}
	for i := range int(d / (20 * time.Millisecond)) {
		for _, x := range senders {
			now, _ := x.m.requests()
			if x.audio {
				x.one(false)
			} else if i%2 == 0 {
				x.one(now > keys[x.m] || x.frame == 0)
				keys[x.m] = max(keys[x.m], 0)
			}
		}
		if i%2 == 0 {
			for _, m := range members {
				keys[m], _ = m.requests()
			}
		}
		synctest.Wait()
		for _, m := range members {
			m.feedback()
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

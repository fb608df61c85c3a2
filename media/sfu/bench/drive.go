package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// What a publisher sends: 1.2 Mbit/s of pictures at 30/s, a picture's packets in one row, and sound at 50/s.
const (
	pictureTime = time.Second / 30
	soundTime   = 20 * time.Millisecond
	pictureSize = 1150
	soundSize   = 100
	keyEvery    = 5 // seconds; and when it is asked for
	// picturePackets in a row of thirteen pictures: 57 packets of 1,150 bytes 30/13 times a second are 1.2 Mbit/s.
	pictures, picturePackets = 13, 57
)

// server is the process that is measured.
type server struct {
	p    *child.Process
	addr netip.AddrPort
	mu   sync.Mutex // one order at a time
}

func (b *bench) server() (*server, error) {
	p, err := b.start("sfu")
	if err != nil {
		return nil, err
	}
	s := &server{p: p}
	if err := p.ReadLine(&s.addr); err != nil {
		return nil, errors.Join(err, p.Stop(time.Second))
	}
	if b.o.Profile != "" {
		if _, err := s.order(order{Op: "profile", File: fmt.Sprintf("%s/sfu-%d.cpu.pprof", b.o.Profile, b.next)}); err != nil {
			return nil, errors.Join(err, p.Stop(time.Second))
		}
	}
	return s, nil
}

func (s *server) order(o order) (answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line, err := json.Marshal(o)
	if err != nil {
		return answer{}, err
	}
	if _, err := s.p.In.Write(append(line, '\n')); err != nil {
		return answer{}, err
	}
	var a answer
	if err := s.p.ReadLine(&a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (s *server) stop() error { return s.p.Stop(10 * time.Second) }

func (s *server) stats() (sfu.Stats, error) {
	a, err := s.order(order{Op: "stats"})
	return a.Stats, err
}

// publisher sends sound and pictures until it is stopped.
type publisher struct {
	c       *light.Client
	keys    atomic.Uint32
	seen    uint32
	tseq    uint16
	traffic *traffic
	stop    chan struct{} // nil: it does not send
	ended   chan error
}

func (s *server) publisher(ctx context.Context, index uint16) (*publisher, error) {
	p := &publisher{traffic: newTraffic()}
	var err error
	p.c, err = light.New(light.Options{
		Sections: []light.Section{{Audio: true, Sends: true, SSRC: 11}, {Sends: true, SSRC: 12, RTX: 13, Codec: light.VP8}},
		OnRTCP: func(b []byte) {
			c := wire.NewCompound(b)
			for q, ok := c.Next(); ok; q, ok = c.Next() {
				if q.Type == wire.TypePayload && q.Format == wire.FormatPLI {
					p.keys.Add(1)
				}
			}
		},
	})
	if err != nil {
		return nil, err
	}
	if err := s.seat(ctx, p.c, sfu.Grant{Index: index, Publish: true}); err != nil {
		return nil, err
	}
	p.send()
	return p, nil
}

// send goes on until pause.
func (p *publisher) send() {
	stop, ended := make(chan struct{}), make(chan error, 1)
	p.stop, p.ended = stop, ended
	go func() { ended <- p.sendLoop(stop) }()
}

func (p *publisher) pause() error {
	if p.stop == nil {
		return nil
	}
	close(p.stop)
	p.stop = nil
	return <-p.ended
}

func (s *server) seat(ctx context.Context, c *light.Client, g sfu.Grant) error {
	a, err := s.order(order{Op: "join", Room: 1, Grant: g, SDP: c.Offer()})
	if err != nil {
		return err
	}
	return c.Connect(ctx, a.SDP)
}

func (p *publisher) close() error { return errors.Join(p.pause(), p.c.Close()) }

// traffic is what a publisher sends, for the server and for the bare forwarder alike.
type traffic struct {
	mode         scalable.Mode
	sound, image uint16
	soundTS, ts  uint32
	frame        uint16
	picture      int
	debt         int
	payload      []byte
}

func newTraffic() *traffic {
	t := &traffic{mode: scalable.Mode{Spatial: 1, Temporal: 1}, payload: make([]byte, pictureSize)}
	_, _ = rand.Read(t.payload) // never fails on supported systems
	return t
}

// stamp puts the moment into a payload, for whoever opens it.
func (t *traffic) stamp(size int) []byte {
	binary.BigEndian.PutUint64(t.payload, uint64(time.Now().UnixNano()))
	return t.payload[:size]
}

func (t *traffic) soundPacket(extension wire.Extension, mid string) []byte {
	h := wire.Header{PayloadType: light.Opus, Sequence: t.sound, Timestamp: t.soundTS, SSRC: 11}
	h.Extensions[0], h.Extensions[1] = wire.Extension{ID: light.Extensions.MID, Value: []byte(mid)}, extension
	t.sound++
	t.soundTS += 960
	return append(h.Append(nil), t.stamp(soundSize)...)
}

// picturePackets calls f for each packet of the next picture.
func (t *traffic) picturePackets(key bool, mid string, extension func() wire.Extension, f func([]byte) error) error {
	t.picture++
	n := picturePackets*t.picture/pictures - picturePackets*(t.picture-1)/pictures
	if key {
		n *= 3
		t.frame = 0
	}
	for i := range n {
		h := wire.Header{PayloadType: light.VP8, Sequence: t.image, Timestamp: t.ts, SSRC: 12, Marker: i == n-1}
		d := t.mode.Append(nil, scalable.Frame{Key: key && i == 0}, i == 0, i == n-1, t.frame)
		h.Extensions = [4]wire.Extension{{ID: light.Extensions.MID, Value: []byte(mid)}, extension(), {ID: light.Extensions.Descriptor, Value: d}}
		t.image++
		if err := f(append(h.Append(nil), t.stamp(pictureSize)...)); err != nil {
			return err
		}
	}
	t.frame++
	t.ts += 3000
	return nil
}

// run sends until stop, at the times when they are due: a late one is made up for.
func (t *traffic) run(stop <-chan struct{}, key func() bool, extension func() wire.Extension, f func([]byte) error) error {
	began := time.Now()
	sounds, images := 0, 0
	for {
		at := time.Since(began)
		if time.Duration(sounds)*soundTime <= at {
			sounds++
			if err := f(t.soundPacket(extension(), "0")); err != nil {
				return err
			}
			continue
		}
		if time.Duration(images)*pictureTime <= at {
			if err := t.picturePackets(images%(30*keyEvery) == 0 || key(), "1", extension, f); err != nil {
				return err
			}
			images++
			continue
		}
		next := min(time.Duration(sounds)*soundTime, time.Duration(images)*pictureTime) - at
		timer := time.NewTimer(next)
		select {
		case <-timer.C:
		case <-stop:
			timer.Stop()
			return nil
		}
	}
}

func (p *publisher) sendLoop(stop <-chan struct{}) error {
	var number [2]byte
	return p.traffic.run(stop, func() bool {
		n := p.keys.Load()
		asked := n != p.seen
		p.seen = n
		return asked
	}, func() wire.Extension {
		binary.BigEndian.PutUint16(number[:], p.tseq)
		p.tseq++
		return wire.Extension{ID: light.Extensions.Transport, Value: number[:]}
	}, p.c.WriteRTP)
}

// subscriber is a light client that counts. Every eighth opens what it gets, to read how long it took.
type subscriber struct {
	c     *light.Client
	index uint16

	mu     sync.Mutex // guards all below
	came   uint64
	first  chan struct{} // closed with the first packet
	once   sync.Once
	gaps   map[uint32]*gap
	delays []float64
	keep   bool // delays
	at     []int64
	base   uint16
	began  bool
	count  uint8
	stop   chan struct{}
	done   sync.WaitGroup
}

type gap struct {
	began    bool
	highest  int64
	first    int64
	received int64
}

func (s *server) subscriber(ctx context.Context, index uint16, publishers int, opens bool) (*subscriber, error) {
	x := &subscriber{index: index, first: make(chan struct{}), gaps: map[uint32]*gap{}, stop: make(chan struct{})}
	var sections []light.Section
	for range publishers {
		sections = append(sections, light.Section{Audio: true}, light.Section{})
	}
	wants := wantsOf(publishers, func(i int) string { return fmt.Sprint(i) })
	o := light.Options{Sections: sections, OnSealed: x.sealed}
	if opens {
		o.OnSealed, o.OnRTP = nil, x.opened
	}
	var err error
	if x.c, err = light.New(o); err != nil {
		return nil, err
	}
	if err := s.seat(ctx, x.c, sfu.Grant{Index: index}); err != nil {
		return nil, err
	}
	if _, err := s.order(order{Op: "want", Index: index, Wants: wants}); err != nil {
		return nil, errors.Join(err, x.c.Close())
	}
	x.done.Go(x.feedbackLoop)
	return x, nil
}

func (x *subscriber) opened(b []byte) {
	var p wire.Packet
	if p.Parse(b) != nil {
		return
	}
	// What is repeated, or fills a probe, says nothing of how long a packet takes.
	if payload := p.Payload(); p.PayloadType() != light.VP8+1 && len(payload) >= soundSize {
		d := time.Now().UnixNano() - int64(binary.BigEndian.Uint64(payload))
		x.mu.Lock()
		if x.keep {
			x.delays = append(x.delays, float64(d)/1e6)
		}
		x.mu.Unlock()
	}
	x.sealed(b)
}

func (x *subscriber) sealed(b []byte) {
	var p wire.Packet
	if p.Parse(b) != nil {
		return
	}
	x.once.Do(func() { close(x.first) })
	x.mu.Lock()
	defer x.mu.Unlock()
	x.came++
	g := x.gaps[p.SSRC()]
	if g == nil {
		g = &gap{}
		x.gaps[p.SSRC()] = g
	}
	if !g.began {
		g.began, g.first, g.highest = true, int64(p.Sequence())+1<<16, int64(p.Sequence())+1<<16
	}
	g.highest = max(g.highest, wire.Extend(g.highest, p.Sequence()))
	g.received++
	if n, ok := p.Extension(light.Extensions.Transport); ok && len(n) == 2 {
		seq := binary.BigEndian.Uint16(n)
		if !x.began {
			x.began, x.base = true, seq
		}
		i := int(int16(seq - x.base))
		for len(x.at) <= i && i < 4096 {
			x.at = append(x.at, -1)
		}
		if i >= 0 && i < len(x.at) {
			x.at[i] = time.Now().UnixMicro() - epoch
		}
	}
}

// epoch keeps arrival times small.
const epoch = 1_700_000_000_000_000

// feedbackLoop tells what came each 100 ms, as browsers do on a quiet path.
func (x *subscriber) feedbackLoop() {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-x.stop:
			return
		case <-t.C:
		}
		for range 8 {
			x.mu.Lock()
			b, n := wire.AppendTWCC(nil, 9, 9, x.base, x.at[:min(len(x.at), 300)], x.count)
			x.at = append(x.at[:0], x.at[n:]...)
			x.base += uint16(n)
			x.count++
			x.mu.Unlock()
			if n == 0 || x.c.WriteRTCP(b) != nil {
				break
			}
		}
	}
}

func (x *subscriber) close() error {
	close(x.stop)
	x.done.Wait()
	return x.c.Close()
}

// reset begins counting.
func (x *subscriber) reset(keep bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.came, x.delays, x.keep = 0, nil, keep
	for _, g := range x.gaps {
		g.first, g.received = g.highest+1, 0
	}
}

// counted is what came and what is missing since reset, without repair streams, whose numbers have their own gaps.
func (x *subscriber) counted() (came, missing uint64, delays []float64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, g := range x.gaps {
		if n := g.highest - g.first + 1 - g.received; n > 0 {
			missing += uint64(n)
		}
	}
	return x.came, missing, x.delays
}

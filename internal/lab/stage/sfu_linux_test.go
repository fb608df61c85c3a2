package stage

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/internal/lab"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// legs is the SFU on a host of its own, and clients of it behind wires.
type legs struct {
	t   *testing.T
	l   *lab.Lab
	s   *sfu.Server
	ctx context.Context
}

func newLegs(t *testing.T) *legs {
	t.Helper()
	g := &legs{t: t, l: lab.New(t)}
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	t.Cleanup(cancel)
	g.ctx = ctx
	host := g.l.Public("sfu.example", lab.OnlyIPv4)
	if err := host.Do(func() (err error) {
		g.s, err = sfu.New(sfu.Config{Listen: host.Addr().String() + ":7422", Limits: sfu.Limits{NewRooms: 100, Joins: 100}}) // a busy machine is no reason
		return err
	}); err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.s.Run(serving) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return g
}

// client sits down from a host of its own.
func (g *legs) client(name string, grant sfu.Grant, o light.Options) (*light.Client, *sfu.Seat, *lab.Wire) {
	g.t.Helper()
	host := g.l.Host(name, lab.OverWire, lab.OnlyIPv4)
	c, err := light.New(o)
	if err != nil {
		g.t.Fatal(err)
	}
	seat, answer, err := g.s.Join(g.ctx, sfu.RoomKey{1}, grant, sfu.Description{SDP: c.Offer()})
	if err != nil {
		g.t.Fatal(err)
	}
	if err := host.Do(func() error { return c.Connect(g.ctx, answer.SDP) }); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			g.t.Error(err)
		}
	})
	return c, seat, host.Wire()
}

func (g *legs) must(err error) {
	if err != nil {
		g.t.Error(err)
	}
}

// camera sends pictures of four packets, and repeats what the server asks for on a repair stream.
type camera struct {
	g *legs
	c *light.Client

	mu     sync.Mutex // guards all below
	kept   map[uint16][]byte
	seq    uint16
	frame  uint16
	repair uint16
	key    bool
}

func (x *camera) picture() {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := x.key || x.frame == 0
	x.key = false
	for i := range 4 {
		h := wire.Header{PayloadType: light.VP8, Sequence: x.seq, Timestamp: uint32(x.frame) * 3600, SSRC: 12, Marker: i == 3}
		d := scalable.Mode{Spatial: 1, Temporal: 1}.Append(nil, scalable.Frame{Key: key && i == 0}, i == 0, i == 3, x.frame)
		h.Extensions[0] = wire.Extension{ID: light.Extensions.Descriptor, Value: d}
		b := append(h.Append(nil), make([]byte, 900)...)
		x.kept[x.seq] = b
		x.seq++
		x.g.must(x.c.WriteRTP(b))
	}
	x.frame++
}

func (x *camera) control(b []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := wire.NewCompound(b)
	for q, ok := c.Next(); ok; q, ok = c.Next() {
		_, fci, _ := q.Feedback()
		switch {
		case q.Type == wire.TypePayload && q.Format == wire.FormatPLI:
			x.key = true
		case q.Type == wire.TypeTransport && q.Format == wire.FormatNACK:
			wire.NACKs(fci, x.againLocked)
		}
	}
}

// againLocked sends what was asked for (RFC 4588).
func (x *camera) againLocked(seq uint16) {
	var p wire.Packet
	if b := x.kept[seq]; b == nil || p.Parse(b) != nil {
		return
	}
	x.repair++
	h := wire.Header{PayloadType: light.VP8 + 1, Sequence: x.repair, Timestamp: p.Timestamp(), SSRC: 13, Marker: p.Marker()}
	d, _ := p.Extension(light.Extensions.Descriptor)
	h.Extensions[0] = wire.Extension{ID: light.Extensions.Descriptor, Value: d}
	x.g.must(x.c.WriteRTP(append(binary.BigEndian.AppendUint16(h.Append(nil), seq), p.Payload()...)))
}

// viewer asks for what it lacks, 10 ms after a newer packet came and each 60 ms from then on.
type viewer struct {
	mu             sync.Mutex // guards all below
	got            map[uint16]bool
	lacks          map[uint16]time.Time
	first, highest uint16
	began          bool
}

func (v *viewer) take(b []byte) {
	var p wire.Packet
	if p.Parse(b) != nil {
		return
	}
	seq := p.Sequence()
	if p.PayloadType() == light.VP8+1 {
		if len(p.Payload()) < 3 {
			return // padding
		}
		seq = binary.BigEndian.Uint16(p.Payload())
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.began {
		v.began, v.first, v.highest = true, seq, seq
	}
	for wire.Newer(seq, v.highest) {
		v.highest++
		v.lacks[v.highest] = time.Now().Add(10 * time.Millisecond)
	}
	v.got[seq] = true
	delete(v.lacks, seq)
}

func (v *viewer) due(now time.Time) (seqs []uint16) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for seq, at := range v.lacks {
		if len(seqs) < 100 && !at.After(now) {
			seqs = append(seqs, seq)
			v.lacks[seq] = now.Add(60 * time.Millisecond)
		}
	}
	return seqs
}

// missing of all numbers but the newest, which may be on their way.
func (v *viewer) missing() (missing, all int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for seq := v.first; v.began && seq != v.highest-64; seq++ {
		all++
		if !v.got[seq] {
			missing++
		}
	}
	return missing, all
}

// TestLossOnBothLegsOfTheSFUIsMended: each leg loses five packets of a hundred in either direction and takes 20 ms each
// way; of what the publisher sends at most one packet of a thousand never comes.
func TestLossOnBothLegsOfTheSFUIsMended(t *testing.T) {
	t.Parallel()
	const pictures = 1000 // 40 s
	g := newLegs(t)
	cam := &camera{g: g, kept: map[uint16][]byte{}}
	v := &viewer{got: map[uint16]bool{}, lacks: map[uint16]time.Time{}}
	var wires [2]*lab.Wire
	var seats [2]*sfu.Seat
	cam.c, seats[0], wires[0] = g.client("publisher", sfu.Grant{Index: 1, Publish: true}, light.Options{
		Sections: []light.Section{{Sends: true, SSRC: 12, RTX: 13, Codec: light.VP8}}, OnRTCP: cam.control})
	var viewing *light.Client
	viewing, seats[1], wires[1] = g.client("viewer", sfu.Grant{Index: 2}, light.Options{Sections: []light.Section{{}}, OnRTP: v.take})
	for _, s := range seats {
		go func() {
			for range s.Events() { // until the seat ends
			}
		}()
	}
	if err := seats[1].Want(sfu.Wants{Subscriptions: []sfu.Subscription{{Mid: "0", Publisher: 1, Slot: sfu.Camera}}}); err != nil {
		t.Fatal(err)
	}
	for _, w := range wires {
		w.SetBoth(lab.Quality{Loss: 0.05, Delay: 20 * time.Millisecond})
	}
	ssrc, _ := viewing.Source("0")
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	pace := time.NewTicker(40 * time.Millisecond)
	defer pace.Stop()
	// It goes on until so many were to come, and then until nothing of them is on its way or the time is over.
	for n := 0; n < pictures; {
		select {
		case <-pace.C:
			cam.picture()
			n++
		case now := <-tick.C:
			if seqs := v.due(now); len(seqs) > 0 {
				g.must(viewing.WriteRTCP(wire.AppendNACK(nil, 9, ssrc, seqs)))
			}
		case <-g.ctx.Done():
			t.Fatal(g.ctx.Err())
		}
	}
	missing, all := v.missing()
	st := g.s.Stats()
	lost := uint64(0)
	for _, w := range wires {
		lost += w.Counts(lab.Out).Lost + w.Counts(lab.In).Lost
	}
	t.Logf("%d packets, %d missing; the wires lost %d, the server repeated %d, %d were gone when asked for, %d never came from the publisher",
		all, missing, lost, st.Repeated, st.Unmet, st.Lost)
	if all < pictures*4*9/10 || float64(missing) > 0.001*float64(all) {
		t.Errorf("%d of %d packets are missing, of %d that were sent", missing, all, pictures*4)
	}
	if lost < pictures*4/20 {
		t.Errorf("the wires lost only %d packets", lost)
	}
}

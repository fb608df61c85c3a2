//go:build !race

package sfu

import (
	"context"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
	"github.com/trunkline-net/trunkline/media/sfu/wire/scalable"
)

// One packet of a picture on its whole way, from the port to four clients: read, opened, queued, forwarded, sealed and
// sent. The system's batched reading makes an address for each datagram, outside of this project; nothing else is made.
// Not in parallel, since others would be counted with it. The race detector allocates itself.
func TestAForwardedPacketAllocatesNothingOnItsWholeWay(t *testing.T) {
	const clients, warm, runs = 4, 200, 1000
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := New(Config{Listen: "127.0.0.1:0", Limits: Limits{RoomBitrate: 1e14}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	running, stop := context.WithCancel(context.Background())
	go func() { ended <- s.Run(running) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	join := func(index uint16, o light.Options, g Grant) (*light.Client, *Seat) {
		c, err := light.New(o)
		if err != nil {
			t.Fatal(err)
		}
		g.Index = index
		seat, answer, err := s.Join(ctx, RoomKey{1}, g, Description{SDP: c.Offer()})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(ctx, answer.SDP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c, seat
	}
	publisher, own := join(1, light.Options{Sections: []light.Section{{Sends: true, SSRC: 12, RTX: 13}}}, Grant{Publish: true, MaxBitrate: 1e12})
	go func() {
		for range own.Events() { // until it is closed
		}
	}()
	var sealed [][]byte
	for i := range warm + runs + 10 {
		h := wire.Header{PayloadType: light.VP8, Sequence: uint16(i), Timestamp: uint32(i), SSRC: 12, Marker: true}
		h.Extensions[0] = wire.Extension{ID: light.Extensions.MID, Value: []byte("0")}
		h.Extensions[1] = wire.Extension{ID: light.Extensions.Transport, Value: binary.BigEndian.AppendUint16(nil, uint16(i))}
		h.Extensions[2] = wire.Extension{ID: light.Extensions.Descriptor, Value: scalable.Mode{Spatial: 1, Temporal: 1}.Append(nil,
			scalable.Frame{Key: i < 2}, true, true, uint16(i))}
		b, err := publisher.Seal(append(h.Append(nil), make([]byte, 1000)...))
		if err != nil {
			t.Fatal(err)
		}
		sealed = append(sealed, b)
	}
	// Each client says when the picture came that was sent last.
	var now atomic.Uint32
	came := make(chan struct{}, clients)
	next := 0
	send := func() {
		now.Store(uint32(next))
		if err := publisher.WriteRaw(sealed[next]); err != nil {
			panic(err)
		}
		next++
	}
	seats := make([]*Seat, clients)
	for i := range clients {
		var ssrc atomic.Uint32
		c, seat := join(uint16(2+i), light.Options{Sections: []light.Section{{}}, OnSealed: func(b []byte) {
			if binary.BigEndian.Uint32(b[8:]) == ssrc.Load() && binary.BigEndian.Uint32(b[4:]) == now.Load() && now.Load() > 0 {
				came <- struct{}{}
			}
		}}, Grant{})
		source, _ := c.Source("0")
		ssrc.Store(source)
		if err := seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Camera}}}); err != nil {
			t.Fatal(err)
		}
		seats[i] = seat
	}
	send() // the slot begins
	for _, seat := range seats {
		for gets := false; !gets; {
			select {
			case e := <-seat.Events():
				a, ok := e.(Allocated)
				gets = ok && a.Layer == 0
			case <-ctx.Done():
				t.Fatal("a client is not sent the picture")
			}
		}
		go func() {
			for range seat.Events() {
			}
		}()
		// The test sends as fast as the room forwards, which no path takes by its estimate: that is not asked again.
		if err := seat.r.ask(func() error {
			seat.divided, seat.dirty = seat.r.now.Add(time.Hour), false
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	round := func() {
		send()
		for range clients {
			select {
			case <-came:
			case <-ctx.Done():
				panic("a packet did not come")
			}
		}
	}
	for range warm {
		round()
	}
	reading := allocationsOfReading(t)
	if n := testing.AllocsPerRun(runs, round); n > reading {
		t.Errorf("%v allocations for a packet to %d clients, of which the system's reading takes %v", n, clients, reading)
	}
}

// allocationsOfReading is what a datagram takes that is read and nothing else.
func allocationsOfReading(t *testing.T) float64 {
	t.Helper()
	s, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, udp.Size)
	return testing.AllocsPerRun(100, func() {
		if _, err := c.Write(b[:1000]); err != nil {
			panic(err)
		}
		if _, _, err := s.ReadFromAddrPort(b); err != nil {
			panic(err)
		}
	})
}

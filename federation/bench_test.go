package federation

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/wire"
)

// Run both of a transport in one go and compare them, not with other machines:
//
//	go test -run '^$' -bench 'Link|BareStream' -benchmem ./federation
//
// BenchmarkLink is everything that a node does for a live envelope of 1 KiB: the policy, the
// queue, batches within the credit of 256, reading, the envelope's id, dedupe, delivery,
// acknowledgements, and its outcome to the sender. BenchmarkBareStream writes the same bytes
// in batches of the same size under the same window onto a libp2p stream of the same
// connection; the other side reads the frames and answers each with an acknowledgement as
// long as a real one. It looks at no envelope and keeps none.

const benchWindow = 256

func benchPair(b *testing.B, kind string) (from, to *testNode) {
	// Limits that are not reached, so that asking for them is measured too.
	limits := "limit = { per_second = 10000000, bytes_per_second = \"64GiB\" }\n"
	from = newTestNode(b, "acme.example", partnerOf("globex.example")+limits)
	to = newTestNode(b, "globex.example", partnerOf("acme.example")+limits)
	web(b, from, to)
	for _, n := range []*testNode{from, to} {
		only(kind)(n)
		n.cfg.Outbox = nil
		n.cfg.Deliverer = &takes{}
		n.cfg.WindowFrames = benchWindow
	}
	to.start()
	from.start()
	from.knows(to)
	connected(b, from, to)
	return from, to
}

type takes struct{}

func (*takes) Deliver(context.Context, Source, *envelope.Envelope) Outcome { return delivered }

// benchEnvelope is one envelope that becomes another with each number: sealing a hop for each
// would measure HPKE.
func benchEnvelope(b *testing.B, to *testNode) *envelope.Envelope {
	return envelopeTo(b, to, envelope.Live, 1024)
}

// flow counts what is on the way and wakes the sender when some of it has come back.
type flow struct {
	out, most int64
	free      chan struct{}
	other     atomic.Bool // an envelope ended otherwise than delivered
}

func (f *flow) Ended(o Outcome) {
	if o != delivered {
		f.other.Store(true)
	}
	if atomic.AddInt64(&f.out, -1)%32 == 0 {
		signal(f.free)
	}
}

// enter waits until there is room for one more.
func (f *flow) enter() {
	for atomic.LoadInt64(&f.out) >= f.most {
		<-f.free
	}
	atomic.AddInt64(&f.out, 1)
}

func (f *flow) drain() {
	for atomic.LoadInt64(&f.out) > 0 {
		<-f.free
	}
}

func BenchmarkLink(b *testing.B) {
	for _, kind := range []string{"tcp", "quic"} {
		b.Run(kind, func(b *testing.B) {
			from, to := benchPair(b, kind)
			e := benchEnvelope(b, to)
			// The window is on the way and half of another is in the queue.
			flow := &flow{most: benchWindow + benchWindow/2, free: make(chan struct{}, 1)}
			b.SetBytes(1024)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime(b)
			for i := range b.N {
				binary.BigEndian.PutUint64(e.Payload, rotate(i))
				flow.enter()
				_, err := from.Send(e, flow)
				for err == ErrQueueFull { // the window is not full yet, but memory is
					<-flow.free
					_, err = from.Send(e, flow)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			flow.drain()
			if flow.other.Load() {
				b.Fatal("not all were delivered")
			}
			report(b, cpu)
		})
	}
}

// report says how many frames passed in a second, and what both nodes together spent on one.
func report(b *testing.B, since time.Duration) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "frames/s")
	b.ReportMetric(float64((cpuTime(b)-since).Nanoseconds())/float64(b.N), "cpu-ns/frame")
}

// rotate spreads a counter so that the first byte, which picks the lane, changes.
func rotate(i int) uint64 { return uint64(i) * 0x9e3779b97f4a7c15 }

func BenchmarkBareStream(b *testing.B) {
	for _, kind := range []string{"tcp", "quic"} {
		b.Run(kind, func(b *testing.B) {
			from, to := benchPair(b, kind)
			const proto = protocol.ID("/trunkline/bench")
			to.host.SetStreamHandler(proto, func(st network.Stream) {
				defer st.Reset()
				in := wire.NewReader(st, wire.MaxData)
				var f, out wire.Frame
				out.Kind = wire.KindAck
				var buf []byte
				for in.Next(&f) == nil {
					out.Ack = wire.Ack{Through: f.First + uint64(len(f.Envelopes)) - 1, Outcomes: append(out.Ack.Outcomes[:0],
						wire.Outcome{Fate: 1, Count: uint32(len(f.Envelopes))}), CreditFrames: benchWindow, CreditBytes: 1 << 20}
					buf = wire.Append(buf[:0], &out)
					if _, err := st.Write(buf); err != nil {
						return
					}
				}
			})
			id := to.libp2pID()
			st, err := from.host.NewStream(context.Background(), id, proto)
			if err != nil {
				b.Fatal(err)
			}
			defer st.Reset()
			raw := benchEnvelope(b, to).Marshal()
			rand.Read(raw[len(raw)-64:])
			acks := make(chan uint64, 2*benchWindow)
			go func() {
				in := wire.NewReader(st, wire.MaxAckFrame)
				var f wire.Frame
				for in.Next(&f) == nil {
					acks <- f.Ack.Through
				}
			}()
			var frame wire.Frame
			frame.Kind = wire.KindBatch
			var buf []byte
			b.SetBytes(1024)
			b.ReportAllocs()
			b.ResetTimer()
			cpu := cpuTime(b)
			sent, acked := uint64(0), uint64(0)
			for sent < uint64(b.N) {
				n := min(batchItems, batchBytes/len(raw), b.N-int(sent), benchWindow-int(sent-acked))
				if n == 0 {
					acked = <-acks
					continue
				}
				frame.First, frame.Envelopes = sent+1, frame.Envelopes[:0]
				for range n {
					frame.Envelopes = append(frame.Envelopes, raw)
				}
				buf = wire.Append(buf[:0], &frame)
				if _, err := st.Write(buf); err != nil {
					b.Fatal(err)
				}
				sent += uint64(n)
			}
			for acked < sent {
				select {
				case acked = <-acks:
				case <-time.After(time.Minute):
					b.Fatal("no acknowledgement")
				}
			}
			report(b, cpu)
		})
	}
}

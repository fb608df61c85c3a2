package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/internal/usage"
	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

const (
	settle = time.Second      // after traffic begins
	warm   = 30 * time.Second // until everybody's path is known to take everything
	most   = 2.5              // times the bare forwarder, the aim with light clients
	mostF  = 4.0              // with whole ones
)

// crowd is a server with people on it.
type crowd struct {
	s           *server
	publishers  []*publisher
	subscribers []*subscriber
	full        []*full
}

func (b *bench) crowd(ctx context.Context, publishers, subscribers, whole int) (c *crowd, err error) {
	c = &crowd{}
	if c.s, err = b.server(); err != nil {
		return nil, err
	}
	for i := range publishers {
		p, err := c.s.publisher(ctx, uint16(i))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.publishers = append(c.publishers, p)
	}
	return c, c.grow(ctx, subscribers, whole)
}

func (c *crowd) grow(ctx context.Context, subscribers, whole int) error {
	for len(c.subscribers) < subscribers {
		i := len(c.subscribers)
		x, err := c.s.subscriber(ctx, uint16(100+i), len(c.publishers), i%8 == 0)
		if err != nil {
			return errors.Join(err, c.close())
		}
		c.subscribers = append(c.subscribers, x)
	}
	for len(c.full) < whole {
		x, err := c.s.whole(ctx, uint16(1000+len(c.full)), len(c.publishers))
		if err != nil {
			return errors.Join(err, c.close())
		}
		c.full = append(c.full, x)
	}
	return nil
}

func (c *crowd) send() {
	for _, p := range c.publishers {
		p.send()
	}
}

func (c *crowd) pause() (err error) {
	for _, p := range c.publishers {
		err = errors.Join(err, p.pause())
	}
	return err
}

func (c *crowd) close() (err error) {
	for _, p := range c.publishers {
		err = errors.Join(err, p.close())
	}
	for _, x := range c.subscribers {
		err = errors.Join(err, x.close())
	}
	for _, x := range c.full {
		err = errors.Join(err, x.close())
	}
	return errors.Join(err, c.s.stop())
}

// wait until what goes out is nearly everything that comes in, for everybody.
func (c *crowd) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, warm)
	defer cancel()
	for {
		before, err := c.s.stats()
		if err != nil {
			return err
		}
		if err := pass(ctx, settle); err != nil {
			return nil // as far as it came; what is sent is counted
		}
		after, err := c.s.stats()
		if err != nil {
			return err
		}
		want := float64(after.PacketsIn-before.PacketsIn) * float64(len(c.subscribers)+len(c.full))
		if float64(after.PacketsOut-before.PacketsOut) >= 0.95*want {
			return nil
		}
	}
}

func pass(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cost is one round.
type cost struct {
	us     float64 // of processor time for a packet
	mbit   float64
	rate   float64 // packets in a second
	lost   float64 // part of what was sent
	delays []float64
	calls  float64 // packets for each system call
}

func (b *bench) measure(ctx context.Context, c *crowd) (m cost, err error) {
	c.send()
	if err := pass(ctx, settle); err != nil {
		return m, errors.Join(err, c.pause())
	}
	for _, x := range c.subscribers {
		x.reset(true)
	}
	before, err1 := c.s.stats()
	cpu, err2 := usage.CPU(c.s.p.PID())
	err3 := pass(ctx, b.o.Seconds)
	cpu2, err4 := usage.CPU(c.s.p.PID())
	after, err5 := c.s.stats()
	if err := errors.Join(err1, err2, err3, err4, err5, c.pause()); err != nil {
		return m, err
	}
	out := float64(after.PacketsOut - before.PacketsOut)
	if out == 0 {
		return m, errors.New("nothing was forwarded")
	}
	m.us = float64((cpu2 - cpu).Microseconds()) / out
	m.mbit = float64(after.BytesOut-before.BytesOut) * 8 / 1e6 / b.o.Seconds.Seconds()
	m.rate = out / b.o.Seconds.Seconds()
	m.calls = float64(after.Datagrams-before.Datagrams) / max(float64(after.Calls-before.Calls), 1)
	if err := pass(ctx, 200*time.Millisecond); err != nil { // what is on the way arrives
		return m, err
	}
	var came, missing uint64
	for _, x := range c.subscribers {
		n, gone, delays := x.counted()
		came, missing = came+n, missing+gone
		m.delays = append(m.delays, delays...)
	}
	if came+missing > 0 {
		m.lost = float64(missing) / float64(came+missing)
	}
	return m, nil
}

func (b *bench) forward(ctx context.Context) error {
	for _, publishers := range b.o.Publishers {
		if err := b.compare(ctx, "forward", publishers, b.o.Subscribers, 0, most); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) full(ctx context.Context) error {
	publishers := 4
	if b.o.Rounds == 1 {
		publishers = 2
	}
	return b.compare(ctx, "full", publishers, 0, b.o.Full, mostF)
}

// compare measures server and bare forwarder in turns.
func (b *bench) compare(ctx context.Context, name string, publishers, light, whole int, aim float64) (err error) {
	c, err := b.crowd(ctx, publishers, light, whole)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	bare, err := b.bare(publishers, light+whole)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.close()) }()
	if err := c.wait(ctx); err != nil {
		return err
	}
	if err := c.pause(); err != nil {
		return err
	}
	var ours, theirs, ratios, mbits, losses, rates, calls, delays []float64
	for round := range b.o.Rounds {
		m, err := b.measure(ctx, c)
		if err != nil {
			return err
		}
		n, err := bare.measure(ctx, b.o.Seconds)
		if err != nil {
			return err
		}
		b.progress("%s, %d publishers, round %d: %.2f us a packet at %.0f packets/s (%.1f a call); bare %.2f", name, publishers, round+1, m.us, m.rate, m.calls, n)
		ours, theirs, ratios = append(ours, m.us), append(theirs, n), append(ratios, m.us/n)
		mbits, losses, rates, calls = append(mbits, m.mbit), append(losses, m.lost), append(rates, m.rate), append(calls, m.calls)
		delays = append(delays, m.delays...)
	}
	id := fmt.Sprintf("%s-%d", name, publishers)
	ratio := median(ratios)
	b.add(Figure{Case: name, Name: id, Value: median(ours), Unit: "us of processor time for a forwarded packet", Rounds: ours,
		Against: id + "-bare", Ratio: ratio, Aim: fmt.Sprintf("<= %gx", aim), Reached: is(ratio <= aim)})
	b.add(Figure{Case: name, Name: id + "-bare", Value: median(theirs), Unit: "us, bare forwarder", Rounds: theirs})
	b.add(Figure{Case: name, Name: id + "-core", Value: 1e6 / median(ours), Unit: "packets/s a core could forward"})
	b.add(Figure{Case: name, Name: id + "-rate", Value: median(rates), Unit: "packets/s forwarded in the run"})
	b.add(Figure{Case: name, Name: id + "-calls", Value: median(calls), Unit: "packets for each system call that sends"})
	b.add(Figure{Case: name, Name: id + "-mbit", Value: median(mbits), Unit: "Mbit/s forwarded in the run"})
	if light > 0 {
		b.add(Figure{Case: name, Name: id + "-loss", Value: median(losses) * 100, Unit: "% of what was forwarded did not arrive"})
		b.add(Figure{Case: name, Name: id + "-p50", Value: quantile(delays, 0.5), Unit: "ms from publisher to subscriber"})
		b.add(Figure{Case: name, Name: id + "-p99", Value: quantile(delays, 0.99), Unit: "ms from publisher to subscriber"})
	}
	return nil
}

// bareRun is a bare forwarder with its senders and receivers.
type bareRun struct {
	p       *child.Process
	at      netip.AddrPort
	senders []*net.UDPConn
	sockets []*net.UDPConn
	came    atomic.Uint64
	loops   sync.WaitGroup
}

func (b *bench) bare(publishers, receivers int) (r *bareRun, err error) {
	r = &bareRun{}
	if r.p, err = b.start("sfu-bare"); err != nil {
		return nil, err
	}
	var o bareOrder
	err = r.p.ReadLine(&r.at)
	for range receivers {
		if err != nil {
			break
		}
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err == nil {
			r.sockets = append(r.sockets, c)
			o.To = append(o.To, netip.MustParseAddrPort(c.LocalAddr().String()))
			r.loops.Go(func() { r.readLoop(c) })
		}
	}
	for range publishers {
		if err != nil {
			break
		}
		var c *net.UDPConn
		if c, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.at)); err == nil {
			r.senders = append(r.senders, c)
		}
	}
	if err == nil {
		var line []byte
		if line, err = json.Marshal(o); err == nil {
			_, err = r.p.In.Write(append(line, '\n'))
		}
	}
	if err == nil {
		var a answer
		err = r.p.ReadLine(&a)
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

func (r *bareRun) readLoop(c *net.UDPConn) {
	b := make([]byte, udp.Size)
	for {
		if _, err := c.Read(b); err != nil {
			return // closed
		}
		r.came.Add(1)
	}
}

func (r *bareRun) close() (err error) {
	for _, c := range r.senders {
		err = errors.Join(err, c.Close())
	}
	for _, c := range r.sockets {
		err = errors.Join(err, c.Close())
	}
	r.loops.Wait()
	return errors.Join(err, r.p.Stop(10*time.Second))
}

// measure gives microseconds for each packet.
func (r *bareRun) measure(ctx context.Context, d time.Duration) (float64, error) {
	stop, ended := make(chan struct{}), make(chan error, len(r.senders))
	for _, c := range r.senders {
		go func() { ended <- bareSend(c, stop) }()
	}
	err1 := pass(ctx, settle)
	before := r.came.Load()
	cpu, err2 := usage.CPU(r.p.PID())
	err3 := pass(ctx, d)
	cpu2, err4 := usage.CPU(r.p.PID())
	after := r.came.Load()
	close(stop)
	err := errors.Join(err1, err2, err3, err4)
	for range r.senders {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		return 0, err
	}
	if after == before {
		return 0, errors.New("the bare forwarder forwarded nothing")
	}
	return float64((cpu2 - cpu).Microseconds()) / float64(after-before), nil
}

// bareSend sends what a publisher sends, sealed.
func bareSend(c *net.UDPConn, stop <-chan struct{}) error {
	key, err := bareGCM()
	if err != nil {
		return err
	}
	var nonce [12]byte
	out := make([]byte, 0, udp.Size)
	return newTraffic().run(stop, func() bool { return false }, func() wire.Extension {
		return wire.Extension{ID: light.Extensions.Transport, Value: nonce[:2]}
	}, func(b []byte) error {
		var p wire.Packet
		if err := p.Parse(b); err != nil {
			return err
		}
		copy(nonce[:], b[:12])
		out = append(out[:0], b[:p.PayloadOffset()]...)
		out = key.Seal(out, nonce[:], p.Payload(), out[:p.PayloadOffset()])
		_, err := c.Write(out)
		return err
	})
}

// memory reads what the server holds with ever more subscribers of four publishers, while media flows.
func (b *bench) memory(ctx context.Context) (err error) {
	c, err := b.crowd(ctx, 4, 0, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	type point struct{ subscriptions, kib float64 }
	var points []point
	for _, n := range b.o.Crowd {
		if err := c.grow(ctx, n, 0); err != nil {
			return err
		}
		if err := pass(ctx, 2*b.o.Seconds); err != nil {
			return err
		}
		m, err := usage.MemoryOf(c.s.p.PID())
		if err != nil {
			return err
		}
		points = append(points, point{float64(n * 8), float64(m.Resident) / 1024})
		b.progress("memory: %d subscribers with 8 subscriptions each, %.0f KiB resident", n, float64(m.Resident)/1024)
	}
	var mx, my, above, below float64
	for _, p := range points {
		mx, my = mx+p.subscriptions/float64(len(points)), my+p.kib/float64(len(points))
	}
	for _, p := range points {
		above += (p.subscriptions - mx) * (p.kib - my)
		below += (p.subscriptions - mx) * (p.subscriptions - mx)
	}
	slope := above / below
	b.add(Figure{Case: "memory", Name: "subscription", Value: slope, Unit: "KiB resident for each subscription, slope", Aim: "<= 120", Reached: is(slope <= 120)})
	b.add(Figure{Case: "memory", Name: "subscriber", Value: slope * 8, Unit: "KiB resident for each subscriber of eight"})
	return nil
}

// joins measures from the request to join until the first packet, one after another, while media flows.
func (b *bench) joins(ctx context.Context) (err error) {
	c, err := b.crowd(ctx, 1, 0, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := pass(ctx, settle); err != nil {
		return err
	}
	var times []float64
	for i := range b.o.Joins {
		began := time.Now()
		x, err := c.s.subscriber(ctx, uint16(100+i), 1, false)
		if err != nil {
			return err
		}
		select {
		case <-x.first:
			times = append(times, time.Since(began).Seconds()*1000)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), x.close())
		case <-time.After(10 * time.Second):
			return errors.Join(errors.New("no media in ten seconds"), x.close())
		}
		_, err = c.s.order(order{Op: "leave", Index: uint16(100 + i)})
		if err := errors.Join(err, x.close()); err != nil {
			return err
		}
	}
	p50, p99 := quantile(times, 0.5), quantile(times, 0.99)
	b.add(Figure{Case: "join", Name: "join-p50", Value: p50, Unit: "ms until the first packet", Aim: "<= 60", Reached: is(p50 <= 60)})
	b.add(Figure{Case: "join", Name: "join-p99", Value: p99, Unit: "ms until the first packet", Aim: "<= 100", Reached: is(p99 <= 100)})
	return nil
}

// wantsOf is everything of so many publishers, on sections in their order.
func wantsOf(publishers int, mid func(i int) string) (w sfu.Wants) {
	for i := range publishers {
		w.Subscriptions = append(w.Subscriptions,
			sfu.Subscription{Mid: mid(2 * i), Publisher: uint16(i), Slot: sfu.Microphone},
			sfu.Subscription{Mid: mid(2*i + 1), Publisher: uint16(i), Slot: sfu.Camera})
	}
	return w
}

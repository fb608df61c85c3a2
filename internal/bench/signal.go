package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	clients "github.com/trunkline-net/trunkline/client/bench"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// subject is something that carries messages under a load: a node, two nodes, a bare relay.
type subject struct {
	name    string
	against string // the bare relay's name
	bytes   int
	relay   bool // not ours: something to compare with
	nodes   []*exchange
	pids    []int

	stock func() error // before each measurement; may be nil
	begin func() error
	done  func() int64 // messages so far
	// over waits until the load has ended by itself; nil: it is ended after the time.
	over func(context.Context)
	end  func(context.Context) (clients.Counts, error)

	samples []sample
	counts  clients.Counts
}

// sample is one measurement.
type sample struct {
	messages int64
	cpu      time.Duration
	wall     time.Duration
}

func (s sample) micros() float64 { return float64(s.cpu.Microseconds()) / float64(s.messages) }

// row is the name of its figure.
func (s *subject) row() string { return fmt.Sprintf("%s-%d", s.name, s.bytes) }

func (s *subject) micros() []float64 {
	out := make([]float64, len(s.samples))
	for i, x := range s.samples {
		out[i] = x.micros()
	}
	return out
}

func (s *subject) rates() []float64 {
	out := make([]float64, len(s.samples))
	for i, x := range s.samples {
		out[i] = float64(x.messages) / x.wall.Seconds()
	}
	return out
}

// settle is how long a load runs before it is measured.
const settle = 200 * time.Millisecond

// cpu is what all processes of a subject have used.
func (s *subject) cpu() (sum time.Duration, err error) {
	for _, pid := range s.pids {
		t, err := usage.CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += t
	}
	return sum, nil
}

// measure runs the load once.
func (s *subject) measure(ctx context.Context, seconds time.Duration) (sample, error) {
	if s.stock != nil {
		if err := s.stock(); err != nil {
			return sample{}, err
		}
	}
	var x sample
	if s.over == nil {
		if err := s.begin(); err != nil {
			return x, err
		}
		if err := pause(ctx, settle); err != nil {
			return x, err
		}
	}
	messages, from := s.done(), time.Now()
	cpu, err := s.cpu()
	if err != nil {
		return x, err
	}
	if s.over == nil {
		err = pause(ctx, seconds)
	} else if err = s.begin(); err == nil {
		within, cancel := context.WithTimeout(ctx, seconds+drain)
		s.over(within)
		cancel()
	}
	if err != nil {
		return x, err
	}
	x.messages, x.wall = s.done()-messages, time.Since(from)
	after, err := s.cpu()
	if err != nil {
		return x, err
	}
	x.cpu = after - cpu
	within, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	counts, err := s.end(within)
	s.counts.Add(counts)
	if err == nil && x.messages == 0 {
		err = fmt.Errorf("nothing came through %s", s.name)
	}
	return x, err
}

// pause is a measurement's duration; it ends early only with an error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// interleave measures all subjects in turns: A B C A B C, after a round that does not count.
func (b *bench) interleave(ctx context.Context, subjects []*subject) error {
	for round := range b.o.Rounds + 1 {
		for _, s := range subjects {
			seconds := b.o.Seconds
			if round == 0 {
				seconds = min(seconds, time.Second)
			}
			x, err := s.measure(ctx, seconds)
			if err != nil {
				return fmt.Errorf("%s, %d bytes: %w", s.name, s.bytes, err)
			}
			if round == 0 {
				continue
			}
			s.samples = append(s.samples, x)
			b.progress("round %d of %d  %s, %d bytes: %.1f us, %.0f/s", round, b.o.Rounds, s.name, s.bytes, x.micros(), float64(x.messages)/x.wall.Seconds())
		}
	}
	return nil
}

// profiles runs each subject of ours once more under a profile. The profile costs processor
// time itself, so this run is measured for nothing else.
func (b *bench) profiles(ctx context.Context, subjects []*subject) error {
	seconds := int(max(b.o.Seconds, 2*time.Second) / time.Second)
	for _, s := range subjects {
		if s.relay || s.over != nil {
			continue
		}
		b.progress("profile of %s, %d bytes", s.name, s.bytes)
		var taking sync.WaitGroup
		errs := make([]error, len(s.nodes))
		for i, e := range s.nodes {
			taking.Go(func() {
				errs[i] = e.profile(ctx, s.row(), seconds)
			})
		}
		_, err := s.measure(ctx, time.Duration(seconds)*time.Second)
		taking.Wait()
		for _, e := range append(errs, err) {
			if e != nil {
				return e
			}
		}
	}
	return nil
}

// profile takes a profile of the node and writes it down under the name of a figure.
func (e *exchange) profile(ctx context.Context, figure string, seconds int) error {
	data, err := e.admin.Profile(ctx, "cpu", seconds)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.b.o.Profile, fmt.Sprintf("%s-%s.cpu.pprof", figure, e.domain)), data, 0o600)
}

// Sizes of payloads: what session frames are, and the next bucket.
const (
	small = 1024
	large = 4096
)

// freshEach is how many envelopes of a run each client has sealed beforehand for the row that
// shares no encapsulation.
const freshEach = 256

// lonePace is the pause of the pair alone.
const lonePace = time.Millisecond

// Names of the subjects and figures.
const (
	oneNodeName  = "one-node"
	twoNodesName = "two-nodes"
	freshName    = "one-node-fresh-hops"
	relayName    = "bare-relay"
	loneName     = "one-node-lone"
	loneRelay    = "bare-relay-lone"
)

// signal is the standard case: pairs of clients, eight envelopes of each on the way, the class
// live with valid tokens, each counted until it has been delivered and its receipt has come.
func (b *bench) signal(ctx context.Context) error {
	single, err := b.oneNode(ctx)
	if err != nil {
		return err
	}
	acme, globex, err := b.twoNodes(ctx)
	if err != nil {
		return err
	}
	b.progress("three nodes run; %d clients register at one, and as many at two", b.o.Clients)
	at, err := single.newClients(ctx, b.o.Clients)
	if err != nil {
		return err
	}
	one, err := clients.NewTraffic(at, window, 0)
	if err != nil {
		return err
	}
	defer one.Close()
	two, err := pairsBetween(ctx, acme, globex, b.o.Clients)
	if err != nil {
		return err
	}
	defer two.Close()

	// A pair alone, each with one envelope on the way and a pause between two: nothing comes
	// together with anything, and no device meets its rate.
	couple, err := single.newClients(ctx, 2)
	if err != nil {
		return err
	}
	lone, err := clients.NewTraffic(couple, 1, lonePace)
	if err != nil {
		return err
	}
	defer lone.Close()

	var ready relayReady
	relay, err := b.start("relay", "bench", "part", "relay")
	if err != nil {
		return err
	}
	if err := readLine(ctx, relay, &ready); err != nil {
		return err
	}
	echo, err := clients.NewEcho(ctx, ready.Address, 0, b.o.Clients, window, 0)
	if err != nil {
		return err
	}
	defer echo.Close()
	loneEcho, err := clients.NewEcho(ctx, ready.Address, b.o.Clients, 2, 1, lonePace)
	if err != nil {
		return err
	}
	defer loneEcho.Close()

	var subjects []*subject
	for _, size := range []int{small, large} {
		subjects = append(subjects,
			traffic(oneNodeName, relayName, size, one, clients.SealSession, single),
			bareRelay(relayName, size, echo, relay.PID()),
			traffic(twoNodesName, relayName, size, two, clients.SealSession, acme, globex))
	}
	subjects = append(subjects,
		traffic(freshName, relayName, small, one, clients.SealFresh, single),
		traffic(loneName, loneRelay, small, lone, clients.SealSession, single),
		bareRelay(loneRelay, small, loneEcho, relay.PID()))
	if err := b.interleave(ctx, subjects); err != nil {
		return err
	}
	if b.o.Profile != "" {
		if err := b.profiles(ctx, subjects); err != nil {
			return err
		}
	}
	b.tellSignal(subjects)
	return b.stop(single.Process, acme.Process, globex.Process, relay)
}

// bareRelay is a load of messages on the bare relay.
func bareRelay(name string, size int, e *clients.Echo, pid int) *subject {
	return &subject{
		name: name, bytes: size, relay: true, pids: []int{pid},
		begin: func() error { return e.Start(clients.FrameSize(size)) }, done: e.Done, end: e.Stop,
	}
}

// traffic is a load of live envelopes on one node or two, compared with a bare relay.
func traffic(name, against string, size int, t *clients.Traffic, seal clients.Seal, nodes ...*exchange) *subject {
	s := &subject{name: name, against: against, bytes: size, nodes: nodes, begin: func() error { return t.Start(size, seal) }, done: t.Done, end: t.Stop}
	for _, e := range nodes {
		s.pids = append(s.pids, e.PID())
	}
	if seal == clients.SealFresh {
		s.stock = func() error { return t.Stock(size, freshEach) }
		s.over = t.Drain
	}
	return s
}

// pairsBetween registers half of the people at each node and pairs them across.
func pairsBetween(ctx context.Context, a, b *exchange, n int) (*clients.Traffic, error) {
	left, err := a.newClients(ctx, n/2)
	if err != nil {
		return nil, err
	}
	right, err := b.newClients(ctx, n/2)
	if err != nil {
		return nil, err
	}
	var all []*clients.Client
	for i := range left {
		all = append(all, left[i], right[i])
	}
	return clients.NewTraffic(all, window, 0)
}

// tellSignal writes the rows. A ratio is that of the same round and size: both were measured
// within seconds of each other.
func (b *bench) tellSignal(subjects []*subject) {
	bare := map[string]*subject{}
	for _, s := range subjects {
		if s.relay {
			bare[s.row()] = s
		}
	}
	for _, s := range subjects {
		f := Figure{
			Case: "signal", Name: s.row(), Unit: "us CPU per envelope",
			Rounds: s.micros(), Value: median(s.micros()), PerSecond: median(s.rates()), Counts: &s.counts,
		}
		if s.relay {
			f.Unit = "us CPU per message"
			// Lost and misdelivered would be ours as well: the driver's.
			if s.counts.Lost == 0 && s.counts.Misdelivered == 0 {
				f.Counts = nil
			}
			b.report.add(f)
			continue
		}
		b.report.Envelopes.Add(s.counts)
		f.Against = fmt.Sprintf("%s-%d", s.against, s.bytes)
		f.Ratio = median(ratios(s.micros(), bare[f.Against].micros()))
		f.RatioExchange = f.Ratio / 2
		switch {
		case s.name == oneNodeName && s.bytes == small:
			f.AtLeast, f.Aim = "<= 20 us and <= 2.5x", "<= 10 us"
			f.Reached = reached(f.Value <= 20 && f.Ratio <= 2.5, f.Value <= 10)
		case s.name == twoNodesName && s.bytes == small:
			f.AtLeast, f.Aim = "<= 40 us", "<= 20 us"
			f.Reached = reached(f.Value <= 40, f.Value <= 20)
		}
		b.report.add(f)
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	clients "github.com/trunkline-net/trunkline/client/bench"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// Point is a reading at a number of idle clients.
type Point struct {
	Clients   int     `json:"clients"`
	Resident  float64 `json:"resident_kib"`  // VmRSS
	Anonymous float64 `json:"anonymous_kib"` // the part that is no file in the page cache
	Heap      float64 `json:"heap_kib"`      // what Go's heap has in use
	Stacks    float64 `json:"stacks_kib"`
}

// idle reads a node's memory at several numbers of registered clients that do nothing. What a
// client costs is the slope: what the node needs without any is not counted.
func (b *bench) idle(ctx context.Context) error {
	e, err := b.oneNode(ctx)
	if err != nil {
		return err
	}
	var all clients.Idle
	defer all.Close()
	var points []Point
	have := 0
	for _, n := range b.o.Idle {
		b.progress("idle: %d clients register", n)
		more, err := e.newClients(ctx, n-have)
		if err != nil {
			return err
		}
		all.Keep(more)
		have = n
		collected, err := e.admin.Collect(ctx)
		if err != nil {
			return err
		}
		if err := pause(ctx, b.o.Quiet); err != nil {
			return err
		}
		m, err := usage.MemoryOf(e.PID())
		if err != nil {
			return err
		}
		status, err := e.admin.Status(ctx)
		if err != nil {
			return err
		}
		if status.Devices != n || all.Ended() != 0 {
			return fmt.Errorf("%d of %d idle clients are connected", status.Devices, n)
		}
		p := Point{
			Clients: n, Resident: rounded(kib(m.Resident)), Anonymous: rounded(kib(m.Anonymous)),
			Heap: rounded(kib(int64(collected.Heap))), Stacks: rounded(kib(int64(collected.Stacks))),
		}
		points = append(points, p)
		b.progress("idle: %d clients, %.0f KiB resident, %.0f of it anonymous; heap %.0f, stacks %.0f", n, p.Resident, p.Anonymous, p.Heap, p.Stacks)
	}
	resident := slope(points, func(p Point) float64 { return p.Resident })
	b.report.add(Figure{
		Case: "idle", Name: "idle-client", Value: resident, Unit: "KiB resident per client", Points: points,
		AtLeast: "<= 20 KiB", Aim: "<= 8 KiB", Reached: reached(resident <= 20, resident <= 8),
	})
	b.report.add(Figure{
		Case: "idle", Name: "idle-client-anonymous", Unit: "KiB anonymous per client",
		Value: slope(points, func(p Point) float64 { return p.Anonymous }),
	})
	return b.stop(e.Process)
}

func kib(bytes int64) float64 { return float64(bytes) / 1024 }

// slope is that of the line with the least squares.
func slope(points []Point, value func(Point) float64) float64 {
	var n, x, y, xx, xy float64
	for _, p := range points {
		n++
		x += float64(p.Clients)
		y += value(p)
		xx += float64(p.Clients) * float64(p.Clients)
		xy += float64(p.Clients) * value(p)
	}
	if d := n*xx - x*x; d != 0 {
		return (n*xy - x*y) / d
	}
	return 0
}

// connect measures what a link costs the node from the TCP connection to the registered
// mailbox: for people that it sees for the first time, and for those it knows.
func (b *bench) connect(ctx context.Context) error {
	e, err := b.oneNode(ctx)
	if err != nil {
		return err
	}
	people, err := e.people(b.o.Connects)
	if err != nil {
		return err
	}
	// Round 0 is the first time.
	var first float64
	var rounds []float64
	for round := range b.o.Rounds + 1 {
		before, err := usage.CPU(e.PID())
		if err != nil {
			return err
		}
		links, err := e.join(ctx, people, round == 0)
		if err != nil {
			return err
		}
		after, err := usage.CPU(e.PID())
		if err != nil {
			return err
		}
		each := float64((after - before).Microseconds()) / float64(len(people))
		if round == 0 {
			first = each
			b.progress("connect: %.0f us for each of %d who come for the first time", each, len(people))
		} else {
			rounds = append(rounds, each)
			b.progress("round %d of %d  connect: %.0f us", round, b.o.Rounds, each)
		}
		for _, l := range links {
			l.Close()
		}
		if err := e.without(ctx); err != nil {
			return err
		}
	}
	value := median(rounds)
	b.report.add(Figure{
		Case: "connect", Name: "connect", Value: value, Unit: "us CPU per connect with authentication", Rounds: rounds,
		AtLeast: "<= 1 ms", Aim: "<= 0.35 ms", Reached: reached(value <= 1000, value <= 350),
	})
	b.report.add(Figure{Case: "connect", Name: "first-registration", Value: first, Unit: "us CPU with list, prekeys and mailbox"})
	return b.stop(e.Process)
}

// without waits until the node has no link any more.
func (e *exchange) without(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	for {
		status, err := e.admin.Status(ctx)
		if err != nil || status.Links == 0 {
			return err
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return fmt.Errorf("%d links do not end: %w", status.Links, err)
		}
	}
}

// profileStorm takes a profile of the node's first seconds in the storm, if profiles are wanted.
// It costs the node a little of what the storm is about.
func (b *bench) profileStorm(ctx context.Context, e *exchange) <-chan error {
	done := make(chan error, 1)
	if b.o.Profile == "" {
		done <- nil
		return done
	}
	go func() { done <- e.profile(ctx, "storm", stormProfile) }()
	return done
}

const stormProfile = 5 // seconds

// stormTime is how long a crowd may take to come back before the run gives up.
const stormTime = 5 * time.Minute

// stormSenders are the links at the partner over which everybody is reached: one alone would
// meet the rate of a device.
const stormSenders = 16

// storm kills a node with all its clients connected, starts it again at the same addresses,
// and waits until all have come back by themselves and can be reached from the partner.
func (b *bench) storm(ctx context.Context) error {
	acme, globex, err := b.twoNodes(ctx)
	if err != nil {
		return err
	}
	b.progress("storm: %d clients register", b.o.Storm)
	all, err := acme.newClients(ctx, b.o.Storm)
	if err != nil {
		return err
	}
	senders, err := globex.newClients(ctx, stormSenders)
	if err != nil {
		return err
	}
	crowd, err := clients.NewCrowd(ctx, acme.http, all)
	if err != nil {
		return err
	}
	defer crowd.Leave()
	ctx, cancel := context.WithTimeout(ctx, stormTime)
	defer cancel()

	b.progress("storm: the node is killed")
	since := time.Now()
	own, err := usage.CPU(os.Getpid())
	if err != nil {
		return err
	}
	acme.Kill()
	if err := acme.run(ctx, "--http-listen", acme.http, "--federation-listen", acme.federation); err != nil {
		return err
	}
	up := time.Since(since)
	profiled := b.profileStorm(ctx, acme)
	s, err := crowd.Return(ctx, since, senders)
	err = errors.Join(err, <-profiled)
	b.report.Envelopes.Add(s.Counts)
	if err != nil {
		return err
	}
	node, err := usage.CPU(acme.PID()) // since its start
	if err != nil {
		return err
	}
	driver, err := usage.CPU(os.Getpid())
	if err != nil {
		return err
	}
	told := float64(s.Told) / float64(s.Clients)
	b.progress("storm: half were registered after %.2f s, 99 of 100 after %.2f s; the node has used %.2f s of processor time, the driver %.2f s",
		s.Half.Seconds(), s.Most.Seconds(), node.Seconds(), (driver - own).Seconds())
	b.progress("storm: up after %.2f s, all registered after %.2f s, all reached from the partner after %.2f s; %d connections, of which %d were told to come back later; so were %.0f %% of the clients",
		up.Seconds(), s.Registered.Seconds(), s.Routable.Seconds(), s.Tries, s.TurnedAway, 100*told)
	b.report.add(Figure{Case: "storm", Name: "storm-node-up", Value: up.Seconds(), Unit: "s from SIGKILL until the node is ready again"})
	b.report.add(Figure{Case: "storm", Name: "storm-registered", Value: s.Registered.Seconds(), Unit: fmt.Sprintf("s until %d clients are registered", s.Clients)})
	b.report.add(Figure{
		Case: "storm", Name: "storm-routable", Value: s.Routable.Seconds(), Unit: "s until all are reached from the partner", Counts: &s.Counts,
		AtLeast: "all come back", Aim: "<= 5 s", Reached: reached(s.Counts.Receipts == int64(s.Clients), s.Routable <= 5*time.Second),
	})
	b.report.add(Figure{Case: "storm", Name: "storm-half-registered", Value: s.Half.Seconds(), Unit: "s until half are registered"})
	// What the machine could not do faster, however idle it were.
	b.report.add(Figure{Case: "storm", Name: "storm-node-cpu", Value: node.Seconds(), Unit: "s CPU of the node from its start"})
	b.report.add(Figure{Case: "storm", Name: "storm-driver-cpu", Value: (driver - own).Seconds(), Unit: "s CPU of the clients"})
	b.report.add(Figure{Case: "storm", Name: "storm-told-to-wait", Value: told, Unit: "of the clients at least once"})
	b.report.add(Figure{Case: "storm", Name: "storm-tries", Value: float64(s.Tries) / float64(s.Clients), Unit: "connections for each client"})
	return b.stop(acme.Process, globex.Process)
}

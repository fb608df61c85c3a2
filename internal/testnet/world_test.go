package testnet

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/node"
)

// plan is what a seed draws before anything runs.
type plan struct {
	seed     uint64
	stations int
	people   int
	humans   int
	liar     bool
	vandal   bool
	length   time.Duration // of the time with faults
	pace     time.Duration // between two letters of a person, on the average
	faults   int
	small    bool
}

// short is a run for an ordinary go test.
func (p plan) short() plan {
	p.stations, p.people, p.humans = 3, 6, min(p.humans, 2)
	p.length, p.pace, p.faults, p.small = 30*time.Second, max(p.pace, time.Second), 8+p.faults/4, true
	return p
}

func (p plan) flags() string {
	if p.small {
		return " -sim.short"
	}
	return ""
}

func planFor(seed uint64) plan {
	r := stream(seed, "plan")
	p := plan{seed: seed, stations: 3 + r.IntN(3)}
	if r.IntN(8) == 0 {
		p.stations = 7
	}
	p.people = p.stations * (2 + r.IntN(2))
	p.humans = r.IntN(4)
	if p.humans == 1 {
		p.humans = 2
	}
	p.liar, p.vandal = r.IntN(3) == 0, r.IntN(3) == 0
	p.length = time.Duration(40+r.IntN(80)) * time.Second
	p.pace = time.Duration(300+r.IntN(2500)) * time.Millisecond
	p.faults = 6 + r.IntN(24)
	return p
}

// stream is a source of random numbers of its own for each purpose, so that one of them does
// not change what another gets.
func stream(seed uint64, purpose string) *rand.Rand {
	sum := sha256.Sum256([]byte(purpose))
	return rand.New(rand.NewPCG(seed, uint64(sum[0])<<56|uint64(sum[1])<<48|uint64(sum[2])<<40|uint64(sum[3])<<32|uint64(sum[4])<<24|uint64(sum[5])<<16|uint64(sum[6])<<8|uint64(sum[7])))
}

// world is one run.
type world struct {
	plan
	t        testing.TB
	dir      string
	log      io.Writer
	history  *history
	streams  *streams
	packets  *packets
	stations []*station
	people   []*person
	humans   []*human
	liar     *liar
	leaks    *leaks
	script   func(*world)       // instead of the storm
	patience time.Duration      // how long everything may take to settle
	ground   func(*node.Ground) // changes what the nodes stand on

	lines   atomic.Uint64
	healed  atomic.Bool
	repairs sync.WaitGroup

	mu     sync.Mutex // guards all below
	rng    *rand.Rand
	keys   map[*station][32]byte
	counts map[string]int
	wrong  []string
	ready  map[*person]bool
}

func newWorld(t testing.TB, p plan, dir string) *world {
	w := &world{plan: p, t: t, dir: dir, history: newHistory(), streams: newStreams(stream(p.seed, "streams")), packets: newPackets(stream(p.seed, "packets")),
		rng: stream(p.seed, "world"), keys: map[*station][32]byte{}, counts: map[string]int{}, ready: map[*person]bool{}, leaks: newLeaks(), patience: 45 * time.Minute}
	w.streams.tap, w.packets.tap = w.leaks.stream, w.leaks.packet
	if *logTo != "" {
		f, err := os.OpenFile(*logTo, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		w.log = f
	}
	return w
}

// fail notes what must not be; the run goes on, because the rest of it explains.
func (w *world) fail(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

func (w *world) count(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[name]++
}

func (w *world) random(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) pause(d time.Duration) { time.Sleep(d) }

func (w *world) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (w *world) domains() []string {
	var all []string
	for _, s := range w.stations {
		all = append(all, s.domain)
	}
	if w.plan.liar {
		all = append(all, liarDomain)
	}
	return all
}

func (w *world) documentOf(domain string) string { return filepath.Join(w.dir, "documents", domain) }

func (w *world) learn(s *station, d *identity.NodeDescriptor) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.keys[s] = d.RoutingKey
}

func (w *world) routingKey(s *station) ([32]byte, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k, ok := w.keys[s]
	return k, ok
}

func (w *world) liarKey() [32]byte { return w.liar.routing.Public() }

func (w *world) registered(p *person) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ready[p] = true
}

func (w *world) allRegistered() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ready) == len(w.people)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// until looks at something as virtual time passes.
func (w *world) until(most time.Duration, ok func() bool) bool {
	deadline := time.Now().Add(most)
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(500 * time.Millisecond)
	}
	return true
}

// build makes the nodes and lets everybody in.
func (w *world) build(ctx context.Context, everybody *sync.WaitGroup) error {
	for i := range w.plan.stations {
		w.stations = append(w.stations, w.newStation(i, stream(w.seed, fmt.Sprint("power of node ", i))))
	}
	keys := map[string]string{}
	for _, s := range w.stations {
		key, err := s.prepare()
		if err != nil {
			return err
		}
		keys[s.domain] = key
	}
	if w.plan.liar {
		l, err := newLiar(w)
		if err != nil {
			return err
		}
		w.liar = l
		keys[liarDomain] = l.keyText()
		if err := write(w.documentOf(liarDomain), string(l.document())); err != nil {
			return err
		}
	}
	for _, s := range w.stations {
		if err := write(filepath.Join(s.dir, "policy.toml"), policyFor(keys, s.domain)); err != nil {
			return err
		}
	}
	for _, s := range w.stations {
		if err := s.start(); err != nil {
			return err
		}
		doc, err := os.ReadFile(filepath.Join(s.dir, "domain.document"))
		if err != nil {
			return err
		}
		if err := write(w.documentOf(s.domain), string(doc)); err != nil {
			return err
		}
	}
	if w.liar != nil {
		if err := w.liar.start(); err != nil {
			return err
		}
		everybody.Go(func() { w.liar.work(ctx) })
	}
	for i := range w.plan.people {
		name := fmt.Sprintf("p%d", i+1)
		p, err := w.newPerson(name, w.stations[i%len(w.stations)], stream(w.seed, "person "+name))
		if err != nil {
			return err
		}
		w.people = append(w.people, p)
		everybody.Go(func() { p.run(ctx) })
	}
	if !w.until(2*time.Minute, w.allRegistered) {
		return fmt.Errorf("not everybody is registered after two minutes")
	}
	return w.bringHumans(ctx)
}

// work is what a person does while there are faults: letters of all classes to people
// anywhere, the same bytes twice, and now and then something that must come to nothing.
func (w *world) work(ctx context.Context, p *person) {
	r := stream(w.seed, "work of "+p.name)
	for {
		pause := time.Duration(r.ExpFloat64() * float64(w.pace))
		to := w.people[r.IntN(len(w.people))]
		ttl := []envelope.TTL{envelope.Live, envelope.Live, envelope.Ring, envelope.Day, envelope.Week, envelope.Week}[r.IntN(6)]
		size := []int{1024, 1024, 1024, 4096, 4096, 8192, 16384, 65536}[r.IntN(8)]
		odd := r.IntN(40)
		burst := 1
		if r.IntN(12) == 0 {
			burst = 2 + r.IntN(40)
		}
		w.wait(ctx, pause)
		if ctx.Err() != nil {
			return
		}
		switch {
		case odd == 0: // a wrong token
			p.write(to, ttl, size, func(h *envelope.Hop, l *letter) {
				h.Token[3] ^= 0xff
				l.bait = true
			})
		case odd == 1: // a knock of somebody who has no token
			p.write(to, envelope.Week, 4096, func(h *envelope.Hop, l *letter) {
				h.Token, h.Knock, l.knock = envelope.Token{}, true, true
			})
		case odd == 2 && w.liar != nil:
			p.post(nil, w.liar.peer, "the liar", envelope.Hop{Tag: envelope.NewRouteTag()}, ttl, size, nil)
		case odd == 3: // the same bytes twice
			p.write(to, ttl, size, nil)
			p.again()
		case odd == 4: // somebody else's bytes
			p.replay(w.history.pick(r.IntN(1 << 30)))
		default:
			for range burst {
				p.write(to, ttl, size, nil)
				if size > 8192 {
					break
				}
			}
		}
	}
}

// run is one whole run of a plan. It returns what was wrong.
func (w *world) run() []string {
	ctx, end := context.WithCancel(context.Background())
	var everybody sync.WaitGroup
	err := w.build(ctx, &everybody)
	if err == nil {
		if w.script != nil {
			w.script(w)
		} else {
			w.storm(ctx)
		}
		w.heal()
		w.settle()
	} else {
		w.fail("%v", err)
	}
	end()
	everybody.Wait()
	w.repairs.Wait()
	for _, h := range w.humans {
		h.stop()
	}
	for _, s := range w.stations {
		if err := s.stop(); err != nil {
			w.fail("%s ends with %v", s.name, err)
		}
	}
	if w.liar != nil {
		w.liar.stop()
	}
	w.packets.net.Close()
	if err == nil {
		w.look()
	}
	return w.verdict()
}

// storm is the time with faults.
func (w *world) storm(ctx context.Context) {
	working, stop := context.WithTimeout(ctx, w.length)
	defer stop()
	var all sync.WaitGroup
	for _, p := range w.people {
		all.Go(func() { w.work(working, p) })
	}
	for _, h := range w.humans {
		all.Go(func() { h.work(working) })
	}
	if w.vandal {
		all.Go(func() { newVandal(w).work(working) })
	}
	for _, f := range w.drawFaults() {
		all.Go(func() {
			w.wait(working, f.at)
			if working.Err() == nil {
				f.do()
			}
		})
	}
	all.Wait()
}

// heal waits for the end of all faults: each ends by itself.
func (w *world) heal() {
	w.repairs.Wait()
	w.healed.Store(true)
	w.history.add(event{kind: remark, text: "all faults have ended"})
	// What was brought and left unacknowledged comes again with the next line.
	for _, p := range w.people {
		w.streams.lose(p.name, time.Second)
	}
}

// settle lets time pass until everybody knows everything.
func (w *world) settle() {
	rest := func() bool {
		for _, p := range w.people {
			if p.open() > 0 {
				return false
			}
		}
		for _, h := range w.humans {
			if !h.content() {
				return false
			}
		}
		return true
	}
	began := time.Now()
	if !w.until(w.patience, rest) {
		for _, p := range w.people {
			if n := p.open(); n > 0 {
				w.fail("%s still does not know the fate of %d letters %v after the last fault", p.name, n, w.patience)
			}
		}
		for _, h := range w.humans {
			if !h.content() {
				w.fail("%s still waits %v after the last fault: %s", h.name, w.patience, h.waitsFor())
			}
		}
	}
	w.history.add(event{kind: remark, text: fmt.Sprintf("settled after %v", time.Since(began).Round(time.Second))})
	// What is on the last way arrives, and is acknowledged.
	time.Sleep(20 * time.Second)
}

// report says in a few lines what a run was.
func (w *world) report() string {
	c := w.tally()
	var faults, fates []string
	for _, k := range sorted(w.history.faults) {
		faults = append(faults, fmt.Sprintf("%s %d", k, w.history.faults[k]))
	}
	for _, k := range sorted(c.fates) {
		fates = append(fates, fmt.Sprintf("%s %d", k, c.fates[k]))
	}
	w.packets.mu.Lock()
	defer w.packets.mu.Unlock()
	return fmt.Sprintf("%d nodes, %d people, %d humans; %d envelopes, %d notes\n   faults: %s; of %d packets %d lost, %d doubled, %d late\n   fates: %s\n   besides: %s",
		len(w.stations), len(w.people), len(w.humans), len(w.history.order), c.notes, strings.Join(faults, ", "),
		w.packets.sent, w.packets.dropped, w.packets.doubled, w.packets.delayed, strings.Join(fates, ", "), w.besides(c))
}

func (w *world) besides(c tally) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := maps.Clone(w.counts)
	for k, v := range c.besides {
		all[k] += v
	}
	var out []string
	for _, k := range sorted(all) {
		out = append(out, fmt.Sprintf("%s %d", k, all[k]))
	}
	return strings.Join(out, ", ")
}

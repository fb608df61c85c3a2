package stage

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/trunkline-net/trunkline/internal/lab"
)

// where is a place that somebody calls from: a kind of network, and what RFC 4787 says of it.
type where struct {
	name string
	make func(s *Stage) *lab.Net // nil: on the internet itself

	four, six bool // families
	blocked   bool // no UDP
	perPeer   bool // mapping: a port of its own for each peer
	open      bool // filtering: whoever knows the mapping gets in
}

var places = []where{
	{name: "public", four: true, six: true, open: true},
	{name: "full cone", make: behind(lab.FullCone), four: true, open: true},
	{name: "port-restricted", make: behind(lab.PortRestricted), four: true},
	{name: "symmetric", make: behind(lab.Symmetric), four: true, perPeer: true},
	{name: "double NAT", make: func(s *Stage) *lab.Net {
		return s.Carrier(lab.PortRestricted).Behind(lab.PortRestricted)
	}, four: true},
	{name: "IPv6 only", make: behind(lab.IPv6Only), six: true},
	{name: "UDP blocked", make: behind(lab.UDPBlocked), four: true, blocked: true},
}

func behind(kind lab.Kind) func(*Stage) *lab.Net {
	return func(s *Stage) *lab.Net { return s.Behind(kind) }
}

// placeNamed is the place of a name.
func placeNamed(name string) where {
	return places[slices.IndexFunc(places, func(w where) bool { return w.name == name })]
}

// canBeDirect is what RFC 4787 promises to two clients that try at the same time: each sends
// to the other's mapping as a server saw it. That reaches it unless the mapping is another one
// towards the client, and the other side only lets in where it sent to.
func canBeDirect(a, b where) bool {
	if a.blocked || b.blocked || !(a.four && b.four || a.six && b.six) {
		return false
	}
	return !(a.perPeer && !b.open) && !(b.perPeer && !a.open)
}

// trial is one call.
type trial struct {
	name           string
	caller, callee *lab.Host
	relayCaller    bool    // --relay-only
	relayCallee    bool    // --relay-only
	want           string  // route: lan, direct, or relay for any of those
	tcp            [2]bool // whose leg must be the relay over TCP: caller, callee
}

// outcome is what became of it.
type outcome struct {
	route string
	setup time.Duration
	err   error
}

// couple is two people who call each other, again and again and from anywhere.
type couple struct {
	s          *Stage
	alice, bob *Person
	n          int
}

// callFacts is what call and answer print of a call.
type callFacts struct {
	Connected   bool
	SetupMS     int64  `json:"setup_ms"`
	Route       string `json:"route"`
	LocalRoute  string `json:"local_route"`
	RemoteRoute string `json:"remote_route"`
	Audio       struct{ Sent, Received int }
	Ended       string
}

const shortSound = "../../demo/clip/clip.ogg"

// call makes one call and compares what both sides say of its way with what went over it.
func (c *couple) call(try trial) (o outcome) {
	c.n++
	sound, err := filepath.Abs(shortSound)
	if err != nil {
		return outcome{err: err}
	}
	args := []string{"answer", "--data", c.bob.Dir, "--auto", "--once", "--audio", sound}
	if try.relayCallee {
		args = append(args, "--relay-only")
	}
	answer := c.s.Start(try.callee, args...)
	defer answer.Kill()
	if err := waitUntil(func() bool { return strings.Contains(answer.Log(), "Waiting") }, answer.Done()); err != nil {
		return outcome{err: fmt.Errorf("answer: %w: %s", err, answer.Log())}
	}
	captures := [2]*lab.Capture{try.caller.Capture(), try.callee.Capture()}
	args = []string{"call", "--data", c.alice.Dir, c.bob.ID, "--audio", sound, "--seconds", "2"}
	if try.relayCaller {
		args = append(args, "--relay-only")
	}
	var facts [2]callFacts
	err = c.s.Try(try.caller, &facts[0], args...)
	if err == nil {
		err = answer.Event("call", &facts[1])
	}
	err = errors.Join(err, captures[0].Stop(), captures[1].Stop())
	if err != nil {
		return outcome{err: fmt.Errorf("%w\nthe other side: %s", err, answer.Log())}
	}
	o.route, o.setup = facts[0].Route, time.Duration(facts[0].SetupMS)*time.Millisecond
	o.err = c.judge(try, facts, captures)
	return o
}

// waitUntil looks again and again until it holds or done is closed.
func waitUntil(holds func() bool, done <-chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(Patience)
	defer end.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-done:
			return errors.New("it ended")
		case <-end.C:
			return errors.New("waited in vain")
		}
	}
	return nil
}

// judge holds a call to what it had to be.
func (c *couple) judge(try trial, facts [2]callFacts, captures [2]*lab.Capture) error {
	var wrong []error
	not := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	hosts := [2]*lab.Host{try.caller, try.callee}
	homes := [2]*lab.Host{c.alice.Home.Host, c.bob.Home.Host}
	sides := [2]string{"caller", "callee"}
	for i, f := range facts {
		if !f.Connected || f.Ended != "hangup" {
			not("%s: connected %v, ended by %q", sides[i], f.Connected, f.Ended)
		}
		if f.Audio.Received == 0 {
			not("%s: no audio came", sides[i])
		}
		leg, err := takenLeg(captures[i], hosts[i], homes[i], hosts[1-i])
		if err != nil {
			not("%s: %w", sides[i], err)
			continue
		}
		if leg != f.LocalRoute {
			not("%s: says that its end is %s, and its packets took %s", sides[i], f.LocalRoute, leg)
		}
		if other := facts[1-i].RemoteRoute; other != leg {
			not("%s: says that the %s's end is %s, and its packets took %s", sides[1-i], sides[i], other, leg)
		}
		if want := "relay/tcp"; try.tcp[i] != (leg == want) {
			not("%s: its packets took %s", sides[i], leg)
		}
		if only := [2]bool{try.relayCaller, try.relayCallee}[i]; only {
			if !strings.HasPrefix(leg, "relay/") {
				not("%s: relay only, and its packets took %s", sides[i], leg)
			}
			if err := onlyHome(captures[i], homes[i]); err != nil {
				not("%s: relay only, and %w", sides[i], err)
			}
		}
		path := f.LocalRoute
		if !strings.HasPrefix(path, "relay/") && strings.HasPrefix(f.RemoteRoute, "relay/") {
			path = f.RemoteRoute
		}
		if f.Route != path {
			not("%s: of the ends %s and %s it makes the route %s", sides[i], f.LocalRoute, f.RemoteRoute, f.Route)
		}
		if f.Route != try.want && !(try.want == "relay" && strings.HasPrefix(f.Route, "relay/")) {
			not("%s: the route is %s, and %s was possible", sides[i], f.Route, try.want)
		}
	}
	return errors.Join(wrong...)
}

const turnPort = 3478

// takenLeg is the way of a host's media in the call's last second, as the packets show it, in
// the words of --json.
func takenLeg(c *lab.Capture, host, home, other *lab.Host) (string, error) {
	volume := map[string]int{}
	total := 0
	packets := c.Packets()
	var last time.Time
	for _, p := range packets {
		if kind, _ := media(p, host, home, other); kind == "lan" || kind == "direct" || kind == "relay/udp" {
			last = p.Time
		}
	}
	if last.IsZero() && len(packets) > 0 { // over TCP, where frames cannot be told apart
		for _, p := range packets {
			if kind, _ := media(p, host, home, other); kind != "" {
				last = p.Time
			}
		}
	}
	for _, p := range packets {
		if p.Time.Before(last.Add(-time.Second)) || p.Time.After(last) {
			continue
		}
		if kind, bytes := media(p, host, home, other); kind != "" {
			volume[kind] += bytes
			total += bytes
		}
	}
	for kind, bytes := range volume {
		if bytes*10 >= total*9 {
			return kind, nil
		}
	}
	return "", fmt.Errorf("its media took no one way: %v", volume)
}

// media says which way a packet with media goes; "" for every other packet.
func media(p lab.Packet, host, home, other *lab.Host) (kind string, size int) {
	remote := p.Dst
	if !p.Out {
		remote = p.Src
	}
	if len(p.Payload) == 0 {
		return "", 0
	}
	atHome := slices.Contains(home.Addrs(), remote.Addr()) && remote.Port() == turnPort
	switch first := p.Payload[0]; {
	case p.Proto == unix.IPPROTO_TCP && atHome:
		return "relay/tcp", len(p.Payload)
	case p.Proto != unix.IPPROTO_UDP:
	case atHome:
		// ChannelData, or an indication around it, with RTP inside (RFC 7983).
		if first>>4 == 4 && len(p.Payload) > 4 && isRTP(p.Payload[4]) || first < 4 && len(p.Payload) > 80 {
			return "relay/udp", len(p.Payload)
		}
	case isRTP(first):
		if slices.Contains(other.Addrs(), remote.Addr()) && remote.Addr().IsPrivate() {
			return "lan", len(p.Payload)
		}
		return "direct", len(p.Payload)
	}
	return "", 0
}

func isRTP(first byte) bool { return first >= 128 && first <= 191 }

// onlyHome reports a packet of the host to somebody else than its own node.
func onlyHome(c *lab.Capture, home *lab.Host) error {
	for _, p := range c.Packets() {
		if p.Proto != unix.IPPROTO_UDP && p.Proto != unix.IPPROTO_TCP {
			continue // neighbours and routers
		}
		remote := p.Dst.Addr()
		if !p.Out {
			remote = p.Src.Addr()
		}
		if !slices.Contains(home.Addrs(), remote) {
			return fmt.Errorf("%v sent to %v", p.Src, p.Dst)
		}
	}
	return nil
}

// stageForCalls has two nodes and so many couples.
func stageForCalls(t *testing.T, many int) (*Stage, []*couple) {
	t.Helper()
	s := New(t)
	acme, globex := s.Node("acme.example"), s.Node("globex.example")
	s.Federate()
	var couples []*couple
	for i := range many {
		c := &couple{s: s, alice: s.Person(fmt.Sprintf("alice%d", i), acme), bob: s.Person(fmt.Sprintf("bob%d", i), globex)}
		s.Befriend(c.alice, c.bob)
		couples = append(couples, c)
	}
	return s, couples
}

// host makes somebody's machine in a place; the networks end with the returned function.
func (s *Stage) host(w where, name string) (*lab.Host, func()) {
	s.t.Helper()
	if w.make == nil {
		h := s.Lab.Host(name)
		return h, h.Close
	}
	n := w.make(s)
	h := n.Host(name)
	return h, func() { h.Close(); n.Close() }
}

// between is the trial of two places.
func between(a, b where) trial {
	try := trial{name: a.name + " calls " + b.name, want: "relay", tcp: [2]bool{a.blocked, b.blocked}}
	if canBeDirect(a, b) {
		try.want = "direct"
	}
	return try
}

// pair is a cell of the matrix.
type pair struct{ a, b where }

// TestEveryPairOfNetworksConnects calls from every kind of network to every kind: each call
// comes about, goes directly wherever RFC 4787 lets it, and took the way that it says. Without
// "make lab" a handful of pairs stand for all.
func TestEveryPairOfNetworksConnects(t *testing.T) {
	t.Parallel()
	var pairs []pair
	workers := 3
	if full() {
		for _, a := range places {
			for _, b := range places {
				pairs = append(pairs, pair{a, b})
			}
		}
	} else {
		workers = 2
		for _, names := range [][2]string{
			{"port-restricted", "full cone"}, {"double NAT", "port-restricted"}, {"symmetric", "full cone"},
			{"symmetric", "port-restricted"}, {"IPv6 only", "public"}, {"IPv6 only", "port-restricted"}, {"UDP blocked", "public"},
		} {
			pairs = append(pairs, pair{placeNamed(names[0]), placeNamed(names[1])})
		}
	}
	s, couples := stageForCalls(t, workers)
	results := make([]outcome, len(pairs))
	next := make(chan int)
	var working sync.WaitGroup
	for _, c := range couples {
		working.Go(func() {
			for i := range next {
				p := pairs[i]
				try := between(p.a, p.b)
				var endA, endB func()
				try.caller, endA = s.host(p.a, "caller")
				try.callee, endB = s.host(p.b, "callee")
				results[i] = c.call(try)
				endA()
				endB()
				if err := results[i].err; err != nil {
					t.Errorf("%s: %v", try.name, err)
				}
			}
		})
	}
	for i := range pairs {
		next <- i
	}
	close(next)
	working.Wait()
	t.Logf("route and time to set up, caller to the left:\n%s", table(pairs, results))
}

// table is the matrix for people.
func table(pairs []pair, results []outcome) string {
	cells := map[[2]string]string{}
	var rows, columns []string
	for i, p := range pairs {
		text := "-"
		if r := results[i]; r.route != "" {
			text = fmt.Sprintf("%s %d ms", r.route, r.setup.Milliseconds())
		}
		cells[[2]string{p.a.name, p.b.name}] = text
		if !slices.Contains(rows, p.a.name) {
			rows = append(rows, p.a.name)
		}
		if !slices.Contains(columns, p.b.name) {
			columns = append(columns, p.b.name)
		}
	}
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 1, ' ', 0)
	fmt.Fprintf(w, "| \t| %s\t|\n", strings.Join(columns, "\t| "))
	fmt.Fprintf(w, "| ---\t%s|\n", strings.Repeat("| ---\t", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s\t", row)
		for _, column := range columns {
			fmt.Fprintf(w, "| %s\t", cells[[2]string{row, column}])
		}
		fmt.Fprintln(w, "|")
	}
	_ = w.Flush() // into memory
	return out.String()
}

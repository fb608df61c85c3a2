package stage

import (
	"testing"

	"github.com/trunkline-net/trunkline/internal/lab"
)

// TestEachWishAndNeighbourhoodHasItsRoute: whoever hides its address goes through its own
// node's relay and speaks to nobody else, over UDP and over TCP; people on one network find
// each other there; and people behind one carrier find each other where its translator
// hairpins, and through a relay where it does not.
func TestEachWishAndNeighbourhoodHasItsRoute(t *testing.T) {
	t.Parallel()
	s, couples := stageForCalls(t, 1)
	at := func(place string) func(string) *lab.Host {
		return func(name string) *lab.Host {
			h, _ := s.host(placeNamed(place), name)
			return h
		}
	}
	apart := func(a, b string) func() (*lab.Host, *lab.Host) {
		return func() (*lab.Host, *lab.Host) { return at(a)("caller"), at(b)("callee") }
	}
	carrier := func(kind lab.Kind) func() (*lab.Host, *lab.Host) {
		return func() (*lab.Host, *lab.Host) {
			c := s.Carrier(kind)
			return c.Behind(lab.FullCone).Host("caller"), c.Behind(lab.FullCone).Host("callee")
		}
	}
	for _, c := range []struct {
		trial
		make  func() (*lab.Host, *lab.Host)
		short bool // without make lab, too
	}{
		{trial: trial{name: "the caller hides", relayCaller: true, want: "relay/udp"}, make: apart("public", "public")},
		{trial: trial{name: "the callee hides", relayCallee: true, want: "relay/udp"}, make: apart("public", "public")},
		{trial: trial{name: "both hide", relayCaller: true, relayCallee: true, want: "relay/udp"}, make: apart("public", "public"), short: true},
		{trial: trial{name: "both hide behind translators", relayCaller: true, relayCallee: true, want: "relay/udp"}, make: apart("symmetric", "port-restricted")},
		{trial: trial{name: "both hide with IPv6 alone", relayCaller: true, relayCallee: true, want: "relay/udp"}, make: apart("IPv6 only", "IPv6 only")},
		{trial: trial{name: "the caller hides behind a firewall", relayCaller: true, want: "relay", tcp: [2]bool{true, false}}, make: apart("UDP blocked", "port-restricted")},
		{trial: trial{name: "both hide behind firewalls", relayCaller: true, relayCallee: true, want: "relay/tcp", tcp: [2]bool{true, true}}, make: apart("UDP blocked", "UDP blocked"), short: true},
		{trial: trial{name: "one network", want: "lan"}, make: func() (*lab.Host, *lab.Host) {
			n := s.Behind(lab.PortRestricted)
			return n.Host("caller"), n.Host("callee")
		}, short: true},
		{trial: trial{name: "one network behind a firewall", want: "lan"}, make: func() (*lab.Host, *lab.Host) {
			n := s.Behind(lab.UDPBlocked)
			return n.Host("caller"), n.Host("callee")
		}},
		{trial: trial{name: "one carrier that hairpins", want: "direct"}, make: carrier(lab.FullCone), short: true},
		{trial: trial{name: "one carrier that does not hairpin", want: "relay/udp"}, make: carrier(lab.PortRestricted)},
		{trial: trial{name: "one symmetric carrier", want: "relay/udp"}, make: carrier(lab.Symmetric)},
	} {
		if !c.short && !full() {
			continue
		}
		c.caller, c.callee = c.make()
		o := couples[0].call(c.trial)
		if o.err != nil {
			t.Errorf("%s: %v", c.name, o.err)
		}
		t.Logf("%s: %s in %d ms", c.name, o.route, o.setup.Milliseconds())
		c.caller.Close()
		c.callee.Close()
	}
}

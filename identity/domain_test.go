package identity

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/identity/pb"
)

func nextDomain(d *DomainDocument, change func(*DomainDocument)) DomainDocument {
	n := *d
	n.Key = PublicKey{}
	n.Epoch++
	n.Previous = d.Hash()
	n.Issued, n.Expires = d.Issued.Add(day), d.Expires.Add(day)
	if change != nil {
		change(&n)
	}
	return n
}

func TestDomainDocumentSurvivesTheRoundTrip(t *testing.T) {
	d := testDomain(2)
	d.DirectoryKey = testRoot(9).Public()
	d.Contact = "ops@a.example"
	d.Services = []string{"signal", "turn"}
	signed := must(SignDomain(testHost(1), d))
	got, err := ParseDomain(signed.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got.Domain != d.Domain || got.Key != publicOf(testHost(1)) || got.Epoch != 1 || !got.Issued.Equal(d.Issued) ||
		!got.Expires.Equal(d.Expires) || got.DirectoryKey != d.DirectoryKey || got.Contact != d.Contact ||
		len(got.Nodes) != 2 || len(got.Nodes[0].Addresses) != 2 || len(got.Services) != 2 || got.Hash() != signed.Hash() {
		t.Errorf("got %+v", got)
	}
	if !got.HasNode(d.Nodes[1].PeerID) || got.HasNode(publicOf(testHost(7)).PeerID()) {
		t.Error("HasNode is wrong")
	}
}

func TestDomainPinFollowsEpochs(t *testing.T) {
	key := testHost(1)
	first := must(SignDomain(key, testDomain(1)))
	second := must(SignDomain(key, nextDomain(first, nil)))
	third := must(SignDomain(key, nextDomain(second, nil)))
	rival := must(SignDomain(key, nextDomain(first, func(d *DomainDocument) { d.Contact = "another" })))
	foreign := testDomain(1)
	foreign.Domain = "b.example"
	now := t0.Add(3 * day)
	for _, tt := range []struct {
		name string
		pin  DomainPin
		doc  *DomainDocument
		want Change
		err  error
	}{
		{"nothing pinned", DomainPin{Domain: "a.example"}, first, ChangeFirst, nil},
		{"key pinned by policy", DomainPin{Domain: "a.example", Key: publicOf(key)}, second, ChangeFirst, nil},
		{"other key pinned by policy", DomainPin{Domain: "a.example", Key: publicOf(testHost(2))}, first, 0, ErrKeyChanged},
		{"same again", first.Pin(), first, ChangeNone, nil},
		{"successor", first.Pin(), second, ChangeNext, nil},
		{"one left out", first.Pin(), third, ChangeJumped, nil},
		{"older", second.Pin(), first, 0, ErrRollback},
		{"same epoch, other hash", second.Pin(), rival, 0, ErrEquivocation},
		{"other domain", first.Pin(), must(SignDomain(key, foreign)), 0, ErrOtherIdentity},
	} {
		v, err := tt.pin.Check(tt.doc, now)
		if !errors.Is(err, tt.err) || err == nil && v.Change != tt.want || err != nil && v != (Verdict{}) {
			t.Errorf("%s: %v, %v", tt.name, v, err)
		}
	}
}

func TestDomainDocumentHasNoGrace(t *testing.T) {
	d := must(SignDomain(testHost(1), testDomain(1)))
	for at, want := range map[time.Duration]error{
		-6 * time.Minute:           ErrNotYetValid,
		0:                          nil,
		DomainLifetime - 1:         nil,
		DomainLifetime:             ErrExpired,
		DomainLifetime + time.Hour: ErrExpired,
	} {
		if _, err := d.Pin().Check(d, t0.Add(at)); !errors.Is(err, want) {
			t.Errorf("%v after issue: %v, want %v", at, err, want)
		}
		if err := d.ValidAt(t0.Add(at)); !errors.Is(err, want) {
			t.Errorf("%v after issue: ValidAt %v, want %v", at, err, want)
		}
	}
}

func TestDomainKeyChangesOnlyByHandoverOfTheOldKey(t *testing.T) {
	oldKey, newKey, newest, thief := testHost(1), testHost(2), testHost(3), testHost(4)
	first := must(SignDomain(oldKey, testDomain(1)))
	handover := must(SignHandover(oldKey, "a.example", publicOf(newKey), 2))
	second := must(SignDomain(newKey, nextDomain(first, func(d *DomainDocument) { d.Handovers = []*Handover{handover} })))
	now := t0.Add(3 * day)

	v, err := first.Pin().Check(second, now)
	if err != nil || !v.KeyChanged || v.Change != ChangeNext {
		t.Errorf("handed over: %+v, %v", v, err)
	}
	// A partner that missed the second document still follows by the third.
	third := must(SignDomain(newKey, nextDomain(second, nil)))
	if v, err := first.Pin().Check(third, now); err != nil || !v.KeyChanged || v.Change != ChangeJumped {
		t.Errorf("handed over, one left out: %+v, %v", v, err)
	}
	// One that pinned nothing sees an ordinary document.
	if v, err := (DomainPin{Domain: "a.example"}).Check(third, now); err != nil || v.KeyChanged {
		t.Errorf("nothing pinned: %+v, %v", v, err)
	}
	// Two handovers in a row lead from the first key to the third.
	again := must(SignHandover(newKey, "a.example", publicOf(newest), 4))
	fourth := must(SignDomain(newest, nextDomain(third, func(d *DomainDocument) { d.Handovers = []*Handover{handover, again} })))
	for _, pin := range []DomainPin{first.Pin(), third.Pin(), {Domain: "a.example", Key: publicOf(oldKey)}} {
		if v, err := pin.Check(fourth, t0.Add(4*day)); err != nil || !v.KeyChanged {
			t.Errorf("two handovers, pin at epoch %d: %+v, %v", pin.Epoch, v, err)
		}
	}
	// Without a handover, or with one by somebody else, nothing moves.
	plain := must(SignDomain(thief, nextDomain(first, nil)))
	if _, err := first.Pin().Check(plain, now); !errors.Is(err, ErrKeyChanged) {
		t.Errorf("no handover: %v", err)
	}
	other := must(SignHandover(newKey, "a.example", publicOf(thief), 2))
	stolen := must(SignDomain(thief, nextDomain(first, func(d *DomainDocument) { d.Handovers = []*Handover{other} })))
	if _, err := first.Pin().Check(stolen, now); !errors.Is(err, ErrKeyChanged) {
		t.Errorf("handover by another key: %v", err)
	}
	// The old key, stolen later, cannot take the domain back once the new one is pinned.
	back := must(SignHandover(oldKey, "a.example", publicOf(thief), 5))
	taken := must(SignDomain(thief, nextDomain(fourth, func(d *DomainDocument) { d.Handovers = []*Handover{back} })))
	if _, err := fourth.Pin().Check(taken, t0.Add(5*day)); !errors.Is(err, ErrKeyChanged) {
		t.Errorf("handover by a key that handed over before: %v", err)
	}
	// A handover that began before the pinned epoch is old news and moves nothing.
	rollback := must(SignHandover(newKey, "a.example", publicOf(thief), 2))
	replayed := must(SignDomain(thief, nextDomain(third, func(d *DomainDocument) { d.Handovers = []*Handover{rollback} })))
	if _, err := third.Pin().Check(replayed, now); !errors.Is(err, ErrKeyChanged) {
		t.Errorf("handover from before the pinned epoch: %v", err)
	}
}

func TestHandoversFormOneChainToTheKey(t *testing.T) {
	a, b, c := testHost(1), testHost(2), testHost(3)
	ab := must(SignHandover(a, "a.example", publicOf(b), 2))
	bc := must(SignHandover(b, "a.example", publicOf(c), 3))
	late := must(SignHandover(b, "a.example", publicOf(c), 9))
	same := must(SignHandover(b, "a.example", publicOf(c), 2))
	xc := must(SignHandover(testHost(9), "a.example", publicOf(c), 3))
	elsewhere := must(SignHandover(b, "b.example", publicOf(c), 3))
	for name, tt := range map[string]struct {
		key  ed25519.PrivateKey
		list []*Handover
		ok   bool
	}{
		"none":                     {c, nil, true},
		"chain":                    {c, []*Handover{ab, bc}, true},
		"last link only":           {c, []*Handover{bc}, true},
		"does not lead to the key": {a, []*Handover{ab, bc}, false},
		"wrong order":              {b, []*Handover{bc, ab}, false},
		"gap, epochs rising":       {c, []*Handover{ab, xc}, false},
		"the same twice":           {c, []*Handover{ab, ab}, false},
		"of a later epoch":         {c, []*Handover{late}, false},
		"two at one epoch":         {c, []*Handover{ab, same}, false},
		"of another domain":        {c, []*Handover{elsewhere}, false},
	} {
		d := testDomain(1)
		d.Epoch, d.Previous = 4, [32]byte{1}
		d.Handovers = tt.list
		if _, err := SignDomain(tt.key, d); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	var chain []*Handover
	for n := byte(1); n <= 5; n++ {
		chain = append(chain, must(SignHandover(testHost(n), "a.example", publicOf(testHost(n+1)), uint64(n)+1)))
	}
	for _, list := range [][]*Handover{chain[1:], chain} {
		d := testDomain(1)
		d.Epoch, d.Previous, d.Handovers = 6, [32]byte{1}, list
		if _, err := SignDomain(testHost(6), d); (err == nil) != (len(list) == 4) {
			t.Errorf("chain of %d handovers: %v", len(list), err)
		}
	}
	if _, err := SignHandover(a, "a.example", publicOf(a), 2); err == nil {
		t.Error("a key handed over to itself")
	}
	if _, err := SignHandover(a, "a.example", publicOf(b), 1); err == nil {
		t.Error("a handover at epoch 1 was accepted")
	}
}

func TestDomainDocumentRules(t *testing.T) {
	key := testHost(1)
	good := must(SignDomain(key, testDomain(1)))
	peer := good.Nodes[0].PeerID
	for name, change := range map[string]func(*pb.DomainDocument){
		"version 2":              func(m *pb.DomainDocument) { m.Version = 2 },
		"no version":             func(m *pb.DomainDocument) { m.Version = 0 },
		"upper-case domain":      func(m *pb.DomainDocument) { m.Domain = "A.example" },
		"no domain":              func(m *pb.DomainDocument) { m.Domain = "" },
		"epoch 0":                func(m *pb.DomainDocument) { m.Epoch = 0 },
		"epoch above 2^53":       func(m *pb.DomainDocument) { m.Epoch = 1 << 53; m.Previous = peer[:32] },
		"previous at epoch 1":    func(m *pb.DomainDocument) { m.Previous = peer[:32] },
		"no previous at epoch 2": func(m *pb.DomainDocument) { m.Epoch = 2 },
		"short previous":         func(m *pb.DomainDocument) { m.Epoch, m.Previous = 2, peer[:31] },
		"zero previous":          func(m *pb.DomainDocument) { m.Epoch, m.Previous = 2, make([]byte, 32) },
		"lives too long":         func(m *pb.DomainDocument) { m.Expires = m.Issued + 35*86400 + 1 },
		"ends before it begins":  func(m *pb.DomainDocument) { m.Expires = m.Issued },
		"time beyond year 9999":  func(m *pb.DomainDocument) { m.Issued, m.Expires = 1<<62, 1<<62+1 },
		"no nodes":               func(m *pb.DomainDocument) { m.Nodes = nil },
		"node twice":             func(m *pb.DomainDocument) { m.Nodes = append(m.Nodes, m.Nodes[0]) },
		"peer id of another kind": func(m *pb.DomainDocument) {
			m.Nodes[0].PeerId = append([]byte{0x12, 0x20}, make([]byte, 32)...)
		},
		"address with a peer id":  func(m *pb.DomainDocument) { m.Nodes[0].Addresses[0] += "/p2p/" + peer.String() },
		"address without a slash": func(m *pb.DomainDocument) { m.Nodes[0].Addresses[0] = "a.example:7421" },
		"address with a newline":  func(m *pb.DomainDocument) { m.Nodes[0].Addresses[0] = "/dns4/a\nb/tcp/1" },
		"address too long": func(m *pb.DomainDocument) {
			m.Nodes[0].Addresses[0] = "/dns4/" + strings.Repeat("a", 251)
		},
		"nine addresses": func(m *pb.DomainDocument) {
			m.Nodes[0].Addresses = strings.Split(strings.Repeat("/ip4/1.2.3.4/tcp/1 ", 8)+"/ip4/1.2.3.4/tcp/1", " ")
		},
		"directory key on no curve": func(m *pb.DomainDocument) { m.DirectoryKey = append([]byte{2}, make([]byte, 31)...) },
		"contact too long":          func(m *pb.DomainDocument) { m.Contact = strings.Repeat("x", 257) },
		"contact that clears the terminal": func(m *pb.DomainDocument) {
			m.Contact = "\x1b[2J"
		},
		"contact that reorders text": func(m *pb.DomainDocument) { m.Contact = "a\u202eb" },
		"nine services": func(m *pb.DomainDocument) {
			m.Services = strings.Split("a b c d e f g h i", " ")
		},
		"service twice":        func(m *pb.DomainDocument) { m.Services = []string{"turn", "turn"} },
		"service without name": func(m *pb.DomainDocument) { m.Services = []string{""} },
		"service in capitals":  func(m *pb.DomainDocument) { m.Services = []string{"TURN"} },
	} {
		m := open(t, good.Bytes(), &pb.DomainDocument{})
		change(m)
		if _, err := ParseDomain(forge(t, key, ContextDomain, m)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := ParseDomain(forge(t, key, ContextDomain, open(t, good.Bytes(), &pb.DomainDocument{}))); err != nil {
		t.Errorf("unchanged: %v", err)
	}
	if _, err := SignDomain(key, DomainDocument{Key: testRoot(1).Public()}); !errors.Is(err, ErrOtherIdentity) {
		t.Errorf("another key named: %v", err)
	}
}

func TestDomainDocumentOfSixteenFullNodesIsTooLong(t *testing.T) {
	d := testDomain(16)
	if _, err := SignDomain(testHost(1), d); err != nil {
		t.Errorf("sixteen nodes with two addresses each: %v", err)
	}
	for i := range d.Nodes {
		d.Nodes[i].Addresses = []string{"/dns4/" + strings.Repeat("a", 240), "/dns4/" + strings.Repeat("b", 240)}
	}
	if _, err := SignDomain(testHost(1), d); err == nil {
		t.Error("more than 6,144 bytes were accepted")
	}
	if _, err := SignDomain(testHost(1), testDomain(17)); err == nil {
		t.Error("seventeen nodes were accepted")
	}
}

func TestDescriptorOfTheHostKey(t *testing.T) {
	d := testDescriptor(1, t0)
	got, err := ParseDescriptor(d.Bytes())
	if err != nil || got.PeerID != publicOf(testHost(1)).PeerID() || got.RoutingKey != d.RoutingKey ||
		got.Domain != "b.example" || !got.NotBefore.Equal(t0) {
		t.Fatalf("%+v, %v", got, err)
	}
	for at, want := range map[time.Duration]error{
		-6 * time.Minute:   ErrNotYetValid,
		0:                  nil,
		DescriptorLifetime: ErrExpired,
	} {
		if err := d.ValidAt(t0.Add(at)); !errors.Is(err, want) {
			t.Errorf("%v after its begin: %v", at, err)
		}
	}
	for name, change := range map[string]func(*pb.NodeDescriptor){
		"version 2":               func(m *pb.NodeDescriptor) { m.Version = 2 },
		"another peer id":         func(m *pb.NodeDescriptor) { id := publicOf(testHost(2)).PeerID(); m.PeerId = id[:] },
		"no domain":               func(m *pb.NodeDescriptor) { m.Domain = "" },
		"lives over eight days":   func(m *pb.NodeDescriptor) { m.NotAfter++ },
		"routing key low order":   func(m *pb.NodeDescriptor) { m.RoutingKey = append([]byte{1}, make([]byte, 31)...) },
		"routing key of 31 bytes": func(m *pb.NodeDescriptor) { m.RoutingKey = m.RoutingKey[:31] },
		"no routing key":          func(m *pb.NodeDescriptor) { m.RoutingKey = nil },
	} {
		m := open(t, d.Bytes(), &pb.NodeDescriptor{})
		change(m)
		if _, err := ParseDescriptor(forge(t, testHost(1), ContextDescriptor, m)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := SignDescriptor(testHost(1), NodeDescriptor{PeerID: publicOf(testHost(2)).PeerID()}); !errors.Is(err, ErrOtherIdentity) {
		t.Errorf("another peer id named: %v", err)
	}
}

func TestDescriptorIsNeverOlderThanTheLastSeen(t *testing.T) {
	old, current := testDescriptor(1, t0), testDescriptor(1, t0.Add(7*day))
	rival := *current
	rival.RoutingKey[0] ^= 1
	shorter := *current
	shorter.NotAfter = shorter.NotAfter.Add(-time.Hour)
	for _, tt := range []struct {
		name    string
		d, last *NodeDescriptor
		want    error
	}{
		{"nothing seen", old, nil, nil},
		{"same again", old, old, nil},
		{"newer", current, old, nil},
		{"older", old, current, ErrRollback},
		{"same begin, other key", &rival, current, ErrEquivocation},
		{"same begin and key, ends earlier", &shorter, current, ErrRollback},
		{"another node", testDescriptor(2, t0.Add(9*day)), current, ErrOtherIdentity},
	} {
		if err := tt.d.Follows(tt.last); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
}

package identity

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity/pb"
)

type objectsFile struct {
	Comment  string         `json:"comment"`
	Accepted []objectVector `json:"accepted"`
	Refused  []objectVector `json:"refused"`
}

// objectVector is one signed object. Signer is the seed of the key whose signature is on
// it: Ed25519 is deterministic, so that a second implementation can make the accepted ones
// and compare bytes.
type objectVector struct {
	Name   string         `json:"name"`
	Type   string         `json:"type"`
	Signer string         `json:"signer_seed,omitempty"`
	Signed string         `json:"signed"`
	Hash   string         `json:"hash,omitempty"`
	Fields map[string]any `json:"fields,omitempty"`
}

func certFields(c *DeviceCert) map[string]any {
	id := c.DeviceID()
	return map[string]any{"root_key": hx(c.Root[:]), "device_key": hx(c.Device[:]), "device_id": id.Hex(), "epoch": c.Epoch,
		"not_before": c.NotBefore.Unix(), "not_after": c.NotAfter.Unix()}
}

func listFields(l *DeviceList) map[string]any {
	devices, revoked, homes := []string{}, []string{}, []any{}
	for _, c := range l.Devices {
		devices = append(devices, hx(c.signed))
	}
	for _, id := range l.Revoked {
		revoked = append(revoked, id.Hex())
	}
	for _, h := range l.Homes {
		homes = append(homes, map[string]string{"peer_id": h.PeerID.String(), "domain": h.Domain})
	}
	return map[string]any{"root_key": hx(l.Root[:]), "epoch": l.Epoch, "previous": hx(orAbsent(l.Previous)), "issued": l.Issued.Unix(),
		"expires": l.Expires.Unix(), "devices": devices, "revoked": revoked, "lowest_suite": l.LowestSuite,
		"recovery": hx(orAbsent(l.Recovery)), "homes": homes}
}

func descriptorFields(d *NodeDescriptor) map[string]any {
	return map[string]any{"peer_id": d.PeerID.String(), "domain": d.Domain, "routing_key": hx(d.RoutingKey[:]),
		"not_before": d.NotBefore.Unix(), "not_after": d.NotAfter.Unix()}
}

func handoverFields(h *Handover) map[string]any {
	return map[string]any{"domain": h.Domain, "old_key": hx(h.Old[:]), "new_key": hx(h.New[:]), "epoch": h.Epoch}
}

func domainFields(d *DomainDocument) map[string]any {
	nodes, handovers := []any{}, []string{}
	for _, n := range d.Nodes {
		nodes = append(nodes, map[string]any{"peer_id": n.PeerID.String(), "addresses": n.Addresses})
	}
	for _, h := range d.Handovers {
		handovers = append(handovers, hx(h.signed))
	}
	return map[string]any{"domain": d.Domain, "domain_key": hx(d.Key[:]), "epoch": d.Epoch, "previous": hx(orAbsent(d.Previous)),
		"issued": d.Issued.Unix(), "expires": d.Expires.Unix(), "nodes": nodes, "directory_key": hx(orAbsent(d.DirectoryKey)),
		"contact": d.Contact, "services": append([]string{}, d.Services...), "handovers": handovers}
}

// parseAny reads a signed object of a named type and returns its fields.
func parseAny(kind string, signed []byte) (map[string]any, error) {
	switch kind {
	case "DeviceCert":
		c, err := ParseDeviceCert(signed)
		if err != nil {
			return nil, err
		}
		return certFields(c), nil
	case "DeviceList":
		l, err := ParseDeviceList(signed)
		if err != nil {
			return nil, err
		}
		return listFields(l), nil
	case "NodeDescriptor":
		d, err := ParseDescriptor(signed)
		if err != nil {
			return nil, err
		}
		return descriptorFields(d), nil
	case "DomainDocument":
		d, err := ParseDomain(signed)
		if err != nil {
			return nil, err
		}
		return domainFields(d), nil
	case "DomainHandover":
		h, err := ParseHandover(signed)
		if err != nil {
			return nil, err
		}
		return handoverFields(h), nil
	}
	panic("unknown type " + kind)
}

// story is one history of an identity and of a domain, which the object and history
// vectors share.
type story struct {
	root                 *Root
	lists                []*DeviceList // epochs 1 to 4
	rival                *DeviceList   // another list of epoch 2
	recoveryChanged      *DeviceList   // epoch 5
	domainOld, domainNew ed25519.PrivateKey
	documents            []*DomainDocument // epochs 1 to 3; the third is of the new key
	handover             *Handover
}

func tellStory() story {
	s := story{root: testRoot(1), domainOld: testHost(11), domainNew: testHost(12)}
	first := must(s.root.NewList(testDevice(1).Public(), testHomes(1), [32]byte{}, t0))
	second := must(s.root.AddDevice(first, testDevice(2).Public(), t0.Add(day)))
	third := must(s.root.Revoke(second, testDevice(1).ID(), t0.Add(2*day)))
	fourth := must(s.root.SetRecovery(must(s.root.SetHomes(third, testHomes(2, 1), t0.Add(3*day))),
		RecoveryCommitment(testRoot(9).Public()), t0.Add(3*day)))
	s.lists = []*DeviceList{first, second, third, fourth}
	s.rival = must(s.root.AddDevice(first, testDevice(3).Public(), t0.Add(day)))
	changed := *fourth
	changed.Epoch, changed.Previous, changed.Recovery = fourth.Epoch+1, fourth.Hash(), RecoveryCommitment(testRoot(8).Public())
	s.recoveryChanged = must(s.root.SignList(changed))

	d := testDomain(2)
	d.Contact, d.Services = "ops@a.example", []string{"signal", "turn"}
	one := must(SignDomain(s.domainOld, d))
	two := must(SignDomain(s.domainOld, nextDomain(one, func(d *DomainDocument) { d.DirectoryKey = testRoot(7).Public() })))
	s.handover = must(SignHandover(s.domainOld, "a.example", publicOf(s.domainNew), 3))
	three := must(SignDomain(s.domainNew, nextDomain(two, func(d *DomainDocument) { d.Handovers = []*Handover{s.handover} })))
	s.documents = []*DomainDocument{one, two, three}
	return s
}

// mutation breaks one rule of a message.
type mutation[M proto.Message] struct {
	name   string
	change func(M)
}

func makeObjects(t *testing.T) objectsFile {
	f := objectsFile{Comment: specEncoding + "Signed objects. Everything but the clock and the history is judged. A refused one fails for the reason in its name alone: its signature is good unless the name says otherwise."}
	s := tellStory()
	add := func(name, kind string, signer ed25519.PrivateKey, signed []byte, hash [32]byte) {
		fields, err := parseAny(kind, signed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.Accepted = append(f.Accepted, objectVector{name, kind, hx(signer.Seed()), hx(signed), hx(orAbsent(hash)), fields})
	}
	refuse := func(name, kind string, signed []byte) {
		if _, err := parseAny(kind, signed); err == nil {
			t.Errorf("%s: accepted", name)
		}
		f.Refused = append(f.Refused, objectVector{Name: name, Type: kind, Signed: hx(signed)})
	}
	cert := s.lists[0].Devices[0]
	add("certificate of 90 days", "DeviceCert", s.root.key, cert.signed, [32]byte{})
	for i, name := range []string{"first list", "device added", "device revoked", "other homes, then a recovery commitment"} {
		add(name, "DeviceList", s.root.key, s.lists[i].signed, s.lists[i].hash)
	}
	descriptor := testDescriptor(1, t0)
	add("descriptor", "NodeDescriptor", testHost(1), descriptor.signed, [32]byte{})
	add("handover", "DomainHandover", s.domainOld, s.handover.signed, [32]byte{})
	for i, name := range []string{"first document", "directory key added", "of a new key, with the handover to it"} {
		key := s.domainOld
		if i == 2 {
			key = s.domainNew
		}
		add(name, "DomainDocument", key, s.documents[i].signed, s.documents[i].hash)
	}

	flipped := slices.Clone(cert.signed)
	flipped[0] ^= 1
	refuse("signature changed", "DeviceCert", flipped)
	refuse("signed by another key", "DeviceCert", SignObject(testRoot(2).key, ContextDeviceCert, cert.signed[SignatureSize:]))
	refuse("signed with the context string of a device list", "DeviceCert", SignObject(s.root.key, ContextDeviceList, cert.signed[SignatureSize:]))
	refuse("signature without a message", "DeviceCert", cert.signed[:SignatureSize])
	refuse("longer than 256 bytes", "DeviceCert", SignObject(s.root.key, ContextDeviceCert, make([]byte, 200)))
	changesDeviceCert := []mutation[*pb.DeviceCert]{
		{"version 2", func(m *pb.DeviceCert) { m.Version = 2 }},
		{"device key of small order", func(m *pb.DeviceCert) { m.DeviceKey = make([]byte, 32) }},
		{"device key is the root key", func(m *pb.DeviceCert) { m.DeviceKey = m.RootKey }},
		{"no epoch", func(m *pb.DeviceCert) { m.Epoch = 0 }},
		{"epoch above 2^53-1", func(m *pb.DeviceCert) { m.Epoch = 1 << 53 }},
		{"90 days and a second", func(m *pb.DeviceCert) { m.NotAfter++ }},
		{"ends at its begin", func(m *pb.DeviceCert) { m.NotAfter = m.NotBefore }},
		{"no begin", func(m *pb.DeviceCert) { m.NotBefore = 0 }},
	}
	for _, c := range changesDeviceCert {
		m := open(t, cert.signed, &pb.DeviceCert{})
		c.change(m)
		refuse(c.name, "DeviceCert", forge(t, s.root.key, ContextDeviceCert, m))
	}
	foreign := must(testRoot(2).CertifyDevice(testDevice(5).Public(), 1, t0, t0.Add(day)))
	later := must(s.root.CertifyDevice(testDevice(5).Public(), 9, t0, t0.Add(day)))
	changesDeviceList := []mutation[*pb.DeviceList]{
		{"epoch 1 with a predecessor", func(m *pb.DeviceList) { m.Epoch, m.Devices = 1, [][]byte{cert.signed} }},
		{"no predecessor", func(m *pb.DeviceList) { m.Previous = nil }},
		{"30 days and a second", func(m *pb.DeviceList) { m.Expires++ }},
		{"no devices", func(m *pb.DeviceList) { m.Devices = nil }},
		{"nine devices", func(m *pb.DeviceList) { m.Devices = certsOf(s.root, 9) }},
		{"device twice", func(m *pb.DeviceList) { m.Devices = slices.Repeat(m.Devices[:1], 2) }},
		{"certificate of another root", func(m *pb.DeviceList) { m.Devices = [][]byte{foreign.signed} }},
		{"certificate of a later epoch", func(m *pb.DeviceList) { m.Devices = [][]byte{later.signed} }},
		{"certificate with a broken signature", func(m *pb.DeviceList) { m.Devices = [][]byte{flipped} }},
		{"listed and revoked", func(m *pb.DeviceList) { id := testDevice(2).ID(); m.Revoked = [][]byte{id[:]} }},
		{"revoked twice", func(m *pb.DeviceList) { m.Revoked = slices.Repeat(m.Revoked, 2) }},
		{"revoked id of 15 bytes", func(m *pb.DeviceList) { m.Revoked[0] = m.Revoked[0][:15] }},
		{"seventeen revoked", func(m *pb.DeviceList) {
			m.Revoked = nil
			for i := range byte(17) {
				m.Revoked = append(m.Revoked, bytes.Repeat([]byte{i}, 16))
			}
		}},
		{"no lowest suite", func(m *pb.DeviceList) { m.LowestSuite = 0 }},
		{"recovery commitment of zeros", func(m *pb.DeviceList) { m.Recovery = make([]byte, 32) }},
		{"no homes", func(m *pb.DeviceList) { m.Homes = nil }},
		{"four homes", func(m *pb.DeviceList) { m.Homes = homesOf(1, 2, 3, 4) }},
		{"home twice", func(m *pb.DeviceList) { m.Homes = slices.Repeat(m.Homes, 2) }},
		{"home of small order", func(m *pb.DeviceList) { clear(m.Homes[0].PeerId[6:]) }},
		{"home with a capital letter", func(m *pb.DeviceList) { m.Homes[0].Domain = "B.example" }},
	}
	for _, c := range changesDeviceList {
		m := open(t, s.lists[2].signed, &pb.DeviceList{})
		c.change(m)
		refuse(c.name, "DeviceList", forge(t, s.root.key, ContextDeviceList, m))
	}
	changesNodeDescriptor := []mutation[*pb.NodeDescriptor]{
		{"peer id of another node", func(m *pb.NodeDescriptor) { id := publicOf(testHost(2)).PeerID(); m.PeerId = id[:] }},
		{"eight days and a second", func(m *pb.NodeDescriptor) { m.NotAfter++ }},
		{"routing key of low order", func(m *pb.NodeDescriptor) { m.RoutingKey = append([]byte{1}, make([]byte, 31)...) }},
		{"routing key not canonical", func(m *pb.NodeDescriptor) { m.RoutingKey[31] |= 0x80 }},
		{"no domain", func(m *pb.NodeDescriptor) { m.Domain = "" }},
	}
	for _, c := range changesNodeDescriptor {
		m := open(t, descriptor.signed, &pb.NodeDescriptor{})
		c.change(m)
		refuse(c.name, "NodeDescriptor", forge(t, testHost(1), ContextDescriptor, m))
	}
	changesDomainDocument := []mutation[*pb.DomainDocument]{
		{"35 days and a second", func(m *pb.DomainDocument) { m.Expires++ }},
		{"no nodes", func(m *pb.DomainDocument) { m.Nodes = nil }},
		{"node twice", func(m *pb.DomainDocument) { m.Nodes = append(m.Nodes, m.Nodes[0]) }},
		{"address with a peer id", func(m *pb.DomainDocument) { m.Nodes[0].Addresses = []string{"/ip4/192.0.2.1/tcp/1/p2p/x"} }},
		{"address that is none", func(m *pb.DomainDocument) { m.Nodes[0].Addresses = []string{"192.0.2.1:1"} }},
		{"directory key of small order", func(m *pb.DomainDocument) { m.DirectoryKey = append([]byte{1}, make([]byte, 31)...) }},
		{"contact with a control character", func(m *pb.DomainDocument) { m.Contact = "a\x1bb" }},
		{"service twice", func(m *pb.DomainDocument) { m.Services = []string{"turn", "turn"} }},
		{"handover of another domain", func(m *pb.DomainDocument) { m.Domain = "b.example" }},
		{"handovers that are no chain", func(m *pb.DomainDocument) { m.Handovers = slices.Repeat(m.Handovers, 2) }},
		{"handover to another key", func(m *pb.DomainDocument) {
			m.Handovers = [][]byte{must(SignHandover(s.domainOld, "a.example", publicOf(testHost(13)), 3)).signed}
		}},
		{"handover of a later epoch", func(m *pb.DomainDocument) {
			m.Handovers = [][]byte{must(SignHandover(s.domainOld, "a.example", publicOf(s.domainNew), 4)).signed}
		}},
	}
	for _, c := range changesDomainDocument {
		m := open(t, s.documents[2].signed, &pb.DomainDocument{})
		c.change(m)
		refuse(c.name, "DomainDocument", forge(t, s.domainNew, ContextDomain, m))
	}
	return f
}

type historyFile struct {
	Comment     string              `json:"comment"`
	Lists       []listHistory       `json:"device_lists"`
	Admit       []admitHistory      `json:"devices"`
	Documents   []documentHistory   `json:"domain_documents"`
	Descriptors []descriptorHistory `json:"node_descriptors"`
}

type listHistory struct {
	Name        string `json:"name"`
	PinEpoch    uint64 `json:"pin_epoch"` // 0: nothing pinned
	PinHash     string `json:"pin_hash"`
	PinRecovery string `json:"pin_recovery"`
	List        string `json:"list"`
	Now         int64  `json:"now"`
	Change      string `json:"change,omitempty"`
	Stale       bool   `json:"stale"`
	Error       string `json:"error,omitempty"`
}

type admitHistory struct {
	Name    string `json:"name"`
	List    string `json:"list"`
	Cert    string `json:"cert"`
	Now     int64  `json:"now"`
	Current bool   `json:"current"`
	Error   string `json:"error,omitempty"`
}

type documentHistory struct {
	Name       string `json:"name"`
	PinDomain  string `json:"pin_domain"`
	PinKey     string `json:"pin_key"` // empty: none
	PinEpoch   uint64 `json:"pin_epoch"`
	PinHash    string `json:"pin_hash"`
	Document   string `json:"document"`
	Now        int64  `json:"now"`
	Change     string `json:"change,omitempty"`
	KeyChanged bool   `json:"key_changed"`
	Error      string `json:"error,omitempty"`
}

type descriptorHistory struct {
	Name       string `json:"name"`
	Last       string `json:"last"`
	Descriptor string `json:"descriptor"`
	Error      string `json:"error,omitempty"`
}

func makeHistory(t *testing.T) historyFile {
	f := historyFile{Comment: specEncoding + "What a verifier that remembers something does with an object that is good in itself: the verdict, or the error by the words of identity.md, section 16."}
	s := tellStory()
	list := func(name string, p Pin, l *DeviceList, now time.Time) {
		v := listHistory{Name: name, PinEpoch: p.Epoch, PinHash: hx(orAbsent(p.Hash)), PinRecovery: hx(orAbsent(p.Recovery)),
			List: hx(l.signed), Now: now.Unix()}
		verdict, err := p.Check(l, now)
		v.Stale, v.Error = verdict.Stale, errorName(err)
		if err == nil {
			v.Change = verdict.Change.String()
		}
		f.Lists = append(f.Lists, v)
	}
	pin := func(l *DeviceList) Pin { return Pin{}.Advance(l, t0) }
	now := t0.Add(4 * day)
	list("nothing pinned", Pin{}, s.lists[1], now)
	list("the pinned list", pin(s.lists[1]), s.lists[1], now)
	list("the next list", pin(s.lists[1]), s.lists[2], now)
	list("a list between was not seen", pin(s.lists[0]), s.lists[2], now)
	list("the successor of a rival", pin(s.rival), s.lists[2], now)
	list("an older list", pin(s.lists[2]), s.lists[1], now)
	list("the same epoch with another hash", pin(s.lists[1]), s.rival, now)
	list("a recovery commitment appears", pin(s.lists[2]), s.lists[3], now)
	list("the recovery commitment changes", pin(s.lists[3]), s.recoveryChanged, now)
	list("issued in the future", Pin{}, s.lists[0], t0.Add(-ClockAhead-time.Second))
	list("issued five minutes ahead", Pin{}, s.lists[0], t0.Add(-ClockAhead))
	list("last second", pin(s.lists[0]), s.lists[0], t0.Add(ListLifetime-time.Second))
	list("first second past the end", pin(s.lists[0]), s.lists[0], t0.Add(ListLifetime))
	list("last second of the grace", pin(s.lists[0]), s.lists[0], t0.Add(ListLifetime+ListGrace-time.Second))
	list("past the grace", pin(s.lists[0]), s.lists[0], t0.Add(ListLifetime+ListGrace))

	admit := func(name string, l *DeviceList, c *DeviceCert, now time.Time) {
		current, err := l.Admit(c, now)
		f.Admit = append(f.Admit, admitHistory{name, hx(l.signed), hx(c.signed), now.Unix(), current, errorName(err)})
	}
	certify := func(r *Root, d *Device, epoch uint64) *DeviceCert {
		return must(r.CertifyDevice(d.Public(), epoch, t0, t0.Add(20*day)))
	}
	admit("listed", s.lists[1], s.lists[1].Devices[1], now)
	admit("listed, with an older certificate", s.lists[2], certify(s.root, testDevice(2), 1), now)
	admit("not listed, older certificate", s.lists[2], certify(s.root, testDevice(4), 1), now)
	admit("not listed, certificate of the same epoch", s.lists[2], certify(s.root, testDevice(4), 3), now)
	admit("not listed, certificate of a later epoch", s.lists[2], certify(s.root, testDevice(4), 4), now)
	admit("revoked", s.lists[2], s.lists[0].Devices[0], now)
	admit("revoked, certificate of a later epoch", s.lists[2], certify(s.root, testDevice(1), 9), now)
	admit("of another identity", s.lists[2], certify(testRoot(2), testDevice(2), 1), now)
	admit("certificate not valid yet", s.lists[1], s.lists[1].Devices[1], t0.Add(day-ClockAhead-time.Second))
	admit("certificate expired", s.lists[1], s.lists[1].Devices[1], t0.Add(day+CertLifetime))

	document := func(name string, p DomainPin, d *DomainDocument, now time.Time) {
		verdict, err := p.Check(d, now)
		v := documentHistory{name, p.Domain, hx(orAbsent(p.Key)), p.Epoch, hx(orAbsent(p.Hash)), hx(d.signed), now.Unix(), "",
			verdict.KeyChanged, errorName(err)}
		if err == nil {
			v.Change = verdict.Change.String()
		}
		f.Documents = append(f.Documents, v)
	}
	docs := s.documents
	rival := must(SignDomain(s.domainOld, nextDomain(docs[0], nil)))
	thief := testHost(14)
	taken := must(SignDomain(thief, nextDomain(docs[1], nil)))
	document("nothing pinned", DomainPin{Domain: "a.example"}, docs[1], now)
	document("key pinned by policy", DomainPin{Domain: "a.example", Key: docs[0].Key}, docs[1], now)
	document("another key pinned by policy", DomainPin{Domain: "a.example", Key: publicOf(thief)}, docs[1], now)
	document("the pinned document", docs[1].Pin(), docs[1], now)
	document("the next document", docs[0].Pin(), docs[1], now)
	document("an older document", docs[1].Pin(), docs[0], now)
	document("the same epoch with another hash", docs[1].Pin(), rival, now)
	document("handed over", docs[1].Pin(), docs[2], now)
	document("handed over, a document between was not seen", docs[0].Pin(), docs[2], now)
	document("key pinned by policy, handed over", DomainPin{Domain: "a.example", Key: docs[0].Key}, docs[2], now)
	document("another key without a handover", docs[1].Pin(), taken, now)
	document("of another domain", DomainPin{Domain: "b.example"}, docs[0], now)
	document("not valid yet", DomainPin{Domain: "a.example"}, docs[0], t0.Add(-ClockAhead-time.Second))
	document("expired", docs[0].Pin(), docs[0], t0.Add(DomainLifetime))

	descriptor := func(name string, last, d *NodeDescriptor) {
		f.Descriptors = append(f.Descriptors, descriptorHistory{name, hx(last.signed), hx(d.signed), errorName(d.Follows(last))})
	}
	old, young, other := testDescriptor(1, t0), testDescriptor(1, t0.Add(7*day)), testDescriptor(2, t0.Add(7*day))
	same := *young
	same.RoutingKey = other.RoutingKey
	rivalDescriptor := must(SignDescriptor(testHost(1), same))
	descriptor("the same again", young, young)
	descriptor("newer", old, young)
	descriptor("older", young, old)
	descriptor("same begin, another routing key", young, rivalDescriptor)
	descriptor("another node", young, other)
	return f
}

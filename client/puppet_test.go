package client_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// theatre is a domain whose only node is a hostile one: it exists in a middle alone, which
// answers for it, and its people are puppets. What a client sends there ends here.
type theatre struct {
	t       *testing.T
	m       *middle
	domain  string
	key     ed25519.PrivateKey // of the domain
	host    ed25519.PrivateKey
	peer    identity.PeerID
	routing *envelope.RoutingKey

	mu       sync.Mutex // guards the rest; taken inside the middle's lock
	document []byte
	docs     [][]byte // descriptors
	answers  map[identity.PublicKey]*envelopepb.Answer
	got      []arrival
	news     chan struct{}
	refuse   string          // code with which every envelope is refused; empty: all are stored
	fate     envelopepb.Fate // what became of any envelope that is asked for
}

// arrival is an envelope of the client that came to the theatre.
type arrival struct {
	hop     envelope.Hop
	payload []byte
	ttl     envelope.TTL
}

func newKey(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(t *testing.T, key ed25519.PrivateKey) identity.PublicKey {
	t.Helper()
	k, err := identity.CheckKey(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newTheatre(t *testing.T, m *middle, domain string) *theatre {
	t.Helper()
	h := &theatre{
		t: t, m: m, domain: domain, key: newKey(t), host: newKey(t), news: make(chan struct{}),
		answers: make(map[identity.PublicKey]*envelopepb.Answer),
	}
	h.peer = publicOf(t, h.host).PeerID()
	var err error
	if h.routing, err = envelope.GenerateRoutingKey(); err != nil {
		t.Fatal(err)
	}
	h.document = h.signDocument(h.key, 1, h.peer)
	h.docs = [][]byte{h.signDescriptor(h.host, h.domain, time.Now())}
	m.rule(func(m *middle) { m.answer = h.play })
	return h
}

func (h *theatre) signDocument(key ed25519.PrivateKey, epoch uint64, nodes ...identity.PeerID) []byte {
	h.t.Helper()
	d := identity.DomainDocument{Domain: h.domain, Epoch: epoch, Issued: time.Now(), Expires: time.Now().Add(24 * time.Hour)}
	if epoch > 1 {
		d.Previous = [32]byte{1}
	}
	for _, n := range nodes {
		d.Nodes = append(d.Nodes, identity.DomainNode{PeerID: n, Addresses: []string{"/ip4/127.0.0.1/tcp/1"}})
	}
	doc, err := identity.SignDomain(key, d)
	if err != nil {
		h.t.Fatal(err)
	}
	return doc.Bytes()
}

func (h *theatre) signDescriptor(host ed25519.PrivateKey, domain string, from time.Time) []byte {
	h.t.Helper()
	d, err := identity.SignDescriptor(host, identity.NodeDescriptor{
		Domain: domain, RoutingKey: h.routing.Public(), NotBefore: from, NotAfter: from.Add(identity.DescriptorLifetime),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return d.Bytes()
}

// stage changes what the theatre says.
func (h *theatre) stage(change func(*theatre)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

// play answers a client's frame that is for this domain.
func (h *theatre) play(f *pb.ClientFrame) *pb.NodeFrame {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch k := f.Kind.(type) {
	case *pb.ClientFrame_Domain:
		if k.Domain.Domain != h.domain {
			return nil
		}
		return &pb.NodeFrame{Kind: &pb.NodeFrame_Domain{Domain: &pb.DomainAnswer{Document: h.document, Descriptors: h.docs}}}
	case *pb.ClientFrame_Query:
		if identity.PeerID(k.Query.Destination) != h.peer {
			return nil
		}
		return &pb.NodeFrame{Kind: &pb.NodeFrame_Answer{Answer: &pb.Answer{Box: h.answerLocked(k.Query.Box)}}}
	case *pb.ClientFrame_Submit:
		e, err := envelope.Parse(k.Submit.Envelope)
		if err != nil || e.Destination != h.peer {
			return nil
		}
		return h.receiveLocked(e)
	}
	return nil
}

func (h *theatre) answerLocked(box []byte) []byte {
	q, err := h.routing.OpenQuery(box, h.peer)
	if err != nil {
		h.t.Errorf("a query does not open: %v", err)
		return nil
	}
	a := &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_ABSENT}
	if q.Operation == envelopepb.Operation_OPERATION_LOOKUP {
		if scripted := h.answers[identity.PublicKey(q.Argument)]; scripted != nil {
			a = scripted
		}
	}
	if q.Operation == envelopepb.Operation_OPERATION_OUTCOME && h.fate != envelopepb.Fate_FATE_UNSPECIFIED {
		a = &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_FOUND, Fate: h.fate}
	}
	sealed, err := q.SealAnswer(a)
	if err != nil {
		h.t.Errorf("an answer is not sealed: %v", err)
	}
	return sealed
}

func (h *theatre) receiveLocked(e *envelope.Envelope) *pb.NodeFrame {
	hop, err := h.routing.OpenHop(e, h.peer)
	if err != nil {
		h.t.Errorf("a hop does not open: %v", err)
		return nil
	}
	h.got = append(h.got, arrival{hop, e.Payload, e.TTL})
	close(h.news)
	h.news = make(chan struct{})
	id := e.ID()
	r := &pb.Receipt{EnvelopeId: id[:], Class: pb.ReceiptClass_RECEIPT_STORED}
	if e.TTL == envelope.Live {
		r.Class = pb.ReceiptClass_RECEIPT_DELIVERED
	}
	if h.refuse != "" {
		r.Class, r.Code = pb.ReceiptClass_RECEIPT_REFUSED, h.refuse
	}
	return &pb.NodeFrame{Kind: &pb.NodeFrame_Receipt{Receipt: r}}
}

// next waits for the next envelope that fits and takes it.
func (h *theatre) next(what string, fits func(arrival) bool) arrival {
	h.t.Helper()
	a, ok := h.take(within(h.t).Done(), fits)
	if !ok {
		h.t.Fatalf("%s did not come", what)
	}
	return a
}

// take is next until stop is closed.
func (h *theatre) take(stop <-chan struct{}, fits func(arrival) bool) (arrival, bool) {
	for {
		h.mu.Lock()
		i := slices.IndexFunc(h.got, fits)
		var a arrival
		if i >= 0 {
			a = h.got[i]
			h.got = slices.Delete(h.got, i, i+1)
		}
		news := h.news
		h.mu.Unlock()
		if i >= 0 {
			return a, true
		}
		select {
		case <-news:
		case <-stop:
			return a, false
		}
	}
}

// arrivals is how many envelopes wait to be looked at.
func (h *theatre) arrivals() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

// puppet is a person, or one device of it, that does exactly what the test says.
type puppet struct {
	h       *theatre
	root    *identity.Root
	device  *identity.Device
	list    *identity.DeviceList
	prekeys []*envelope.Prekey // newest last
	bundle  *envelope.Bundle
	tag     envelope.RouteTag
	token   envelope.Token
	opener  *envelope.Opener
	theirs  *envelope.Bundle     // of the client it deals with
	them    *identity.DeviceList // its list
	time    func() time.Time     // nil: the machine's
}

func (p *puppet) now() time.Time {
	if p.time == nil {
		return time.Now()
	}
	return p.time()
}

func newRoot(t *testing.T) *identity.Root {
	t.Helper()
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		t.Fatal(err)
	}
	return identity.RootFromSeed(seed)
}

// puppet makes a person whose home is the theatre, and lets the theatre answer for it.
func (h *theatre) puppet() *puppet {
	h.t.Helper()
	root := newRoot(h.t)
	device, err := identity.GenerateDevice()
	if err != nil {
		h.t.Fatal(err)
	}
	list, err := root.NewList(device.Public(), []identity.Home{{PeerID: h.peer, Domain: h.domain}}, [32]byte{}, time.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	p := h.deviceOf(root, device, list)
	h.stage(func(h *theatre) { h.answers[root.Public()] = p.answer() })
	return p
}

func (h *theatre) deviceOf(root *identity.Root, device *identity.Device, list *identity.DeviceList) *puppet {
	h.t.Helper()
	p := &puppet{h: h, root: root, device: device, list: list, tag: envelope.NewRouteTag(), token: envelope.Token{1, 2, 3}}
	p.rekey(time.Now())
	var err error
	if p.opener, err = envelope.NewOpener(envelope.OpenerConfig{
		Root: root.Public(), Device: device.ID(), Tag: p.tag, Prekeys: p, Contacts: p, Now: time.Now,
		OwnList: func() *identity.DeviceList { return p.list }, Replay: envelope.NewMemoryReplay(time.Now),
	}); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// rekey makes a new prekey, as a device does each day.
func (p *puppet) rekey(now time.Time) {
	t := p.h.t
	t.Helper()
	prekey, err := envelope.GeneratePrekey(now)
	if err != nil {
		t.Fatal(err)
	}
	p.prekeys = append(p.prekeys, prekey)
	if p.bundle, err = prekey.Bundle(p.device, p.id(), p.list.Epoch, envelope.Route{
		Home: identity.Home{PeerID: p.h.peer, Domain: p.h.domain}, Tag: p.tag, TokenEpoch: 1,
	}); err != nil {
		t.Fatal(err)
	}
}

func (p *puppet) ByHint(hint envelope.Hint) (*envelope.Prekey, error) {
	for _, k := range p.prekeys {
		if k.ID().Hint() == hint {
			return k, nil
		}
	}
	return nil, envelope.ErrNoPrekey
}

// Contact: a puppet trusts everybody.
func (p *puppet) Contact(identity.PublicKey) (envelope.Contact, error) {
	return envelope.Contact{Standing: envelope.Accepted, List: p.them}, nil
}

func (p *puppet) answer() *envelopepb.Answer {
	return &envelopepb.Answer{
		Status: envelopepb.AnswerStatus_ANSWER_FOUND, List: p.list.Bytes(), Bundles: [][]byte{p.bundle.Bytes()},
	}
}

func (p *puppet) id() identity.PublicKey { return p.root.Public() }

func (p *puppet) address() identity.Address {
	return identity.Address{Root: p.id(), Domain: p.h.domain, Home: p.h.peer}
}

// study learns what the middle saw the client publish: its list, its prekey, its mailbox.
func (p *puppet) study(client identity.PublicKey) {
	t := p.h.t
	t.Helper()
	p.h.m.rule(func(m *middle) {
		for _, f := range m.sent {
			pub := f.GetPublish()
			if pub == nil {
				continue
			}
			list, err := identity.ParseDeviceList(pub.List)
			if err != nil {
				t.Error(err)
				return
			}
			if list.Root != client {
				continue
			}
			p.them = list
			if p.theirs, err = envelope.ParseBundle(pub.Bundles[0], list, time.Now()); err != nil {
				t.Error(err)
			}
		}
	})
	if p.theirs == nil {
		t.Fatal("the client has published nothing")
	}
}

func (p *puppet) cert() *identity.DeviceCert {
	c, ok := p.list.Device(p.device.ID())
	if !ok {
		p.h.t.Fatal("a puppet's list does not name its device")
	}
	return c
}

// grant is leave to write to this puppet.
func (p *puppet) grant() *envelope.Grant {
	return &envelope.Grant{
		Home: identity.Home{PeerID: p.h.peer, Domain: p.h.domain}, Tag: p.tag, Token: p.token, TokenEpoch: 1, Device: p.device.ID(),
	}
}

// seal makes a payload for the client.
func (p *puppet) seal(body envelope.Body, change ...func(*envelope.Message)) []byte {
	t := p.h.t
	t.Helper()
	m, err := envelope.NewMessage(body, time.Now(), envelope.MaxLifetime(body.Type()))
	if err != nil {
		t.Fatal(err)
	}
	m.SetEpochs(p.list, p.them)
	m.Grant = p.grant()
	for _, f := range change {
		f(&m)
	}
	payload, _, err := envelope.SealMessage(p.device, p.cert(), p.theirs, m)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

var storedID uint64 = 1 << 40 // of injected deliveries; guarded by injectMu
var injectMu sync.Mutex

// deliver gives the client a payload as its node would.
func (p *puppet) deliver(payload []byte, knock bool) {
	injectMu.Lock()
	storedID++
	id := storedID
	injectMu.Unlock()
	d := &pb.Deliver{StoredId: id, Knock: knock, Payload: payload, EnvelopeId: make([]byte, 16), Hint: make([]byte, 2)}
	if _, sealed := envelope.PayloadHandle(payload); sealed {
		hint := p.theirs.PrekeyID.Hint()
		d.Hint = hint[:]
	} else {
		d.StoredId = 0
	}
	p.h.m.inject(&pb.NodeFrame{Kind: &pb.NodeFrame_Deliver{Deliver: d}})
}

// opened waits for a sealed message of a type and opens it.
func (p *puppet) opened(kind envelopepb.Type) *envelope.Opened {
	t := p.h.t
	t.Helper()
	var out *envelope.Opened
	p.h.next(kind.String(), func(a arrival) bool {
		if a.hop.Tag != p.tag {
			return false
		}
		if _, sealed := envelope.PayloadHandle(a.payload); !sealed {
			return false
		}
		o, err := p.peek(a)
		if err != nil {
			t.Errorf("what the client sent does not open: %v", err)
			return false
		}
		if o.Type != kind {
			return false
		}
		out = o
		return true
	})
	return out
}

// peek opens without remembering: the same arrival may be looked at more than once.
func (p *puppet) peek(a arrival) (*envelope.Opened, error) {
	o, err := envelope.NewOpener(envelope.OpenerConfig{
		Root: p.id(), Device: p.device.ID(), Tag: p.tag, Prekeys: p, Contacts: p, Now: p.now,
		OwnList: func() *identity.DeviceList { return p.list }, Replay: envelope.NewMemoryReplay(time.Now),
	})
	if err != nil {
		return nil, err
	}
	return o.Open(a.payload, a.hop.Hint, a.hop.Knock)
}

// befriended makes a puppet and the client contacts: the client knocks and the puppet says
// yes.
func befriended(t *testing.T, h *theatre, who *human) *puppet {
	t.Helper()
	p := h.puppet()
	p.study(who.id())
	if _, err := who.Knock(within(t), p.address(), "hello", who.name); err != nil {
		t.Fatalf("%s knocks at a puppet: %v", who.name, err)
	}
	p.opened(envelopepb.Type_TYPE_KNOCK)
	p.deliver(p.seal(&envelope.Knock{Accept: true, Home: identity.Home{PeerID: h.peer, Domain: h.domain}}), false)
	told(t, who, func(e client.KnockAccepted) bool { return e.From == p.id() })
	return p
}

// alone starts a node behind a middle with one person at it, and a theatre in the middle.
func alone(t *testing.T) (*human, *theatre) {
	t.Helper()
	m := newMiddle(t)
	m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	who := newHumanAt(t, "alice", m.server.URL)
	return who, newTheatre(t, m, "theatre.example")
}

package envelope

import (
	"bytes"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// base is when all tests happen: nothing in this package may depend on the machine's clock.
var base = time.Date(2026, 11, 3, 10, 30, 0, 0, time.UTC)

func seed(b byte) (s [32]byte) {
	for i := range s {
		s[i] = b
	}
	return s
}

// party is one person with one device, and what its client would keep.
type party struct {
	t        testing.TB
	root     *identity.Root
	device   *identity.Device
	cert     *identity.DeviceCert
	list     *identity.DeviceList
	home     identity.Home
	tag      RouteTag
	token    Token
	now      time.Time
	contacts map[identity.PublicKey]Contact
	store    *secretStore
	prekeys  *Prekeys
	replay   Replay
	horizon  time.Time
	opener   *Opener
}

func (p *party) Contact(root identity.PublicKey) (Contact, error) { return p.contacts[root], nil }

// secretStore is a PrekeyStore in memory.
type secretStore struct{ m map[PrekeyID]PrekeySecret }

func (s *secretStore) Prekeys() ([]PrekeySecret, error) {
	var all []PrekeySecret
	for _, p := range s.m {
		all = append(all, p)
	}
	return all, nil
}
func (s *secretStore) PutPrekey(p PrekeySecret) error { s.m[p.ID] = p; return nil }
func (s *secretStore) DeletePrekeys(ids ...PrekeyID) error {
	for _, id := range ids {
		delete(s.m, id)
	}
	return nil
}

// newParty makes a person from one byte; the same byte is the same person.
func newParty(t testing.TB, n byte) *party {
	t.Helper()
	p := &party{
		t:        t,
		root:     identity.RootFromSeed(seed(n)),
		home:     identity.Home{PeerID: identity.DeviceFromSeed(seed(n ^ 0x80)).Public().PeerID(), Domain: "acme.example"},
		now:      base,
		contacts: make(map[identity.PublicKey]Contact),
	}
	list, err := p.root.NewList(identity.DeviceFromSeed(seed(n^0x40)).Public(), []identity.Home{p.home}, [32]byte{}, base.Add(-time.Hour))
	must(t, err)
	p.setDevice(list, identity.DeviceFromSeed(seed(n^0x40)), n)
	return p
}

// secondDevice is another device of p's person, whose list names both.
func (p *party) secondDevice(n byte) *party {
	p.t.Helper()
	d := identity.DeviceFromSeed(seed(n ^ 0x40))
	list, err := p.root.AddDevice(p.list, d.Public(), p.now)
	must(p.t, err)
	p.list = list
	q := &party{t: p.t, root: p.root, home: p.home, now: p.now, contacts: p.contacts}
	q.setDevice(list, d, n)
	return q
}

func (p *party) setDevice(list *identity.DeviceList, d *identity.Device, n byte) {
	p.t.Helper()
	p.list, p.device = list, d
	cert, ok := list.Device(d.ID())
	if !ok {
		p.t.Fatal("device not in its own list")
	}
	p.cert = cert
	p.tag = RouteTag(bytes.Repeat([]byte{n}, 16))
	p.token = Token(bytes.Repeat([]byte{n ^ 0xff}, 16))
	p.store = &secretStore{m: make(map[PrekeyID]PrekeySecret)}
	var err error
	p.prekeys, err = OpenPrekeys(p.store)
	must(p.t, err)
	_, err = p.prekeys.RotateNow(p.now)
	must(p.t, err)
	p.replay = NewMemoryReplay(p.clock)
	p.restart()
}

func (p *party) clock() time.Time { return p.now }

// restart makes a new opener over what a client keeps.
func (p *party) restart() {
	p.t.Helper()
	var err error
	p.opener, err = NewOpener(OpenerConfig{
		Root: p.root.Public(), Device: p.device.ID(), Tag: p.tag,
		Prekeys: p.prekeys, Contacts: p, OwnList: func() *identity.DeviceList { return p.list },
		Replay: p.replay, Now: p.clock, Horizon: p.horizon,
		ContactRate: Rate{PerSecond: 1e6, Burst: 1e6}, StrangerRate: Rate{PerSecond: 1e6, Burst: 1e6},
	})
	must(p.t, err)
}

// knows makes each an accepted contact of the other.
func (p *party) knows(q *party) {
	p.contacts[q.root.Public()] = Contact{Standing: Accepted, List: q.list}
	q.contacts[p.root.Public()] = Contact{Standing: Accepted, List: p.list}
}

func (p *party) bundle() *Bundle {
	p.t.Helper()
	own, err := p.prekeys.Current().Bundle(p.device, p.root.Public(), p.list.Epoch, Route{Home: p.home, Tag: p.tag, TokenEpoch: 1})
	must(p.t, err)
	b, err := ParseBundle(own.Bytes(), p.list, p.now)
	must(p.t, err)
	return b
}

func (p *party) grant() *Grant {
	return &Grant{Home: p.home, Tag: p.tag, Token: p.token, TokenEpoch: 1, Device: p.device.ID()}
}

// message is a message of p with correct times and epochs.
func (p *party) message(body Body, to *party) Message {
	p.t.Helper()
	m, err := NewMessage(body, p.now, time.Minute)
	must(p.t, err)
	m.SetEpochs(p.list, to.list)
	if ofCall(m.Type) {
		m.SessionID = SessionID(bytes.Repeat([]byte{7}, 16))
	}
	return m
}

// seal is a sealed message from p to q.
func (p *party) seal(body Body, q *party) []byte {
	p.t.Helper()
	payload, _, err := SealMessage(p.device, p.cert, q.bundle(), p.message(body, q))
	must(p.t, err)
	return payload
}

// sealSignedTo seals bytes that p signed, or did not, to q's present prekey.
func (p *party) sealSignedTo(signed []byte, q *party) []byte {
	p.t.Helper()
	payload, err := sealSigned(signed, q.bundle().recipient)
	must(p.t, err)
	return payload
}

func (p *party) open(payload []byte) (*Opened, error) {
	return p.opener.Open(payload, p.prekeys.Current().Hint(), false)
}

func (p *party) ring(q *party) *RingState {
	p.t.Helper()
	r, err := NewRing(p.device, p.cert, q.bundle(), RingConfig{
		Media: pb.Media_MEDIA_VIDEO, SessionID: SessionID(bytes.Repeat([]byte{7}, 16)),
		Reply: ReplyAddress{Home: p.home, Tag: p.tag, Token: p.token},
		Now:   p.now, OwnList: p.list, PeerList: q.list,
	})
	must(p.t, err)
	return r
}

func (p *party) answer(ring *Opened, kind pb.Type, caller *party) ([]byte, *Session) {
	p.t.Helper()
	payload, s, err := AnswerRing(p.device, p.cert, ring, AnswerConfig{
		Kind: kind, Reply: ReplyAddress{Home: p.home, Tag: p.tag, Token: p.token},
		Now: p.now, OwnList: p.list, CallerList: caller.list,
	})
	must(p.t, err)
	return payload, s
}

// call is a session between two people that know each other.
func call(t testing.TB, a, b *party) (caller, callee *Session) {
	t.Helper()
	ring := a.ring(b)
	opened, err := b.open(ring.Payload)
	must(t, err)
	payload, callee := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	answered, err := ring.Finish(payload, a.opener)
	must(t, err)
	return answered.Session, callee
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

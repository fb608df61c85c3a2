package testnet

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// person is a light client: it speaks the client link and keeps a ledger of what it sent, as
// the specification tells clients to, but seals nothing inside. It stands for many.
type person struct {
	w      *world
	name   string
	home   *station
	root   *identity.Root
	device *identity.Device
	list   *identity.DeviceList
	prekey *envelope.Prekey
	tag    envelope.RouteTag
	token  envelope.Token

	mu    sync.Mutex // guards all below
	rng   *rand.Rand
	mine  map[envelope.ID]*sending
	order []envelope.ID
	line  *line
	got   map[envelope.ID]bool
	acked map[uint64]bool
	deaf  time.Time // it does not read before
	spare int       // queries it may make now
	mark  string    // stands in what it writes
}

// sending is a letter from its sender's view.
type sending struct {
	*letter
	id       envelope.ID
	to       *station // nil: a liar
	dest     identity.PeerID
	accepted bool
	durable  bool // its own node has it on its disk
	stored   bool
	over     bool
	flying   bool // handed in on this line, its last receipt has not come
	asking   bool
	patient  bool // a refusal that time mends is tried again
	next     time.Time
	tries    int
	missed   int // how often nobody knew of it
}

// line is one connection of a person to its node.
type line struct {
	p    *person
	n    uint64
	ws   *websocket.Conn
	node *link.Node

	writing chan struct{} // orders writes; a mutex would stop virtual time while one waits

	mu      sync.Mutex // guards next, waiting, up
	next    uint64
	waiting map[uint64]func(*pb.NodeFrame)
	up      bool
}

func (w *world) newPerson(name string, home *station, rng *rand.Rand) (*person, error) {
	p := &person{w: w, name: name, home: home, rng: rng, mine: map[envelope.ID]*sending{}, got: map[envelope.ID]bool{}, acked: map[uint64]bool{},
		tag: envelope.NewRouteTag(), token: envelope.Token(envelope.NewMessageID())}
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rng.Uint32())
	}
	p.root = identity.RootFromSeed(seed)
	// Issued a while ago: the nodes' clocks go back at times.
	then := time.Now().Add(-6 * time.Hour)
	var err error
	if p.device, err = identity.GenerateDevice(); err != nil {
		return nil, err
	}
	if p.list, err = p.root.NewList(p.device.Public(), []identity.Home{{PeerID: home.peer, Domain: home.domain}}, [32]byte{}, then); err != nil {
		return nil, err
	}
	p.prekey, err = envelope.GeneratePrekey(then)
	return p, err
}

// run keeps a line to the node until ctx ends.
func (p *person) run(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := p.connect(ctx)
		if err == nil {
			p.serve(ctx, l)
			p.w.history.add(event{who: p.name, kind: lineLost, link: l.n})
		}
		p.w.wait(ctx, time.Duration(200+p.random(2500))*time.Millisecond)
	}
}

func (p *person) random(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

func (p *person) connect(ctx context.Context) (*line, error) {
	d := websocket.Dialer{Subprotocols: []string{link.Subprotocol}, HandshakeTimeout: link.HandshakeTimeout,
		NetDialContext: func(ctx context.Context, network, at string) (net.Conn, error) {
			return p.w.streams.dial(ctx, p.name, network, at)
		}}
	ws, _, err := d.DialContext(ctx, "ws://"+p.home.at+link.Path, nil)
	if err != nil {
		return nil, err
	}
	l := &line{p: p, n: p.w.lines.Add(1), ws: ws, waiting: map[uint64]func(*pb.NodeFrame){}, writing: make(chan struct{}, 1)}
	if err := l.handshake(); err != nil {
		return nil, errors.Join(err, ws.Close())
	}
	return l, nil
}

func (l *line) handshake() error {
	if err := l.ws.SetReadDeadline(time.Now().Add(link.HandshakeTimeout)); err != nil {
		return err
	}
	f, err := l.read()
	if err != nil {
		return err
	}
	if l.node, err = link.VerifyChallenge(f.GetChallenge()); err != nil {
		return err
	}
	l.p.w.learn(l.p.home, l.node.Descriptor)
	cert, _ := l.p.list.Device(l.p.device.ID())
	a, err := link.Authenticate(f.GetChallenge(), l.p.home.at, l.p.device, cert)
	if err != nil {
		return err
	}
	if err := l.send(&pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: a}}); err != nil {
		return err
	}
	l.next = 1
	if f, err = l.read(); err != nil {
		return err
	}
	if f.GetAuthenticated() == nil {
		return fmt.Errorf("not authenticated: %v", f)
	}
	return l.ws.SetReadDeadline(time.Time{})
}

func (l *line) read() (*pb.NodeFrame, error) {
	_, b, err := l.ws.ReadMessage()
	if err != nil {
		return nil, err
	}
	f, err := link.ParseNode(b)
	if err != nil {
		l.p.w.fail("%s got a frame that does not parse: %v", l.p.name, err)
	}
	return f, err
}

func (l *line) send(f *pb.ClientFrame) error {
	b, err := link.MarshalClient(f)
	if err != nil {
		return err
	}
	return l.sendBytes(b)
}

func (l *line) sendBytes(b []byte) error {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	if err := l.ws.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	return l.ws.WriteMessage(websocket.BinaryMessage, b)
}

// ask sends a frame and has its answers told on the reading goroutine.
func (l *line) ask(f *pb.ClientFrame, got func(*pb.NodeFrame)) {
	l.mu.Lock()
	l.next++
	f.Id = l.next
	l.waiting[f.Id] = got
	l.mu.Unlock()
	if err := l.send(f); err != nil {
		_ = l.ws.Close()
	}
}

func (l *line) answered(id uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, id)
}

// serve is a line from the handshake to its end.
func (p *person) serve(ctx context.Context, l *line) {
	stop := context.AfterFunc(ctx, func() { _ = l.ws.Close() })
	defer stop()
	over := make(chan struct{})
	var helpers sync.WaitGroup
	helpers.Go(func() { p.workLoop(l, over) })
	helpers.Go(func() { p.publish(l) })
	p.readLoop(l)
	_ = l.ws.Close()
	close(over)
	helpers.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line = nil
	for _, id := range p.order {
		p.mine[id].flying, p.mine[id].asking = false, false
	}
}

func (p *person) publish(l *line) {
	b, err := p.prekey.Bundle(p.device, p.root.Public(), p.list.Epoch, envelope.Route{
		Home: identity.Home{PeerID: p.home.peer, Domain: p.home.domain}, Tag: p.tag, TokenEpoch: 1})
	if err != nil {
		p.w.fail("%s: bundle: %v", p.name, err)
		return
	}
	hash := sha256.Sum256(p.token[:])
	l.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: p.list.Bytes(), Bundles: [][]byte{b.Bytes()}}}}, func(f *pb.NodeFrame) {
		if f.GetPublished() == nil {
			p.w.history.add(event{who: p.name, kind: remark, text: "not published", code: f.GetError().GetCode()})
			_ = l.ws.Close()
			return
		}
		// From the reading goroutine: it must not wait for the line to take it.
		go l.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: p.tag[:], TokenHash: hash[:], TokenEpoch: 1}}}, func(f *pb.NodeFrame) {
			if f.GetRegistered() == nil {
				p.w.history.add(event{who: p.name, kind: remark, text: "not registered", code: f.GetError().GetCode()})
				_ = l.ws.Close()
				return
			}
			p.mu.Lock()
			p.line = l
			p.mu.Unlock()
			p.w.registered(p)
		})
	})
}

func (p *person) readLoop(l *line) {
	for {
		p.mu.Lock()
		deaf := time.Until(p.deaf)
		p.mu.Unlock()
		if deaf > 0 {
			time.Sleep(deaf)
		}
		if err := l.ws.SetReadDeadline(time.Now().Add(3 * link.PingInterval)); err != nil {
			return
		}
		f, err := l.read()
		if err != nil {
			return
		}
		if d := f.GetDeliver(); d != nil {
			p.take(l, d)
			continue
		}
		if f.GetDrain() != nil || f.Id == 0 {
			return
		}
		l.mu.Lock()
		got := l.waiting[f.Id]
		l.mu.Unlock()
		if got == nil {
			continue
		}
		if r := f.GetReceipt(); r == nil || r.Class != pb.ReceiptClass_RECEIPT_ACCEPTED {
			l.answered(f.Id)
		}
		got(f)
	}
}

// take is what arrives. Most of it is acknowledged at once, some never on this line.
func (p *person) take(l *line, d *pb.Deliver) {
	id := envelope.ID(d.EnvelopeId)
	text := "live"
	if d.StoredId != 0 {
		text = fmt.Sprintf("stored %d", d.StoredId)
	}
	p.w.history.add(event{who: p.name, kind: arrived, id: id, link: l.n, text: text, hash: sha256.Sum256(d.Payload)})
	if d.StoredId == 0 {
		return
	}
	p.mu.Lock()
	lazy := p.rng.IntN(20) == 0
	late := time.Duration(p.rng.IntN(300)) * time.Millisecond
	p.mu.Unlock()
	if lazy && !p.w.healed.Load() {
		return
	}
	time.AfterFunc(late, func() {
		p.w.history.add(event{who: p.name, kind: ack, id: id, link: l.n, text: text})
		if l.send(&pb.ClientFrame{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: []uint64{d.StoredId}}}}) != nil {
			_ = l.ws.Close()
		}
	})
}

// workLoop moves what is open along, and says a word now and then so that the line lives.
func (p *person) workLoop(l *line, over <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := 1; ; i++ {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		if i%30 == 0 {
			l.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: uint64(i)}}}, func(*pb.NodeFrame) {})
		}
		p.mu.Lock()
		p.spare = 3
		open := make([]*sending, 0, 16)
		for _, id := range p.order {
			if !p.mine[id].over {
				open = append(open, p.mine[id])
			}
		}
		p.mu.Unlock()
		for _, s := range open {
			p.workOne(l, s)
		}
	}
}

const liveDeadline = 10 * time.Second

// workOne is the rule of the client's ledger: what its node may not have goes out again, the
// same bytes; what it has is asked for at its destination.
func (p *person) workOne(l *line, s *sending) {
	p.mu.Lock()
	now := time.Now()
	life := s.ttl.Duration()
	if s.ttl == envelope.Live {
		life = liveDeadline
	}
	age, over := now.Sub(s.at), now.Sub(s.at) > life
	ask := false
	switch {
	case p.line != l || s.over:
	case over && (s.ttl == envelope.Live && !s.flying || !s.accepted && !s.stored && !s.flying):
		p.endLocked(s, fateGivenUp, "")
	case s.flying && (age < 8*time.Second || s.ttl == envelope.Live && age < time.Minute):
	case s.flying && s.ttl == envelope.Live:
		p.endLocked(s, fateGivenUp, "")
	case now.Before(s.next):
	case !s.flying && !s.durable && !s.stored && (s.ttl == envelope.Live || p.rng.IntN(2) == 0):
		p.submitLocked(l, s)
	case s.liar:
		// Nobody is asked who lies. What its own node has not got goes out again.
		if !s.flying && !s.durable && !s.stored {
			p.submitLocked(l, s)
		}
	case s.ttl != envelope.Live && !s.asking && p.spare > 0 && (!s.stored || s.tries > 0 || age > 5*time.Second):
		p.spare--
		ask, s.asking = true, true
		s.next = now.Add(time.Duration(5+p.rng.IntN(10)) * time.Second)
	}
	p.mu.Unlock()
	if ask {
		p.inquire(l, s, over)
	}
}

// submitLocked hands a letter in. p.mu is held; the frame goes out on a goroutine of its own.
func (p *person) submitLocked(l *line, s *sending) {
	if s.tries > 0 {
		p.w.count("handed in again")
	}
	s.flying = true
	s.tries++
	s.next = time.Now().Add(time.Duration(1+p.rng.IntN(4*min(s.tries, 8))) * time.Second)
	frame := &pb.ClientFrame{Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: s.raw}}}
	go l.ask(frame, func(f *pb.NodeFrame) { p.receipt(s, f) })
}

func (p *person) receipt(s *sending, f *pb.NodeFrame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := f.GetError(); e != nil {
		p.refusedLocked(s, e.Code)
		return
	}
	r := f.GetReceipt()
	if r == nil {
		p.w.fail("%s: a Submit was answered by %v", p.name, f)
		return
	}
	if envelope.ID(r.EnvelopeId) != s.id {
		p.w.fail("%s: a receipt for another envelope", p.name)
	}
	switch r.Class {
	case pb.ReceiptClass_RECEIPT_ACCEPTED:
		s.accepted = true
		s.durable = s.durable || r.Durable
		text := "in memory"
		if r.Durable {
			text = "durably"
		}
		p.w.history.add(event{who: p.name, kind: accepted, id: s.id, text: text})
	case pb.ReceiptClass_RECEIPT_DELIVERED:
		s.flying = false
		p.endLocked(s, fateDelivered, "")
	case pb.ReceiptClass_RECEIPT_STORED:
		s.flying = false
		p.storedLocked(s)
	case pb.ReceiptClass_RECEIPT_EXPIRED:
		s.flying = false
		p.endLocked(s, fateExpired, r.Code)
	case pb.ReceiptClass_RECEIPT_REFUSED:
		p.refusedLocked(s, r.Code)
	}
}

func (p *person) storedLocked(s *sending) {
	if !s.stored {
		s.stored = true
		p.w.history.add(event{who: p.name, kind: stored, id: s.id})
	}
	if s.knock || s.liar {
		p.endLocked(s, "stored", "")
	}
}

func (p *person) refusedLocked(s *sending, code string) {
	s.flying = false
	if s.over {
		return
	}
	p.w.count("refused " + code)
	if s.patient && link.LookupCode(code).Retry && s.ttl != envelope.Ring && time.Since(s.at) < 10*time.Minute {
		s.accepted, s.durable = false, false
		p.w.history.add(event{who: p.name, kind: remark, id: s.id, text: "refused for now", code: code})
		return
	}
	p.endLocked(s, fateRefused, code)
}

func (p *person) endLocked(s *sending, fate, code string) {
	if s.over {
		return
	}
	s.over = true
	p.w.history.add(event{who: p.name, kind: ended, id: s.id, text: fate, code: code})
}

// inquire asks the destination what became of a letter, unseen by the own node. Of one that
// waited on the own node's disk while that started anew, the own node may have been told.
func (p *person) inquire(l *line, s *sending, over bool) {
	at := s.to
	p.mu.Lock()
	if s.durable && !s.stored && p.rng.IntN(2) == 0 {
		at = p.home
	}
	p.mu.Unlock()
	key, ok := p.w.routingKey(at)
	if !ok {
		return
	}
	box, pending, err := envelope.SealQuery(key, at.peer, envelopepb.Operation_OPERATION_OUTCOME, s.id[:])
	if err != nil {
		p.w.fail("%s: seal a query: %v", p.name, err)
		return
	}
	l.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Query{Query: &pb.Query{Destination: at.peer[:], Box: box}}}, func(f *pb.NodeFrame) {
		p.mu.Lock()
		defer p.mu.Unlock()
		s.asking = false
		if f.GetAnswer() == nil || f.GetAnswer().Code != "" || s.over {
			return
		}
		a, err := pending.OpenAnswer(f.GetAnswer().Box)
		if err != nil {
			p.w.fail("%s: an answer of %s does not open: %v", p.name, at.name, err)
			return
		}
		if a.Status != envelopepb.AnswerStatus_ANSWER_FOUND {
			// Nobody knows it. What waits on its own node's disk comes there still, and what
			// was refused while this line was down is known to nobody: the same bytes tell.
			if at == s.to {
				s.missed++
			}
			if over && at == s.to {
				p.endLocked(s, fateGivenUp, "")
			} else if s.durable && !s.stored && s.missed > 2 && !s.flying {
				s.missed = 0
				p.w.history.add(event{who: p.name, kind: pressed, id: s.id})
				p.submitLocked(l, s)
			} else if !s.flying && !s.durable && !s.stored {
				p.submitLocked(l, s)
			}
			return
		}
		switch a.Fate {
		case envelopepb.Fate_FATE_DELIVERED:
			p.endLocked(s, fateDelivered, "asked")
		case envelopepb.Fate_FATE_STORED:
			p.storedLocked(s)
		case envelopepb.Fate_FATE_EXPIRED:
			p.endLocked(s, fateExpired, "asked")
		case envelopepb.Fate_FATE_REFUSED:
			p.endLocked(s, fateRefused, "asked")
		}
	})
}

// again hands in what is already under way, or over: the same bytes.
func (p *person) again() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line == nil || len(p.order) == 0 {
		return
	}
	l, s := p.line, p.mine[p.order[len(p.order)-1]]
	p.w.count("the same bytes twice")
	p.w.history.add(event{who: p.name, kind: echoed, id: s.id})
	go l.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: s.raw}}}, func(*pb.NodeFrame) {})
}

// replay hands in the bytes of somebody else, as if they had been seen on the way.
func (p *person) replay(l *letter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.line == nil || l == nil {
		return
	}
	line := p.line
	p.w.count("bytes of others")
	if e, err := envelope.Parse(l.raw); err == nil {
		p.w.history.add(event{who: p.name, kind: echoed, id: e.ID()})
	}
	go line.ask(&pb.ClientFrame{Kind: &pb.ClientFrame_Submit{Submit: &pb.Submit{Envelope: l.raw}}}, func(*pb.NodeFrame) {})
}

// write makes a letter and hands it in when there is a line.
func (p *person) write(to *person, ttl envelope.TTL, size int, change func(h *envelope.Hop, l *letter)) {
	p.post(to.home, to.home.peer, to.name, envelope.Hop{Tag: to.tag, Token: to.token}, ttl, size, change)
}

func (p *person) post(home *station, dest identity.PeerID, to string, hop envelope.Hop, ttl envelope.TTL, size int, change func(h *envelope.Hop, l *letter)) {
	var key [32]byte
	var homeName string
	l := &letter{from: p.name, to: to, origin: p.home.name, ttl: ttl}
	if home != nil {
		homeName = home.name
		known := false
		if key, known = p.w.routingKey(home); !known {
			return
		}
	} else {
		key = p.w.liarKey()
		l.liar = true
	}
	l.home = homeName
	payload := make([]byte, size)
	p.mu.Lock()
	for i := range payload {
		payload[i] = byte(p.rng.Uint32())
	}
	copy(payload[64:], openMark)
	copy(payload[128:], p.mark)
	patient := p.rng.IntN(10) < 7
	p.mu.Unlock()
	if change != nil {
		change(&hop, l)
	}
	e, err := envelope.NewEnvelope(key, dest, ttl, hop, payload)
	if err != nil {
		p.w.fail("%s: seal: %v", p.name, err)
		return
	}
	id := e.ID()
	l.hash, l.raw = sha256.Sum256(payload), e.Marshal()
	p.w.history.letter(id, l)
	s := &sending{letter: l, id: id, to: home, dest: dest, patient: patient}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mine[id] = s
	p.order = append(p.order, id)
	if p.line != nil {
		p.submitLocked(p.line, s)
	}
}

// open counts what has no end yet.
func (p *person) open() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range p.order {
		if !p.mine[id].over {
			n++
		}
	}
	return n
}

func (p *person) stopReading(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deaf = time.Now().Add(d)
}

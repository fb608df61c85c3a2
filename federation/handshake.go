package federation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/federation/proof"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// Limits of a handshake. A peer has one stream, 8 KiB a frame and helloTime to say who it is;
// the one who dialled waits longer, because the other side may have to fetch its document.
const (
	helloTime     = 5 * time.Second
	answerTime    = 12 * time.Second
	maxHandshakes = 64 // inbound ones at once
	helloRate     = 5  // inbound ones a second of one peer
	glareRetry    = time.Second
	oneWayRetry   = time.Minute // to a peer that may not make a link but may get one
)

// refusedError is a Refuse that came from the other side.
type refusedError struct {
	code  string
	retry time.Duration
}

func (e *refusedError) Error() string { return "refused by the other side: " + e.code }

// refusedFor is how long a refusal keeps us away at least. Without a time from the other side
// something has to change there first; its own dial will tell us earlier.
func refusedFor(e *refusedError) time.Duration {
	if e.retry > 0 {
		return e.retry
	}
	return backoffMax
}

// refusal is our own decision not to go on with a peer.
type refusal struct {
	domain string // as claimed
	code   string
	rule   string // for the administrator
	retry  time.Duration
	err    error
}

func (r *refusal) Error() string {
	if r.err != nil {
		return fmt.Sprintf("refused (%s): %v", r.code, r.err)
	}
	return "refused: " + r.code
}

// party is the other side after its Hello was believed.
type party struct {
	domain     string
	descriptor *identity.NodeDescriptor
	probe      [32]byte
	hello      wire.Hello
	most       int    // nodes of its domain that may have a session at once; 0: any number
	rule       string // that says so
}

// full is the refusal of a node whose domain has all the sessions that the policy gives it.
func (p *party) full() *refusal {
	return &refusal{domain: p.domain, code: wire.CodeBusy, rule: p.rule, retry: time.Minute}
}

// hello makes our own Hello for a peer.
func (f *Federation) hello(to identity.PeerID) wire.Hello {
	nonce := make([]byte, 32)
	rand.Read(nonce)
	return wire.Hello{
		Versions: []uint32{wire.Version}, Document: f.cfg.Document(), Nonce: nonce,
		From: f.self[:], To: to[:], WindowFrames: f.cfg.WindowFrames, WindowBytes: f.cfg.WindowBytes,
		Descriptor: f.cfg.Descriptor(), ProbeKey: f.probeKey[:],
	}
}

// judge decides on a Hello, cheapest checks first: only a domain that the policy lets in can
// make this node fetch anything. dir is who asked for the link.
func (f *Federation) judge(ctx context.Context, h *wire.Hello, remote identity.PeerID, dir policy.Direction) (*party, *refusal) {
	if code := wire.CheckHello(h, f.self, remote); code != "" {
		return nil, &refusal{code: code}
	}
	f.mu.Lock()
	fresh := f.nonces.Fresh(f.cfg.Now(), remote, h.Nonce)
	f.mu.Unlock()
	if !fresh {
		return nil, &refusal{code: wire.CodeReplay}
	}
	doc, err := proof.Parse(h.Document)
	if err != nil {
		return nil, &refusal{code: proof.Code(err), err: err}
	}
	if !doc.HasNode(remote) {
		return nil, &refusal{domain: doc.Domain, code: wire.CodeNotListed}
	}
	d := f.decide(doc.Domain, policy.ActionFederate, dir)
	if !d.Allow {
		return nil, &refusal{domain: doc.Domain, code: wire.CodePolicy, rule: d.Rule}
	}
	if d.Level == policy.Public && f.sessionCount() >= f.cfg.MaxPeers {
		return nil, &refusal{domain: doc.Domain, code: wire.CodeBusy, rule: d.Rule, retry: time.Minute}
	}
	if err := f.domains.accept(ctx, doc); err != nil {
		return nil, &refusal{domain: doc.Domain, code: proof.Code(err), rule: d.Rule, err: err}
	}
	desc, err := f.checkDescriptor(h.Descriptor, remote, doc.Domain)
	if err != nil {
		return nil, &refusal{domain: doc.Domain, code: wire.CodeBadDescriptor, rule: d.Rule, err: err}
	}
	if err := identity.CheckX25519(h.ProbeKey); err != nil {
		return nil, &refusal{domain: doc.Domain, code: wire.CodeBadHello, rule: d.Rule, err: err}
	}
	return &party{domain: doc.Domain, descriptor: desc, probe: [32]byte(h.ProbeKey), hello: *h,
		most: d.Limits.Concurrent, rule: d.Rule}, nil
}

func (f *Federation) checkDescriptor(signed []byte, remote identity.PeerID, domain string) (*identity.NodeDescriptor, error) {
	d, err := identity.ParseDescriptor(signed)
	if err != nil {
		return nil, err
	}
	if d.PeerID != remote || d.Domain != domain {
		return nil, identity.ErrOtherIdentity
	}
	if err := d.ValidAt(f.cfg.Now()); err != nil {
		return nil, err
	}
	if l := f.lookup(remote); l != nil {
		l.mu.Lock()
		last := l.descriptor
		l.mu.Unlock()
		if err := d.Follows(last); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// refuse tells the other side the code and the administrator the rest.
func (f *Federation) refuse(s network.Stream, r *refusal) {
	if r.code != wire.CodeDraining && r.code != wire.CodeBusy { // those say nothing about the peer
		f.refusals.add(f.cfg.Now(), r.domain, r.code, r.rule)
	}
	f.log.Info("a node was refused", "domain", r.domain, "code", r.code, "rule", r.rule, "err", r.err)
	frame := wire.Frame{Kind: wire.KindRefuse, Code: r.code, Millis: uint64(r.retry / time.Millisecond)}
	if err := writeFrame(s, &frame); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

func writeFrame(s network.Stream, f *wire.Frame) error {
	if err := s.SetWriteDeadline(time.Now().Add(helloTime)); err != nil {
		return err
	}
	_, err := s.Write(wire.Append(nil, f))
	return err
}

// shake is a handshake with one peer under way. There is at most one: that keeps two sides
// that dial each other at the same moment from ending with two sessions or none.
type shake struct {
	out    bool
	cancel func()
}

// startShake enters a handshake, or says why not. When both sides have said Hello at once,
// the dial of the node with the lower peer id counts: it refuses the other's Hello with
// "duplicate", and the other one drops its own dial and answers. In all other cases the
// newer one counts, because a peer that says Hello has no session any more.
func (f *Federation) startShake(remote identity.PeerID, sh *shake) bool {
	f.mu.Lock()
	old := f.shakes[remote]
	if old != nil && (sh.out || old.out && less(f.self, remote)) {
		f.mu.Unlock()
		return false
	}
	f.shakes[remote] = sh
	f.mu.Unlock()
	if old != nil {
		old.cancel()
	}
	return true
}

func (f *Federation) endShake(remote identity.PeerID, sh *shake) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shakes[remote] == sh {
		delete(f.shakes, remote)
	}
}

func less(a, b identity.PeerID) bool { return string(a[:]) < string(b[:]) }

var errGlare = errors.New("the other side's dial goes on")

// dialHello speaks the dialler's part on a new stream and returns the session, which has not
// begun. When it gives way to the other side's dial the error is errGlare.
func (f *Federation) dialHello(ctx context.Context, s network.Stream, l *link) (_ *session, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if err != nil && context.Cause(ctx) == errGlare {
			err = errGlare // whatever the stream said when it was reset
		}
	}()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()
	sh := &shake{out: true, cancel: func() { cancel(errGlare) }}
	if !f.startShake(l.peer, sh) {
		s.Reset()
		return nil, errGlare
	}
	defer f.endShake(l.peer, sh)

	own := f.hello(l.peer)
	if err := writeFrame(s, &wire.Frame{Kind: wire.KindHello, Hello: own}); err != nil {
		return nil, err
	}
	if err := s.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return nil, err
	}
	in := wire.NewReader(s, wire.MaxFirst)
	var frame wire.Frame
	if err := expect(in, &frame, wire.KindHello); err != nil {
		return nil, err
	}
	h := frame.Hello.Clone()
	p, r := f.judge(ctx, &h, l.peer, policy.Out)
	if r != nil {
		f.refuse(s, r)
		return nil, r
	}
	if want := f.domainName(l); p.domain != want {
		r := &refusal{domain: p.domain, code: wire.CodeNotListed}
		f.refuse(s, r)
		return nil, r
	}
	if err := expect(in, &frame, wire.KindWelcome); err != nil {
		return nil, err
	}
	if !wire.CheckWelcome(&frame.Welcome, own.Nonce, nil, &p.hello) {
		return nil, errProtocol("a Welcome that does not answer")
	}
	sess := newSession(f, l, p, s, in, true, [16]byte(frame.Welcome.Session))
	sess.credit(frame.Welcome.CreditFrames, frame.Welcome.CreditBytes)
	if !f.register(sess, p.most) {
		sess.end(errStopped)
		f.refuse(s, p.full())
		return nil, p.full()
	}
	if err := writeFrame(s, &wire.Frame{Kind: wire.KindWelcome, Welcome: f.welcome(sess, p.hello.Nonce)}); err != nil {
		f.unregister(sess)
		return nil, err
	}
	if !stop() {
		f.unregister(sess)
		return nil, errGlare
	}
	return sess, nil
}

// acceptHello speaks the other part, after the Hello was read.
func (f *Federation) acceptHello(ctx context.Context, s network.Stream, in *wire.Reader, h wire.Hello, remote identity.PeerID, heard func()) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Reset() })
	defer stop()

	if f.isDraining() {
		r := &refusal{code: wire.CodeDraining, retry: drainBack}
		f.refuse(s, r)
		return nil, r
	}
	p, r := f.judge(ctx, &h, remote, policy.In)
	if r != nil {
		if r.code == wire.CodePolicy && f.decide(r.domain, policy.ActionFederate, policy.Out).Allow {
			// Its links are not wanted, ours are: it shall keep what waits, and we dial.
			r.retry = oneWayRetry
			if l := f.lookup(remote); l != nil {
				l.afresh()
				l.poke()
			}
		}
		f.refuse(s, r)
		return nil, r
	}
	sh := &shake{cancel: cancel}
	if !f.startShake(remote, sh) {
		// No refusal for the administrator: it is the normal end of one of two dials.
		return nil, errors.Join(errGlare, writeFrame(s, &wire.Frame{Kind: wire.KindRefuse, Code: wire.CodeDuplicate,
			Millis: uint64(glareRetry / time.Millisecond)}), s.Close())
	}
	defer f.endShake(remote, sh)
	l := f.linkTo(remote, p.domain)
	if l == nil {
		return nil, context.Canceled
	}
	l.contact()

	sess := newSession(f, l, p, s, in, false, randomSession())
	own := f.hello(remote)
	if !f.register(sess, p.most) {
		sess.end(errStopped)
		f.refuse(s, p.full())
		return nil, p.full()
	}
	heard() // before the Welcome, which lets the peer open its data stream
	if err := errors.Join(
		writeFrame(s, &wire.Frame{Kind: wire.KindHello, Hello: own}),
		writeFrame(s, &wire.Frame{Kind: wire.KindWelcome, Welcome: f.welcome(sess, h.Nonce)}),
		s.SetReadDeadline(time.Now().Add(answerTime)),
	); err != nil {
		f.unregister(sess)
		return nil, err
	}
	var frame wire.Frame
	if err := expect(in, &frame, wire.KindWelcome); err != nil {
		f.unregister(sess)
		return nil, err
	}
	if !wire.CheckWelcome(&frame.Welcome, own.Nonce, sess.id[:], &p.hello) {
		f.unregister(sess)
		return nil, errProtocol("a Welcome that does not answer")
	}
	sess.credit(frame.Welcome.CreditFrames, frame.Welcome.CreditBytes)
	if !stop() {
		f.unregister(sess)
		return nil, errGlare
	}
	return sess, nil
}

func (f *Federation) welcome(s *session, nonce []byte) wire.Welcome {
	return wire.Welcome{Version: wire.Version, Session: s.id[:], CreditFrames: f.cfg.WindowFrames,
		CreditBytes: f.cfg.WindowBytes, Nonce: nonce}
}

// expect reads a frame of one kind; a Refuse in its place is an error of its own.
func expect(in *wire.Reader, frame *wire.Frame, kind wire.Kind) error {
	if err := in.Next(frame); err != nil {
		return err
	}
	switch frame.Kind {
	case kind:
		return nil
	case wire.KindRefuse:
		return &refusedError{code: frame.Code, retry: time.Duration(frame.Millis) * time.Millisecond}
	}
	return errProtocol("a frame out of place in the handshake")
}

func randomSession() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// protocolError is a peer that does not keep to the protocol. The text is for our log.
type protocolError struct{ what string }

func (e *protocolError) Error() string { return "protocol: " + e.what }

func errProtocol(what string) error { return &protocolError{what} }

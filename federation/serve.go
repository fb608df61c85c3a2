package federation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

const (
	watchEvery = time.Second
	// strangerTime is how long a connection may be without a session or a handshake.
	strangerTime = 10 * time.Second
)

// serve is libp2p's handler of a new stream: a control stream, which begins with Hello, or
// the data stream of a session, which begins with Open.
func (f *Federation) serve(st network.Stream) {
	if !f.goWith(func() { f.serveStream(st) }) {
		st.Reset()
	}
}

func (f *Federation) serveStream(st network.Stream) {
	stop := context.AfterFunc(f.ctx, func() { st.Reset() })
	defer stop()
	remote, ok := peerIDOf(st.Conn().RemotePeer())
	if !ok || !f.admit(remote) {
		st.Reset()
		return
	}
	release := sync.OnceFunc(func() { f.release(remote) })
	defer release()

	if err := st.SetReadDeadline(time.Now().Add(helloTime)); err != nil {
		st.Reset()
		return
	}
	in := wire.NewReader(st, wire.MaxFirst)
	var frame wire.Frame
	if err := in.Next(&frame); err != nil {
		f.refusals.add(f.cfg.Now(), "", firstFrame(err), "")
		st.Reset()
		return
	}
	switch frame.Kind {
	case wire.KindOpen:
		release()
		f.mu.Lock()
		s := f.sessions[[16]byte(frame.Session)]
		f.mu.Unlock()
		if s == nil || s.l.peer != remote || !s.bring(dataStream{st, in}) {
			st.Reset()
		}
	case wire.KindHello:
		f.serveHello(st, in, frame.Hello.Clone(), remote, release)
	default:
		f.refusals.add(f.cfg.Now(), "", wire.CodeBadHello, "")
		st.Reset()
	}
}

func firstFrame(err error) string {
	if reason(err) == "timeout" {
		return "timeout"
	}
	return wire.CodeBadHello
}

func (f *Federation) serveHello(st network.Stream, in *wire.Reader, h wire.Hello, remote identity.PeerID, heard func()) {
	rate := policy.Limits{PerSecond: helloRate}
	ok, _ := f.buckets.Take(time.Now(), "hello/"+remote.String(), rate, 1, 0)
	// Strangers who keep all places busy must not keep out those whom the administrator chose:
	// of them there are few, and each has one handshake.
	chosen := f.trusted(remote)
	f.mu.Lock()
	busy := f.inbound >= maxHandshakes && !chosen
	if !busy {
		f.inbound++
	}
	f.mu.Unlock()
	if !busy {
		defer f.handshakeOver()
	}
	if busy || !ok || len(f.cfg.Document()) == 0 || len(f.cfg.Descriptor()) == 0 {
		f.refuse(st, &refusal{code: wire.CodeBusy, retry: glareRetry})
		return
	}
	s, err := f.acceptHello(f.ctx, st, in, h, remote, heard)
	if err != nil {
		f.log.Debug("a handshake failed", "peer", remote.String(), "err", err)
		var own *refusal
		if !errors.As(err, &own) && !errors.Is(err, errGlare) {
			st.Reset()
		}
		return
	}
	if !f.goWith(func() {
		if s.l.begin(s) {
			s.run()
		} else {
			s.abandon()
		}
	}) {
		s.abandon()
	}
}

func (f *Federation) handshakeOver() {
	f.mu.Lock()
	f.inbound--
	f.mu.Unlock()
}

// admit lets a peer have one stream that has not said yet what it is, or is not believed.
func (f *Federation) admit(remote identity.PeerID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unnamed[remote] >= 1 {
		return false
	}
	f.unnamed[remote]++
	return true
}

func (f *Federation) release(remote identity.PeerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unnamed[remote]--; f.unnamed[remote] == 0 {
		delete(f.unnamed, remote)
	}
}

// register enters a session unless its domain has as many as its policy lets it hold at once;
// zero is any number. A session takes the place of one with the same peer.
func (f *Federation) register(s *session, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.roomLocked(s.domain, s.l.peer, most) {
		return false
	}
	f.sessions[s.id] = s
	return true
}

func (f *Federation) roomLocked(domain string, peer identity.PeerID, most int) bool {
	if most <= 0 {
		return true
	}
	others := make(map[identity.PeerID]struct{})
	for _, s := range f.sessions {
		if s.domain == domain && s.l.peer != peer {
			others[s.l.peer] = struct{}{}
		}
	}
	return len(others) < most
}

// room says whether the policy leaves room for a session with one more node of a domain.
func (f *Federation) room(domain string, peer identity.PeerID, most int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.roomLocked(domain, peer, most)
}

// unregister forgets a session and ends what still waits for it.
func (f *Federation) unregister(s *session) {
	f.mu.Lock()
	if f.sessions[s.id] == s {
		delete(f.sessions, s.id)
	}
	f.mu.Unlock()
	s.end(errStopped)
	if !f.hasSession(s.l.peer) {
		f.host.ConnManager().Unprotect(s.l.id, "federation")
	}
}

func (f *Federation) sessionCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sessions)
}

func (f *Federation) hasSession(p identity.PeerID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		if s.l.peer == p {
			return true
		}
	}
	return false
}

func (f *Federation) lookup(p identity.PeerID) *link {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.links[p]
}

// linkTo returns the link to a peer and makes it where there is none; nil when stopping.
func (f *Federation) linkTo(p identity.PeerID, domain string) *link {
	f.mu.Lock()
	if l := f.links[p]; l != nil || f.state != isRunning {
		f.mu.Unlock()
		return l
	}
	l := newLink(f, p, domain)
	f.links[p] = l
	f.wg.Go(func() { l.loop(f.ctx) })
	f.mu.Unlock()
	return l
}

// domainName is the domain that a link's peer speaks for: the one it proved, else the one
// whose document names it.
func (f *Federation) domainName(l *link) string {
	l.mu.Lock()
	s, last := l.session, l.domain
	l.mu.Unlock()
	if s != nil {
		return s.domain
	}
	if name, ok := f.domains.domainOf(l.peer); ok {
		return name
	}
	return last
}

// trusted says whether the administrator chose a peer's domain: such a peer may live at a
// private address.
func (f *Federation) trusted(p identity.PeerID) bool {
	name, ok := f.domains.domainOf(p)
	if !ok {
		return false
	}
	d, ok := f.cfg.DomainPolicy(name)
	return ok && (d.Level == policy.Internal || d.Level == policy.Partner || d.HasKey())
}

func (f *Federation) decide(domain string, a policy.Action, dir policy.Direction) policy.Decision {
	return f.cfg.Decide(policy.Request{Domain: domain, Action: a, Direction: dir, At: f.cfg.Now()})
}

func (f *Federation) isDraining() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.draining
}

// pause waits so long, a millisecond at least, and says no when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(max(d, time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// backAgain is a peer's Back: every node of its domain is worth a new try.
func (f *Federation) backAgain(domain string) {
	for _, l := range f.allLinks() {
		if f.domainName(l) == domain {
			l.afresh()
			l.poke()
		}
	}
}

func (f *Federation) allLinks() []*link {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]*link, 0, len(f.links))
	for _, l := range f.links {
		out = append(out, l)
	}
	return out
}

// watchLoop holds what is live against what is allowed, looks for partners that have not
// been found yet, and closes connections that became nothing.
func (f *Federation) watchLoop() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		f.ensureLinks()
		f.seekPartners()
		select {
		case <-f.ctx.Done():
			return
		case <-f.domains.changed:
			continue
		case <-f.reload:
			f.recheck()
			f.seekAfresh()
			for _, l := range f.allLinks() {
				l.afresh()
				l.poke()
			}
		case <-tick.C:
			f.recheck()
			f.closeStrangers()
		}
	}
}

// recheck closes sessions that the policy, or the key it pins, does not allow any more, and
// those whose document is over. Entries of a policy expire by themselves, so it runs without
// a reload too.
func (f *Federation) recheck() {
	f.mu.Lock()
	sessions := make([]*session, 0, len(f.sessions))
	for _, s := range f.sessions {
		sessions = append(sessions, s)
	}
	f.mu.Unlock()
	for _, s := range sessions {
		select {
		case <-s.ready:
		default:
			continue
		}
		if d, ok := s.allowed(); !ok {
			s.refuse(&refusal{domain: s.domain, code: wire.CodePolicy, rule: d.Rule})
			continue
		}
		known := f.domains.known(s.domain)
		if known.Pinned == nil {
			continue
		}
		if err := known.Pinned.ValidAt(f.cfg.Now()); err != nil {
			// A new Hello brings a new document, if the domain has made one.
			s.refuse(&refusal{domain: s.domain, code: wire.CodeExpired, retry: glareRetry, err: err})
			continue
		}
		if _, err := known.Judge(known.Pinned, known.Pinned.Issued); err != nil {
			s.refuse(&refusal{domain: s.domain, code: wire.CodeUnproven, err: err})
		}
	}
}

// ensureLinks makes links to the nodes of partners whose documents are known: those are held
// up without anything to send.
func (f *Federation) ensureLinks() {
	for _, name := range f.domains.names() {
		if name == f.cfg.Domain {
			continue
		}
		if r := rank(f.domains.level(name)); r > rank(policy.Partner) {
			continue
		}
		for _, n := range f.domains.get(name).Nodes {
			if n.PeerID != f.self {
				f.linkTo(n.PeerID, name)
			}
		}
	}
}

// seek is the search for a partner's first document.
type seek struct {
	running bool
	pause   time.Duration
	next    time.Time
}

func (f *Federation) seekPartners() {
	names := make(map[string]bool)
	for name := range f.cfg.Sources {
		names[name] = true
	}
	if f.cfg.Partners != nil {
		for _, name := range f.cfg.Partners() {
			names[name] = true
		}
	}
	now := time.Now()
	for name := range names {
		if name == f.cfg.Domain || f.domains.get(name) != nil || !f.decide(name, policy.ActionFederate, policy.Out).Allow {
			continue
		}
		f.mu.Lock()
		sk := f.seeking[name]
		if sk == nil {
			sk = &seek{}
			f.seeking[name] = sk
		}
		due := !sk.running && !now.Before(sk.next)
		if due {
			sk.running = true
		}
		f.mu.Unlock()
		if due {
			f.goWith(func() {
				_, err := f.domains.fetch(f.ctx, name)
				if err != nil {
					f.log.Debug("a partner's document could not be had", "domain", name, "err", err)
				}
				f.mu.Lock()
				sk.running, sk.pause = false, nextPause(sk.pause, rand.Float64())
				sk.next = time.Now().Add(sk.pause)
				f.mu.Unlock()
			})
		}
	}
}

// seekAfresh lets every search begin at once: the administrator who reloads has put a document
// there, or mended what kept it away.
func (f *Federation) seekAfresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, sk := range f.seeking {
		sk.pause, sk.next = 0, time.Time{}
	}
}

// closeStrangers closes connections that are neither a session nor on the way to one.
func (f *Federation) closeStrangers() {
	for _, c := range f.host.Network().Conns() {
		if time.Since(c.Stat().Opened) < strangerTime {
			continue
		}
		id, ok := peerIDOf(c.RemotePeer())
		if ok {
			f.mu.Lock()
			busy := f.shakes[id] != nil || f.unnamed[id] > 0
			f.mu.Unlock()
			if busy || f.hasSession(id) {
				continue
			}
			if l := f.lookup(id); l != nil {
				l.mu.Lock()
				dialling := l.dialling
				l.mu.Unlock()
				if dialling {
					continue
				}
			}
		}
		c.Close()
	}
}

package node

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/policy"
)

// maxInflight is how many queries, domain and TURN requests one link may have under way.
const maxInflight = 8

// requestTimeout bounds a request that other nodes have to answer.
const requestTimeout = 15 * time.Second

// handshake proves to the client which node this is, and learns which device the client
// is. False: the link has been told why and is closing.
func (l *clientLink) handshake() bool {
	n := l.n
	challenge := link.NewChallenge(n.folder.hostKey, n.self, n.cfg.Domain, n.routing.descriptor(), n.now())
	l.sendFrame(&pb.NodeFrame{Kind: &pb.NodeFrame_Challenge{Challenge: challenge}})

	// A connection's deadline belongs to the system's clock. The first message is small.
	l.in.limit = link.MaxBeforeAuth
	if err := l.sock.SetReadDeadline(time.Now().Add(link.HandshakeTimeout)); err != nil {
		return false
	}
	msg, err := l.read()
	if err != nil {
		return false
	}
	f, err := link.ParseClient(msg)
	a := f.GetAuthenticate()
	if err != nil || a == nil {
		n.metrics.handshakes.WithLabelValues("bad_frame").Inc()
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	if len(a.Cert) == 0 {
		l.nonce = challenge.Nonce
	}
	if code := l.authenticate(challenge, a); code != "" {
		n.metrics.handshakes.WithLabelValues(code).Inc()
		l.goodbye(code, 0)
		return false
	}
	l.in.limit = link.MaxFrame
	if err := l.sock.SetReadDeadline(time.Time{}); err != nil {
		return false
	}
	n.metrics.handshakes.WithLabelValues("ok").Inc()
	answer := &pb.Authenticated{IdleMs: uint64(link.IdleTimeout.Milliseconds())}
	if l.hasID {
		if epoch, err := n.db.Epoch(n.background, l.root); err == nil {
			answer.Epoch = epoch
		}
	}
	return l.sendFrame(&pb.NodeFrame{Id: f.Id, Kind: &pb.NodeFrame_Authenticated{Authenticated: answer}})
}

// authenticate returns the code of a refusal, or "".
func (l *clientLink) authenticate(c *pb.Challenge, a *pb.Authenticate) string {
	n := l.n
	if !n.ownHost(a.Host) {
		// The client dialled somebody else, who passed our challenge on.
		return link.CodeBadSignature
	}
	cert, err := link.VerifyAuthenticate(c, a, n.now())
	if err != nil {
		return link.CodeBadSignature
	}
	if cert == nil {
		// Where strangers are not wanted they still come to the rooms that members have made.
		if rooms, _ := n.rooms.count(); rooms == 0 && n.strangersDenied() {
			return link.CodePolicy
		}
		return ""
	}
	l.mu.Lock() // a reload may be looking
	l.root, l.device, l.hasID = cert.Root, cert.DeviceID(), true
	l.mu.Unlock()
	if n.deniedRoot(l.root) {
		return link.CodePolicy
	}
	member, err := n.isMember(n.background, l.root, l.device)
	if err != nil {
		return link.CodeUnavailable
	}
	l.member = member
	if old := n.hub.claim(l); old != nil {
		old.goodbye(link.CodeReplaced, 0)
	}
	n.turnGrants.found(l.device)
	return ""
}

// strangersDenied reports whether a link without a device may do nothing here but enter a room.
func (n *Node) strangersDenied() bool {
	mode, _ := n.policy.Policy().Register()
	return mode == policy.RegisterClosed
}

// identity says for whom a link speaks; for others than its read loop.
func (l *clientLink) identity() (device identity.DeviceID, root identity.PublicKey, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.device, l.root, l.hasID
}

// isMember reports whether a device is in the newest list of an account here.
func (n *Node) isMember(ctx context.Context, root identity.PublicKey, device identity.DeviceID) (bool, error) {
	d, err := n.db.Device(ctx, device)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && d.Root == root, err
}

// deniedRoot reports whether the policy has taken an identity's mailboxes away.
func (n *Node) deniedRoot(root identity.PublicKey) bool {
	mode, listed := n.policy.Policy().Register()
	return mode == policy.RegisterListed && !listed(root)
}

// ownHost reports whether a client that dialled host meant this node. Names are compared
// without ports, because ports are translated on the way; on loopback, where many nodes
// share every name, the port is all there is to tell them apart.
func (n *Node) ownHost(host string) bool {
	name := link.Hostname(host)
	if link.Loopback(name) {
		return samePort(host, n.httpAddr) || samePort(host, n.publicHost)
	}
	return name == n.cfg.Domain || strings.HasSuffix(name, "."+n.cfg.Domain) ||
		name == link.Hostname(n.publicHost) || name == link.Hostname(n.httpAddr)
}

func samePort(a, b string) bool {
	_, pa, errA := net.SplitHostPort(a)
	_, pb, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && pa == pb
}

// readLoop is the link's one standing goroutine: handshake, then frames until the end.
func (l *clientLink) readLoop() {
	ok := l.handshake()
	l.n.handshaking.Add(-1)
	if !ok || !l.admitStranger() {
		l.end()
		return
	}
	l.frameLoop()
}

// frameLoop goes on in a goroutine of its own where the work behind a frame has made the stack
// grow and the link is idle now: a stack that has grown does not shrink below twice of what a
// wait needs, and of an idle link it is the largest part.
func (l *clientLink) frameLoop() {
	for {
		msg, err := l.read()
		if err != nil {
			if l.settled(err) {
				l.n.group.Go(l.frameLoop)
				return
			}
			break
		}
		l.n.metrics.framesIn.Inc()
		if !l.alive() {
			l.afterwards(msg)
			continue
		}
		if !l.grown.Load() {
			l.grown.Store(true)
		}
		opened := l.mailOpen
		if !l.frame(msg) {
			break
		}
		if l.mailOpen && !opened {
			// Most links have nothing to say for a long time once their mailbox is open.
			l.grown.Store(false)
			l.n.group.Go(l.frameLoop)
			return
		}
	}
	l.end()
}

// settle makes a link that has been silent for a while wait on a small stack again. The sweep
// calls it.
func (l *clientLink) settle() {
	if l.sock.raw == nil || !l.grown.Load() || l.settling.Swap(true) {
		return
	}
	// A connection that is closed already needs no other stack.
	_ = l.sock.SetReadDeadline(longAgo)
}

// settled reports whether a read ended because of settle. Nothing that was read is lost.
func (l *clientLink) settled(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || !l.settling.Load() {
		return false
	}
	l.grown.Store(false)
	err = l.sock.SetReadDeadline(time.Time{})
	l.settling.Store(false)
	return err == nil
}

var longAgo = time.Unix(1, 0)

// afterwards is what still counts on a link that has been told to go: that the device has
// what was delivered to it. What it submits now would be answered to nobody.
func (l *clientLink) afterwards(msg []byte) {
	f, err := link.ParseClient(msg)
	if a := f.GetAck(); err == nil && len(a.GetStoredIds()) > 0 && l.registered() {
		l.ack(a)
	}
}

// everywhere is what strangers are counted by beside their address.
const everywhere = "everywhere"

// admitStranger counts a link that speaks for no registered device against its address, and
// against half of all links: the other half stays for members.
func (l *clientLink) admitStranger() bool {
	if l.member {
		admitConn(l.sock.Conn)
		return true
	}
	n := l.n
	if !n.strangers.Acquire(everywhere, max(1, n.maxLinks/2)) {
		l.goodbye(link.CodeRate, time.Minute)
		return false
	}
	if l.address != "" && !n.strangers.Acquire(l.address, maxStrangersPerPrefix) {
		n.strangers.Release(everywhere)
		l.goodbye(link.CodeRate, time.Minute)
		return false
	}
	l.counted = true
	return true
}

// joined ends that count, when the device has registered or the link has ended.
func (l *clientLink) joined() {
	if l.member {
		admitConn(l.sock.Conn)
	}
	if l.counted {
		l.n.strangers.Release(everywhere)
		if l.address != "" {
			l.n.strangers.Release(l.address)
		}
		l.counted = false
	}
}

// end cleans up behind a link. Frames that are already queued, such as the reason for the
// end, are still written.
func (l *clientLink) end() {
	l.in.release()
	l.unhold()
	l.leaveRoom(nil)
	l.flushDirty()
	l.n.hub.remove(l)
	l.joined()
	if l.hasID && l.n.hub.device(l.device) == nil {
		l.n.turnGrants.lost(l.device, l.n.now())
	}
	l.wmu.Lock()
	writing := l.writing && l.last
	l.wmu.Unlock()
	if !writing {
		l.close()
	}
}

// frame handles one message. False ends the link.
func (l *clientLink) frame(msg []byte) bool {
	if id, raw, ok := link.ParseSubmit(msg); ok {
		if l.roomsOnly() {
			return l.refuse(id, link.CodePolicy, 0)
		}
		return l.submit(id, raw)
	}
	f, err := link.ParseClient(msg)
	if err != nil {
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	switch f.Kind.(type) {
	case *pb.ClientFrame_Query, *pb.ClientFrame_Domain:
		if l.roomsOnly() {
			return l.refuse(f.Id, link.CodePolicy, 0)
		}
	}
	switch k := f.Kind.(type) {
	case *pb.ClientFrame_Ping:
		l.sendFrame(&pb.NodeFrame{Id: f.Id, Kind: &pb.NodeFrame_Pong{Pong: k.Ping}})
	case *pb.ClientFrame_Ack:
		return l.ack(k.Ack)
	case *pb.ClientFrame_Publish:
		l.publish(f.Id, k.Publish)
	case *pb.ClientFrame_Register:
		l.register(f.Id, k.Register)
	case *pb.ClientFrame_Query:
		l.request(f.Id, &l.budget.query, l.rates().query, func() { l.query(f.Id, k.Query) })
	case *pb.ClientFrame_Domain:
		l.request(f.Id, &l.budget.other, l.rates().other, func() { l.domain(f.Id, k.Domain) })
	case *pb.ClientFrame_Turn:
		l.turnCredentials(f.Id)
	case *pb.ClientFrame_TurnRelease:
		l.turnRelease(f.Id, k.TurnRelease)
	case *pb.ClientFrame_RoomCreate:
		l.request(f.Id, &l.budget.other, l.rates().other, func() { l.roomCreate(f.Id, k.RoomCreate) })
	case *pb.ClientFrame_RoomPass:
		l.request(f.Id, &l.budget.other, l.rates().other, func() { l.roomPass(f.Id, k.RoomPass) })
	case *pb.ClientFrame_RoomJoin:
		return l.roomJoin(f.Id, k.RoomJoin)
	case *pb.ClientFrame_RoomSend:
		return l.roomSend(f.Id, k.RoomSend)
	case *pb.ClientFrame_RoomControl:
		return l.roomControl(f.Id, k.RoomControl)
	case *pb.ClientFrame_RoomLeg:
		l.roomLeg(f.Id, k.RoomLeg)
	case *pb.ClientFrame_RoomLeave:
		l.roomLeave(f.Id)
	default:
		// Authenticate comes once, and a Submit that ParseSubmit did not take is malformed.
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	return true
}

// roomsOnly: a node that takes no strangers lets them do nothing outside of a room.
func (l *clientLink) roomsOnly() bool { return !l.hasID && l.n.strangersDenied() }

func (l *clientLink) rates() rates {
	if l.member {
		return deviceRates
	}
	return strangerRates
}

func (l *clientLink) submit(id uint64, raw []byte) bool {
	var e envelope.Envelope
	if err := link.ParseEnvelope(raw, &e); err != nil {
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	cost := float64(costLive)
	if e.TTL != envelope.Live {
		cost = costStored
	}
	if ok, wait := l.budget.submit.take(l.n.coarse.Load(), l.rates().submit, cost); !ok {
		l.rateLimited(id, wait)
		return true
	}
	l.n.views.envelope(viewLink, &e)
	l.n.answering.Add(1)
	if e.TTL == envelope.Live {
		l.submitLive(id, &e)
		return true
	}
	// It waits for the disk, and the bytes that it was read from are used again at once.
	buf := getBuffer(len(e.Payload))
	buf.b = append(buf.b, e.Payload...)
	e.Payload = buf.b
	l.enqueue(job{id: id, buf: buf, e: e})
	return true
}

func (l *clientLink) rateLimited(id uint64, wait time.Duration) {
	l.refuse(id, link.CodeRate, wait)
}

func (l *clientLink) ack(a *pb.Ack) bool {
	if len(a.StoredIds) == 0 || !l.registered() {
		l.goodbye(link.CodeBadFrame, 0)
		return false
	}
	seqs := make([]store.Seq, len(a.StoredIds))
	for i, s := range a.StoredIds {
		seqs[i] = store.Seq(s)
	}
	l.enqueue(job{acks: seqs})
	return true
}

// request runs something that may take long beside the read loop, a few at a time.
func (l *clientLink) request(id uint64, a *allowance, r rate, f func()) {
	if ok, wait := a.take(l.n.coarse.Load(), r, 1); !ok {
		l.rateLimited(id, wait)
		return
	}
	l.mu.Lock()
	full := l.inflight >= maxInflight
	if !full {
		l.inflight++
	}
	l.mu.Unlock()
	if full {
		l.rateLimited(id, time.Second)
		return
	}
	l.n.group.Go(func() {
		defer func() {
			l.mu.Lock()
			l.inflight--
			l.mu.Unlock()
		}()
		f()
	})
}

// query passes an oblivious query on, or answers it when it is for this node. Both look
// alike to the client.
func (l *clientLink) query(id uint64, q *pb.Query) {
	ctx, cancel := context.WithTimeout(l.n.background, requestTimeout)
	defer cancel()
	dest := identity.PeerID(q.Destination)
	answer := new(pb.Answer)
	if dest == l.n.self {
		answer.Box, answer.Code = l.n.answer(ctx, l.n.local, q.Box)
	} else {
		l.n.views.queries.Add(1)
		answer.Box, answer.Code = l.n.queryOut(ctx, dest, q.Box)
	}
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Answer{Answer: answer}})
}

// domain says which nodes speak for a domain. The client verifies it all itself.
func (l *clientLink) domain(id uint64, d *pb.DomainRequest) {
	answer := new(pb.DomainAnswer)
	if d.Domain == l.n.cfg.Domain {
		answer.Document = l.n.documents.bytes()
		answer.Descriptors = [][]byte{l.n.routing.descriptor()}
	} else if identity.CheckDomain(d.Domain) != nil {
		answer.Code = link.CodeUnknownDestination
	} else {
		ctx, cancel := context.WithTimeout(l.n.background, requestTimeout)
		defer cancel()
		document, descriptors, err := l.n.fed.Domain(ctx, d.Domain)
		if err != nil {
			answer.Code = federation.Code(err)
		} else {
			answer.Document, answer.Descriptors = document, descriptors[:min(len(descriptors), link.MaxDescriptors)]
		}
	}
	l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Domain{Domain: answer}})
}

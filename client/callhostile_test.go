package client_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// Calls with somebody at the other end who does not keep to the rules.

func (p *puppet) reply() envelope.ReplyAddress {
	return envelope.ReplyAddress{Home: identity.Home{PeerID: p.h.peer, Domain: p.h.domain}, Tag: p.tag, Token: p.token}
}

// rings makes the puppet ring the client.
func (p *puppet) rings(media client.Media) *envelope.RingState {
	t := p.h.t
	t.Helper()
	ring, err := envelope.NewRing(p.device, p.cert(), p.theirs, envelope.RingConfig{
		Media: media, SessionID: envelope.NewSessionID(), Now: time.Now(), OwnList: p.list, PeerList: p.them, Reply: p.reply(),
	})
	if err != nil {
		t.Fatal(err)
	}
	p.deliver(ring.Payload, false)
	return ring
}

// finish waits for the client's answer to a ring.
func (p *puppet) finish(ring *envelope.RingState) *envelope.Answered {
	t := p.h.t
	t.Helper()
	a := p.h.next("the answer to a ring", func(a arrival) bool {
		h, sealed := envelope.PayloadHandle(a.payload)
		return !sealed && h == ring.Handle
	})
	answered, err := ring.Finish(a.payload, p.opener)
	if err != nil {
		t.Fatalf("the client's answer: %v", err)
	}
	return answered
}

// accept makes an answer of the puppet to the client's ring.
func (p *puppet) accept(ring *envelope.Opened, kind envelopepb.Type) ([]byte, *envelope.Session) {
	t := p.h.t
	t.Helper()
	payload, session, err := envelope.AnswerRing(p.device, p.cert(), ring, envelope.AnswerConfig{
		Kind: kind, Reply: p.reply(), Now: time.Now(), OwnList: p.list, CallerList: p.them,
	})
	if err != nil {
		t.Fatal(err)
	}
	return payload, session
}

// frame waits for the client's next session frame and opens it.
func (p *puppet) frame(s *envelope.Session) *envelopepb.SessionMessage {
	p.h.t.Helper()
	m, ok := p.frameUntil(within(p.h.t).Done(), s)
	if !ok {
		p.h.t.Fatal("no session frame comes")
	}
	return m
}

func (p *puppet) frameUntil(stop <-chan struct{}, s *envelope.Session) (m *envelopepb.SessionMessage, ok bool) {
	_, ok = p.h.take(stop, func(a arrival) bool {
		if _, sealed := envelope.PayloadHandle(a.payload); sealed {
			return false
		}
		body, err := s.Open(a.payload)
		if err != nil {
			return false // of another session, or sent again
		}
		if m, err = envelope.ParseSessionMessage(body); err != nil {
			p.h.t.Errorf("the client's frame: %v", err)
			return false
		}
		return true
	})
	return m, ok
}

func (p *puppet) say(s *envelope.Session, m *envelopepb.SessionMessage) {
	t := p.h.t
	t.Helper()
	body, err := envelope.MarshalSessionMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	frame, err := s.Seal(body)
	if err != nil {
		t.Fatal(err)
	}
	p.deliver(frame, false)
}

func (p *puppet) describe(s *envelope.Session, kind envelopepb.SessionType, d rtc.Description) {
	p.h.t.Helper()
	p.say(s, &envelopepb.SessionMessage{
		Type: kind, Sdp: d.SDP, Fingerprint: d.Fingerprint[:], Ufrag: d.Ufrag, Setup: uint32(d.Setup), Generation: d.Generation,
	})
}

func TestOnlyTheAnswerToThisRingOfThisDeviceCounts46And47(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	ringing := make(chan *client.Call, 1)
	go func() {
		call, err := alice.Ring(within(t), p.id(), client.CallOptions{Media: client.Audio})
		if err != nil {
			t.Errorf("alice rings: %v", err)
		}
		ringing <- call
	}()
	ring := p.opened(envelopepb.Type_TYPE_RING)

	// 46: the hash of another ring. The handle is right, so it reaches the ring.
	other := *ring
	other.Hash[0] ^= 1
	wrong, _ := p.accept(&other, envelopepb.Type_TYPE_ACCEPT)
	p.deliver(wrong, false)
	// 47: a device that was not rung, though it is the same person's.
	device, err := identity.GenerateDevice()
	if err != nil {
		t.Fatal(err)
	}
	list, err := p.root.AddDevice(p.list, device.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	uninvited := h.deviceOf(p.root, device, list)
	uninvited.them = p.them
	wrong, _ = uninvited.accept(ring, envelopepb.Type_TYPE_ACCEPT)
	p.deliver(wrong, false)
	// One bit of the encapsulation, and of the sealed part.
	for _, at := range []int{100, 2000} {
		bent, _ := p.accept(ring, envelopepb.Type_TYPE_ACCEPT)
		bent[at] ^= 1
		p.deliver(bent, false)
	}
	h.m.settled()
	select {
	case <-ringing:
		t.Fatal("a wrong answer ended the ring")
	default:
	}

	right, session := p.accept(ring, envelopepb.Type_TYPE_ACCEPT)
	p.deliver(right, false)
	for p.frame(session).Type != envelopepb.SessionType_SESSION_OFFER { // a candidate may overtake it
	}
	call := <-ringing
	if call == nil {
		t.FailNow()
	}
	// 47: a second answer, a change of mind, and the ring of another session: nothing.
	second, stolen := p.accept(ring, envelopepb.Type_TYPE_ACCEPT)
	p.deliver(second, false)
	late, _ := p.accept(ring, envelopepb.Type_TYPE_DECLINE)
	p.deliver(late, false)
	p.say(stolen, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: envelopepb.Reason_REASON_ENDED})
	h.m.settled()
	select {
	case <-call.Done():
		t.Fatalf("the call ended after a second answer: %v", call.Err())
	default:
	}
	p.say(session, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: envelopepb.Reason_REASON_ENDED})
	if err := over(t, call); err != nil {
		t.Errorf("a goodbye ended the call as %v", err)
	}
}

// impostor is the puppet's end of a connection. It can bend what it says.
type impostor struct {
	*rtc.Peer
	done chan error
}

// bentBinding is a channel binding that is not the session's.
type bentBinding struct {
	s    *envelope.Session
	bend func(mac [32]byte) ([32]byte, error)
}

func (b bentBinding) Binding(own, peer [32]byte) ([32]byte, error) {
	mac, err := b.s.Binding(own, peer)
	if err != nil {
		return mac, err
	}
	return b.bend(mac)
}
func (b bentBinding) CheckBinding(mac []byte, own, peer [32]byte) error {
	return b.s.CheckBinding(mac, own, peer)
}

// connect opens the puppet's end and trickles its candidates.
func (p *puppet) connect(s *envelope.Session, binding rtc.Binding) *impostor {
	t := p.h.t
	t.Helper()
	send, receive, err := s.MediaKeys()
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Mutex // candidates are sealed one after the other
	peer, err := rtc.New(rtc.Config{
		Role: rtc.Role(s.Role), Audio: rtc.SendReceive, SendKey: send, ReceiveKey: receive, Binding: binding, IncludeLoopback: true,
		OnLocalCandidate: func(c rtc.Candidate) {
			once.Lock()
			defer once.Unlock()
			if c.Line != "" {
				p.say(s, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_ICE, Candidates: []string{c.Line}, Generation: c.Generation})
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	i := &impostor{Peer: peer, done: make(chan error, 1)}
	ctx, end := context.WithCancel(context.Background())
	go func() { i.done <- peer.Run(ctx) }()
	t.Cleanup(func() { end(); <-peer.Done() })
	return i
}

// swapFingerprint writes another fingerprint into every line of a description.
func swapFingerprint(t *testing.T, text []byte, to [32]byte) []byte {
	t.Helper()
	var out [][]byte
	swapped := 0
	for line := range bytes.SplitSeq(text, []byte("\r\n")) {
		if bytes.HasPrefix(line, []byte("a=fingerprint:")) {
			line = []byte("a=fingerprint:sha-256 " + sdp.FormatFingerprint(to))
			swapped++
		}
		out = append(out, line)
	}
	if swapped == 0 {
		t.Fatal("there is no fingerprint to swap")
	}
	return bytes.Join(out, []byte("\r\n"))
}

func TestAPeerWhoseCertificateOrBindingIsNotTheSignedOneIsCutOff(t *testing.T) {
	t.Parallel()
	other := [32]byte{9, 9, 9}
	honest := func(mac [32]byte) ([32]byte, error) { return mac, nil }
	for _, lie := range []struct {
		name string
		bend func(t *testing.T, d *rtc.Description)
		bind func(mac [32]byte) ([32]byte, error)
	}{
		{name: "52: the description's fingerprint is not the signed field", bend: func(t *testing.T, d *rtc.Description) {
			d.SDP = swapFingerprint(t, d.SDP, other)
		}},
		{name: "52: the signed field is another one", bend: func(_ *testing.T, d *rtc.Description) { d.Fingerprint = other }},
		{name: "53: a second fingerprint", bend: func(_ *testing.T, d *rtc.Description) {
			d.SDP = append(d.SDP, []byte("a=fingerprint:sha-256 "+sdp.FormatFingerprint(other)+"\r\n")...)
		}},
		{name: "53: a sha-1 line", bend: func(_ *testing.T, d *rtc.Description) {
			d.SDP = append(d.SDP, []byte("a=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\r\n")...)
		}},
		{name: "54: DTLS presents another certificate", bend: func(t *testing.T, d *rtc.Description) {
			d.SDP, d.Fingerprint = swapFingerprint(t, d.SDP, other), other
		}},
		{name: "55: a wrong binding", bind: func(mac [32]byte) ([32]byte, error) { mac[0] ^= 1; return mac, nil }},
		{name: "55: no binding", bind: func([32]byte) ([32]byte, error) { return [32]byte{}, errors.New("says nothing") }},
	} {
		t.Run(lie.name, func(t *testing.T) {
			t.Parallel()
			alice, h := alone(t)
			p := befriended(t, h, alice)
			ring := p.rings(client.Audio)
			played := newCounter()
			call, err := told(t, alice, always[client.Ringing]).Answer(within(t), client.CallOptions{Source: aClip(t), Sink: played})
			if err != nil {
				t.Fatalf("alice answers: %v", err)
			}
			session := p.finish(ring).Session
			bind := lie.bind
			if bind == nil {
				bind = honest
			}
			i := p.connect(session, bentBinding{session, bind})
			d, err := i.CreateOffer(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if lie.bend != nil {
				lie.bend(t, &d)
			}
			p.describe(session, envelopepb.SessionType_SESSION_OFFER, d)
			told := make(chan envelopepb.Reason, 1)
			go func() { told <- p.follow(session, i, call) }()
			err = over(t, call)
			reason := <-told
			if lie.name != "55: no binding" {
				if !errors.Is(err, client.ErrVerification) || errors.Is(err, client.ErrPeerAlarm) {
					t.Errorf("the call ended as %v", err)
				}
				for m := (*envelopepb.SessionMessage)(nil); reason == envelopepb.Reason_REASON_UNSPECIFIED; reason = m.Reason {
					m = p.frame(session)
				}
				if reason != envelopepb.Reason_REASON_ALARM {
					t.Errorf("the other side was told %v", reason)
				}
			}
			if info := call.Info(); info.Connected || info.ChannelBinding || info.Media.AudioSent != 0 || info.Media.AudioReceived != 0 {
				t.Errorf("media flowed: %+v", info.Stats)
			}
		})
	}
}

func TestAnAlarmOfTheOtherSideIsItsWord(t *testing.T) {
	t.Parallel()
	var away *client.UnreachableError
	for _, c := range []struct {
		reason envelopepb.Reason
		good   func(error) bool
	}{
		{envelopepb.Reason_REASON_ENDED, func(err error) bool { return err == nil }},
		{envelopepb.Reason_REASON_FAILED, func(err error) bool { return errors.As(err, &away) }},
		{envelopepb.Reason_REASON_ALARM, func(err error) bool {
			return errors.Is(err, client.ErrPeerAlarm) && !errors.Is(err, client.ErrVerification)
		}},
		{99, func(err error) bool { return errors.As(err, &away) }}, // of a later version
	} {
		t.Run(c.reason.String(), func(t *testing.T) {
			t.Parallel()
			alice, h := alone(t)
			p := befriended(t, h, alice)
			ring := p.rings(client.Audio)
			call, err := told(t, alice, always[client.Ringing]).Answer(within(t), client.CallOptions{})
			if err != nil {
				t.Fatalf("alice answers: %v", err)
			}
			session := p.finish(ring).Session
			i := p.connect(session, session)
			d, err := i.CreateOffer(within(t))
			if err != nil {
				t.Fatal(err)
			}
			p.describe(session, envelopepb.SessionType_SESSION_OFFER, d)
			following := make(chan envelopepb.Reason, 1)
			go func() { following <- p.follow(session, i, call) }()
			if err := call.Connected(within(t)); err != nil {
				t.Fatal(err)
			}
			// The connection ends before the word of why arrives.
			i.Abort()
			<-call.ConnectionDone()
			p.say(session, &envelopepb.SessionMessage{Type: envelopepb.SessionType_SESSION_BYE, Reason: c.reason})
			if err := over(t, call); !c.good(err) {
				t.Errorf("the call ended as %v", err)
			}
			<-following
		})
	}
}

// follow does what a client's frames ask for, until the client's call is over, and gives the
// reason of a goodbye that comes meanwhile.
func (p *puppet) follow(session *envelope.Session, i *impostor, call *client.Call) envelopepb.Reason {
	ctx := within(p.h.t)
	for {
		m, ok := p.frameUntil(call.Done(), session)
		if !ok {
			return envelopepb.Reason_REASON_UNSPECIFIED
		}
		switch m.Type {
		case envelopepb.SessionType_SESSION_BYE:
			return m.Reason
		case envelopepb.SessionType_SESSION_ANSWER:
			d := rtc.Description{SDP: m.Sdp, Fingerprint: [32]byte(m.Fingerprint), Ufrag: m.Ufrag, Setup: sdp.Setup(m.Setup)}
			if i.AcceptAnswer(ctx, d) != nil {
				return envelopepb.Reason_REASON_UNSPECIFIED
			}
		case envelopepb.SessionType_SESSION_ICE:
			for _, line := range m.Candidates {
				if i.AddCandidate(ctx, rtc.Candidate{Line: line}) != nil {
					return envelopepb.Reason_REASON_UNSPECIFIED
				}
			}
		}
	}
}

func TestTheCalleeShowsNoAddressBeforeTheCallerHasProvedItsKeys(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	ring := p.rings(client.Audio)
	call, err := told(t, alice, always[client.Ringing]).Answer(within(t), client.CallOptions{})
	if err != nil {
		t.Fatal(err)
	}
	session := p.finish(ring).Session
	// Frames of another session, made-up ones and a bent one do not count as a proof.
	payload := make([]byte, 1024)
	in := session.Handles()[0]
	copy(payload, in[:])
	p.deliver(payload, false)
	handle := p.finishHandle(session)
	copy(payload, handle[:])
	for range 300 { // more than wait in the call's queue
		p.deliver(payload, false)
	}
	h.m.settled()
	if n := len(call.Secrets()); n != 0 {
		t.Errorf("%d descriptions or candidates were made", n)
	}
	if call.Info().Connected {
		t.Error("the call says that it is connected")
	}
	if err := call.Hangup(within(t)); err != nil {
		t.Errorf("hang up under a flood: %v", err)
	}
	for h.arrivals() > 0 {
		h.next("anything", func(a arrival) bool {
			if body, err := session.Open(a.payload); err == nil {
				m, err := envelope.ParseSessionMessage(body)
				if err != nil || m.Type != envelopepb.SessionType_SESSION_BYE {
					t.Errorf("alice sent a %v, %v", m.GetType(), err)
				}
			}
			return true
		})
	}
}

// finishHandle is the handle under which the client takes frames of this session: that of
// the first frame that the puppet seals.
func (p *puppet) finishHandle(s *envelope.Session) envelope.Handle {
	frame, err := s.Seal([]byte{})
	if err != nil {
		p.h.t.Fatal(err)
	}
	return envelope.Handle(frame[:8])
}

func TestANewRingForFilesEndsTheOldOneOfThatDevice(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	opts := client.CallOptions{Files: &client.FileOptions{Dir: t.TempDir()}}
	first := p.rings(client.DataOnly)
	old, err := told(t, alice, always[client.Ringing]).Answer(within(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	p.finish(first)
	p.rings(client.DataOnly)
	ringing := told(t, alice, always[client.Ringing])
	if err := over(t, old); err != nil {
		t.Errorf("the old call ended as %v", err)
	}
	// A ring that waits goes the same way, and another person's does not matter.
	q := befriended(t, h, alice)
	q.rings(client.DataOnly)
	theirs := told(t, alice, always[client.Ringing])
	select {
	case <-ringing.Done():
		t.Error("another person's ring ended it")
	default:
	}
	p.rings(client.DataOnly)
	select {
	case <-ringing.Done():
	case <-within(t).Done():
		t.Fatal("the old ring goes on")
	}
	newest := told(t, alice, always[client.Ringing])
	newest.Decline()
	theirs.Decline()
}

package rtc

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/pb"
)

const (
	// cardGathering is how long a card waits for the last of its addresses after the first.
	cardGathering = 3 * time.Second
	// cardFailed is how long the library looks for a path: as long as a card may live.
	cardFailed = envelope.MaxCardLifetime + time.Minute
	// cardChecks is how often it tries each pair of addresses in that time, at five a second.
	cardChecks = uint16(cardFailed / (200 * time.Millisecond))
	// cardMessages may wait to be read. A full queue blocks the library, which is back-pressure.
	cardMessages = 64
	// maxCardHosts leaves room in a card for the addresses that others see.
	maxCardHosts = envelope.MaxCardCandidates - 4
)

// CardLink is the channel between two devices that exchanged cards (docs/spec/cards.md,
// section 4): a connection of its own, which carries the session's frames in place of nodes.
// Open it, put [CardLink.Local] into a card, call [CardLink.Meet], and then Send and Receive.
// Close ends it and everything it started.
type CardLink struct {
	cfg         Config
	clock       Clock
	fingerprint [32]byte
	network     *network
	pc          *webrtc.PeerConnection
	out         outlet

	gathered  chan struct{} // closed when no more candidates come
	first     chan struct{} // closed at the first
	open      chan struct{} // closed when the channel is
	messages  chan []byte
	closing   chan struct{}
	openOnce  sync.Once
	firstOnce sync.Once
	endOnce   sync.Once

	mu         sync.Mutex // guards the rest
	err        error      // why it ended
	peer       *[32]byte  // the other side's certificate, by its card; nil: there is none yet
	candidates []envelope.CardCandidate
}

// CardLocal is what a card says of a link.
type CardLocal struct {
	Ufrag, Pwd  string
	Fingerprint [32]byte
	Candidates  []envelope.CardCandidate
}

// OpenCardLink makes a link. Of cfg the network's fields, the clock and the logger count.
func OpenCardLink(cfg Config) (*CardLink, error) {
	if cfg.RelayOnly && len(cfg.ICEServers) == 0 {
		return nil, errors.New("rtc: relay-only needs a TURN server")
	}
	l := &CardLink{
		cfg: cfg, clock: cfg.Clock, gathered: make(chan struct{}), first: make(chan struct{}), open: make(chan struct{}),
		messages: make(chan []byte, cardMessages), closing: make(chan struct{}),
	}
	if l.clock == nil {
		l.clock = machineClock{}
	}
	certificate, fingerprint, err := newCertificate()
	if err != nil {
		return nil, err
	}
	l.fingerprint = fingerprint
	if l.network, err = newNetwork(cfg.ICEServers, l.closing); err != nil {
		return nil, err
	}
	s := cfg.settings(l.network)
	s.SetSCTPMaxMessageSize(maxMessage)
	s.SetICETimeouts(5*time.Second, cardFailed, 2*time.Second)
	s.SetICEMaxBindingRequests(cardChecks)
	api := webrtc.NewAPI(webrtc.WithSettingEngine(s))
	l.pc, err = api.NewPeerConnection(webrtc.Configuration{
		ICEServers: iceServers(cfg.ICEServers), ICETransportPolicy: cfg.policy(), Certificates: []webrtc.Certificate{certificate},
	})
	if err != nil {
		return nil, fmt.Errorf("rtc: %w", err)
	}
	if err := l.furnish(); err != nil {
		return nil, errors.Join(err, closeConnection(l.pc))
	}
	return l, nil
}

func (l *CardLink) furnish() error {
	negotiated, ordered, id := true, true, uint16(0)
	dc, err := l.pc.CreateDataChannel("card", &webrtc.DataChannelInit{ID: &id, Negotiated: &negotiated, Ordered: &ordered})
	if err != nil {
		return fmt.Errorf("rtc: card channel: %w", err)
	}
	l.out.into = dc
	isOpen := func() { l.openOnce.Do(func() { close(l.open) }) }
	dc.OnOpen(isOpen)
	dc.OnClose(func() { l.end(nil) })
	dc.OnMessage(func(m webrtc.DataChannelMessage) {
		isOpen() // the library may report a message before it reports that the channel opened
		if m.IsString || len(m.Data) == 0 {
			l.end(fmt.Errorf("%w: card channel", ErrControl))
			return
		}
		select {
		case l.messages <- m.Data:
		case <-l.closing:
		}
	})
	l.pc.OnDataChannel(func(*webrtc.DataChannel) { l.end(fmt.Errorf("%w: a second channel was opened", ErrControl)) })
	l.pc.OnICECandidate(l.localCandidate)
	l.pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		switch s {
		case webrtc.PeerConnectionStateFailed:
			l.end(errors.New("rtc: no path between the two cards was found"))
		case webrtc.PeerConnectionStateClosed:
			l.end(nil)
		}
	})
	l.pc.SCTP().Transport().OnStateChange(func(s webrtc.DTLSTransportState) {
		if s == webrtc.DTLSTransportStateFailed {
			l.end(fmt.Errorf("%w: the DTLS handshake failed", ErrFingerprint))
		}
	})
	return nil
}

// localCandidate keeps what a card has room for.
func (l *CardLink) localCandidate(c *webrtc.ICECandidate) {
	if c == nil {
		close(l.gathered)
		return
	}
	parsed, err := sdp.ParseCandidate(c.ToJSON().Candidate)
	if err != nil || parsed.Transport != "udp" || parsed.Component != 1 || l.cfg.RelayOnly && parsed.Type != sdp.Relay {
		return
	}
	addr := netip.AddrPortFrom(parsed.Addr.Addr().Unmap(), parsed.Addr.Port())
	if addr.Addr().IsLinkLocalUnicast() && addr.Addr().Is6() {
		return // without a zone, which means nothing elsewhere, it cannot be reached
	}
	candidate := envelope.CardCandidate{Addr: addr}
	switch parsed.Type {
	case sdp.Host:
		candidate.Type = envelope.CardHost
	case sdp.ServerReflexive:
		candidate.Type = envelope.CardReflexive
	case sdp.Relay:
		candidate.Type = envelope.CardRelay
	default:
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	most := envelope.MaxCardCandidates
	if candidate.Type == envelope.CardHost {
		most = maxCardHosts
	}
	if len(l.candidates) < most && !slices.Contains(l.candidates, candidate) {
		l.candidates = append(l.candidates, candidate)
		l.firstOnce.Do(func() { close(l.first) })
	}
}

// Fingerprint is the SHA-256 of this side's certificate.
func (l *CardLink) Fingerprint() [32]byte { return l.fingerprint }

// Local gathers this side's addresses: for an offer, or, with the other side's card, for the
// answer to it. It is called once.
func (l *CardLink) Local(ctx context.Context, offer *envelope.Card) (CardLocal, error) {
	var own webrtc.SessionDescription
	var err error
	if offer == nil {
		own, err = l.pc.CreateOffer(nil)
	} else {
		if err = l.take(offer, webrtc.SDPTypeOffer); err == nil {
			own, err = l.pc.CreateAnswer(nil)
		}
	}
	if err == nil {
		err = l.pc.SetLocalDescription(own)
	}
	if err != nil {
		return CardLocal{}, fmt.Errorf("rtc: card: %w", err)
	}
	if err := l.gather(ctx); err != nil {
		return CardLocal{}, err
	}
	d, err := sdp.Parse([]byte(own.SDP))
	if err != nil {
		return CardLocal{}, err
	}
	if d.Fingerprint != l.fingerprint {
		return CardLocal{}, ErrFingerprint
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.candidates) == 0 {
		return CardLocal{}, errors.New("rtc: this machine has no address that a card could name")
	}
	// Places in a card are preferences: the shortest way first.
	slices.SortStableFunc(l.candidates, func(a, b envelope.CardCandidate) int { return int(a.Type) - int(b.Type) })
	return CardLocal{Ufrag: d.Ufrag, Pwd: d.Pwd, Fingerprint: l.fingerprint, Candidates: slices.Clone(l.candidates)}, nil
}

func (l *CardLink) gather(ctx context.Context) error {
	late := make(chan struct{})
	stop := func() bool { return false }
	defer func() { stop() }()
	first := l.first
	for {
		select {
		case <-first:
			first = nil
			stop = l.clock.AfterFunc(cardGathering, func() { close(late) })
		case <-l.gathered:
			return nil
		case <-late:
			return nil
		case <-l.closing:
			return l.reason()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Accept takes the answer to this link's offer.
func (l *CardLink) Accept(answer *envelope.Card) error { return l.take(answer, webrtc.SDPTypeAnswer) }

func (l *CardLink) take(c *envelope.Card, kind webrtc.SDPType) error {
	if c.Fingerprint == l.fingerprint {
		return fmt.Errorf("%w: it is this side's own", ErrFingerprint)
	}
	l.mu.Lock()
	had := l.peer
	if had == nil {
		l.peer = &c.Fingerprint // before the handshake can begin
	}
	l.mu.Unlock()
	if err := l.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: cardDescription(c, l.cfg.RelayOnly)}); err != nil {
		l.mu.Lock()
		l.peer = had
		l.mu.Unlock()
		return fmt.Errorf("rtc: card: %w", err)
	}
	return nil
}

// cardDescription writes what a card stands for. Nothing in it is the other side's text: the
// card's fields have one form each.
func cardDescription(c *envelope.Card, relayOnly bool) string {
	setup := sdp.SetupActpass
	if c.Kind == envelope.CardAnswer {
		setup = sdp.SetupActive
	}
	lines := []string{
		"v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "a=group:BUNDLE 0",
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:0", "a=sendrecv",
		"a=ice-ufrag:" + c.Ufrag, "a=ice-pwd:" + c.Pwd, "a=fingerprint:" + sdp.FormatFingerprint(c.Fingerprint),
		"a=setup:" + setup.String(), "a=sctp-port:5000", fmt.Sprintf("a=max-message-size:%d", maxMessage),
	}
	preference := map[envelope.CardCandidateType]uint32{envelope.CardHost: 126, envelope.CardReflexive: 100, envelope.CardRelay: 0}
	word := map[envelope.CardCandidateType]sdp.CandidateType{envelope.CardHost: sdp.Host, envelope.CardReflexive: sdp.ServerReflexive, envelope.CardRelay: sdp.Relay}
	for i, k := range c.Candidates {
		// A name stands for an address that only the local network knows, and is not asked for.
		if !k.Addr.IsValid() || relayOnly && k.Type != envelope.CardRelay {
			continue
		}
		candidate := sdp.Candidate{
			Foundation: fmt.Sprint(i + 1), Component: 1, Transport: "udp", Addr: k.Addr, Type: word[k.Type],
			Priority: preference[k.Type]<<24 | uint32(65535-i)<<8 | 255,
		}.Hidden()
		lines = append(lines, "a="+candidate.String())
	}
	return strings.Join(append(lines, "a=end-of-candidates"), "\r\n") + "\r\n"
}

// Meet waits for the other side and proves both ends: the first binding, the X-Wing exchange,
// the second binding (docs/spec/cards.md, section 5). ErrFingerprint and ErrBinding mean that
// somebody stands in the middle.
func (l *CardLink) Meet(ctx context.Context, m *envelope.Meeting) (*envelope.Session, error) {
	select {
	case <-l.open:
	case <-l.closing:
		return nil, l.reason()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	bounded, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := l.clock.AfterFunc(bindingTime, func() { cancel(fmt.Errorf("%w: none within %v", ErrBinding, bindingTime)) })
	defer stop()
	s, err := l.meet(bounded, m)
	if err != nil {
		if context.Cause(bounded) != nil {
			err = context.Cause(bounded)
		}
		l.end(err)
		return nil, err
	}
	return s, nil
}

func (l *CardLink) meet(ctx context.Context, m *envelope.Meeting) (*envelope.Session, error) {
	peer := m.Peer().Fingerprint
	used := sha256.Sum256(l.pc.SCTP().Transport().GetRemoteCertificate())
	if subtle.ConstantTimeCompare(used[:], peer[:]) != 1 {
		return nil, ErrFingerprint
	}
	own := m.Binding(l.fingerprint, peer)
	if err := l.say(&pb.CardMessage{Kind: &pb.CardMessage_Binding{Binding: &pb.CardBinding{Mac: own[:]}}}); err != nil {
		return nil, err
	}
	first, err := l.hear(ctx)
	if err != nil {
		return nil, err
	}
	mac := first.GetBinding().GetMac()
	if subtle.ConstantTimeCompare(mac, own[:]) == 1 {
		return nil, fmt.Errorf("%w: reflected", ErrBinding)
	}
	if err := m.CheckBinding(mac, l.fingerprint, peer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBinding, err)
	}
	s, err := l.upgrade(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := l.confirm(ctx, s, peer); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// upgrade is the X-Wing exchange.
func (l *CardLink) upgrade(ctx context.Context, m *envelope.Meeting) (*envelope.Session, error) {
	if m.Role() == envelope.Initiator {
		key, err := m.Initiate()
		if err != nil {
			return nil, err
		}
		if err := l.say(&pb.CardMessage{Kind: &pb.CardMessage_Key{Key: &pb.CardKey{Value: key}}}); err != nil {
			return nil, err
		}
		answer, err := l.hear(ctx)
		if err != nil {
			return nil, err
		}
		s, err := m.Finish(answer.GetEncapsulation().GetValue())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBinding, err)
		}
		return s, nil
	}
	key, err := l.hear(ctx)
	if err != nil {
		return nil, err
	}
	enc, s, err := m.Respond(key.GetKey().GetValue())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBinding, err)
	}
	return s, l.say(&pb.CardMessage{Kind: &pb.CardMessage_Encapsulation{Encapsulation: &pb.CardKey{Value: enc}}})
}

// confirm binds the channel again, under the keys that the exchange made.
func (l *CardLink) confirm(ctx context.Context, s *envelope.Session, peer [32]byte) error {
	own, err := s.Binding(l.fingerprint, peer)
	if err != nil {
		return err
	}
	if err := l.say(&pb.CardMessage{Kind: &pb.CardMessage_Upgraded{Upgraded: &pb.CardBinding{Mac: own[:]}}}); err != nil {
		return err
	}
	last, err := l.hear(ctx)
	if err != nil {
		return err
	}
	if err := s.CheckBinding(last.GetUpgraded().GetMac(), l.fingerprint, peer); err != nil {
		return fmt.Errorf("%w: %w", ErrBinding, err)
	}
	return nil
}

func (l *CardLink) say(m *pb.CardMessage) error {
	b, err := envelope.MarshalCardMessage(m)
	if err != nil {
		return err
	}
	if err := l.out.send(b); err != nil {
		return fmt.Errorf("rtc: card channel: %w", err)
	}
	return nil
}

// hear waits for one message. One that does not parse is no step of anything.
func (l *CardLink) hear(ctx context.Context) (*pb.CardMessage, error) {
	select {
	case b := <-l.messages:
		m, err := envelope.ParseCardMessage(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBinding, err)
		}
		return m, nil
	case <-l.closing:
		return nil, l.reason()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Send sends a session frame, once Meet gave a session.
func (l *CardLink) Send(frame []byte) error {
	select {
	case <-l.closing:
		return ErrClosed
	default:
	}
	return l.say(&pb.CardMessage{Kind: &pb.CardMessage_Frame{Frame: &pb.CardFrame{Frame: frame}}})
}

// Receive waits for a session frame. An error is the link's end.
func (l *CardLink) Receive(ctx context.Context) ([]byte, error) {
	m, err := l.hear(ctx)
	if err != nil {
		return nil, err
	}
	frame := m.GetFrame().GetFrame()
	if frame == nil {
		err := fmt.Errorf("%w: a step of the meeting after its end", ErrBinding)
		l.end(err)
		return nil, err
	}
	return frame, nil
}

func (l *CardLink) end(err error) {
	l.endOnce.Do(func() {
		l.mu.Lock()
		l.err = err
		l.mu.Unlock()
		close(l.closing)
	})
}

// reason is why the link ended. The library may report a handshake with another certificate as an ordinary end, so the
// certificate itself is asked.
func (l *CardLink) reason() error {
	used := l.pc.SCTP().Transport().GetRemoteCertificate()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(used) > 0 && l.peer != nil && sha256.Sum256(used) != *l.peer {
		return ErrFingerprint
	}
	if l.err != nil {
		return l.err
	}
	return ErrClosed
}

// Close ends the link and waits until nothing of it is left.
func (l *CardLink) Close() error {
	l.end(nil)
	if err := closeConnection(l.pc); err != nil {
		return fmt.Errorf("rtc: close: %w", err)
	}
	return nil
}

package rtc

import (
	"context"
	"crypto/ecdh"
	"errors"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// cardSide is one person with a card that is alive.
type cardSide struct {
	t      *testing.T
	device *identity.Device
	cert   *identity.DeviceCert
	link   *CardLink
	key    *ecdh.PrivateKey
	card   *envelope.Card
}

func newCardSide(t *testing.T, n byte) *cardSide {
	t.Helper()
	now := time.Now()
	s := &cardSide{t: t, device: identity.DeviceFromSeed([32]byte{n, 2})}
	var err error
	if s.cert, err = identity.RootFromSeed([32]byte{n, 1}).CertifyDevice(s.device.Public(), 1, now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s.link, err = OpenCardLink(Config{IncludeLoopback: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.link.Close(); err != nil {
			t.Error(err)
		}
	})
	if s.key, err = envelope.NewCardKey(); err != nil {
		t.Fatal(err)
	}
	return s
}

// sign makes the card of this side; change is what a hostile one does to it.
func (s *cardSide) sign(ctx context.Context, offer *envelope.Card, change func(*envelope.Card)) *envelope.Card {
	s.t.Helper()
	local, err := s.link.Local(ctx, offer)
	if err != nil {
		s.t.Fatal(err)
	}
	s.card = &envelope.Card{
		Kind: envelope.CardOffer, Cert: s.cert, Ephemeral: [32]byte(s.key.PublicKey().Bytes()), Ufrag: local.Ufrag, Pwd: local.Pwd,
		Fingerprint: local.Fingerprint, Candidates: local.Candidates,
	}
	if offer != nil {
		s.card.Kind, s.card.Offer = envelope.CardAnswer, offer.Hash()
	}
	if change != nil {
		change(s.card)
	}
	if _, err := s.card.Sign(s.device, time.Now()); err != nil {
		s.t.Fatal(err)
	}
	return s.card
}

func (s *cardSide) meeting(role envelope.Role, offer, answer *envelope.Card) *envelope.Meeting {
	s.t.Helper()
	m, err := envelope.NewMeeting(role, s.key, offer, answer)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

func TestTwoCardsMakeASession(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	a, b := newCardSide(t, 1), newCardSide(t, 2)
	offer := a.sign(ctx, nil, nil)
	answer := b.sign(ctx, offer, nil)
	there := make(chan *envelope.Session, 1)
	go func() {
		s, err := b.link.Meet(ctx, b.meeting(envelope.Responder, offer, answer))
		if err != nil {
			t.Error(err)
		}
		there <- s
	}()
	if err := a.link.Accept(answer); err != nil {
		t.Fatal(err)
	}
	here, err := a.link.Meet(ctx, a.meeting(envelope.Initiator, offer, answer))
	if err != nil {
		t.Fatal(err)
	}
	other := <-there
	if other == nil {
		return
	}
	frame, err := here.Seal([]byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.link.Send(frame); err != nil {
		t.Fatal(err)
	}
	got, err := b.link.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := other.Open(got); err != nil || string(body) != "hello" {
		t.Fatalf("%q, %v", body, err)
	}
}

// Whoever answers with a card of his own making comes no further than the channel.
func TestWhoeverKeepsNotToTheCardsIsRefused(t *testing.T) {
	say := func(l *CardLink, m *pb.CardMessage) {
		if err := l.say(m); err != nil {
			t.Error(err)
		}
	}
	binding := func(mac []byte) *pb.CardMessage {
		return &pb.CardMessage{Kind: &pb.CardMessage_Binding{Binding: &pb.CardBinding{Mac: mac}}}
	}
	frame := &pb.CardMessage{Kind: &pb.CardMessage_Frame{Frame: &pb.CardFrame{Frame: make([]byte, 1024)}}}
	key := &pb.CardMessage{Kind: &pb.CardMessage_Key{Key: &pb.CardKey{Value: make([]byte, 1216)}}}
	good := func(l *CardLink, m *envelope.Meeting) *pb.CardMessage {
		mac := m.Binding(l.fingerprint, m.Peer().Fingerprint)
		return binding(mac[:])
	}
	for _, c := range []struct {
		name string
		// play is the answerer's part after the channel is open.
		play func(ctx context.Context, l *CardLink, m *envelope.Meeting)
		want error
	}{
		{"another binding", func(_ context.Context, l *CardLink, _ *envelope.Meeting) { say(l, binding(make([]byte, 32))) }, ErrBinding},
		{"our own binding", func(ctx context.Context, l *CardLink, _ *envelope.Meeting) {
			ours, err := l.hear(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			say(l, ours)
		}, ErrBinding},
		{"a frame first", func(_ context.Context, l *CardLink, _ *envelope.Meeting) { say(l, frame) }, ErrBinding},
		{"a frame in place of the exchange", func(_ context.Context, l *CardLink, m *envelope.Meeting) {
			say(l, good(l, m))
			say(l, frame)
		}, ErrBinding},
		{"a key of the side that answers", func(_ context.Context, l *CardLink, m *envelope.Meeting) {
			say(l, good(l, m))
			say(l, key)
		}, ErrBinding},
		{"an exchange without a second binding", func(ctx context.Context, l *CardLink, m *envelope.Meeting) {
			say(l, good(l, m))
			if _, err := l.hear(ctx); err != nil {
				t.Error(err)
				return
			}
			if _, err := l.upgrade(ctx, m); err != nil {
				t.Error(err)
				return
			}
			say(l, frame)
		}, ErrBinding},
		{"what is no message", func(_ context.Context, l *CardLink, _ *envelope.Meeting) {
			if err := l.out.send([]byte{0xff, 0xff}); err != nil {
				t.Error(err)
			}
		}, ErrBinding},
		{"a text", func(_ context.Context, l *CardLink, _ *envelope.Meeting) {
			if err := l.out.into.(*webrtc.DataChannel).SendText("hello"); err != nil {
				t.Error(err)
			}
		}, ErrControl},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), testTime)
			defer cancel()
			a, b := newCardSide(t, 1), newCardSide(t, 2)
			offer := a.sign(ctx, nil, nil)
			answer := b.sign(ctx, offer, nil)
			played := make(chan struct{})
			go func() {
				defer close(played)
				select {
				case <-b.link.open:
					c.play(ctx, b.link, b.meeting(envelope.Responder, offer, answer))
				case <-ctx.Done():
				}
			}()
			if err := a.link.Accept(answer); err != nil {
				t.Fatal(err)
			}
			if _, err := a.link.Meet(ctx, a.meeting(envelope.Initiator, offer, answer)); !errors.Is(err, c.want) {
				t.Fatalf("ended with %v", err)
			}
			<-played
		})
	}
}

func TestACardOfAnotherCertificateConnectsNobody(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	a, b := newCardSide(t, 1), newCardSide(t, 2)
	offer := a.sign(ctx, nil, nil)
	answer := b.sign(ctx, offer, func(c *envelope.Card) { c.Fingerprint[0] ^= 1 })
	if err := a.link.Accept(answer); err != nil {
		t.Fatal(err)
	}
	if _, err := a.link.Meet(ctx, a.meeting(envelope.Initiator, offer, answer)); !errors.Is(err, ErrFingerprint) {
		t.Fatalf("ended with %v", err)
	}
	own := *offer
	own.Kind = envelope.CardAnswer
	if err := a.link.Accept(&own); !errors.Is(err, ErrFingerprint) {
		t.Fatalf("its own certificate: %v", err)
	}
}

func TestABindingThatDoesNotComeEndsTheMeeting(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	clock := newTestClock()
	a, b := newCardSide(t, 1), newCardSide(t, 2)
	a.link.clock = clock
	offer := a.sign(ctx, nil, nil)
	answer := b.sign(ctx, offer, nil)
	if err := a.link.Accept(answer); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := a.link.Meet(ctx, a.meeting(envelope.Initiator, offer, answer))
		ended <- err
	}()
	<-a.link.open
	for {
		select {
		case <-clock.set:
			clock.advance(bindingTime)
		case err := <-ended:
			if !errors.Is(err, ErrBinding) {
				t.Fatalf("ended with %v", err)
			}
			return
		}
	}
}

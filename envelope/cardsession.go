package envelope

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// MaxCardMessage is the length limit of a message on a card's data channel: a session frame
// and what is around it.
const MaxCardMessage = 16384 + 16

// ErrCardStep says that a message of the upgrade came twice, out of order, or is none.
var ErrCardStep = errors.New("envelope: step of a card session out of turn")

// Meeting is what two cards agree on: enough to prove on their data channel that its ends are
// those who signed the cards, and nothing more. Content waits for the session that the X-Wing
// exchange makes, so that a later quantum computer with a recording of cards and channel
// reads nothing (docs/spec/cards.md, section 5). It belongs to one goroutine.
//
//	offerer                      answerer
//	Binding ------------------->
//	        <------------------- Binding
//	Initiate: key ------------->
//	        <------------------- Respond: encapsulation, session
//	Finish: session
type Meeting struct {
	redact
	role    Role
	peer    *Card
	th      [32]byte
	secret  []byte // of both ephemeral keys; erased when the session exists
	binding [32]byte
	priv    hpke.PrivateKey // initiator, from Initiate to Finish
	key     []byte
	over    bool
}

// NewMeeting puts an offer and its answer together. Whoever made the offer is the initiator
// of the session. own is the secret of the own card's ephemeral key.
func NewMeeting(role Role, own *ecdh.PrivateKey, offer, answer *Card) (*Meeting, error) {
	if offer.Kind != CardOffer || answer.Kind != CardAnswer {
		return nil, ErrCardOrder
	}
	if answer.Offer != offer.hash {
		return nil, ErrCardForeign
	}
	mine, peer := offer, answer
	if role == Responder {
		mine, peer = answer, offer
	}
	if [32]byte(own.PublicKey().Bytes()) != mine.Ephemeral {
		return nil, fmt.Errorf("%w: not the key of the own card", ErrCard)
	}
	pub, err := ecdh.X25519().NewPublicKey(peer.Ephemeral[:])
	if err != nil {
		return nil, fmt.Errorf("meeting: %w", err)
	}
	secret, err := own.ECDH(pub)
	if err != nil {
		return nil, fmt.Errorf("%w: ephemeral key of low order", ErrCardForged)
	}
	m := &Meeting{role: role, peer: peer, secret: secret}
	h := sha256.New()
	h.Write([]byte(labelCardTH))
	h.Write(offer.hash[:])
	h.Write(answer.hash[:])
	h.Sum(m.th[:0])
	expand(m.binding[:], secret, m.th, labelCardBinding)
	return m, nil
}

// Role is this side's role in the session.
func (m *Meeting) Role() Role { return m.role }

// Peer is the other side's card.
func (m *Meeting) Peer() *Card { return m.peer }

// Binding is the first message on the data channel, made like [Session.Binding] under the key
// of both ephemeral keys and the transcript of both cards.
func (m *Meeting) Binding(own, peer [32]byte) [32]byte { return m.bind(m.role, own, peer) }

// CheckBinding verifies what the other side sent in the same place.
func (m *Meeting) CheckBinding(mac []byte, own, peer [32]byte) error {
	want := m.bind(m.role.peer(), peer, own)
	if !hmac.Equal(mac, want[:]) {
		return ErrBinding
	}
	return nil
}

func (m *Meeting) bind(role Role, own, peer [32]byte) (mac [32]byte) {
	h := hmac.New(sha256.New, m.binding[:])
	h.Write([]byte{byte(role)})
	h.Write(own[:])
	h.Write(peer[:])
	h.Write(m.th[:])
	h.Sum(mac[:0])
	return mac
}

// Initiate is the offerer's step, once the other side's binding has verified: its X-Wing key.
func (m *Meeting) Initiate() ([]byte, error) {
	if m.role != Initiator || m.priv != nil || m.over {
		return nil, ErrCardStep
	}
	kem, _, _ := suiteXWing()
	priv, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("card session: %w", err)
	}
	m.priv, m.key = priv, priv.PublicKey().Bytes()
	return slices.Clone(m.key), nil
}

// Respond is the answerer's step: it takes the key and gives the encapsulation to it, and the
// session.
func (m *Meeting) Respond(key []byte) (enc []byte, s *Session, err error) {
	if m.role != Responder || m.over {
		return nil, nil, ErrCardStep
	}
	m.over = true
	if err := CheckXWing(key); err != nil {
		return nil, nil, err
	}
	kem, kdf, aead := suiteXWing()
	pub, err := kem.NewPublicKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("card session: %w", err)
	}
	enc, ctx, err := hpke.NewSender(pub, kdf, aead, m.info())
	if err != nil {
		return nil, nil, fmt.Errorf("card session: %w", err)
	}
	s, err = m.session(ctx.Export, key, enc)
	return enc, s, err
}

// Finish is the offerer's last step: it takes the encapsulation and gives the session.
func (m *Meeting) Finish(enc []byte) (*Session, error) {
	if m.role != Initiator || m.priv == nil || m.over {
		return nil, ErrCardStep
	}
	m.over = true
	priv := m.priv
	m.priv = nil
	if err := CheckXWingEnc(enc); err != nil {
		return nil, err
	}
	_, kdf, aead := suiteXWing()
	ctx, err := hpke.NewRecipient(enc, priv, kdf, aead, m.info())
	if err != nil {
		return nil, ErrDecrypt
	}
	return m.session(ctx.Export, m.key, enc)
}

func (m *Meeting) info() []byte { return append([]byte(identity.ContextCardSession), m.th[:]...) }

// session mixes both secrets, so that breaking either of them is not enough.
func (m *Meeting) session(export func(string, int) ([]byte, error), key, enc []byte) (*Session, error) {
	strong, err := export(labelCardSecret, 32)
	if err != nil {
		return nil, fmt.Errorf("card session: %w", err)
	}
	th := cardTranscript(m.th, key, enc)
	secret := make([]byte, 32)
	expand(secret, slices.Concat(m.secret, strong), th, labelCardSecret)
	clear(m.secret)
	clear(strong)
	// There is no mailbox on either side, and so no route tag: frames go over the channel.
	s := newSession(m.role, deriveKeys(secret, th), RouteTag{}, RouteTag{})
	s.ID, s.Peer, s.PeerDevice = SessionID(m.th[:16]), m.peer.Root(), m.peer.Cert.DeviceID()
	return s, nil
}

func cardTranscript(th0 [32]byte, key, enc []byte) (th [32]byte) {
	k, e := sha256.Sum256(key), sha256.Sum256(enc)
	h := sha256.New()
	h.Write([]byte(labelCardUpgrade))
	h.Write(th0[:])
	h.Write(k[:])
	h.Write(e[:])
	h.Sum(th[:0])
	return th
}

// MarshalCardMessage writes a message of a card's data channel.
func MarshalCardMessage(m *pb.CardMessage) ([]byte, error) {
	if err := checkCardMessage(m); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal card message: %w", err)
	}
	return b, nil
}

// ParseCardMessage reads one. Whether it is its turn is for the caller.
func ParseCardMessage(b []byte) (*pb.CardMessage, error) {
	m := new(pb.CardMessage)
	if err := canon.Unmarshal(b, MaxCardMessage, m); err != nil {
		return nil, fmt.Errorf("parse card message: %w", err)
	}
	return m, checkCardMessage(m)
}

func checkCardMessage(m *pb.CardMessage) error {
	good := false
	switch k := m.Kind.(type) {
	case *pb.CardMessage_Binding:
		good = len(k.Binding.GetMac()) == 32
	case *pb.CardMessage_Key:
		good = len(k.Key.GetValue()) == xwingPublic
	case *pb.CardMessage_Encapsulation:
		good = len(k.Encapsulation.GetValue()) == xwingEnc
	case *pb.CardMessage_Upgraded:
		good = len(k.Upgraded.GetMac()) == 32
	case *pb.CardMessage_Frame:
		good = slices.Contains(frameSizes[:], len(k.Frame.GetFrame()))
	}
	if !good {
		return fmt.Errorf("%w: card message", ErrMalformed)
	}
	return nil
}

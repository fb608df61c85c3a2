package envelope

import (
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Message is the signed message inside (Inner). A sender fills the first group; the rest is
// filled by what seals it, or by [Opener.Open].
type Message struct {
	redact
	Type      pb.Type
	ID        MessageID // zero: one is drawn
	Created   time.Time // to the millisecond
	Expires   time.Time
	SessionID SessionID // zero outside calls
	Body      []byte    // what the [Body] of the type marshals to
	Grant     *Grant    // only to accepted contacts

	OwnEpoch      uint64 // the sender's own device list
	BelievedEpoch uint64 // the list that the sender has of the recipient; zero: none
	BelievedHash  [8]byte

	SenderRoot      identity.PublicKey
	SenderCert      *identity.DeviceCert
	RecipientRoot   identity.PublicKey
	RecipientDevice identity.DeviceID
	PrekeyID        PrekeyID // zero in ring answers
	RouteTag        RouteTag
}

// NewMessage is a message around body that lives for d from now.
func NewMessage(body Body, now time.Time, d time.Duration) (Message, error) {
	b, err := body.Marshal()
	if err != nil {
		return Message{}, err
	}
	return Message{Type: body.Type(), Created: now, Expires: now.Add(d), Body: b}, nil
}

// SetEpochs writes the epoch echo: our own newest list, and the list of the recipient that we
// go by, which may be nil.
func (m *Message) SetEpochs(own, recipient *identity.DeviceList) {
	m.OwnEpoch = own.Epoch
	m.BelievedEpoch, m.BelievedHash = 0, [8]byte{}
	if recipient != nil {
		m.BelievedEpoch, m.BelievedHash = recipient.Epoch, recipient.HashPrefix()
	}
}

// MaxLifetime is how far apart the times of a message may be: what makes a device ring, or
// answers a ring, is worth nothing after a minute.
func MaxLifetime(t pb.Type) time.Duration {
	if ofCall(t) {
		return time.Minute
	}
	return 7 * 24 * time.Hour
}

// ofCall says which messages belong to a call and may name it by its session id.
func ofCall(t pb.Type) bool { return namesCall(t) || t == pb.Type_TYPE_CANCEL }

// namesCall says which of them must. A CANCEL names its RING by its hash.
func namesCall(t pb.Type) bool { return t == pb.Type_TYPE_RING || isRingAnswer(t) }

// Clocks differ. Without this grace a phone two minutes fast would lose every call.
const (
	maxAhead = 5 * time.Minute // created
	maxLate  = 2 * time.Minute // expires
)

// MaxSigned bounds a signed message: what the largest bucket can hold.
const MaxSigned = MaxPayload - ageOverhead - 4

const maxCert = 256

// sign marshals and signs m. It checks what a recipient will check, so that a mistake ends
// here and not as silence on the other side.
func (m *Message) sign(device *identity.Device) ([]byte, error) {
	if m.SenderCert == nil || m.SenderCert.Device != device.Public() {
		return nil, fmt.Errorf("%w: certificate of another device", ErrMalformed)
	}
	life := m.Expires.Sub(m.Created)
	if life <= 0 || life > MaxLifetime(m.Type) {
		return nil, fmt.Errorf("%w: lifetime %v", ErrMalformed, life)
	}
	if m.OwnEpoch == 0 {
		return nil, fmt.Errorf("%w: no epoch of our own list", ErrMalformed)
	}
	if has := m.SessionID != (SessionID{}); has && !ofCall(m.Type) || !has && namesCall(m.Type) {
		return nil, fmt.Errorf("%w: a session id belongs to the messages of a call, and to no other", ErrMalformed)
	}
	if _, err := ParseBody(m.Type, m.Body); err != nil {
		return nil, err
	}
	if err := m.checkGrant(); err != nil {
		return nil, err
	}
	if m.ID == (MessageID{}) {
		m.ID = NewMessageID()
	}
	m.SenderRoot = m.SenderCert.Root
	p := &pb.Inner{
		Version:         version,
		Type:            m.Type,
		SenderRoot:      m.SenderRoot[:],
		SenderCert:      m.SenderCert.Bytes(),
		RecipientRoot:   m.RecipientRoot[:],
		RecipientDevice: m.RecipientDevice[:],
		RouteTag:        m.RouteTag[:],
		MessageId:       m.ID[:],
		Created:         uint64(m.Created.UnixMilli()),
		Expires:         uint64(m.Expires.UnixMilli()),
		Body:            m.Body,
		Suite:           identity.Suite,
		OwnEpoch:        m.OwnEpoch,
		BelievedEpoch:   m.BelievedEpoch,
	}
	if m.PrekeyID != (PrekeyID{}) {
		p.PrekeyId = m.PrekeyID[:]
	}
	if m.SessionID != (SessionID{}) {
		p.SessionId = m.SessionID[:]
	}
	if m.BelievedEpoch != 0 {
		p.BelievedHash = m.BelievedHash[:]
	}
	if m.Grant != nil {
		p.Grant = m.Grant.proto()
	}
	b, err := canon.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("sign message: %w", err)
	}
	return device.SignObject(identity.ContextInner, b), nil
}

// parseInner is step 5 and the sizes of step 12's head: it looks at no key, no time and no
// recipient, and at no signature.
func parseInner(msg []byte) (*Message, []byte, error) {
	var p pb.Inner
	if err := canon.Unmarshal(msg, MaxSigned, &p); err != nil {
		return nil, nil, fmt.Errorf("parse message: %w", err)
	}
	answer := isRingAnswer(p.Type)
	ok := p.Version == version && p.Suite == identity.Suite &&
		len(p.SenderRoot) == 32 && len(p.SenderCert) > identity.SignatureSize && len(p.SenderCert) <= maxCert &&
		len(p.RecipientRoot) == 32 && len(p.RecipientDevice) == 16 &&
		(len(p.PrekeyId) == 16 && !answer || len(p.PrekeyId) == 0 && answer) &&
		len(p.RouteTag) == 16 && len(p.MessageId) == 16 &&
		(len(p.SessionId) == 16 && ofCall(p.Type) || len(p.SessionId) == 0 && !namesCall(p.Type)) &&
		p.Created <= maxMillis && p.Expires <= maxMillis && p.OwnEpoch > 0 &&
		(p.BelievedEpoch != 0 && len(p.BelievedHash) == 8 || p.BelievedEpoch == 0 && len(p.BelievedHash) == 0) &&
		len(p.Body) <= maxBody
	if !ok {
		return nil, nil, fmt.Errorf("%w: message", ErrMalformed)
	}
	m := &Message{
		Type:            p.Type,
		ID:              MessageID(p.MessageId),
		Created:         time.UnixMilli(int64(p.Created)),
		Expires:         time.UnixMilli(int64(p.Expires)),
		Body:            p.Body,
		OwnEpoch:        p.OwnEpoch,
		BelievedEpoch:   p.BelievedEpoch,
		SenderRoot:      identity.PublicKey(p.SenderRoot),
		RecipientRoot:   identity.PublicKey(p.RecipientRoot),
		RecipientDevice: identity.DeviceID(p.RecipientDevice),
		RouteTag:        RouteTag(p.RouteTag),
	}
	copy(m.PrekeyID[:], p.PrekeyId)
	copy(m.SessionID[:], p.SessionId)
	copy(m.BelievedHash[:], p.BelievedHash)
	if p.Grant != nil {
		g, err := grantFrom(p.Grant)
		if err != nil {
			return nil, nil, err
		}
		m.Grant = g
	}
	return m, p.SenderCert, nil
}

// maxMillis keeps every time inside what time.Time subtracts without overflow (year 2255).
const maxMillis = 9_000_000_000_000

// checkGrant: the two types that exist to carry a grant need one.
func (m *Message) checkGrant() error {
	switch m.Type {
	case pb.Type_TYPE_KNOCK_ACCEPT, pb.Type_TYPE_TOKEN_UPDATE:
		if m.Grant == nil {
			return fmt.Errorf("%w: no grant", ErrMalformed)
		}
	}
	return nil
}

func isRingAnswer(t pb.Type) bool {
	return t == pb.Type_TYPE_ACCEPT || t == pb.Type_TYPE_DECLINE || t == pb.Type_TYPE_BUSY
}

// checkTimes is step 9.
func (m *Message) checkTimes(now time.Time) error {
	life := m.Expires.Sub(m.Created)
	switch {
	case life <= 0 || life > MaxLifetime(m.Type):
		return fmt.Errorf("%w: lifetime", ErrTime)
	case m.Created.After(now.Add(maxAhead)):
		return fmt.Errorf("%w: from the future", ErrTime)
	case m.Expires.Before(now.Add(-maxLate)):
		return fmt.Errorf("%w: expired", ErrTime)
	}
	return nil
}

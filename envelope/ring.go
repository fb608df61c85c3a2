package envelope

import (
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// A ring answer is a payload of its own form, so that answering needs no prekey and no
// look-up:
//
//	handle 8 | encapsulation 1120 | HPKE Seal( length 4 | signed Inner | zeros ) + tag 16
//
// It is exactly 4,096 bytes, for ACCEPT, DECLINE and BUSY alike. The associated data is the
// route tag of the mailbox that it goes to.
const (
	ringAnswerSize  = bucket4K
	ringAnswerPlain = ringAnswerSize - 8 - xwingEnc - aeadTag // 2952

	// ringTries bounds the work that a node can cause with made-up answers.
	ringTries = 32
)

var (
	// ErrRingOver says that the ring was answered, cancelled or tried too often. The first
	// answer wins.
	ErrRingOver = errors.New("envelope: ring is over")
	// ErrAnswer says that an answer does not belong to this ring, or comes from a device
	// that was not rung.
	ErrAnswer = errors.New("envelope: answer to another ring")
	// ErrUnverified says that no session starts without the other side's current list.
	ErrUnverified = errors.New("envelope: the other side's device list is missing or has ended")
)

// RingConfig is what one ring says.
type RingConfig struct {
	Media     pb.Media
	SessionID SessionID    // the same for all devices of one call
	Reply     ReplyAddress // where the answer goes; Handle zero: one is drawn
	Now       time.Time
	OwnList   *identity.DeviceList // for the epoch echo
	PeerList  *identity.DeviceList // the list that the bundle was checked against
}

// RingState is a ring that waits for its answer. It holds the ephemeral secret until the
// answer came or the ring is closed.
type RingState struct {
	redact
	Payload  []byte   // sealed RING, 4,096 bytes, for an envelope of class Ring
	Hash     [32]byte // of the signed RING
	Hint     Hint
	Collapse CollapseKey // for the hop of this ring and of its CANCEL
	Peer     identity.PublicKey
	Device   identity.DeviceID // the device that rings
	Route    Route
	Session  SessionID
	Expires  time.Time
	Handle   Handle // under which the answer arrives

	reply ReplyAddress

	mu       sync.Mutex // guards the rest
	priv     hpke.PrivateKey
	tries    int
	answered [32]byte // SHA-256 of the payload that answered
}

// NewRing makes a RING for one device of the person to call. Each device gets a ring of its
// own, with a fresh ephemeral key.
func NewRing(device *identity.Device, cert *identity.DeviceCert, to *Bundle, c RingConfig) (*RingState, error) {
	kem, _, _ := suiteXWing()
	priv, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("new ring: %w", err)
	}
	return newRing(device, cert, to, c, priv)
}

func newRing(device *identity.Device, cert *identity.DeviceCert, to *Bundle, c RingConfig, priv hpke.PrivateKey) (*RingState, error) {
	if c.OwnList == nil || c.SessionID == (SessionID{}) {
		return nil, fmt.Errorf("%w: ring without own list or session id", ErrMalformed)
	}
	if c.Reply.Handle == (Handle{}) {
		c.Reply.Handle = NewHandle()
	}
	body := &RingBody{
		Ephemeral: priv.PublicKey().Bytes(),
		Media:     c.Media,
		Reply:     c.Reply,
		Collapse:  NewCollapseKey(),
	}
	m, err := NewMessage(body, c.Now, MaxLifetime(pb.Type_TYPE_RING))
	if err != nil {
		return nil, fmt.Errorf("new ring: %w", err)
	}
	m.SessionID = c.SessionID
	m.SetEpochs(c.OwnList, c.PeerList)
	payload, signed, err := SealMessage(device, cert, to, m)
	if err != nil {
		return nil, fmt.Errorf("new ring: %w", err)
	}
	return &RingState{
		Payload:  payload,
		Hash:     sha256.Sum256(signed),
		Hint:     to.PrekeyID.Hint(),
		Collapse: body.Collapse,
		Peer:     to.Root,
		Device:   to.DeviceID(),
		Route:    to.Route,
		Session:  c.SessionID,
		Expires:  m.Expires,
		Handle:   c.Reply.Handle,
		reply:    c.Reply,
		priv:     priv,
	}, nil
}

// Close drops the ephemeral secret. What arrives afterwards is late.
func (r *RingState) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.priv = nil
}

// Answered is the verified answer to a ring.
type Answered struct {
	redact
	Kind    pb.Type // TYPE_ACCEPT, TYPE_DECLINE or TYPE_BUSY
	Reason  pb.Reason
	Session *Session // ACCEPT only
	Opened  *Opened
}

// Finish opens an answer that arrived under r's handle. On success the ring is over and its
// secret gone, so a second answer finds nothing; after an error the ring goes on, because
// anyone on the way can make up bytes under a handle. The very same bytes again are
// [ErrReplay] as well as [ErrRingOver]: the callee has not seen our first frame
// ([CallAcceptAgain]).
func (r *RingState) Finish(payload []byte, o *Opener) (*Answered, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.priv == nil {
		if r.answered != ([32]byte{}) && sha256.Sum256(payload) == r.answered {
			return nil, fmt.Errorf("%w: %w", ErrRingOver, ErrReplay)
		}
		return nil, ErrRingOver
	}
	if len(payload) != ringAnswerSize || Handle(payload[:8]) != r.Handle {
		return nil, ErrSize
	}
	if r.tries++; r.tries > ringTries {
		r.priv = nil
		return nil, ErrRingOver
	}
	enc := payload[8 : 8+xwingEnc]
	if err := CheckXWingEnc(enc); err != nil {
		return nil, err
	}
	_, kdf, aead := suiteXWing()
	ctx, err := hpke.NewRecipient(enc, r.priv, kdf, aead, sessionInfo(r.Hash))
	if err != nil {
		return nil, ErrDecrypt
	}
	plain, err := ctx.Open(r.reply.Tag[:], payload[8+xwingEnc:])
	if err != nil {
		return nil, ErrDecrypt
	}
	signed, err := Unpad(plain)
	if err != nil {
		return nil, err
	}
	opened, body, err := r.checkAnswer(signed, enc, o)
	if err != nil {
		return nil, err
	}
	answered := &Answered{Kind: body.Kind, Reason: body.Reason, Opened: opened}
	if body.Kind == pb.Type_TYPE_ACCEPT {
		secret, err := ctx.Export(identity.ContextSessionSecret, 32)
		if err != nil {
			return nil, fmt.Errorf("finish ring: %w", err)
		}
		s := newSession(Initiator, deriveKeys(secret, transcript(r.Hash, opened.Hash)), r.reply.Tag, body.Reply.Tag)
		s.ID, s.Peer, s.PeerDevice, s.Reply = r.Session, r.Peer, r.Device, body.Reply
		answered.Session = s
	}
	r.priv, r.answered = nil, sha256.Sum256(payload)
	return answered, nil
}

// checkAnswer takes the signed message through the steps that a sealed one goes through,
// and then holds it against the ring.
func (r *RingState) checkAnswer(signed, enc []byte, o *Opener) (*Opened, *RingAnswer, error) {
	opened, err := o.openSigned(signed, PrekeyID{}, r.reply.Tag, o.c.Now())
	if err != nil {
		return nil, nil, err
	}
	if opened.SenderRoot != r.Peer || opened.SenderCert.DeviceID() != r.Device {
		return nil, nil, fmt.Errorf("%w: from a device that was not rung", ErrAnswer)
	}
	if !isRingAnswer(opened.Type) || opened.SessionID != r.Session {
		return nil, nil, ErrAnswer
	}
	if opened.Standing != Accepted && opened.Standing != Own {
		return nil, nil, ErrPolicy
	}
	body, err := ParseRingAnswer(opened.Type, opened.Body)
	if err != nil {
		return nil, nil, err
	}
	if body.RingHash != r.Hash || body.EncHash != sha256.Sum256(enc) {
		return nil, nil, ErrAnswer
	}
	if body.Kind == pb.Type_TYPE_ACCEPT {
		if opened.List == ListUnknown || opened.List == ListEnded {
			return nil, nil, ErrUnverified
		}
		if !slices.Contains(opened.list.Homes, body.Reply.Home) {
			return nil, nil, fmt.Errorf("%w: its frames are wanted at no home of it", ErrUnverified)
		}
	}
	opened.Content = body
	return opened, body, nil
}

// sessionInfo binds the encapsulation to the signed RING.
func sessionInfo(ringHash [32]byte) []byte {
	return append([]byte(identity.ContextSession), ringHash[:]...)
}

// AnswerConfig is what an answer says.
type AnswerConfig struct {
	Kind   pb.Type   // TYPE_ACCEPT, TYPE_DECLINE or TYPE_BUSY
	Reason pb.Reason // DECLINE and BUSY; zero: the reason of that name
	// Reply is where the caller sends its frames: our own mailbox and a token for it.
	Reply   ReplyAddress
	Now     time.Time
	OwnList *identity.DeviceList
	// CallerList is the caller's list. An ACCEPT needs one that names the calling device and
	// has not ended more than seven days ago.
	CallerList *identity.DeviceList
}

// AnswerRing answers a RING that [Opener.Open] gave. The payload is sent, with the token and
// under the route tag of the ring's reply address, again and again without change until the
// first frame arrives. The session is nil unless the ring is accepted. A ring is accepted
// once: a second call makes other keys.
func AnswerRing(device *identity.Device, cert *identity.DeviceCert, ring *Opened, c AnswerConfig) (payload []byte, s *Session, err error) {
	body, ok := ring.Content.(*RingBody)
	if !ok || !isRingAnswer(c.Kind) || c.OwnList == nil {
		return nil, nil, fmt.Errorf("%w: no ring to answer", ErrMalformed)
	}
	accept := c.Kind == pb.Type_TYPE_ACCEPT
	if accept {
		if err := checkCaller(ring, c); err != nil {
			return nil, nil, err
		}
	}
	kem, kdf, aead := suiteXWing()
	pub, err := kem.NewPublicKey(body.Ephemeral)
	if err != nil {
		return nil, nil, fmt.Errorf("answer ring: %w", err)
	}
	enc, ctx, err := hpke.NewSender(pub, kdf, aead, sessionInfo(ring.Hash))
	if err != nil {
		return nil, nil, fmt.Errorf("answer ring: %w", err)
	}
	signed, err := signAnswer(device, cert, ring, c, sha256.Sum256(enc))
	if err != nil {
		return nil, nil, fmt.Errorf("answer ring: %w", err)
	}
	var plain [ringAnswerPlain]byte
	if err := Pad(plain[:], signed); err != nil {
		return nil, nil, fmt.Errorf("answer ring: %w", err)
	}
	ct, err := ctx.Seal(body.Reply.Tag[:], plain[:])
	if err != nil {
		return nil, nil, fmt.Errorf("answer ring: %w", err)
	}
	payload = slices.Concat(body.Reply.Handle[:], enc, ct)
	if !accept {
		return payload, nil, nil
	}
	secret, err := ctx.Export(identity.ContextSessionSecret, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("answer ring: %w", err)
	}
	s = newSession(Responder, deriveKeys(secret, transcript(ring.Hash, sha256.Sum256(signed))), c.Reply.Tag, body.Reply.Tag)
	s.ID, s.Peer, s.PeerDevice, s.Reply = ring.SessionID, ring.SenderRoot, ring.SenderCert.DeviceID(), body.Reply
	return payload, s, nil
}

// checkCaller: no session starts with a device that no current list names, for a ring whose
// time is over, or towards a node that the list does not name.
func checkCaller(ring *Opened, c AnswerConfig) error {
	if c.Now.After(ring.Expires) {
		return fmt.Errorf("%w: ring has ended", ErrTime)
	}
	if c.CallerList == nil {
		return ErrUnverified
	}
	current, err := c.CallerList.Admit(ring.SenderCert, c.Now)
	if err != nil || !current {
		return errors.Join(ErrUnverified, err)
	}
	if _, err := c.CallerList.Fresh(c.Now); err != nil {
		return errors.Join(ErrUnverified, err)
	}
	if !slices.Contains(c.CallerList.Homes, ring.Content.(*RingBody).Reply.Home) {
		return fmt.Errorf("%w: the answer is wanted at no home of it", ErrUnverified)
	}
	return nil
}

func signAnswer(device *identity.Device, cert *identity.DeviceCert, ring *Opened, c AnswerConfig, encHash [32]byte) ([]byte, error) {
	a := &RingAnswer{Kind: c.Kind, RingHash: ring.Hash, EncHash: encHash, Reason: c.Reason}
	switch {
	case c.Kind == pb.Type_TYPE_ACCEPT:
		a.Reply = c.Reply
	case c.Reason == pb.Reason_REASON_UNSPECIFIED && c.Kind == pb.Type_TYPE_BUSY:
		a.Reason = pb.Reason_REASON_BUSY
	case c.Reason == pb.Reason_REASON_UNSPECIFIED:
		a.Reason = pb.Reason_REASON_DECLINED
	}
	m, err := NewMessage(a, c.Now, MaxLifetime(c.Kind))
	if err != nil {
		return nil, err
	}
	m.SenderCert = cert
	m.RecipientRoot = ring.SenderRoot
	m.RecipientDevice = ring.SenderCert.DeviceID()
	m.RouteTag = ring.Content.(*RingBody).Reply.Tag
	m.SessionID = ring.SessionID
	m.SetEpochs(c.OwnList, c.CallerList)
	return m.sign(device)
}

// SealCancel makes the CANCEL of a ring: it is sealed to the same device and carries the
// same collapse key, so that it replaces a ring that still waits.
func (r *RingState) SealCancel(device *identity.Device, cert *identity.DeviceCert, to *Bundle, reason pb.Reason, c RingConfig) (payload []byte, err error) {
	if to.DeviceID() != r.Device || c.OwnList == nil {
		return nil, fmt.Errorf("%w: cancel for another device", ErrMalformed)
	}
	m, err := NewMessage(&Cancel{RingHash: r.Hash, Reason: reason}, c.Now, MaxLifetime(pb.Type_TYPE_CANCEL))
	if err != nil {
		return nil, fmt.Errorf("cancel ring: %w", err)
	}
	m.SessionID = r.Session
	m.SetEpochs(c.OwnList, c.PeerList)
	payload, _, err = SealMessage(device, cert, to, m)
	return payload, err
}

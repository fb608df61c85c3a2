package envelope

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"github.com/trunkline-net/trunkline/identity"
)

// Role is who made the session: the caller is the initiator. It does not change, whoever
// offers the SDP.
type Role uint8

const (
	Initiator Role = 0
	Responder Role = 1
)

func (r Role) peer() Role { return r ^ 1 }

// Label names a key that [Session.Export] gives out.
type Label string

const (
	LabelMedia   Label = "media"
	LabelFile    Label = "file"
	LabelBinding Label = "channel-binding"
	LabelSAS     Label = "sas"
)

// ErrBinding says that the other end of a channel is not the other end of the session:
// close the channel and alarm.
var ErrBinding = errors.New("envelope: channel binding does not verify")

// Session is the pair of keys that a ring and its answer agreed on, in memory only: a
// restart is a new session, so no counter is ever used twice. It is safe for concurrent
// use.
type Session struct {
	redact
	ID   SessionID
	Role Role
	// Peer is the other end's identity and device, as the signed messages named them.
	Peer       identity.PublicKey
	PeerDevice identity.DeviceID
	// Reply is where frames to the peer go.
	Reply ReplyAddress

	mu   sync.Mutex // guards everything below
	keys keys
	tags [2]RouteTag // the mailbox that receives, by the role of the sender
	out  *direction
	in   *direction
	next *direction // the receiving half after the step: the peer may take it before us
	old  *direction // the receiving half from before the step, for frames on their way
	step bool
	shut bool
}

// keys are all that a session derives (docs/spec/session.md, "Keys").
type keys struct {
	th       [32]byte
	frame    [2][32]byte // i2r, r2i: by the role of the sender
	handle   [2]Handle   // hi, hr
	media    [32]byte
	file     [32]byte
	binding  [32]byte
	sas      [32]byte
	mediaDir [2][32]byte
}

// transcript binds the keys to both signed messages, signatures included.
func transcript(ringHash, acceptHash [32]byte) (th [32]byte) {
	h := sha256.New()
	h.Write([]byte(identity.ContextTranscript))
	h.Write(ringHash[:])
	h.Write(acceptHash[:])
	h.Sum(th[:0])
	return th
}

// deriveKeys erases secret.
func deriveKeys(secret []byte, th [32]byte) (k keys) {
	k.th = th
	expand(k.frame[Initiator][:], secret, th, identity.ContextI2R)
	expand(k.frame[Responder][:], secret, th, identity.ContextR2I)
	expand(k.handle[Initiator][:], secret, th, identity.ContextHI)
	expand(k.handle[Responder][:], secret, th, identity.ContextHR)
	expand(k.media[:], secret, th, identity.ContextMedia)
	expand(k.file[:], secret, th, identity.ContextFile)
	expand(k.binding[:], secret, th, identity.ContextBinding)
	expand(k.sas[:], secret, th, identity.ContextSAS)
	expand(k.mediaDir[Initiator][:], k.media[:], th, labelMediaI2R)
	expand(k.mediaDir[Responder][:], k.media[:], th, labelMediaR2I)
	clear(secret)
	return k
}

// expand fills out with HKDF-SHA256(ikm, salt th, info label).
func expand(out, ikm []byte, th [32]byte, label string) { expandSalt(out, ikm, th[:], label) }

func expandSalt(out, ikm, salt []byte, label string) {
	b, err := hkdf.Key(sha256.New, ikm, salt, label, len(out))
	if err != nil {
		panic(err) // 32 bytes are within every limit of HKDF
	}
	copy(out, b)
	clear(b)
}

// NewSession makes the session that two devices agreed on by another way than a ring: in a
// room, by a JOIN and its WELCOME. The transcript binds it to both signed messages, and the
// tags say who receives. It erases secret.
func NewSession(role Role, secret []byte, transcript [32]byte, ownTag, peerTag RouteTag) *Session {
	return newSession(role, deriveKeys(secret, transcript), ownTag, peerTag)
}

// newSession takes over k. The tags are those of the mailboxes in which each side receives.
func newSession(role Role, k keys, ownTag, peerTag RouteTag) *Session {
	s := &Session{Role: role, keys: k}
	s.tags[role], s.tags[role.peer()] = peerTag, ownTag
	s.out = s.directionLocked(role, k.frame[role], k.handle[role])
	s.in = s.directionLocked(role.peer(), k.frame[role.peer()], k.handle[role.peer()])
	key, handle := s.stepped(role.peer())
	s.next = s.directionLocked(role.peer(), key, handle)
	return s
}

func (s *Session) directionLocked(sender Role, key [32]byte, h Handle) *direction {
	return newDirection(key, h, s.tags[sender])
}

// Handles returns the handles under which frames to this device may now arrive. There are
// two before [Session.Step], because the side whose binding arrives first steps first; two
// from then until [Session.Forget]; and one afterwards.
func (s *Session) Handles() []Handle {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hs []Handle
	for _, d := range []*direction{s.in, s.next, s.old} {
		if d != nil {
			hs = append(hs, d.handle)
		}
	}
	return hs
}

// Seal returns a new frame around body, which is at most [MaxFrameBody] bytes.
func (s *Session) Seal(body []byte) ([]byte, error) {
	size := FrameSize(len(body))
	if size == 0 {
		return nil, ErrTooLarge
	}
	frame := make([]byte, size)
	if _, err := s.SealTo(frame, body); err != nil {
		return nil, err
	}
	return frame, nil
}

// SealTo writes a frame into dst, which has room for [FrameSize] bytes and does not overlap
// body, and returns its length. It allocates nothing.
func (s *Session) SealTo(dst, body []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return 0, ErrClosed
	}
	return s.out.seal(dst, body)
}

// Open returns the body of a frame from the peer. Every error means: drop the frame.
func (s *Session) Open(frame []byte) ([]byte, error) {
	return s.OpenTo(make([]byte, len(frame)), frame)
}

// OpenTo is Open into dst, which is at least as long as the frame and does not overlap it;
// the body is a part of dst. It allocates nothing.
func (s *Session) OpenTo(dst, frame []byte) ([]byte, error) {
	h, err := frameHandle(frame)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.shut:
		return nil, ErrClosed
	case h == s.in.handle:
		return s.in.open(dst, frame)
	case s.next != nil && h == s.next.handle:
		return s.next.open(dst, frame)
	case s.old != nil && h == s.old.handle:
		return s.old.open(dst, frame)
	}
	return nil, ErrNoSession
}

// stepped derives the key and the handle that replace those of sender.
func (s *Session) stepped(sender Role) (key [32]byte, h Handle) {
	keyLabel, handleLabel := labelStepI2R, labelStepHI
	if sender == Responder {
		keyLabel, handleLabel = labelStepR2I, labelStepHR
	}
	old := s.keys.frame[sender]
	expand(key[:], old[:], s.keys.th, keyLabel)
	expand(h[:], old[:], s.keys.th, handleLabel)
	return key, h
}

// Step moves both directions one HKDF step, restarts the counters and erases the keys from
// before, once the channel binding has verified; frames then live until the call ends. A
// second call does nothing. Frames of the peer that were on their way still open until
// [Session.Forget], which the caller calls two minutes later.
func (s *Session) Step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.step || s.shut {
		return
	}
	s.step = true
	key, handle := s.stepped(s.Role)
	s.out = s.directionLocked(s.Role, key, handle)
	s.in, s.next, s.old = s.next, nil, s.in
	// Nothing is derived from these again; the AEADs hold what the directions need.
	s.keys.frame, s.keys.handle = [2][32]byte{}, [2]Handle{}
}

// Forget drops the receiving keys from before the step.
func (s *Session) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.old = nil
}

// Close erases all keys. The session can do nothing afterwards.
func (s *Session) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys{}
	s.in, s.out, s.next, s.old = nil, nil, nil, nil
	s.shut = true
}

// Export gives out one of the session's keys for another layer.
func (s *Session) Export(label Label) (key [32]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return key, ErrClosed
	}
	switch label {
	case LabelMedia:
		return s.keys.media, nil
	case LabelFile:
		return s.keys.file, nil
	case LabelBinding:
		return s.keys.binding, nil
	case LabelSAS:
		return s.keys.sas, nil
	}
	return key, fmt.Errorf("envelope: no session key %q", string(label))
}

// MediaKeys are the SFrame base keys of one-to-one media, one per direction. The sender
// index that goes with them is 0 for the initiator and 1 for the responder.
func (s *Session) MediaKeys() (send, receive [32]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return send, receive, ErrClosed
	}
	return s.keys.mediaDir[s.Role], s.keys.mediaDir[s.Role.peer()], nil
}

// Binding is the first message on the control channel:
//
//	HMAC-SHA256(key, role of the sender 1 | own fingerprint 32 | peer fingerprint 32 | th 32)
//
// over the SHA-256 fingerprints of the DTLS certificates that are really in use.
func (s *Session) Binding(own, peer [32]byte) ([32]byte, error) {
	return s.bind(s.Role, own, peer)
}

// CheckBinding verifies what the peer sent in the same place. Its role is the other one, so
// our own message reflected back does not verify.
func (s *Session) CheckBinding(mac []byte, own, peer [32]byte) error {
	want, err := s.bind(s.Role.peer(), peer, own)
	if err != nil {
		return err
	}
	if !hmac.Equal(mac, want[:]) {
		return ErrBinding
	}
	return nil
}

func (s *Session) bind(role Role, own, peer [32]byte) (mac [32]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		return mac, ErrClosed
	}
	h := hmac.New(sha256.New, s.keys.binding[:])
	h.Write([]byte{byte(role)})
	h.Write(own[:])
	h.Write(peer[:])
	h.Write(s.keys.th[:])
	h.Sum(mac[:0])
	return mac, nil
}

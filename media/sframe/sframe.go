// Package sframe seals media frames end to end: RFC 9605 with the one suite
// AES_256_GCM_SHA512_128. A relay or SFU on the way forwards what it cannot read.
//
// Call NewSender on the sending side, NewReceiver and AddKey on the receiving one, then Seal
// and Open whole encoded frames. Base keys come from the session (one-to-one, one for each
// direction) or from a room. It never uses a counter twice, never tries more than one key on a
// frame, and never lets a plain frame through.
//
// Layout of a sealed frame (docs/spec/media.md):
//
//	clear prefix || SFrame header || ciphertext || tag 16
//
// The clear prefix (see ClearPrefix) is authenticated as SFrame metadata.
package sframe

import (
	"errors"
	"fmt"
	"sync"
)

// Errors of Seal and Open. A receiver drops the frame whichever it is.
var (
	ErrFrame     = errors.New("sframe: frame is too short for its codec")
	ErrKID       = errors.New("sframe: no key for this key id")
	ErrReplay    = errors.New("sframe: counter seen before or too old")
	ErrOpen      = errors.New("sframe: frame is not authentic")
	ErrExhausted = errors.New("sframe: key is used up")
)

// maxCounter bounds the frames under one key (docs/spec/media.md, section 2).
const maxCounter = 1 << 32

// Codec is a codec that may be carried end to end encrypted. H.264, H.265 and AV1 are not:
// their packetizers look into the payload and break on ciphertext.
type Codec uint8

const (
	VP8 Codec = iota
	VP9
	Opus
)

func (c Codec) String() string {
	switch c {
	case VP8:
		return "VP8"
	case VP9:
		return "VP9"
	case Opus:
		return "opus"
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// ClearPrefix returns how many bytes of frame stay readable, from the codec and the first byte
// alone, so that nobody has to be trusted for it. VP8 keeps what receivers of browsers parse:
// the frame tag's first byte, and the whole uncompressed header of a key frame.
func ClearPrefix(c Codec, frame []byte) (int, error) {
	n := 0
	if c == VP8 {
		if len(frame) == 0 {
			return 0, ErrFrame
		}
		n = 1
		if frame[0]&1 == 0 {
			n = 10
		}
	}
	if len(frame) < n {
		return 0, ErrFrame
	}
	return n, nil
}

// Slot is one source of a sender.
type Slot uint8

const (
	Microphone Slot = iota
	Camera
	Screen
	ScreenAudio
)

// String is the slot's name in reports.
func (s Slot) String() string {
	if s <= ScreenAudio {
		return [...]string{"microphone", "camera", "screen", "screen audio"}[s]
	}
	return "unknown"
}

// KID is the key id of a sender's slot: index x 128 + slot x 16 + generation mod 16. In a
// one-to-one call the session's initiator has index 0 and the responder index 1.
func KID(index uint32, slot Slot, generation uint32) uint64 {
	return uint64(index)*128 + uint64(slot&7)*16 + uint64(generation%16)
}

// Sender seals the frames of one KID. It may be used from several goroutines.
type Sender struct {
	kid uint64

	mu    sync.Mutex // guards everything below
	key   key
	ctr   uint64
	nonce [nonceSize]byte
	aad   [maxHeader + 10]byte // header and the longest clear prefix
}

// NewSender returns a Sender whose counter starts at 0. A base key and a KID must make one
// Sender in their life: two would use the same counters.
func NewSender(kid uint64, base [KeySize]byte) (*Sender, error) {
	k, err := aes256GCM.derive(kid, base[:])
	if err != nil {
		return nil, err
	}
	return &Sender{kid: kid, key: k}, nil
}

// String keeps the key out of logs.
func (*Sender) String() string { return "[redacted]" }

// GoString keeps the key out of %#v.
func (*Sender) GoString() string { return "[redacted]" }

// Seal appends the sealed frame to dst. dst and frame must not overlap.
func (s *Sender) Seal(dst []byte, c Codec, frame []byte) ([]byte, error) {
	n, err := ClearPrefix(c, frame)
	if err != nil {
		return dst, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctr >= maxCounter {
		return dst, ErrExhausted
	}
	dst = append(dst, frame[:n]...)
	dst = s.sealLocked(dst, frame[:n], frame[n:])
	return dst, nil
}

// sealLocked appends header, ciphertext and tag, and spends the counter.
func (s *Sender) sealLocked(dst, metadata, plain []byte) []byte {
	ctr := s.ctr
	s.ctr++
	aad := appendHeader(s.aad[:0], s.kid, ctr)
	dst = append(dst, aad...)
	aad = append(aad, metadata...)
	s.key.nonce(&s.nonce, ctr)
	return s.key.aead.Seal(dst, s.nonce[:], plain, aad)
}

// Receiver opens the frames of one stream. It holds one key per KID that the stream may carry
// (the current and the former generation), so a frame of another sender or slot finds no key.
// It may be used from several goroutines.
type Receiver struct {
	mu    sync.Mutex // guards everything below
	keys  map[uint64]*receiving
	nonce [nonceSize]byte
	aad   [maxHeader + 10]byte
}

type receiving struct {
	key    key
	window window
}

// NewReceiver returns a Receiver without keys: it opens nothing.
func NewReceiver() *Receiver { return &Receiver{keys: make(map[uint64]*receiving)} }

// String keeps keys out of logs.
func (*Receiver) String() string { return "[redacted]" }

// GoString keeps keys out of %#v.
func (*Receiver) GoString() string { return "[redacted]" }

// AddKey makes frames of kid open. Adding a known kid is an error: it would forget which
// counters were seen.
func (r *Receiver) AddKey(kid uint64, base [KeySize]byte) error {
	k, err := aes256GCM.derive(kid, base[:])
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.keys[kid]; ok {
		return fmt.Errorf("sframe: key id %d is already in use", kid)
	}
	r.keys[kid] = &receiving{key: k}
	return nil
}

// RemoveKey makes frames of kid fail from now on.
func (r *Receiver) RemoveKey(kid uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, kid)
}

// Open appends the frame to dst and returns the KID that selected its key. On an error dst
// comes back as it was, and neither the replay window nor anything else has changed. dst and
// sealed must not overlap.
func (r *Receiver) Open(dst []byte, c Codec, sealed []byte) (frame []byte, kid uint64, err error) {
	n, err := ClearPrefix(c, sealed)
	if err != nil {
		return dst, 0, err
	}
	body := sealed[n:]
	kid, ctr, h, err := parseHeader(body)
	if err != nil {
		return dst, 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok := r.keys[kid]
	if !ok {
		return dst, 0, ErrKID
	}
	// The largest counter that a sender uses; far ones would only serve to push the window.
	if ctr >= maxCounter || !k.window.fresh(ctr) {
		return dst, 0, ErrReplay
	}
	aad := append(append(r.aad[:0], body[:h]...), sealed[:n]...)
	k.key.nonce(&r.nonce, ctr)
	at := len(dst)
	out := append(dst, sealed[:n]...)
	out, err = k.key.aead.Open(out, r.nonce[:], body[h:], aad)
	if err != nil {
		return dst[:at], 0, ErrOpen
	}
	k.window.mark(ctr)
	return out, kid, nil
}

package envelope

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
)

// A session frame is a payload of its own, so small that a call needs no sealed message
// after its answer:
//
//	handle 8 | counter 4, big endian | ChaCha20-Poly1305( length 4 | body | zeros ) + tag 16
//
// The nonce is 8 zero bytes and the counter; the associated data is the route tag of the
// recipient's mailbox and the 12 bytes of the header. The size is one of four buckets.
const (
	frameHeader   = 8 + 4
	frameOverhead = frameHeader + 4 + aeadTag

	// MaxFrameBody is the longest body of a frame: that of a 16,384-byte one.
	MaxFrameBody = bucket16K - frameOverhead
	// MaxFrame is the longest frame.
	MaxFrame = bucket16K

	replayWindow = 64
)

var frameSizes = [...]int{bucket1K, bucket4K, bucket8K, bucket16K}

var (
	// ErrReplay says that this very message or frame was seen before.
	ErrReplay = errors.New("envelope: seen before")
	// ErrExhausted says that a direction has used all its counters: make a new session.
	ErrExhausted = errors.New("envelope: session frame counter exhausted")
	// ErrClosed says that the session's keys are gone.
	ErrClosed = errors.New("envelope: session closed")
	// ErrNoSession says that a payload belongs to no session with these keys.
	ErrNoSession = errors.New("envelope: frame of another session")
)

// FrameSize is the size of the frame that carries a body of n bytes, or 0 if none does.
func FrameSize(n int) int {
	for _, size := range frameSizes {
		if n >= 0 && n <= size-frameOverhead {
			return size
		}
	}
	return 0
}

// direction is one half of a session: the keys of one sender. Its scratch space lives with
// it, because what is passed through the AEAD's interface would otherwise be allocated for
// every frame.
type direction struct {
	handle Handle
	aead   cipher.AEAD
	nonce  [chacha20poly1305.NonceSize]byte
	ad     [16 + frameHeader]byte

	next   uint64 // sender: the counter of the next frame; receiver: highest seen + 1
	window uint64 // receiver: bit i is set if counter next-1-i was seen
}

func newDirection(key [32]byte, h Handle, tag RouteTag) *direction {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // 32 bytes are always a key
	}
	d := &direction{handle: h, aead: aead}
	copy(d.ad[:], tag[:])
	return d
}

// seal writes the frame into dst, which must not overlap body, and returns its length.
func (d *direction) seal(dst, body []byte) (int, error) {
	size := FrameSize(len(body))
	if size == 0 || len(dst) < size {
		return 0, ErrTooLarge
	}
	// The nonce is the counter: a wrap would repeat one.
	if d.next > math.MaxUint32 {
		return 0, ErrExhausted
	}
	dst = dst[:size]
	copy(dst, d.handle[:])
	binary.BigEndian.PutUint32(dst[8:], uint32(d.next))
	d.next++
	copy(d.ad[16:], dst[:frameHeader])
	copy(d.nonce[8:], dst[8:frameHeader])
	plain := dst[frameHeader : size-aeadTag]
	if err := Pad(plain, body); err != nil {
		return 0, err
	}
	d.aead.Seal(plain[:0], d.nonce[:], plain, d.ad[:])
	return size, nil
}

// open decrypts into dst, which must have room for the frame and not overlap it, and
// returns the body inside dst. A frame that does not verify moves nothing.
func (d *direction) open(dst, frame []byte) ([]byte, error) {
	if len(dst) < len(frame)-frameHeader-aeadTag {
		return nil, ErrTooLarge
	}
	counter := uint64(binary.BigEndian.Uint32(frame[8:]))
	if !d.fresh(counter) {
		return nil, ErrReplay
	}
	copy(d.ad[16:], frame[:frameHeader])
	copy(d.nonce[8:], frame[8:frameHeader])
	plain, err := d.aead.Open(dst[:0], d.nonce[:], frame[frameHeader:], d.ad[:])
	if err != nil {
		return nil, ErrDecrypt
	}
	// Authentic from here on: the counter is used up even if the peer padded it wrongly.
	d.mark(counter)
	return Unpad(plain)
}

func (d *direction) fresh(c uint64) bool {
	if c >= d.next {
		return true
	}
	back := d.next - 1 - c
	return back < replayWindow && d.window&(1<<back) == 0
}

func (d *direction) mark(c uint64) {
	if c < d.next {
		d.window |= 1 << (d.next - 1 - c)
		return
	}
	d.window <<= c + 1 - d.next // a shift by 64 or more gives zero
	d.window |= 1
	d.next = c + 1
}

// frameHandle returns the handle of a payload that has the size of a session frame.
func frameHandle(frame []byte) (Handle, error) {
	for _, size := range frameSizes {
		if len(frame) == size {
			return Handle(frame[:8]), nil
		}
	}
	return Handle{}, fmt.Errorf("%w: frame of %d bytes", ErrSize, len(frame))
}

// PayloadHandle returns the first 8 bytes of a payload, by which a device finds the session
// or the ring that it belongs to, and reports whether it is a sealed message instead.
func PayloadHandle(payload []byte) (h Handle, sealed bool) {
	if len(payload) < len(ageIntro) {
		return h, false
	}
	return Handle(payload[:8]), string(payload[:len(ageIntro)]) == ageIntro
}

// ageIntro is the first line of every age file.
const ageIntro = "age-encryption.org/v1\n"

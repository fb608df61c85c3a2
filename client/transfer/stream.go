package transfer

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"

	"golang.org/x/crypto/chacha20poly1305"
)

// What goes over the data channel for one file (docs/spec/files.md, section 3):
//
//	unit record 0 | unit record 1 | … | zeros | root
//
// A unit record is the content of a unit, 1 MiB and less in the last one, and its SHA-256. The
// root is the SHA-256 over the units' hashes. The zeros make the length depend on the padded
// size alone. All of it is cut into chunks of 58,256 bytes, the last one shorter, so that a
// full unit record is exactly 18 chunks and an attempt can begin at any unit.
const (
	unitSize      = 1 << 20
	hashSize      = sha256.Size
	recordSize    = unitSize + hashSize
	chunkSize     = recordSize / chunksPerUnit
	chunksPerUnit = 18
)

// A chunk message (section 4): attempt id 16 | index 8 | last 1 | ciphertext | tag 16.
// Index and last, behind three zero bytes, are the nonce.
const (
	chunkHeader = 16 + 8 + 1
	tagSize     = chacha20poly1305.Overhead
	maxData     = chunkHeader + chunkSize + tagSize // 58,297; the channel takes 65,535
)

// Both labels end in a zero byte, as all do.
const (
	labelFileI2R = "trunkline/v1/file-i2r\x00" // HKDF: chunks that the initiator sends
	labelFileR2I = "trunkline/v1/file-r2i\x00" // HKDF: chunks that the responder sends
	labelFileID  = "trunkline/v1/file-id\x00"  // hash: file id
)

type attemptID [16]byte

// fileID follows from what the file is, so that both sides agree on it, an offer made again
// finds what is there, and no sender can put other content under a known id. It is no secret
// and needs no key: it travels inside the session's sealed control channel only.
func fileID(name string, size int64, root [32]byte) FileID {
	h := sha256.New()
	h.Write([]byte(labelFileID))
	h.Write(root[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(size)))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(name))))
	h.Write([]byte(name))
	return FileID(h.Sum(nil)[:16])
}

// padme rounds a size up so that at most 12 per cent are added and few bits of the size are
// left (the PURBs paper, section 4).
func padme(size int64) int64 {
	if size < 2 {
		return size
	}
	e := bits.Len64(uint64(size)) - 1
	s := bits.Len64(uint64(e))
	mask := int64(1)<<(e-s) - 1
	return (size + mask) &^ mask
}

// layout is the arithmetic of one file's stream.
type layout struct {
	size   int64
	units  int64 // of the content
	zeros  int64
	length int64 // of the whole stream
}

func layoutOf(size int64) layout {
	padded := padme(size)
	l := layout{size: size, units: unitsIn(size)}
	l.length = padded + hashSize*(unitsIn(padded)+1)
	l.zeros = l.length - size - hashSize*(l.units+1)
	return l
}

func unitsIn(size int64) int64 { return (size + unitSize - 1) / unitSize }

// unitLen is the number of content bytes in unit i.
func (l layout) unitLen(i int64) int {
	return int(min(unitSize, l.size-i*unitSize))
}

// contentAt is how much content lies before unit i, which may be one behind the last.
func (l layout) contentAt(i int64) int64 { return min(i*unitSize, l.size) }

// chunkAt is the plaintext length of chunk index, and whether it is the last; 0 if there is no
// such chunk.
func (l layout) chunkAt(index uint64) (n int, last bool) {
	if index >= uint64((l.length+chunkSize-1)/chunkSize) {
		return 0, false
	}
	rest := l.length - int64(index)*chunkSize
	return int(min(rest, chunkSize)), rest <= chunkSize
}

// start is the chunk that an attempt begins with which has the units before unit already, and
// how much of that chunk's plaintext is left out. That is 0, except when all units are there
// and the last one ends within a chunk.
func (l layout) start(unit int64) (index uint64, skip int) {
	at := l.contentAt(unit) + hashSize*unit
	return uint64(at / chunkSize), int(at % chunkSize)
}

// box seals or opens the chunks of one attempt in one direction.
type box struct {
	aead    cipher.AEAD
	attempt attemptID
	ad      [24]byte // file id, size
}

func newBox(fileKey [32]byte, label string, id FileID, attempt attemptID, size int64) (*box, error) {
	salt := append(append(make([]byte, 0, 32), id[:]...), attempt[:]...)
	key, err := hkdf.Key(sha256.New, fileKey[:], salt, label, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("transfer: chunk key: %w", err)
	}
	defer clear(key)
	aead, err := chacha20poly1305.New(key)
	if err != nil {
		return nil, fmt.Errorf("transfer: chunk key: %w", err)
	}
	b := &box{aead: aead, attempt: attempt}
	copy(b.ad[:], id[:])
	binary.BigEndian.PutUint64(b.ad[16:], uint64(size))
	return b, nil
}

func (*box) String() string   { return "[redacted]" }
func (*box) GoString() string { return "[redacted]" }

// chunk is a parsed chunk message; it points into the message.
type chunk struct {
	attempt attemptID
	index   uint64
	last    bool
	nonce   [chacha20poly1305.NonceSize]byte
	sealed  []byte
}

func parseChunk(msg []byte) (chunk, error) {
	if len(msg) <= chunkHeader+tagSize || len(msg) > maxData {
		return chunk{}, fmt.Errorf("%w: chunk of %d bytes", ErrProtocol, len(msg))
	}
	c := chunk{attempt: attemptID(msg[:16]), index: binary.BigEndian.Uint64(msg[16:]), sealed: msg[chunkHeader:]}
	switch msg[24] {
	case 0:
	case 1:
		c.last = true
	default:
		return chunk{}, fmt.Errorf("%w: chunk flag", ErrProtocol)
	}
	copy(c.nonce[3:], msg[16:chunkHeader])
	return c, nil
}

// seal makes the message of one chunk; it belongs to the caller.
func (b *box) seal(index uint64, last bool, plain []byte) []byte {
	msg := make([]byte, 0, chunkHeader+len(plain)+tagSize)
	msg = append(msg, b.attempt[:]...)
	msg = binary.BigEndian.AppendUint64(msg, index)
	flag := byte(0)
	if last {
		flag = 1
	}
	msg = append(msg, flag)
	var nonce [chacha20poly1305.NonceSize]byte
	copy(nonce[3:], msg[16:chunkHeader])
	return b.aead.Seal(msg, nonce[:], plain, b.ad[:])
}

// open appends the chunk's plaintext to dst.
func (b *box) open(dst []byte, c chunk) ([]byte, error) {
	plain, err := b.aead.Open(dst, c.nonce[:], c.sealed, b.ad[:])
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d does not open", ErrCorrupt, c.index)
	}
	return plain, nil
}

// cutter turns the stream into chunks.
type cutter struct {
	layout layout
	box    *box
	index  uint64
	skip   int    // of the first chunk
	buf    []byte // plaintext that waits for the rest of its chunk
	emit   func(msg []byte) error
}

// write adds p to the stream, and sends the chunks that are full.
func (c *cutter) write(p []byte) error {
	for len(p) > 0 {
		want, last := c.layout.chunkAt(c.index)
		if want == 0 {
			return fmt.Errorf("transfer: bug: %d bytes behind the end of the stream", len(p))
		}
		want -= c.skip
		n := min(want-len(c.buf), len(p))
		c.buf = append(c.buf, p[:n]...)
		p = p[n:]
		if len(c.buf) < want {
			return nil
		}
		c.skip = 0
		msg := c.box.seal(c.index, last, c.buf)
		c.buf = c.buf[:0]
		c.index++
		if err := c.emit(msg); err != nil {
			return err
		}
	}
	return nil
}

// zeroBlock is what padding is written from and compared with.
var zeroBlock [chunkSize]byte

func allZero(p []byte) bool { return bytes.Equal(p, zeroBlock[:len(p)]) }

package wire

import (
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

const firstBuffer = 4096

// Reader reads frames from a stream. Max may be raised between frames: it is MaxFirst until
// Welcome. A Reader belongs to one goroutine.
type Reader struct {
	Max int

	r          io.Reader
	buf        []byte
	start, end int
}

// NewReader reads frames of at most max bytes from r.
func NewReader(r io.Reader, max int) *Reader {
	return &Reader{Max: max, r: r}
}

// Next reads one frame into f. What f points to is good until the next call. io.EOF means
// that the other side closed between two frames; in the middle of one it is
// io.ErrUnexpectedEOF.
func (r *Reader) Next(f *Frame) error {
	size, err := r.length()
	if err != nil {
		return err
	}
	// Bytes are kept as they come. A peer that announces a mebibyte and sends nothing holds
	// the buffer it had before.
	for r.end-r.start < size {
		if err := r.fill(size); err != nil {
			return unexpected(err)
		}
	}
	b := r.buf[r.start : r.start+size]
	r.start += size
	return Decode(b, f)
}

func (r *Reader) length() (int, error) {
	for {
		have := r.buf[r.start:r.end]
		v, n := protowire.ConsumeVarint(have)
		if n > 0 {
			if v > uint64(r.Max) {
				return 0, fmt.Errorf("%w: %d bytes, at most %d here", ErrTooLarge, v, r.Max)
			}
			if v == 0 || n != protowire.SizeVarint(v) {
				return 0, fmt.Errorf("%w: length", ErrMalformed)
			}
			r.start += n
			return int(v), nil
		}
		if len(have) >= 5 {
			return 0, fmt.Errorf("%w: length", ErrMalformed)
		}
		if err := r.fill(firstBuffer); err != nil {
			if len(have) > 0 {
				err = unexpected(err)
			}
			return 0, err
		}
	}
}

// fill makes room for more bytes of a frame of which want are needed, and reads some.
func (r *Reader) fill(want int) error {
	if r.start == r.end {
		r.start, r.end = 0, 0
	}
	if r.end == len(r.buf) || r.start+want > len(r.buf) && r.start > 0 {
		size := len(r.buf)
		if r.end-r.start == size { // full of one frame: room is doubled only by bytes that came
			size = min(max(2*size, firstBuffer), r.Max+5)
			if size == len(r.buf) {
				return fmt.Errorf("%w: buffer", ErrTooLarge)
			}
		}
		if size != len(r.buf) {
			grown := make([]byte, size)
			r.end = copy(grown, r.buf[r.start:r.end])
			r.buf = grown
		} else {
			r.end = copy(r.buf, r.buf[r.start:r.end])
		}
		r.start = 0
	}
	for range 100 { // an io.Reader may return nothing for a while, but not forever
		n, err := r.r.Read(r.buf[r.end:])
		r.end += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

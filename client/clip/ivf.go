package clip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// An IVF file: a header of 32 bytes, then frames of 12 bytes of header and their data, all
// little endian:
//
//	"DKIF" | version 2 | header size 2 | FourCC 4 | width 2 | height 2 | rate 4 | scale 4 | length 4 | 0 4
//	size 4 | timestamp 8 (in scale/rate seconds) | data
const ivfHeader, ivfFrame = 32, 12

// Codec of a video file.
type Codec string

const (
	VP8 Codec = "VP80"
	VP9 Codec = "VP90"
)

// IVFReader reads the frames of an IVF file.
type IVFReader struct {
	r             io.Reader
	Codec         Codec
	Width, Height int
	unit          time.Duration // one step of the timestamps, rounded down
	rate, scale   uint64

	ahead []byte // one frame is read ahead: its timestamp ends the one before
	at    uint64
	last  time.Duration
	begun bool
}

// NewIVFReader reads the header and refuses everything but VP8 and VP9.
func NewIVFReader(r io.Reader) (*IVFReader, error) {
	var h [ivfHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("read the IVF header: %w", noEOF(err))
	}
	le := binary.LittleEndian
	if !bytes.Equal(h[:4], []byte("DKIF")) || le.Uint16(h[4:]) != 0 || le.Uint16(h[6:]) != ivfHeader {
		return nil, fmt.Errorf("%w: no IVF header", ErrFormat)
	}
	v := &IVFReader{
		r: r, Codec: Codec(h[8:12]), Width: int(le.Uint16(h[12:])), Height: int(le.Uint16(h[14:])),
		rate: uint64(le.Uint32(h[16:])), scale: uint64(le.Uint32(h[20:])),
	}
	if v.Codec != VP8 && v.Codec != VP9 {
		return nil, fmt.Errorf("%w: codec %q; VP8 and VP9 can be sent", ErrFormat, string(v.Codec))
	}
	if v.rate == 0 || v.scale == 0 || v.rate > 1_000_000 || v.scale > 1_000_000 {
		return nil, fmt.Errorf("%w: a time base of %d/%d", ErrFormat, v.scale, v.rate)
	}
	v.unit = time.Duration(v.scale) * time.Second / time.Duration(v.rate)
	return v, nil
}

// Next returns the next frame; io.EOF after the last. The last one lasts as long as the one
// before.
func (v *IVFReader) Next() (Frame, error) {
	if !v.begun {
		v.begun, v.last = true, v.unit
		var err error
		if v.ahead, v.at, err = v.read(); err != nil {
			return Frame{}, err
		}
	}
	if v.ahead == nil {
		return Frame{}, io.EOF
	}
	frame, at := v.ahead, v.at
	next, then, err := v.read()
	switch {
	case errors.Is(err, io.EOF):
		v.ahead = nil
		return Frame{Data: frame, Duration: v.last}, nil
	case err != nil:
		return Frame{}, err
	case then <= at || then-at > 3600*v.rate/v.scale+1:
		return Frame{}, fmt.Errorf("%w: a frame's time goes from %d to %d", ErrFormat, at, then)
	}
	v.ahead, v.at = next, then
	v.last = time.Duration(then-at) * time.Duration(v.scale) * time.Second / time.Duration(v.rate)
	return Frame{Data: frame, Duration: v.last}, nil
}

func (v *IVFReader) read() ([]byte, uint64, error) {
	var h [ivfFrame]byte
	if _, err := io.ReadFull(v.r, h[:]); err != nil {
		return nil, 0, err // a clean end is io.EOF
	}
	size, at := binary.LittleEndian.Uint32(h[:]), binary.LittleEndian.Uint64(h[4:])
	if size == 0 || size > MaxVideo {
		return nil, 0, fmt.Errorf("%w: a frame of %d bytes", ErrFormat, size)
	}
	// Grows with what is there, not with what the header claims.
	data, err := io.ReadAll(io.LimitReader(v.r, int64(size)))
	if err != nil {
		return nil, 0, err
	}
	if len(data) != int(size) {
		return nil, 0, io.ErrUnexpectedEOF
	}
	return data, at, nil
}

// IVFWriter writes frames with timestamps of the 90 kHz RTP clock.
type IVFWriter struct {
	w    io.WriteSeeker
	last uint64 // when the newest frame begins
	step uint64 // how long the one before it lasted
}

// NewIVFWriter writes the header. Width and height are what players size their window with.
func NewIVFWriter(w io.WriteSeeker, codec Codec, width, height int) (*IVFWriter, error) {
	if codec != VP8 && codec != VP9 {
		return nil, fmt.Errorf("clip: codec %q", string(codec))
	}
	if width < 0 || width > 0xffff || height < 0 || height > 0xffff {
		return nil, fmt.Errorf("clip: a picture of %d by %d", width, height)
	}
	h := make([]byte, 0, ivfHeader)
	h = append(h, "DKIF"...)
	h = binary.LittleEndian.AppendUint16(h, 0)
	h = binary.LittleEndian.AppendUint16(h, ivfHeader)
	h = append(h, codec...)
	h = binary.LittleEndian.AppendUint16(h, uint16(width))
	h = binary.LittleEndian.AppendUint16(h, uint16(height))
	h = binary.LittleEndian.AppendUint32(h, 90000)
	h = binary.LittleEndian.AppendUint32(h, 1)
	h = append(h, make([]byte, 8)...) // length, filled in by Close
	if _, err := w.Write(h); err != nil {
		return nil, err
	}
	return &IVFWriter{w: w}, nil
}

// Write adds a frame that begins at a time in units of 1/90,000 s.
func (v *IVFWriter) Write(frame []byte, at uint64) error {
	if len(frame) == 0 || len(frame) > MaxVideo {
		return fmt.Errorf("clip: a frame of %d bytes", len(frame))
	}
	b := make([]byte, 0, ivfFrame+len(frame))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(frame)))
	b = binary.LittleEndian.AppendUint64(b, at)
	if _, err := v.w.Write(append(b, frame...)); err != nil {
		return err
	}
	if at > v.last {
		v.step, v.last = at-v.last, at
	}
	return nil
}

// Close fills in the length, in steps of the clock: players of today read the field so,
// although it once counted frames. The underlying writer stays open.
func (v *IVFWriter) Close() error {
	if _, err := v.w.Seek(24, io.SeekStart); err != nil {
		return err
	}
	if _, err := v.w.Write(binary.LittleEndian.AppendUint32(nil, uint32(min(v.last+v.step, 1<<32-1)))); err != nil {
		return err
	}
	_, err := v.w.Seek(0, io.SeekEnd)
	return err
}

// KeyframeSize reads width and height of a VP8 key frame (RFC 6386 section 9.1), the only
// frame that carries them.
func KeyframeSize(codec Codec, frame []byte) (width, height int, ok bool) {
	if codec != VP8 || len(frame) < 10 || frame[0]&1 != 0 || frame[3] != 0x9d || frame[4] != 0x01 || frame[5] != 0x2a {
		return 0, 0, false
	}
	le := binary.LittleEndian
	return int(le.Uint16(frame[6:]) & 0x3fff), int(le.Uint16(frame[8:]) & 0x3fff), true
}

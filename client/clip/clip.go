// Package clip reads and writes the two kinds of files that calls play and record: Opus in
// Ogg (RFC 7845) and VP8 or VP9 in IVF. What it writes, ordinary players play.
//
// Start with [NewOggReader], [NewIVFReader], [NewOggWriter] and [NewIVFWriter]. Files come
// from strangers: every size is checked before anything is allocated for it, and a damaged
// file is an error, never a panic.
package clip

import (
	"errors"
	"fmt"
	"time"
)

// ErrFormat says that a file is not what its reader reads.
var ErrFormat = errors.New("clip: not a file of this format")

// Frame is one encoded frame. Data belongs to the caller.
type Frame struct {
	Data     []byte
	Duration time.Duration
}

// Limits of one frame, in bytes. An Opus packet holds at most 120 ms: 48 frames of 1,275
// bytes with their lengths (RFC 6716 section 3.4). A video frame of 4 MiB is a key frame of
// far more than 4K at the quality of a call.
const (
	MaxOpus  = 61_298
	MaxVideo = 4 << 20
)

// OpusDuration reads how long a packet plays from its first byte (RFC 6716 section 3.1).
func OpusDuration(packet []byte) (time.Duration, error) {
	if len(packet) == 0 {
		return 0, fmt.Errorf("%w: empty Opus packet", ErrFormat)
	}
	toc := packet[0]
	config := toc >> 3
	var each time.Duration
	switch {
	case config < 12: // SILK: 10, 20, 40, 60 ms
		each = [...]time.Duration{10, 20, 40, 60}[config%4] * time.Millisecond
	case config < 16: // hybrid: 10, 20 ms
		each = [...]time.Duration{10, 20}[config%2] * time.Millisecond
	default: // CELT: 2.5, 5, 10, 20 ms
		each = [...]time.Duration{2500, 5000, 10000, 20000}[config%4] * time.Microsecond
	}
	count := 1
	switch toc & 3 {
	case 1, 2:
		count = 2
	case 3:
		if len(packet) < 2 {
			return 0, fmt.Errorf("%w: Opus packet without a frame count", ErrFormat)
		}
		count = int(packet[1] & 0x3f)
	}
	total := time.Duration(count) * each
	if count == 0 || total > 120*time.Millisecond {
		return 0, fmt.Errorf("%w: Opus packet of %v", ErrFormat, total)
	}
	return total, nil
}

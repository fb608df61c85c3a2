package clip

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// An Ogg page, RFC 3533 section 6:
//
//	"OggS" | version 1 | flags 1 | granule 8 | serial 4 | sequence 4 | CRC 4 | segments 1 | table | data
//
// A packet is a run of segments of 255 bytes and one shorter; it may go over pages, and a
// page may hold several.
const (
	oggHeader    = 27
	oggContinued = 1
	oggFirst     = 2
	oggLast      = 4
	opusRate     = 48000
	opusPreSkip  = 312 // 6.5 ms, what encoders put in front; a recording begins with a call's first packet
)

var (
	oggMagic  = []byte("OggS")
	headMagic = []byte("OpusHead")
	tagsMagic = []byte("OpusTags")
	oggTable  = makeOggTable()
)

// makeOggTable is the CRC of RFC 3533: polynomial 0x04c11db7, not reflected, which hash/crc32
// does not have.
func makeOggTable() (t [256]uint32) {
	for i := range t {
		r := uint32(i) << 24
		for range 8 {
			if r&0x80000000 != 0 {
				r = r<<1 ^ 0x04c11db7
			} else {
				r <<= 1
			}
		}
		t[i] = r
	}
	return t
}

func oggCRC(page []byte) (crc uint32) {
	for _, b := range page {
		crc = crc<<8 ^ oggTable[byte(crc>>24)^b]
	}
	return crc
}

// OggReader reads the Opus packets of an Ogg file with one stream.
type OggReader struct {
	r        io.Reader
	serial   uint32
	sequence uint32
	started  bool
	ended    bool
	Channels int

	segments []byte // lengths of the page's segments that are not read yet
	data     []byte // their bytes
}

// NewOggReader reads the two header packets and refuses everything but Opus of one or two
// channels.
func NewOggReader(r io.Reader) (*OggReader, error) {
	o := &OggReader{r: r}
	head, err := o.packet()
	if err != nil {
		return nil, fmt.Errorf("read the Opus header: %w", noEOF(err))
	}
	if len(head) < 19 || !bytes.HasPrefix(head, headMagic) || head[8]>>4 != 0 {
		return nil, fmt.Errorf("%w: no Opus header", ErrFormat)
	}
	o.Channels = int(head[9])
	if o.Channels < 1 || o.Channels > 2 || head[18] != 0 {
		return nil, fmt.Errorf("%w: Opus with %d channels; 1 or 2 can be sent", ErrFormat, o.Channels)
	}
	tags, err := o.packet()
	if err != nil {
		return nil, fmt.Errorf("read the Opus tags: %w", noEOF(err))
	}
	if !bytes.HasPrefix(tags, tagsMagic) {
		return nil, fmt.Errorf("%w: no Opus tags", ErrFormat)
	}
	return o, nil
}

// noEOF turns an end of file where more must come into an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Next returns the next packet; io.EOF after the last.
func (o *OggReader) Next() (Frame, error) {
	p, err := o.packet()
	if err != nil {
		return Frame{}, err
	}
	d, err := OpusDuration(p)
	return Frame{Data: p, Duration: d}, err
}

// packet puts a packet together from segments, over pages where it must.
func (o *OggReader) packet() ([]byte, error) {
	var p []byte
	for {
		if len(o.segments) == 0 {
			if o.ended {
				if p != nil {
					return nil, io.ErrUnexpectedEOF
				}
				return nil, io.EOF
			}
			if err := o.page(p != nil); err != nil {
				if p != nil {
					err = noEOF(err)
				}
				return nil, err
			}
			continue
		}
		n := int(o.segments[0])
		o.segments = o.segments[1:]
		if p == nil {
			p = make([]byte, 0, max(n, 64))
		}
		if len(p)+n > MaxOpus {
			return nil, fmt.Errorf("%w: packet of more than %d bytes", ErrFormat, MaxOpus)
		}
		p = append(p, o.data[:n]...)
		o.data = o.data[n:]
		if n < 255 {
			return p, nil
		}
	}
}

// page reads the next page and checks it: damage must not become sound.
func (o *OggReader) page(continued bool) error {
	var h [oggHeader + 255]byte
	if _, err := io.ReadFull(o.r, h[:oggHeader]); err != nil {
		if errors.Is(err, io.EOF) {
			o.ended = true
			return io.EOF
		}
		return err
	}
	if !bytes.Equal(h[:4], oggMagic) || h[4] != 0 {
		return fmt.Errorf("%w: no Ogg page", ErrFormat)
	}
	table := h[oggHeader : oggHeader+int(h[26])]
	if _, err := io.ReadFull(o.r, table); err != nil {
		return noEOF(err)
	}
	size := 0
	for _, n := range table {
		size += int(n)
	}
	data := make([]byte, size) // at most 255 x 255
	if _, err := io.ReadFull(o.r, data); err != nil {
		return noEOF(err)
	}
	flags, serial, sequence := h[5], binary.LittleEndian.Uint32(h[14:]), binary.LittleEndian.Uint32(h[18:])
	want := binary.LittleEndian.Uint32(h[22:])
	clear(h[22:26])
	page := append(append([]byte(nil), h[:oggHeader+len(table)]...), data...)
	switch {
	case oggCRC(page) != want:
		return fmt.Errorf("%w: a damaged page", ErrFormat)
	case !o.started && flags&oggFirst == 0:
		return fmt.Errorf("%w: the file does not begin with a first page", ErrFormat)
	case o.started && (serial != o.serial || flags&oggFirst != 0):
		return fmt.Errorf("%w: more than one stream in the file", ErrFormat)
	case o.started && sequence != o.sequence+1:
		return fmt.Errorf("%w: a page is missing", ErrFormat)
	case (flags&oggContinued != 0) != continued:
		return fmt.Errorf("%w: a packet is cut", ErrFormat)
	}
	o.started, o.serial, o.sequence = true, serial, sequence
	o.ended = flags&oggLast != 0
	o.segments, o.data = append([]byte(nil), table...), data
	return nil
}

// OggWriter writes Opus packets to an Ogg file, one page for each, so that a recording that
// is cut off keeps all but its last frame. Close writes the end of the stream.
type OggWriter struct {
	w        io.Writer
	serial   uint32
	sequence uint32
	granule  uint64
	held     []byte // the last packet: its page carries the end mark if nothing follows
	err      error
}

// NewOggWriter writes the headers. The serial number tells streams apart; any will do.
func NewOggWriter(w io.Writer, channels int, serial uint32) (*OggWriter, error) {
	if channels < 1 || channels > 2 {
		return nil, fmt.Errorf("clip: %d channels, 1 or 2 can be written", channels)
	}
	o := &OggWriter{w: w, serial: serial}
	head := append([]byte(nil), headMagic...)
	head = append(head, 1, byte(channels))
	head = binary.LittleEndian.AppendUint16(head, opusPreSkip)
	head = binary.LittleEndian.AppendUint32(head, opusRate)
	head = append(head, 0, 0, 0) // gain, mapping family
	const vendor = "trunkline"
	tags := append([]byte(nil), tagsMagic...)
	tags = binary.LittleEndian.AppendUint32(tags, uint32(len(vendor)))
	tags = append(tags, vendor...)
	tags = binary.LittleEndian.AppendUint32(tags, 0)
	if err := o.page(head, oggFirst, 0); err != nil {
		return nil, err
	}
	return o, o.page(tags, 0, 0)
}

// Write adds a packet. The data is copied.
func (o *OggWriter) Write(packet []byte) error {
	if len(packet) == 0 || len(packet) > MaxOpus {
		return fmt.Errorf("clip: Opus packet of %d bytes", len(packet))
	}
	d, err := OpusDuration(packet)
	if err != nil {
		return err
	}
	if err := o.flush(0); err != nil {
		return err
	}
	o.held = append([]byte(nil), packet...)
	o.granule += uint64(d * opusRate / time.Second)
	return nil
}

func (o *OggWriter) flush(flags byte) error {
	if o.held == nil {
		return nil
	}
	held := o.held
	o.held = nil
	return o.page(held, flags, o.granule)
}

// Close writes the last page. The underlying writer stays open.
func (o *OggWriter) Close() error {
	if o.held != nil {
		return o.flush(oggLast)
	}
	return o.page(nil, oggLast, o.granule)
}

// page writes a packet, over several pages where one does not hold it.
func (o *OggWriter) page(packet []byte, flags byte, granule uint64) error {
	lacing := make([]byte, 0, len(packet)/255+1)
	for n := len(packet); ; n -= 255 {
		if n < 255 {
			lacing = append(lacing, byte(n))
			break
		}
		lacing = append(lacing, 255)
	}
	if packet == nil {
		lacing = nil
	}
	more := byte(0)
	for {
		table := lacing[:min(len(lacing), 255)]
		lacing = lacing[len(table):]
		size := 0
		for _, n := range table {
			size += int(n)
		}
		pageFlags, position := flags&oggFirst|more, uint64(1<<64-1) // no packet ends on this page
		if len(lacing) == 0 {
			pageFlags, position = flags|more, granule
		}
		h := append([]byte(nil), oggMagic...)
		h = append(h, 0, pageFlags)
		h = binary.LittleEndian.AppendUint64(h, position)
		h = binary.LittleEndian.AppendUint32(h, o.serial)
		h = binary.LittleEndian.AppendUint32(h, o.sequence)
		h = append(h, 0, 0, 0, 0, byte(len(table)))
		h = append(append(h, table...), packet[:size]...)
		binary.LittleEndian.PutUint32(h[22:], oggCRC(h))
		if o.err != nil {
			return o.err
		}
		if _, o.err = o.w.Write(h); o.err != nil {
			return o.err
		}
		o.sequence++
		packet, more = packet[size:], oggContinued
		if len(lacing) == 0 {
			return nil
		}
	}
}

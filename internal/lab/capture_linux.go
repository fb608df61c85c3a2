package lab

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Capture records the packets of a host. It reads an AF_PACKET socket itself: a library that
// also decodes every protocol there is would be a large dependency for four headers, and a
// program beside it would say neither when it has begun nor when it has written the last one.
type Capture struct {
	file *os.File
	done chan struct{} // closed when the reading has ended

	mu      sync.Mutex // guards what follows
	packets []Packet
	err     error
}

// Packet is one IP packet as it passed an interface.
type Packet struct {
	Time time.Time
	Out  bool   // the host sent it
	IP   []byte // from the IP header on
	// What the headers say; a fragment or an unknown protocol has neither ports nor Payload.
	Proto    uint8 // unix.IPPROTO_UDP, …
	Src, Dst netip.AddrPort
	Seq      uint32 // TCP
	SYN      bool   // TCP
	Payload  []byte // behind the UDP or TCP header
}

const (
	// captureRoom is what may wait in the kernel; with less a burst of a file would be lost.
	captureRoom = 64 << 20
	maxPacket   = 1 << 16
)

// Capture begins to record all interfaces of the host, loopback as well: what is sent after it
// returned is in it.
func (h *Host) Capture() *Capture {
	h.l.t.Helper()
	c, err := newCapture(h.space)
	h.l.must(err)
	h.l.ends(func() { _ = c.Stop() }) // whose result only matters to a test that asks for it
	return c
}

func newCapture(s *space) (*Capture, error) {
	c := &Capture{done: make(chan struct{})}
	err := s.do(func() error {
		all := htons(unix.ETH_P_ALL)
		// SOCK_DGRAM leaves the link's own header away, so that wires and cables look alike.
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return fmt.Errorf("capture: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, captureRoom); err != nil {
			return errors.Join(fmt.Errorf("capture: %w", err), unix.Close(fd))
		}
		c.file = os.NewFile(uintptr(fd), "capture")
		return nil
	})
	if err != nil {
		return nil, err
	}
	go c.readLoop()
	return c, nil
}

func htons(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

func (c *Capture) readLoop() {
	defer close(c.done)
	raw, err := c.file.SyscallConn()
	if err != nil {
		c.fail(err)
		return
	}
	buffer := make([]byte, maxPacket)
	for {
		var n int
		var from unix.Sockaddr
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			n, from, failed = unix.Recvfrom(int(fd), buffer, 0)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
			return
		}
		if err = errors.Join(err, failed); err != nil {
			c.fail(err)
			return
		}
		c.add(buffer[:n], from)
	}
}

func (c *Capture) add(b []byte, from unix.Sockaddr) {
	p := Packet{Time: time.Now(), IP: bytes.Clone(b)}
	if at, ok := from.(*unix.SockaddrLinklayer); ok {
		p.Out = at.Pkttype == unix.PACKET_OUTGOING
	}
	p.parse()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packets = append(c.packets, p)
}

func (c *Capture) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = errors.Join(c.err, err)
}

// Stop ends the recording. Everything that had passed before is in it; an error says that
// something may be missing, and then nothing that was not found counts.
func (c *Capture) Stop() error {
	// The reader leaves its wait, and what the kernel still holds is read here.
	if err := c.file.SetReadDeadline(time.Unix(1, 0)); err != nil {
		if errors.Is(err, os.ErrClosed) {
			<-c.done
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.err
		}
		return err
	}
	<-c.done
	raw, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var stats *unix.TpacketStats
	err = raw.Control(func(fd uintptr) {
		buffer := make([]byte, maxPacket)
		for {
			n, from, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT)
			if err == unix.EAGAIN {
				break
			}
			if err != nil {
				c.fail(err)
				break
			}
			c.add(buffer[:n], from)
		}
		var failed error
		if stats, failed = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); failed != nil {
			c.fail(failed)
		}
	})
	if stats != nil && stats.Drops > 0 {
		c.fail(fmt.Errorf("capture: the kernel dropped %d packets", stats.Drops))
	}
	c.fail(errors.Join(err, c.file.Close()))
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Packets are those that were read so far, in their order; after Stop, all.
func (c *Capture) Packets() []Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.packets)
}

// parse reads the headers. What does not fit is left as it is: a capture holds anything.
func (p *Packet) parse() {
	b := p.IP
	if len(b) < 1 {
		return
	}
	var src, dst netip.Addr
	switch b[0] >> 4 {
	case 4:
		head := int(b[0]&15) * 4
		if head < 20 || len(b) < head {
			return
		}
		total := int(binary.BigEndian.Uint16(b[2:]))
		if total >= head && total < len(b) {
			b = b[:total]
		}
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		p.Proto = b[9]
		if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
			p.Src, p.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
			return // a fragment
		}
		b = b[head:]
	case 6:
		if len(b) < 40 {
			return
		}
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		p.Proto = b[6]
		b = b[40:min(len(b), 40+int(binary.BigEndian.Uint16(b[4:])))]
	default:
		return
	}
	p.Src, p.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, 0)
	head := 0
	switch p.Proto {
	case unix.IPPROTO_UDP:
		head = 8
	case unix.IPPROTO_TCP:
		if len(b) < 20 {
			return
		}
		head = int(b[12]>>4) * 4
		p.Seq, p.SYN = binary.BigEndian.Uint32(b[4:]), b[13]&2 != 0
	default:
		return
	}
	if head < 8 || len(b) < head {
		return
	}
	p.Src = netip.AddrPortFrom(src, binary.BigEndian.Uint16(b))
	p.Dst = netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	p.Payload = b[head:]
}

// Streams are the TCP connections of the recording, each direction by itself, put together
// from their segments: a secret can lie across two of them. Where one is missing, the stream
// goes on behind it.
func (c *Capture) Streams() [][]byte {
	type flow struct{ src, dst netip.AddrPort }
	type segment struct {
		at uint64
		b  []byte
	}
	flows := map[flow][]segment{}
	highest := map[flow]uint64{}
	for _, p := range c.Packets() {
		if p.Proto != unix.IPPROTO_TCP || len(p.Payload) == 0 {
			continue
		}
		f := flow{p.Src, p.Dst}
		// Sequence numbers wrap: each is taken as the one next to the newest.
		at := uint64(p.Seq)
		if high, ok := highest[f]; ok {
			at = high + uint64(int64(int32(p.Seq-uint32(high))))
		} else {
			at += 1 << 32
		}
		highest[f] = max(highest[f], at)
		flows[f] = append(flows[f], segment{at, p.Payload})
	}
	var out [][]byte
	for _, segments := range flows {
		slices.SortStableFunc(segments, func(a, b segment) int { return cmp.Compare(a.at, b.at) })
		var all []byte
		next := segments[0].at
		for _, s := range segments {
			if s.at > next {
				next = s.at
			}
			if known := next - s.at; known < uint64(len(s.b)) {
				all = append(all, s.b[known:]...)
				next = s.at + uint64(len(s.b))
			}
		}
		out = append(out, all)
	}
	return out
}

// Pieces are all that a search for a secret has to look at: each packet, and each stream.
func (c *Capture) Pieces() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, p := range c.Packets() {
			if !yield(p.IP) {
				return
			}
		}
		for _, b := range c.Streams() {
			if !yield(b) {
				return
			}
		}
	}
}

// WriteTo writes the recording as a pcap file of raw IP packets, for wireshark(1).
func (c *Capture) WriteTo(w io.Writer) (int64, error) {
	const (
		magic   = 0xa1b23c4d // nanoseconds
		linkRaw = 101        // LINKTYPE_RAW
	)
	var out bytes.Buffer
	head := []any{uint32(magic), uint16(2), uint16(4), int32(0), uint32(0), uint32(maxPacket), uint32(linkRaw)}
	for _, v := range head {
		_ = binary.Write(&out, binary.LittleEndian, v) // into memory
	}
	for _, p := range c.Packets() {
		record := []uint32{uint32(p.Time.Unix()), uint32(p.Time.Nanosecond()), uint32(len(p.IP)), uint32(len(p.IP))}
		_ = binary.Write(&out, binary.LittleEndian, record)
		out.Write(p.IP)
	}
	return out.WriteTo(w)
}

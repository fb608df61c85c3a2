package node

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/ws"
)

// socket is a link's connection. On a plain one the link waits for bytes without a buffer to
// put them in, and writes what the system takes at once in the goroutine that has it, without
// waking another; TLS and everything else is read and written as usual.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil: not a plain one
}

func newSocket(c net.Conn) socket {
	s := socket{Conn: c}
	if plain, ok := c.(syscall.Conn); ok && rawSockets {
		if raw, err := plain.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	return s
}

// input is what has been read of a link and not yet used.
type input struct {
	limit int     // of a message
	buf   *buffer // nil while there is nothing
	r, w  int     // what is in it: buf.b[r:w]
	parts *buffer // the message whose frames are arriving, if it has several
	done  *buffer // the last such message, until the next read
	fill  rawRead // of a plain connection
	large bool    // of any other: the last read filled its buffer
}

// readSize is what a link reads at a time when something has come, and idleSize what it holds
// while it waits on a connection that wants a buffer.
const (
	readSize = 16<<10 + 512
	idleSize = 512
)

var (
	// errFrameTooLarge is the reason for a close with status 1009.
	errFrameTooLarge = errors.New("frame over its limit")
	errNotBinary     = errors.New("not a binary message")
)

// read returns the next binary message, which is good until the next call. A header that
// promises 96 KiB reserves nothing: the buffer grows with what really arrives.
func (l *clientLink) read() ([]byte, error) {
	in := &l.in
	in.done.free()
	in.done = nil
	for {
		need := 1
		if in.w > in.r {
			f, n, more, err := ws.Next(in.buf.b[in.r:in.w], in.limit)
			if err != nil {
				return nil, l.badFrame(err)
			}
			if n > 0 {
				in.r += n
				msg, whole, err := l.take(f)
				if err != nil {
					return nil, err
				}
				if whole {
					if l.began.Load() != 0 {
						l.began.Store(0)
					}
					l.heard.Store(l.n.coarse.Load())
					l.unhold()
					return msg, nil
				}
				continue
			}
			if l.began.Load() == 0 {
				l.began.Store(l.n.coarse.Load())
			}
			need = more
		}
		held := need
		if in.parts != nil {
			held += len(in.parts.b)
		}
		if held > readSize && !l.hold() {
			return nil, errTooMany
		}
		in.room(need)
		l.flushDirty()
		if err := l.more(); err != nil {
			return nil, err
		}
	}
}

// maxLargeOfStrangers is how many messages over readSize may be arriving from strangers at
// once, 24 MiB in all. Each may take its time, and thousands of them would take the memory
// that everything else needs.
const maxLargeOfStrangers = 256

var errTooMany = errors.New("too many large messages of strangers at once")

// hold counts a large message of a stranger while it arrives. It says no when there are too
// many; the link has been told then.
func (l *clientLink) hold() bool {
	if l.member || l.holding {
		return true
	}
	if l.n.large.Add(1) > maxLargeOfStrangers {
		l.n.large.Add(-1)
		l.goodbye(link.CodeRate, time.Minute)
		return false
	}
	l.holding = true
	return true
}

func (l *clientLink) unhold() {
	if l.holding {
		l.holding = false
		l.n.large.Add(-1)
	}
}

// take handles one frame. whole says that msg is a message.
func (l *clientLink) take(f ws.Frame) (msg []byte, whole bool, err error) {
	in := &l.in
	switch f.Opcode {
	case ws.Binary:
		if in.parts != nil {
			return nil, false, l.badFrame(ws.ErrProtocol)
		}
		if f.Final {
			return f.Payload, true, nil
		}
		in.parts = getBuffer(len(f.Payload))
	case ws.Continuation:
		if in.parts == nil {
			return nil, false, l.badFrame(ws.ErrProtocol)
		}
	case ws.Text:
		l.closeWith(ws.StatusUnsupported)
		return nil, false, errNotBinary
	case ws.Ping:
		l.heard.Store(l.n.coarse.Load())
		pong := getBuffer(ws.HeaderSize(len(f.Payload)) + len(f.Payload))
		pong.b = ws.AppendFrame(pong.b, ws.Pong, f.Payload)
		l.push(pong)
		return nil, false, nil
	case ws.Pong:
		l.heard.Store(l.n.coarse.Load())
		return nil, false, nil
	case ws.Close:
		l.closeWith(ws.StatusNormal)
		return nil, false, io.EOF
	}
	// A message in several frames: the same limit, and it grows as it comes.
	if len(in.parts.b)+len(f.Payload) > in.limit {
		return nil, false, l.badFrame(ws.ErrTooLarge)
	}
	in.parts = in.parts.grow(len(f.Payload))
	in.parts.b = append(in.parts.b, f.Payload...)
	if l.began.Load() == 0 {
		l.began.Store(l.n.coarse.Load())
	}
	if !f.Final {
		return nil, false, nil
	}
	in.done, in.parts = in.parts, nil
	return in.done.b, true, nil
}

// badFrame tells the client by a status why its connection ends.
func (l *clientLink) badFrame(err error) error {
	if errors.Is(err, ws.ErrTooLarge) {
		l.closeWith(ws.StatusTooBig)
		return errFrameTooLarge
	}
	l.closeWith(ws.StatusProtocol)
	return err
}

// closeWith makes a Close the link's last frame.
func (l *clientLink) closeWith(status uint16) {
	buf := getBuffer(4)
	buf.b = ws.AppendClose(buf.b, status)
	l.leaveWith(buf, false)
}

// room makes place for more bytes behind those that wait, in the end for need of them.
func (in *input) room(need int) {
	switch {
	case in.buf == nil:
	case in.r == in.w:
		in.buf.free()
		in.buf, in.r, in.w = nil, 0, 0
	case in.w == len(in.buf.b) || in.r+need > len(in.buf.b) && in.r > 0:
		held := in.buf.b[in.r:in.w]
		if len(held) < len(in.buf.b) {
			copy(in.buf.b, held)
		} else {
			larger := getBuffer(len(in.buf.b) + 1)
			larger.b = larger.b[:cap(larger.b)]
			copy(larger.b, held)
			in.buf.free()
			in.buf = larger
		}
		in.r, in.w = 0, len(held)
	}
}

// more waits for bytes.
func (l *clientLink) more() error {
	in := &l.in
	if l.sock.raw != nil {
		return l.moreRaw()
	}
	if in.buf == nil {
		size := idleSize
		if in.large {
			size = readSize
		}
		in.buf = getBuffer(size)
		in.buf.b = in.buf.b[:cap(in.buf.b)]
	}
	n, err := l.sock.Read(in.buf.b[in.w:])
	in.w += n
	in.large = in.w == len(in.buf.b)
	if n > 0 {
		return nil // an error comes again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// release gives back what the link has read.
func (in *input) release() {
	in.buf.free()
	in.parts.free()
	in.done.free()
	in.buf, in.parts, in.done, in.r, in.w = nil, nil, nil, 0, 0
}

// maxInput is the longest frame with its header.
const maxInput = link.MaxFrame + ws.MaxHeader

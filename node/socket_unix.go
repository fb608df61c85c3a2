//go:build unix

package node

import (
	"io"
	"syscall"
)

const rawSockets = true

// rawRead is the half of a read that runs when the connection has something. It is made once
// for a link, because it waits there as long as the link is idle.
type rawRead struct {
	ready func(fd uintptr) bool
	n     int
	err   error
}

// moreRaw waits for bytes without holding a buffer: one is taken when they are there.
func (l *clientLink) moreRaw() error {
	in := &l.in
	if in.fill.ready == nil {
		in.fill.ready = in.readReady
	}
	if err := l.sock.raw.Read(in.fill.ready); err != nil {
		return err
	}
	switch {
	case in.fill.err != nil:
		return in.fill.err
	case in.fill.n == 0:
		return io.EOF
	}
	in.w += in.fill.n
	return nil
}

// readReady reads what there is. False: nothing, and it is called again when there is.
func (in *input) readReady(fd uintptr) bool {
	if in.buf == nil {
		in.buf = getBuffer(readSize)
		in.buf.b = in.buf.b[:cap(in.buf.b)]
	}
	in.fill.n, in.fill.err = ignoringEINTR(int(fd), in.buf.b[in.w:], syscall.Read)
	if in.fill.err == syscall.EAGAIN {
		if in.r == in.w {
			in.buf.free()
			in.buf, in.r, in.w = nil, 0, 0
		}
		return false
	}
	return true
}

// tryWrite writes as much of a batch as the connection takes at once.
func (s *socket) tryWrite(b *batch) error {
	if b.ready == nil {
		b.ready = b.writeReady
	}
	b.err = nil
	if err := s.raw.Write(b.ready); err != nil {
		return err
	}
	return b.err
}

// writeReady never waits: what does not fit is the write loop's.
func (b *batch) writeReady(fd uintptr) bool {
	n, err := ignoringEINTR(int(fd), b.b[b.off:], syscall.Write)
	if err == syscall.EAGAIN {
		return true
	}
	b.off += max(n, 0)
	b.err = err
	return true
}

func ignoringEINTR(fd int, p []byte, f func(int, []byte) (int, error)) (int, error) {
	for {
		if n, err := f(fd, p); err != syscall.EINTR {
			return n, err
		}
	}
}

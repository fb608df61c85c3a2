package node

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// clientLink is one WebSocket of one client. An idle one costs this struct, the
// connection, one goroutine that waits in a read, and nothing else: the write goroutine,
// the queue, the worker and every buffer exist only while there is something to do.
type clientLink struct {
	n  *Node
	ws *websocket.Conn

	// Set by the handshake under mu. The read loop reads them freely, others by identity.
	root    identity.PublicKey
	device  identity.DeviceID
	hasID   bool
	address string // what strangers are counted by
	counted bool   // and whether it is; the read loop's
	// member says that the device is in the newest list of an account here. The read loop's.
	member bool

	// Coarse times in seconds, for the sweep: last frame heard, and since when a message
	// is arriving (0: none).
	heard atomic.Int64
	began atomic.Int64
	wrote atomic.Int64 // since when a frame is being written (0: none)

	budget budget // the read loop's

	wmu     sync.Mutex // guards out, writing, closed, last, cut
	out     queue
	writing bool
	closed  bool
	last    bool        // the frames in out are the last ones; the connection closes behind them
	cut     *time.Timer // closes it if they do not leave

	mu       sync.Mutex // guards mail, work, inflight
	mail     *delivery  // set by Register
	work     *worker    // while submits or acks wait
	inflight int        // queries and domain requests under way
}

// errFrameTooLarge is the reason for a close with status 1009.
var errFrameTooLarge = errors.New("frame over its limit")

// writeTimeout is how long one frame may take to leave. A client that takes no byte for
// this long is gone.
const writeTimeout = 10 * time.Second

// goodbyeTimeout is how long a link's last frame, and what waits before it, may take to
// leave. A link that the policy denies is closed within five seconds whatever the client does.
const goodbyeTimeout = 3 * time.Second

// liveTimeout is how long a live envelope may wait for its place on a device's connection: it
// is worth nothing later, and another node's acknowledgements wait behind it.
const liveTimeout = 5 * time.Second

// read reads one whole binary message into a pooled buffer, which grows with what really
// arrives: a header that promises 96 KiB reserves nothing.
func (l *clientLink) read() (*buffer, error) {
	kind, r, err := l.ws.NextReader()
	if err != nil {
		return nil, err
	}
	if kind != websocket.BinaryMessage {
		return nil, errors.New("not a binary message")
	}
	l.began.Store(l.n.coarse.Load())
	buf := getBuffer(0)
	for {
		if len(buf.b) == cap(buf.b) {
			if len(buf.b) >= link.MaxFrame {
				// The read limit already ended longer messages; this is the byte after.
				buf.free()
				return nil, errFrameTooLarge
			}
			larger := getBuffer(len(buf.b) + 1)
			larger.b = append(larger.b, buf.b...)
			buf.free()
			buf = larger
		}
		n, err := r.Read(buf.b[len(buf.b):cap(buf.b)])
		buf.b = buf.b[:len(buf.b)+n]
		if err == io.EOF {
			now := l.n.coarse.Load()
			l.began.Store(0)
			l.heard.Store(now)
			return buf, nil
		}
		if err != nil {
			buf.free()
			return nil, err
		}
	}
}

// send queues a frame and makes sure that somebody writes it. It takes the buffer over and
// never blocks. False: the link is closed, or was slow and is closed now; a handover in the
// buffer is the caller's again.
func (l *clientLink) send(b *buffer) bool {
	l.wmu.Lock()
	if l.closed || l.last {
		l.wmu.Unlock()
		b.free()
		return false
	}
	if !l.out.push(b) {
		l.wmu.Unlock()
		b.free()
		l.n.metrics.slowLinks.Inc()
		l.goodbye(link.CodeSlow, 0)
		return false
	}
	start := !l.writing
	l.writing = true
	l.wmu.Unlock()
	if start {
		l.n.group.Go(l.writeLoop)
	}
	return true
}

// writeLoop writes what waits and ends. There is at most one per link.
func (l *clientLink) writeLoop() {
	for {
		l.wmu.Lock()
		if l.closed || l.out.len() == 0 {
			l.writing = false
			last := l.last && !l.closed
			l.wmu.Unlock()
			if last {
				l.close()
			}
			return
		}
		b := l.out.pop()
		l.wmu.Unlock()
		live := b.live
		if live != nil && !live.claim() {
			b.free() // its sender has been told that it waited too long
			continue
		}
		l.wrote.Store(l.n.coarse.Load())
		// Deadlines belong to the connection's clock, which is never virtual.
		err := l.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
		if err == nil {
			err = l.ws.WriteMessage(websocket.BinaryMessage, b.b)
		}
		l.wrote.Store(0)
		b.free()
		if live != nil {
			live.told(err == nil)
		}
		if err != nil {
			l.close()
			continue
		}
		l.n.metrics.framesOut.Inc()
	}
}

// stuck says that the connection has not taken a byte-full of one frame for a while: what is
// live does not get in line behind it.
func (l *clientLink) stuck() bool {
	began := l.wrote.Load()
	return began != 0 && l.n.coarse.Load()-began >= int64(liveTimeout/time.Second)
}

// sendFrame marshals and queues.
func (l *clientLink) sendFrame(f *pb.NodeFrame) bool {
	b, err := link.MarshalNode(f)
	if err != nil {
		// A frame that our own limits refuse is a bug; the client learns that we failed.
		l.n.log.Error("node frame cannot be written", "error", err)
		return l.refuse(f.Id, link.CodeInternal, 0)
	}
	buf := getBuffer(len(b))
	buf.b = append(buf.b, b...)
	return l.send(buf)
}

// refuse answers frame id with a code.
func (l *clientLink) refuse(id uint64, code string, retry time.Duration) bool {
	l.n.metrics.linkErrors.WithLabelValues(code).Inc()
	return l.sendFrame(&pb.NodeFrame{Id: id, Kind: &pb.NodeFrame_Error{Error: &pb.Error{Code: code, RetryAfterMs: uint64(retry.Milliseconds())}}})
}

// goodbye says why and closes the link behind it.
func (l *clientLink) goodbye(code string, retry time.Duration) {
	l.leave(&pb.NodeFrame{Kind: &pb.NodeFrame_Error{Error: &pb.Error{Code: code, RetryAfterMs: uint64(retry.Milliseconds())}}})
}

// leave makes f the link's last frame: what waited before it is still written, unless the
// link was slow, and what comes after it is not taken.
func (l *clientLink) leave(f *pb.NodeFrame) {
	b, err := link.MarshalNode(f)
	l.wmu.Lock()
	if l.closed || l.last {
		l.wmu.Unlock()
		return
	}
	if err != nil {
		l.wmu.Unlock()
		l.close()
		return
	}
	var lost []*handover
	if f.GetError().GetCode() == link.CodeSlow {
		lost = l.out.drop()
	}
	buf := getBuffer(len(b))
	buf.b = append(buf.b, b...)
	if !l.out.push(buf) {
		lost = append(lost, l.out.drop()...)
		l.out.push(buf)
	}
	l.last = true
	l.cut = time.AfterFunc(goodbyeTimeout, l.close)
	start := !l.writing
	l.writing = true
	l.wmu.Unlock()
	failAll(lost)
	if start {
		l.n.group.Go(l.writeLoop)
	}
}

// close ends the connection at once; the read loop then cleans up. It may be called often.
func (l *clientLink) close() {
	l.wmu.Lock()
	closed := l.closed
	l.closed = true
	lost := l.out.drop()
	if l.cut != nil {
		l.cut.Stop()
	}
	l.wmu.Unlock()
	failAll(lost)
	if !closed {
		// The error of closing a socket tells nobody anything.
		_ = l.ws.Close()
	}
}

// alive reports whether frames may still be queued.
func (l *clientLink) alive() bool {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return !l.closed && !l.last
}

package node

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/ws"
)

// clientLink is one WebSocket of one client. An idle one costs this struct, the
// connection, one goroutine that waits in a read, and nothing else: the queue, the worker and
// every buffer exist only while there is something to do.
type clientLink struct {
	n    *Node
	sock socket
	in   input // the read loop's

	// Set by the handshake under mu. The read loop reads them freely, others by identity.
	root    identity.PublicKey
	device  identity.DeviceID
	hasID   bool
	nonce   []byte // of the challenge, on a link without a device; the read loop's
	tried   bool   // it has opened a room's gate; the read loop's
	holding bool   // a large message is arriving and counted; the read loop's
	address string // what strangers are counted by; empty on this machine
	counted bool   // and whether it is; the read loop's
	// member says that the device is in the newest list of an account here. The read loop's.
	member bool

	// Coarse times in seconds, for the sweep: last frame heard, and since when a message
	// is arriving (0: none).
	heard atomic.Int64
	began atomic.Int64

	// grown says that the read loop's stack may have, settling that the sweep has asked it to go
	// on with a fresh one.
	grown, settling atomic.Bool

	seat atomic.Pointer[seat] // in a room; nil on nearly every link

	touched atomic.Bool // it is in the node's touched

	wrote atomic.Int64 // since when a write waits for the connection (0: none does)

	budget   budget        // the read loop's
	mailOpen bool          // Register was answered; the read loop's
	dirty    []*clientLink // the read loop's: links that it has put frames on and not flushed

	wmu      sync.Mutex // guards out, writing, carrying, closed, last, cut
	out      queue
	writing  bool // somebody is: the flush or the write loop that has set it
	carrying bool // the write that waits holds live envelopes
	closed   bool
	last     bool        // the frames in out are the last ones; the connection closes behind them
	gently   bool        // and only its sending half, until the client has closed the other
	cut      *time.Timer // closes it if they do not leave

	mu       sync.Mutex // guards mail, work, inflight
	mail     *delivery  // set by Register
	work     *worker    // while submits or acks wait
	inflight int        // queries and domain requests under way
}

// goodbyeTimeout is how long a link's last frame, and what waits before it, may take to
// leave. A link that the policy denies is closed within five seconds whatever the client does.
const goodbyeTimeout = 3 * time.Second

// liveTimeout is how long a live envelope may wait for its place on a device's connection: it
// is worth nothing later, and another node's acknowledgements wait behind it.
const liveTimeout = 5 * time.Second

// stuck says that the connection has not taken a byte-full of one frame for a while: what is
// live does not get in line behind it.
func (l *clientLink) stuck() bool {
	began := l.wrote.Load()
	return began != 0 && l.n.coarse.Load()-began >= int64(liveTimeout/time.Second)
}

// message is a buffer that begins with the WebSocket header of a message of size bytes.
func message(size int) *buffer {
	buf := getBuffer(ws.HeaderSize(size) + size)
	buf.b = ws.AppendHeader(buf.b, ws.Binary, size)
	return buf
}

// sendFrame marshals and queues.
func (l *clientLink) sendFrame(f *pb.NodeFrame) bool {
	b, err := link.MarshalNode(f)
	if err != nil {
		// A frame that our own limits refuse is a bug; the client learns that we failed.
		l.n.log.Error("node frame cannot be written", "error", err)
		return l.refuse(f.Id, link.CodeInternal, 0)
	}
	buf := message(len(b))
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
	if err != nil {
		l.close()
		return
	}
	buf := message(len(b))
	buf.b = append(buf.b, b...)
	if f.GetDrain() != nil {
		l.wmu.Lock()
		l.gently = true
		l.wmu.Unlock()
	}
	l.leaveWith(buf, f.GetError().GetCode() == link.CodeSlow)
}

// finish ends the connection behind its last frame. A connection that is closed while bytes of
// the client are on their way is reset, and the reset can overtake that frame; so where it
// matters the client is left to close, within goodbyeTimeout.
func (l *clientLink) finish() {
	l.wmu.Lock()
	gently := l.gently
	l.wmu.Unlock()
	if half, ok := l.sock.Conn.(interface{ CloseWrite() error }); ok && gently && half.CloseWrite() == nil {
		return
	}
	l.close()
}

// leaveWith is leave for what is written already. alone drops what waits before it.
func (l *clientLink) leaveWith(buf *buffer, alone bool) {
	l.wmu.Lock()
	if l.closed || l.last {
		l.wmu.Unlock()
		buf.free()
		return
	}
	var lost []*handover
	if alone {
		lost = l.out.drop()
	}
	if !l.out.push(buf) {
		lost = append(lost, l.out.drop()...)
		l.out.push(buf)
	}
	l.last = true
	l.cut = time.AfterFunc(goodbyeTimeout, l.close)
	l.wmu.Unlock()
	failAll(lost)
	l.flush(nil)
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
		_ = l.sock.Close()
	}
}

// alive reports whether frames may still be queued.
func (l *clientLink) alive() bool {
	l.wmu.Lock()
	defer l.wmu.Unlock()
	return !l.closed && !l.last
}

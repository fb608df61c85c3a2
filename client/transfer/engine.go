package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
)

// defaultMaxSize is the largest file when Config names none.
const defaultMaxSize = 64 << 30

// Engine is the file side of one session: it sends one file at a time and takes one at a time.
type Engine struct {
	cfg          Config
	log          *slog.Logger
	books        books
	sendLabel    string
	receiveLabel string
	open         func(path string, flag int) (partFile, error)

	turn    chan struct{}  // one token: whoever holds it may send a file
	offers  chan *incoming // one may wait: only one is on its way at a time
	data    chan delivery  // from HandleData to Run's goroutine
	control chan outbound  // to replyLoop, which keeps the order
	ended   chan struct{}  // closed when Run has ended

	mu      sync.Mutex // guards all below
	started bool
	closed  bool
	out     *outgoing
	in      *incoming
	past    []attemptID // ended attempts, both ways, oldest first
}

// delivery is a chunk on its way to Run's goroutine; verdict takes one value.
type delivery struct {
	msg     []byte
	verdict chan error
}

// outbound is a control message on its way; sent, where there is one, takes one value.
type outbound struct {
	msg  []byte
	sent chan error
}

// Stragglers of an attempt that has ended are let pass. An attempt is remembered for as long
// as these many others.
const maxPast = 64

// maxWaiting bounds the control messages that wait. An honest peer asks one thing at a time;
// with one that does not the session ends.
const maxWaiting = 16

// New checks cfg. It starts nothing.
func New(cfg Config) (*Engine, error) {
	switch {
	case cfg.Channel == nil:
		return nil, errors.New("transfer: no channel")
	case cfg.FileKey == [32]byte{}:
		return nil, errors.New("transfer: no file key")
	case cfg.Dir != "" && cfg.State == nil:
		return nil, errors.New("transfer: a folder for files, but nothing to remember them in")
	case cfg.MaxSize < 0 || cfg.MaxSize > maxSize:
		return nil, fmt.Errorf("transfer: largest file of %d bytes, at most %d", cfg.MaxSize, int64(maxSize))
	}
	if cfg.MaxSize == 0 {
		cfg.MaxSize = defaultMaxSize
	}
	e := &Engine{
		cfg: cfg, log: cfg.Logger, books: books{cfg.State}, open: openPart,
		sendLabel: labelFileR2I, receiveLabel: labelFileI2R,
		turn: make(chan struct{}, 1), offers: make(chan *incoming, 1), data: make(chan delivery),
		control: make(chan outbound, maxWaiting), ended: make(chan struct{}),
	}
	if cfg.Initiator {
		e.sendLabel, e.receiveLabel = e.receiveLabel, e.sendLabel
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	return e, nil
}

// String keeps the file key out of logs.
func (c Config) String() string { return "[redacted]" }

// GoString keeps the file key out of %#v.
func (c Config) GoString() string { return "[redacted]" }

// String keeps the file key out of logs.
func (*Engine) String() string { return "[redacted]" }

// GoString keeps the file key out of %#v.
func (*Engine) GoString() string { return "[redacted]" }

// Run serves incoming files until ctx ends; partial files stay for the next session. It
// returns nil then.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.started {
		e.mu.Unlock()
		return errors.New("transfer: Run was called twice")
	}
	e.started = true
	e.mu.Unlock()

	var loops sync.WaitGroup
	loops.Go(func() { e.replyLoop(ctx) })
	e.offerLoop(ctx)
	e.mu.Lock()
	e.closed = true
	if e.out != nil {
		e.out.stop(ErrClosed)
	}
	e.mu.Unlock()
	close(e.ended)
	loops.Wait()
	return nil
}

// replyLoop sends the manifests and ends of Send, and what HandleControl, which must not
// block, wants to answer: in order, so that no offer overtakes the end of the one before.
func (e *Engine) replyLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-e.control:
			if o.sent == nil {
				e.say(ctx, o.msg, nil)
			} else {
				o.sent <- e.cfg.Channel.SendControl(ctx, o.msg)
			}
		}
	}
}

// reply queues an answer; false means that there are too many.
func (e *Engine) reply(msg []byte, err error) bool {
	if err != nil {
		e.log.Error("file answer", "error", err)
		return true
	}
	select {
	case e.control <- outbound{msg: msg}:
		return true
	default:
		return false
	}
}

// say sends a message whose loss changes nothing but how soon the other side knows: a channel
// that fails belongs to a session that is over.
func (e *Engine) say(ctx context.Context, msg []byte, err error) {
	if err == nil {
		err = e.cfg.Channel.SendControl(ctx, msg)
	}
	if err != nil && ctx.Err() == nil {
		e.log.Debug("file answer was not sent", "error", err)
	}
}

// offerLoop is the goroutine that all incoming files belong to.
func (e *Engine) offerLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-e.offers:
			e.receive(ctx, in)
		case d := <-e.data:
			d.verdict <- e.stray(d.msg)
		}
	}
}

// stray judges a chunk that no transfer waits for: the sender may not know yet that its
// attempt has ended.
func (e *Engine) stray(msg []byte) error {
	c, err := parseChunk(msg)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Contains(e.past, c.attempt) {
		return nil
	}
	return fmt.Errorf("%w: chunk of no transfer", ErrProtocol)
}

// HandleData takes a chunk, and returns when what it completed is on the disk. Chunks are
// taken in the order of the calls. An error means that the other side broke the protocol:
// close the session. After Run has ended it does nothing.
func (e *Engine) HandleData(msg []byte) error {
	d := delivery{msg: msg, verdict: make(chan error, 1)}
	select {
	case e.data <- d:
		return <-d.verdict
	case <-e.ended:
		return nil
	}
}

// HandleControl takes a control message of the other side. It does not block. An error means
// that the other side broke the protocol: close the session.
func (e *Engine) HandleControl(msg []byte) error {
	m, attempt, err := parseControl(msg)
	if err != nil {
		return err
	}
	if k := m.GetManifest(); k != nil {
		f, err := parseManifest(k)
		if err != nil {
			return err
		}
		return e.offered(f)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	cancel, wait := m.GetCancel(), m.GetWait()
	switch {
	case e.closed || slices.Contains(e.past, attempt):
		return nil // crossed our own end of it
	case e.out != nil && e.out.attempt == attempt:
		return e.out.answered(m)
	case wait != nil && e.in != nil && e.in.attempt == attempt:
		return nil // its person has paused: chunks will come
	case cancel == nil:
		return fmt.Errorf("%w: answer to no offer", ErrProtocol)
	case e.in != nil && e.in.attempt == attempt:
		e.in.stop(&peerError{reasonError(cancel.GetReason())})
		e.overLocked(e.in)
	}
	// The sender of an offer that never left cancels it all the same.
	return nil
}

// overLocked makes room for the sender's next offer.
func (e *Engine) overLocked(in *incoming) {
	if e.in == in {
		e.in = nil
		e.endedLocked(in.attempt)
	}
}

// offered takes an offer in, or refuses it.
func (e *Engine) offered(f manifest) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	if slices.Contains(e.past, f.attempt) || e.in != nil && e.in.attempt == f.attempt || e.out != nil && e.out.attempt == f.attempt {
		return fmt.Errorf("%w: attempt id used twice", ErrProtocol)
	}
	reason := pb.Reason_REASON_UNSPECIFIED
	switch {
	case e.cfg.Dir == "" || e.cfg.Accept == nil:
		reason = pb.Reason_REASON_REFUSED
	case f.size > e.cfg.MaxSize:
		reason = pb.Reason_REASON_TOO_LARGE
	case e.in != nil:
		reason = pb.Reason_REASON_BUSY
	default:
		select {
		case <-e.offers: // canceled before it was looked at
		default:
		}
		e.in = newIncoming(f)
		e.offers <- e.in // there is room: only this function fills it, and it holds the lock
		return nil
	}
	e.endedLocked(f.attempt)
	if !e.reply(refuseMessage(f.attempt, reason)) {
		return fmt.Errorf("%w: offers without end", ErrProtocol)
	}
	return nil
}

// endedLocked remembers an attempt for its stragglers.
func (e *Engine) endedLocked(a attemptID) {
	if len(e.past) == maxPast {
		e.past = slices.Delete(e.past, 0, 1)
	}
	e.past = append(e.past, a)
}

func (e *Engine) progress(p Progress) {
	if e.cfg.Progress != nil {
		e.cfg.Progress(p)
	}
}

// peerError is an end that the other side made.
type peerError struct{ err error }

func (p *peerError) Error() string { return p.err.Error() }
func (p *peerError) Unwrap() error { return p.err }

// fillRandom fills b; the system's generator does not fail.
func fillRandom(b []byte) {
	_, _ = rand.Read(b)
}

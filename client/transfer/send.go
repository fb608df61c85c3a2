package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
)

// phase is how far an outgoing file is; it only grows.
type phase uint8

const (
	phaseOffered phase = iota
	phaseSending
	phaseSent // the last chunk may be on its way
	phaseDone
)

// window is how many units may be on their way that the receiver has not kept yet. A browser
// cannot hold the channel back, so this bounds what waits there for a slow disk.
const window = 16

// outgoing is the file that is being sent. Engine.mu guards phase and kept.
type outgoing struct {
	attempt  attemptID
	units    int64
	phase    phase
	kept     int64 // units that the other side has on its disk
	stop     context.CancelCauseFunc
	accepted chan int64    // the unit to begin with
	moved    chan struct{} // kept has grown
	done     chan struct{} // closed at phaseDone
	alive    chan struct{} // the other side has not decided yet, or its person has paused
}

// answered takes the receiver's words on this attempt. It never blocks: each kind comes once,
// and Wait may be lost in another one.
func (o *outgoing) answered(m *pb.Message) error {
	switch k := m.GetKind().(type) {
	case *pb.Message_Accept:
		if o.phase != phaseOffered || k.Accept.GetUnit() > uint64(o.units) {
			return fmt.Errorf("%w: accept", ErrProtocol)
		}
		o.phase = phaseSending
		o.kept = int64(k.Accept.GetUnit())
		o.accepted <- o.kept
	case *pb.Message_Refuse:
		if o.phase != phaseOffered {
			return fmt.Errorf("%w: refuse", ErrProtocol)
		}
		o.stop(&peerError{reasonError(k.Refuse.GetReason())})
	case *pb.Message_Cancel:
		o.stop(&peerError{reasonError(k.Cancel.GetReason())})
	case *pb.Message_Done:
		if o.phase != phaseOffered && o.phase != phaseSent {
			return fmt.Errorf("%w: done", ErrProtocol)
		}
		o.phase = phaseDone
		close(o.done)
	case *pb.Message_Wait:
		poke(o.alive)
	case *pb.Message_Kept:
		if o.phase != phaseSending && o.phase != phaseSent || k.Kept.GetUnit() > uint64(o.units) || int64(k.Kept.GetUnit()) <= o.kept {
			return fmt.Errorf("%w: kept", ErrProtocol)
		}
		o.kept = int64(k.Kept.GetUnit())
		poke(o.moved)
	}
	return nil
}

// poke wakes whoever waits on c; once is enough.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Send offers the file at path under name (empty: its own) and returns when the other side has
// it whole. Offering the same content and name again continues where an earlier attempt ended.
// It reads the whole file first; files go one after the other.
func (e *Engine) Send(ctx context.Context, path, name string) (Sent, error) {
	if name == "" {
		name = filepath.Base(path)
	}
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return Sent{}, ctx.Err()
	case <-e.ended:
		return Sent{}, ErrClosed
	}
	defer func() { <-e.turn }()

	f, size, err := openSource(path)
	if err != nil {
		return Sent{}, err
	}
	defer f.Close()
	if size > e.cfg.MaxSize {
		return Sent{}, ErrTooLarge
	}
	s := &sending{e: e, file: f, layout: layoutOf(size)}
	s.m.size, s.m.name = size, offeredName(name)
	fillRandom(s.m.attempt[:])
	sctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.out = &outgoing{
		attempt: s.m.attempt, units: s.layout.units, stop: stop,
		accepted: make(chan int64, 1), moved: make(chan struct{}, 1), done: make(chan struct{}), alive: make(chan struct{}, 1),
	}
	if err := e.begin(s.out); err != nil {
		return Sent{}, err
	}
	sent, err := s.run(sctx)
	if err != nil && context.Cause(sctx) != nil {
		// Stopped: by the peer, by the end of the session, or by the caller.
		err = context.Cause(sctx)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	e.finish(ctx, s, err)
	var peer *peerError
	if errors.As(err, &peer) {
		err = peer.err
	}
	return sent, err
}

// openSource opens a regular file only: a pipe would block, and has no size to promise.
func openSource(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("transfer: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("transfer: %w", err)
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("transfer: %w", err)
	}
	return f, info.Size(), nil
}

func (e *Engine) begin(o *outgoing) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.out = o
	return nil
}

// finish takes the attempt out of the books and tells the other side of an end that it does
// not know of.
func (e *Engine) finish(ctx context.Context, s *sending, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.out = nil
	e.endedLocked(s.m.attempt)
	var peer *peerError
	if err == nil || !s.offered || errors.As(err, &peer) || errors.Is(err, ErrClosed) {
		return
	}
	reason := pb.Reason_REASON_PAUSED
	switch {
	case errors.Is(err, ErrChanged):
		reason = pb.Reason_REASON_CHANGED
	case context.Cause(ctx) == context.Canceled: //nolint:errorlint // a cause of its own is no decision of a person
		reason = pb.Reason_REASON_STOPPED
	}
	if !e.reply(cancelMessage(s.m.attempt, reason)) {
		e.log.Debug("cancel was not sent: too many answers wait")
	}
}

// sending is one attempt.
type sending struct {
	e       *Engine
	file    *os.File
	m       manifest
	layout  layout
	out     *outgoing
	sums    sums
	resumed int64
	offered bool
}

// checkedStep is how much is read between two reports while a file is hashed.
const checkedStep = 16 * unitSize

func (s *sending) tell(done, checked int64) {
	s.e.progress(Progress{
		ID: s.m.id, Name: s.m.name, Size: s.m.size, Done: done, Resumed: s.resumed, Checked: checked,
	})
}

func (s *sending) run(ctx context.Context) (Sent, error) {
	var err error
	s.sums, err = hashFile(ctx, s.file, s.m.size, true, func(n int64) {
		if n%checkedStep == 0 {
			s.tell(0, n)
		}
	})
	if err != nil {
		return Sent{}, s.readError(err)
	}
	s.m.root = s.sums.root
	s.m.id = fileID(s.m.name, s.m.size, s.m.root)
	msg, err := s.m.marshal()
	if err != nil {
		return Sent{}, fmt.Errorf("transfer: manifest: %w", err)
	}
	offer := outbound{msg: msg, sent: make(chan error, 1)}
	select {
	case s.e.control <- offer:
		s.offered = true
	case <-ctx.Done():
		return Sent{}, ctx.Err()
	}
	sent := Sent{ID: s.m.id, Size: s.m.size, SHA256: s.sums.content}
	for {
		select {
		case <-ctx.Done():
			return Sent{}, ctx.Err()
		case err := <-offer.sent:
			if err != nil {
				return Sent{}, fmt.Errorf("%w: %w", ErrClosed, err)
			}
			continue
		case <-s.out.alive:
			s.tell(0, s.m.size)
			continue
		case <-s.out.done:
			s.resumed = s.m.size
		case unit := <-s.out.accepted:
			s.resumed = s.layout.contentAt(unit)
			if err := s.stream(ctx, unit); err != nil {
				return Sent{}, err
			}
			for sent := false; !sent; {
				select {
				case <-ctx.Done():
					return Sent{}, ctx.Err()
				case <-s.out.alive:
					s.tell(s.m.size, s.m.size)
				case <-s.out.done:
					sent = true
				}
			}
		}
		sent.Resumed = s.resumed
		s.tell(s.m.size, s.m.size)
		return sent, nil
	}
}

// room waits until unit may go out. Each Wait meanwhile is told as progress: the other side is
// there, and its person has paused.
func (s *sending) room(ctx context.Context, unit, done int64) error {
	for {
		s.e.mu.Lock()
		kept := s.out.kept
		s.e.mu.Unlock()
		if unit-kept < window {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.out.alive:
			s.tell(done, s.m.size)
		case <-s.out.moved:
		}
	}
}

// stream sends everything from unit on, never more than the window ahead of the other side's disk.
func (s *sending) stream(ctx context.Context, unit int64) error {
	box, err := newBox(s.e.cfg.FileKey, s.e.sendLabel, s.m.id, s.m.attempt, s.m.size)
	if err != nil {
		return err
	}
	done := s.resumed
	s.tell(done, s.m.size)
	c := &cutter{layout: s.layout, box: box, buf: make([]byte, 0, chunkSize)}
	c.index, c.skip = s.layout.start(unit)
	left := int64(0) // content that was written to the cutter and is not told of yet
	c.emit = func(msg []byte) error {
		if _, last := s.layout.chunkAt(c.index - 1); last {
			if err := s.last(); err != nil {
				return err
			}
		}
		if err := s.e.cfg.Channel.SendData(ctx, msg); err != nil {
			return fmt.Errorf("%w: %w", ErrClosed, err)
		}
		if n := min(left, chunkSize); n > 0 {
			left -= n
			done += n
			s.tell(done, s.m.size)
		}
		return nil
	}
	buf := make([]byte, unitSize)
	for i := unit; i < s.layout.units; i++ {
		if err := s.room(ctx, i, done); err != nil {
			return err
		}
		content := buf[:s.layout.unitLen(i)]
		if err := readUnit(s.file, content, i); err != nil {
			return s.readError(err)
		}
		sum := sha256.Sum256(content)
		if sum != s.sums.units[i] {
			return ErrChanged
		}
		left += int64(len(content))
		if err := c.write(content); err != nil {
			return err
		}
		if err := c.write(sum[:]); err != nil {
			return err
		}
	}
	for n := s.layout.zeros; n > 0; n -= min(n, chunkSize) {
		if err := c.write(zeroBlock[:min(n, chunkSize)]); err != nil {
			return err
		}
	}
	return c.write(s.sums.root[:])
}

// last comes before the last chunk: a file that grew is not the file that was offered, and the
// receiver may answer from now on.
func (s *sending) last() error {
	info, err := s.file.Stat()
	if err != nil {
		return fmt.Errorf("transfer: %w", err)
	}
	if info.Size() != s.m.size {
		return ErrChanged
	}
	s.e.mu.Lock()
	defer s.e.mu.Unlock()
	if s.out.phase == phaseSending {
		s.out.phase = phaseSent
	}
	return nil
}

// readError names a file that became shorter for what it is.
func (s *sending) readError(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrChanged
	}
	return fmt.Errorf("transfer: read the file: %w", err)
}

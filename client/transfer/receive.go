package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
)

// waitEvery is how often a sender hears that its offer is still being looked at.
const waitEvery = 2 * time.Second

// incoming is an offer and what becomes of it.
type incoming struct {
	manifest
	ctx  context.Context // ends with the other side's Cancel, which may come before receive does
	stop context.CancelCauseFunc
}

func newIncoming(m manifest) *incoming {
	in := &incoming{manifest: m}
	in.ctx, in.stop = context.WithCancelCause(context.Background())
	return in
}

// diskError is a failure of this side's disk: not the other side's fault.
type diskError struct{ err error }

func (d *diskError) Error() string { return "transfer: write the file: " + d.err.Error() }
func (d *diskError) Unwrap() error { return d.err }

// receive takes one file from its offer to its end, on Run's goroutine.
func (e *Engine) receive(ctx context.Context, in *incoming) {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		in.stop(ErrClosed)
		close(stopped)
	})
	defer func() {
		if !stop() {
			<-stopped
		}
	}()
	defer in.stop(nil)

	begun, got, err := e.take(in)
	if cause := context.Cause(in.ctx); err != nil && cause != nil && !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrCorrupt) {
		err = cause
	}
	// From here on the sender may offer the next one, and it may do so before SendControl
	// returns.
	e.mu.Lock()
	e.overLocked(in)
	e.mu.Unlock()
	if err == nil {
		msg, err := doneMessage(in.attempt)
		e.say(ctx, msg, err)
	} else {
		e.giveUp(ctx, in, begun, err)
	}
	var peer *peerError
	switch {
	case errors.As(err, &peer):
		err = peer.err
	case errors.Is(err, ErrClosed), errors.Is(err, errTaken):
		err = errPaused
	}
	if e.cfg.Received == nil || err != nil && (!begun || errors.Is(err, errPaused)) {
		return
	}
	got.Err = err
	e.cfg.Received(got)
}

// giveUp tells the sender why its file is not taken, unless that was its own doing.
func (e *Engine) giveUp(ctx context.Context, in *incoming, begun bool, err error) {
	var peer *peerError
	if errors.As(err, &peer) || errors.Is(err, ErrClosed) {
		return
	}
	reason := pb.Reason_REASON_STOPPED
	var disk *diskError
	switch {
	case errors.Is(err, ErrRefused):
		reason = pb.Reason_REASON_REFUSED
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrProtocol):
		reason = pb.Reason_REASON_CORRUPT
	case errors.Is(err, errTaken):
		reason = pb.Reason_REASON_PAUSED
	case errors.As(err, &disk):
		reason = pb.Reason_REASON_DISK
		e.log.Warn("an offered file could not be written") // the error names paths; Received has it
	}
	if begun {
		msg, err := cancelMessage(in.attempt, reason)
		e.say(ctx, msg, err)
	} else {
		msg, err := refuseMessage(in.attempt, reason)
		e.say(ctx, msg, err)
	}
}

// take looks at what is there, asks, and takes the chunks. begun says that Accept agreed, so
// that somebody waits to hear how it ended.
func (e *Engine) take(in *incoming) (begun bool, got Received, err error) {
	got = Received{ID: in.id, Name: CleanName(in.name), Size: in.size}
	p, known, err := e.prepare(in)
	if err != nil {
		return known.agreed, got, err
	}
	if known.done {
		got.Path, got.SHA256, got.Resumed = filepath.Join(e.cfg.Dir, known.rec.final), known.rec.sha256, in.size
		return true, got, nil
	}
	defer p.file.Close()
	got.Resumed = p.layout.contentAt(p.units)
	msg, err := acceptMessage(in.attempt, p.units)
	if err == nil {
		err = e.cfg.Channel.SendControl(in.ctx, msg)
	}
	if err != nil {
		return true, got, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	if err := e.chunks(in, p, got.Resumed); err != nil {
		if errors.Is(err, errRoot) || errors.Is(context.Cause(in.ctx), ErrChanged) {
			// Nothing of it can be of use again.
			err = errors.Join(err, e.drop(in.id, p.rec))
		}
		return true, got, err
	}
	got.Path, got.SHA256 = filepath.Join(p.dir, p.rec.final), p.rec.sha256
	return true, got, nil
}

// prepare answers the questions that may take long, a person's and the disk's, and tells the
// sender meanwhile that this side is alive.
func (e *Engine) prepare(in *incoming) (*part, known, error) {
	ctx, cancel := context.WithCancel(in.ctx)
	var loop sync.WaitGroup
	loop.Go(func() { e.waitLoop(ctx, in.attempt) })
	defer loop.Wait()
	defer cancel()

	k, err := e.look(ctx, in.manifest)
	if err != nil || k.done {
		return nil, k, disk(err)
	}
	l := layoutOf(in.size)
	o := Offer{ID: in.id, Name: CleanName(in.name), Size: in.size, Resume: l.contentAt(k.units)}
	if ctx.Err() != nil || !e.cfg.Accept(ctx, o) || ctx.Err() != nil { // a yes may come too late
		return nil, k, ErrRefused
	}
	k.agreed = true
	p, err := e.openPart(ctx, in.manifest, k, func(n int64) {
		if n%checkedStep == 0 {
			e.progress(Progress{ID: in.id, Name: o.Name, Incoming: true, Size: in.size, Checked: n})
		}
	})
	return p, k, disk(err)
}

func disk(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, errTaken) {
		return err
	}
	return &diskError{err}
}

func (e *Engine) waitLoop(ctx context.Context, a attemptID) {
	tick := time.NewTicker(waitEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			msg, err := waitMessage(a)
			e.say(ctx, msg, err)
		}
	}
}

// chunks takes data until the file is shown or the attempt ends.
func (e *Engine) chunks(in *incoming, p *part, resumed int64) error {
	box, err := newBox(e.cfg.FileKey, e.receiveLabel, in.id, in.attempt, in.size)
	if err != nil {
		return err
	}
	r := &reader{part: p, box: box, want: in.root, unit: make([]byte, 0, unitSize), plain: make([]byte, 0, chunkSize)}
	r.next, r.skip = p.layout.start(p.units)
	r.kept = func() {
		e.progress(Progress{
			ID: in.id, Name: p.name, Incoming: true, Size: in.size, Done: p.layout.contentAt(p.units),
			Resumed: resumed, Checked: resumed,
		})
		msg, err := keptMessage(in.attempt, p.units)
		e.say(in.ctx, msg, err)
	}
	for {
		select {
		case <-in.ctx.Done():
			return in.ctx.Err()
		case d := <-e.data:
			done, err := r.take(d.msg, e.wasPast)
			// A disk that fails is no breach: the session may go on.
			if errors.Is(err, ErrProtocol) || errors.Is(err, ErrCorrupt) {
				d.verdict <- err
			} else {
				d.verdict <- nil
			}
			if done || err != nil {
				return err
			}
		}
	}
}

func (e *Engine) wasPast(a attemptID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Contains(e.past, a)
}

// errRoot says that every unit was as promised but the whole is not what was offered.
var errRoot = fmt.Errorf("%w: the whole is not the file that was offered", ErrCorrupt)

// reader takes the stream apart.
type reader struct {
	part *part
	box  *box
	want [hashSize]byte // the manifest's root
	kept func()

	next  uint64 // index of the chunk that must come
	skip  int    // of the first chunk
	plain []byte

	unit  []byte // content of the unit under way; at most 1 MiB
	hash  []byte // of its recorded hash, then of the root; at most 32 bytes
	zeros int64  // seen
}

// take takes one chunk message; done says that the file is shown.
func (r *reader) take(msg []byte, past func(attemptID) bool) (done bool, err error) {
	c, err := parseChunk(msg)
	if err != nil {
		return false, err
	}
	if c.attempt != r.box.attempt {
		if past(c.attempt) {
			return false, nil
		}
		return false, fmt.Errorf("%w: chunk of no transfer", ErrProtocol)
	}
	n, last := r.part.layout.chunkAt(r.next)
	if c.index != r.next || c.last != last || len(c.sealed) != n-r.skip+tagSize {
		return false, fmt.Errorf("%w: chunk out of order or of the wrong length", ErrProtocol)
	}
	plain, err := r.box.open(r.plain[:0], c)
	if err != nil {
		return false, err
	}
	r.next++
	r.skip = 0
	return last, r.feed(plain, last)
}

// feed goes through the parts of the stream: units with their hashes, zeros, root.
func (r *reader) feed(b []byte, last bool) error {
	p := r.part
	for len(b) > 0 {
		switch {
		case p.units < p.layout.units && len(r.unit) < p.layout.unitLen(p.units):
			n := min(p.layout.unitLen(p.units)-len(r.unit), len(b))
			r.unit = append(r.unit, b[:n]...)
			b = b[n:]
		case p.units < p.layout.units:
			b = r.fillHash(b)
			if len(r.hash) < hashSize {
				break
			}
			sum := sha256.Sum256(r.unit)
			if sum != [hashSize]byte(r.hash) {
				return fmt.Errorf("%w: unit %d has another hash", ErrCorrupt, p.units)
			}
			if err := p.keep(r.unit, sum); err != nil {
				return disk(err)
			}
			r.unit, r.hash = r.unit[:0], r.hash[:0]
			r.kept()
		case r.zeros < p.layout.zeros:
			n := int(min(p.layout.zeros-r.zeros, int64(len(b))))
			if !allZero(b[:n]) {
				return fmt.Errorf("%w: padding is not zero", ErrCorrupt)
			}
			r.zeros += int64(n)
			b = b[n:]
		default:
			b = r.fillHash(b)
		}
	}
	if !last {
		return nil
	}
	// The layout's arithmetic makes the root the end of the last chunk.
	root := [hashSize]byte(p.root.Sum(nil))
	if [hashSize]byte(r.hash) != r.want || root != r.want {
		return errRoot
	}
	return disk(p.show())
}

func (r *reader) fillHash(b []byte) (rest []byte) {
	n := min(hashSize-len(r.hash), len(b))
	r.hash = append(r.hash, b[:n]...)
	return b[n:]
}

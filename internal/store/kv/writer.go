package kv

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// op is one operation in the writer's queue. An op without apply is a question to what is
// held in memory.
type op struct {
	apply  func(tx *bbolt.Tx) error
	ask    func()
	size   int
	answer chan error // holds one
}

var opPool = sync.Pool{New: func() any { return &op{answer: make(chan error, 1)} }}

// Do runs apply inside a write transaction that it shares with others, and returns after
// that has been committed. size is about how many bytes it writes.
//
// apply runs while nobody else writes, may run more than once and must therefore begin by
// resetting what it reports. An error of apply undoes the operation, and only that one;
// where refusing is ordinary business it is cheaper to report through a variable and to
// return NoChange. Once queued an operation is carried out, whatever becomes of ctx: the
// caller always learns the truth, and waits for the disk at most.
func (f *File) Do(ctx context.Context, size int, apply func(tx *bbolt.Tx) error) error {
	return f.enqueue(ctx, apply, nil, size)
}

// Ask runs fn while nobody writes, when memory and file agree, that is after the batch
// it belongs to has been committed or has failed.
func (f *File) Ask(ctx context.Context, fn func()) error {
	return f.enqueue(ctx, nil, fn, 0)
}

func (f *File) enqueue(ctx context.Context, apply func(tx *bbolt.Tx) error, ask func(), size int) error {
	o := opPool.Get().(*op)
	o.apply, o.ask, o.size = apply, ask, size
	// The lock is held over the send so that Close cannot close the channel under it. The
	// writer takes from the channel without the lock, so the send does end.
	f.sending.RLock()
	if f.closed {
		f.sending.RUnlock()
		return ErrClosed
	}
	if f.alone.Load() && len(f.ops) == 0 && f.writing.TryLock() {
		// Nobody else writes or waits: the two changes of goroutine that a lone caller would pay
		// for each fsync are spared. Close waits for the lock that is held here.
		f.single[0] = o
		f.commit(f.single[:])
		f.single[0] = nil
		f.writing.Unlock()
		f.sending.RUnlock()
		return o.wait()
	}
	select {
	case f.ops <- o:
		f.sending.RUnlock()
	case <-ctx.Done():
		f.sending.RUnlock()
		return ctx.Err()
	}
	return o.wait()
}

// wait returns the answer and gives the op back.
func (o *op) wait() error {
	err := <-o.answer
	o.apply, o.ask = nil, nil
	opPool.Put(o)
	return err
}

// writeLoop owns the writes of callers that come together; whoever finds nobody writing or
// waiting, and was not alone by chance, writes by itself (see enqueue). It takes what waits and
// commits it together: while it waits for the disk the next batch gathers.
func (f *File) writeLoop() {
	defer close(f.done)
	g := gathering{timer: time.NewTimer(time.Hour)}
	defer g.timer.Stop()
	for {
		first := g.carry
		g.carry = nil
		if first == nil {
			var ok bool
			if first, ok = <-f.ops; !ok {
				return
			}
		}
		f.writing.Lock()
		g.gather(f.ops, first)
		f.alone.Store(len(g.batch) == 1 && g.carry == nil)
		began := time.Now()
		f.commit(g.batch)
		g.expect, g.patience = len(g.batch), min(time.Since(began)/8, mostPatience)
		clear(g.batch)
		f.writing.Unlock()
		// Those who were answered a moment ago and have more to say join the next batch.
		runtime.Gosched()
	}
}

// Those who were answered together and have more to say come back within a moment, but on a
// busy machine not all of them before the first has begun the next commit: then each half of
// them waits for the other half's fsync as well, and a commit carries half as much for good. So
// as many as were answered last are waited for, at most for an eighth of what the last commit
// took. Nobody waits behind a commit that carried one operation, or on a disk that is faster than
// the waiting.
const (
	leastPatience = 100 * time.Microsecond
	mostPatience  = 4 * time.Millisecond
)

// gathering is what the writer takes together.
type gathering struct {
	batch    []*op
	size     int
	carry    *op // did not fit into the last batch
	expect   int // how many were answered last
	patience time.Duration
	timer    *time.Timer
}

func (g *gathering) gather(ops <-chan *op, first *op) {
	g.batch, g.size = append(g.batch[:0], first), first.size
	waiting := false
	for len(g.batch) < maxBatchOps {
		var o *op
		var ok bool
		select {
		case o, ok = <-ops:
		default:
			if g.expect < 2 || len(g.batch) >= g.expect || g.patience < leastPatience {
				return
			}
			if !waiting {
				waiting = true
				g.timer.Reset(g.patience)
			}
			select {
			case o, ok = <-ops:
			case <-g.timer.C:
				return
			}
		}
		if !ok {
			return
		}
		if g.size+o.size > maxBatchBytes {
			g.carry = o
			return
		}
		g.size += o.size
		g.batch = append(g.batch, o)
	}
}

// commit carries a batch out and answers everyone in it. f.writing is held.
func (f *File) commit(batch []*op) {
	defer func() {
		clear(f.asks)
		clear(f.writes)
	}()
	asks, writes := f.asks[:0], f.writes[:0]
	for _, o := range batch {
		if o.ask != nil {
			asks = append(asks, o)
		} else {
			writes = append(writes, o)
		}
	}
	f.asks, f.writes = asks, writes
	for len(writes) > 0 {
		failed, err := f.transact(writes)
		if failed < 0 {
			for _, o := range writes {
				o.answer <- err
			}
			break
		}
		// One operation failed: it alone is answered, the others begin again without it.
		writes[failed].answer <- err
		writes = append(writes[:failed], writes[failed+1:]...)
	}
	if len(asks) == 0 {
		return
	}
	err := f.refresh()
	if err == nil {
		err = protect(func() error {
			for _, o := range asks {
				o.ask()
			}
			return nil
		})
	}
	for _, o := range asks {
		o.answer <- err
	}
}

// transact tries one transaction. failed is the place of the operation whose apply returned
// an error, or -1 when err (nil on success) is everyone's answer.
func (f *File) transact(writes []*op) (failed int, err error) {
	if err := f.refresh(); err != nil {
		return -1, err
	}
	failed = -1
	perr := protect(func() error {
		tx, e := f.db.Begin(true)
		if e != nil {
			return e
		}
		// A damaged page ends one operation, not the others: at says whose it was.
		at, changed := 0, false
		e = protect(func() error {
			for ; at < len(writes); at++ {
				switch e := writes[at].apply(tx); {
				case e == nil:
					changed = true
				case e != NoChange && !errors.Is(e, NoChange):
					return e
				}
			}
			return nil
		})
		if e != nil {
			failed, err, f.stale = at, e, true
			return tx.Rollback()
		}
		if !changed {
			return tx.Rollback()
		}
		f.stale = true // until the commit has succeeded
		if f.o.Flush != nil {
			if e := f.o.Flush(tx); e != nil {
				return errors.Join(e, tx.Rollback())
			}
		}
		if e := f.commitTx(tx); e != nil {
			return e
		}
		f.stale = false
		if f.failing {
			f.failing = false
			f.log.Info("store can be written again", "file", filepath.Base(f.path))
		}
		return nil
	})
	if perr == nil {
		return failed, err
	}
	if errors.Is(perr, berrors.ErrDatabaseNotOpen) {
		return -1, ErrClosed
	}
	var broken *fault
	if errors.As(perr, &broken) {
		// bbolt panicked with its locks held. Nothing can be written any more in this process;
		// everyone is told so instead of waiting for ever.
		f.broken = perr
	}
	if !f.failing {
		// Once: a full disk is tried again many times a second.
		f.failing = true
		f.log.Error("store cannot be written", "file", filepath.Base(f.path), "err", perr)
	}
	return -1, fmt.Errorf("%w: %w", ErrUnavailable, perr)
}

func (f *File) commitTx(tx *bbolt.Tx) error {
	if f.o.Commit != nil {
		return f.o.Commit(f.path, tx.Commit)
	}
	return tx.Commit()
}

// refresh makes memory agree with the file again after a failure.
func (f *File) refresh() error {
	if f.broken != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, f.broken)
	}
	if !f.stale {
		return nil
	}
	if f.o.Reload != nil {
		if err := f.View(f.o.Reload); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	f.stale = false
	return nil
}

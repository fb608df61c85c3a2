package federation

import (
	"context"
	"sync"
)

// quantum is what one destination may read from the durable outbox in its turn.
const quantum = 64 << 10

// feeder reads the durable outbox for the links, by deficit round robin: the disk is the one
// thing all destinations share, and one with a long queue must not keep the others from it.
type feeder struct {
	wake chan struct{}

	mu   sync.Mutex // guards turn, line
	turn []*link
	line map[*link]*place // present: the link is in line or being served
}

type place struct {
	deficit int
	again   bool // it asked once more while it was served
}

func newFeeder() *feeder {
	return &feeder{wake: make(chan struct{}, 1), line: make(map[*link]*place)}
}

// want puts a link in line, unless it is there.
func (f *feeder) want(l *link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.line[l]; p != nil {
		p.again = true
		return
	}
	f.line[l] = &place{}
	f.turn = append(f.turn, l)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feeder) next() (l *link, budget int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.turn) == 0 {
		return nil, 0
	}
	l = f.turn[0]
	f.turn = f.turn[1:]
	p := f.line[l]
	p.again = false
	return l, p.deficit + quantum
}

// served ends a turn. A link that has more to read keeps what it did not use.
func (f *feeder) served(l *link, left int, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.line[l]
	if !more && !p.again {
		delete(f.line, l)
		return
	}
	p.deficit = min(max(left, 0), quantum)
	f.turn = append(f.turn, l)
}

func (f *feeder) run(ctx context.Context) {
	for {
		l, budget := f.next()
		if l == nil {
			select {
			case <-f.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		took, more := l.feed(budget)
		f.served(l, budget-took, more)
		if ctx.Err() != nil {
			return
		}
	}
}

package federation

import (
	"context"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/policy"
)

// Bounds of oblivious queries on one link, each way.
const (
	askedAtOnce    = 64
	answeredAtOnce = 16
	queryTime      = 10 * time.Second
)

// asking is what we asked the peer, and how much of what it asked is being answered.
type asking struct {
	mu      sync.Mutex // guards all below
	last    uint64
	pending map[uint64]chan answer
	failed  bool
	serving int
}

type answer struct {
	box  []byte
	code string
}

// query sends a box to the peer and waits for its answer.
func (s *session) query(ctx context.Context, box []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	c := make(chan answer, 1)
	a := s.ask
	a.mu.Lock()
	if a.failed {
		a.mu.Unlock()
		return nil, ErrUnreachable
	}
	if len(a.pending) >= askedAtOnce {
		a.mu.Unlock()
		return nil, ErrRate
	}
	a.last++
	id := a.last
	if a.pending == nil {
		a.pending = make(map[uint64]chan answer)
	}
	a.pending[id] = c
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.pending, id)
		a.mu.Unlock()
	}()
	s.say(&wire.Frame{Kind: wire.KindQuery, ID: id, Box: box})
	select {
	case got, ok := <-c:
		if !ok {
			return nil, ErrUnreachable
		}
		if got.code != "" {
			return nil, &RemoteError{Code: got.code}
		}
		return got.box, nil
	case <-ctx.Done():
		return nil, ErrUnreachable
	}
}

// answered hands an answer to who asked. One that comes too late is dropped; one to a
// question that was never asked cuts the link.
func (a *asking) answered(id uint64, box []byte, code string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id > a.last {
		return errProtocol("an answer without a query")
	}
	if c := a.pending[id]; c != nil {
		delete(a.pending, id)
		c <- answer{box: append([]byte(nil), box...), code: code}
	}
	return nil
}

// fail ends all waiting, when the session is over.
func (a *asking) fail() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = true
	for id, c := range a.pending {
		delete(a.pending, id)
		close(c)
	}
}

// answer lets the Answerer work on a query, off the read loop and within the policy.
func (s *session) answer(id uint64, box []byte) {
	refuse := func(code string) { s.say(&wire.Frame{Kind: wire.KindAnswer, ID: id, Code: code}) }
	if s.f.cfg.Answerer == nil {
		refuse(wire.CodeUnavailable)
		return
	}
	d := s.f.decide(s.domain, policy.ActionQuery, policy.In)
	if !d.Allow {
		s.f.refusals.add(s.f.cfg.Now(), s.domain, wire.CodePolicy, d.Rule)
		refuse(wire.CodePolicy)
		return
	}
	// Per source node: one node's guessing must not use up what its domain's other nodes have.
	if ok, _ := s.f.buckets.Take(s.f.cfg.Now(), "query/"+s.domain+"/"+s.l.peer.String(), d.Limits, 1, int64(len(box))); !ok {
		refuse(wire.CodeRate)
		return
	}
	s.ask.mu.Lock()
	busy := s.ask.serving >= answeredAtOnce
	if !busy {
		s.ask.serving++
	}
	s.ask.mu.Unlock()
	if busy {
		refuse(wire.CodeRate)
		return
	}
	box = append([]byte(nil), box...)
	started := s.f.goWith(func() {
		defer s.served()
		out, code := s.f.cfg.Answerer.Answer(s.ctx, Source{Peer: s.l.peer, Domain: s.domain}, box)
		switch {
		case code != "" && wire.CheckCode(code):
			refuse(code)
		case code == "" && (len(out) == wire.AnswerBox || len(out) == wire.LookupBox):
			s.say(&wire.Frame{Kind: wire.KindAnswer, ID: id, Box: out})
		default:
			refuse(wire.CodeInternal)
		}
	})
	if !started {
		s.served()
	}
}

func (s *session) served() {
	s.ask.mu.Lock()
	s.ask.serving--
	s.ask.mu.Unlock()
}

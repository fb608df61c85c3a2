package bench

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/redial"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Idle keeps links open and reads what comes, until Close.
type Idle struct {
	clients []*Client
	readers sync.WaitGroup
	ended   atomic.Int64
	closing atomic.Bool
}

// Keep adds clients that have registered.
func (i *Idle) Keep(clients []*Client) {
	i.clients = append(i.clients, clients...)
	for _, c := range clients {
		i.readers.Go(func() {
			// Nothing is meant to come but the node's pings, which the library answers.
			err := c.Listen(func(*Frame) error { return nil })
			if err != nil && !i.closing.Load() {
				i.ended.Add(1)
			}
		})
	}
}

// Ended is how many links the node has ended.
func (i *Idle) Ended() int64 { return i.ended.Load() }

// Close ends all links and waits for their readers.
func (i *Idle) Close() {
	i.closing.Store(true)
	for _, c := range i.clients {
		c.Close()
	}
	i.readers.Wait()
}

// Crowd is people who come back by themselves when their node goes away, each by the rule of
// real clients.
type Crowd struct {
	host   string
	people []*Person
	probes []*probe

	back   chan int // who has registered again, by number
	links  sync.WaitGroup
	cancel context.CancelFunc
	ctx    context.Context

	tries, turnedAway, told atomic.Int64
	misdelivered, doubled   atomic.Int64
	delivered               atomic.Int64
}

// probe is one live envelope to one person, from the partner's side.
type probe struct {
	flying
	arrived   atomic.Int64
	turned    bool // was told to come back later at least once; its person's goroutine
	receipted atomic.Bool
}

// NewCrowd takes over clients that have registered at the node at host, and seals an envelope
// to each.
func NewCrowd(ctx context.Context, host string, clients []*Client) (*Crowd, error) {
	c := &Crowd{host: host, back: make(chan int, len(clients))}
	c.ctx, c.cancel = context.WithCancel(ctx)
	for i, one := range clients {
		c.people = append(c.people, one.Person)
		f, err := one.sealProbe(uint64(i) + 1)
		if err != nil {
			return nil, err
		}
		c.probes = append(c.probes, &probe{flying: *f})
	}
	for i, one := range clients {
		c.links.Go(func() { c.stay(i, one) })
	}
	return c, nil
}

// stay is one person: a link until it ends, then the next.
func (c *Crowd) stay(i int, one *Client) {
	var pauses redial.Pauses
	var hint time.Duration
	began := time.Now()
	for {
		if one != nil {
			stop := context.AfterFunc(c.ctx, one.Close)
			// How a link ends is the node's affair here; the person comes back in any case.
			_ = one.Listen(func(f *Frame) error { return c.got(i, f) })
			stop()
			one.Close()
		}
		timer := time.NewTimer(pauses.After(time.Since(began), hint))
		select {
		case <-c.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		began = time.Now()
		c.tries.Add(1)
		var err error
		one, err = c.comeBack(i)
		var busy *BusyError
		hint = 0
		if errors.As(err, &busy) {
			hint = busy.RetryAfter
			c.turnedAway.Add(1)
			if !c.probes[i].turned {
				c.probes[i].turned = true
				c.told.Add(1)
			}
		}
		if err == nil {
			c.back <- i
		}
	}
}

func (c *Crowd) comeBack(i int) (*Client, error) {
	one, err := Dial(c.ctx, c.host, c.people[i])
	if err != nil {
		return nil, err
	}
	if err := one.Register(); err != nil {
		one.Close()
		return nil, err
	}
	return one, nil
}

func (c *Crowd) got(i int, f *Frame) error {
	if f.Payload == nil {
		return nil
	}
	if f.ID != c.probes[i].id {
		c.misdelivered.Add(1)
		return nil
	}
	c.delivered.Add(1)
	if c.probes[i].arrived.Add(1) > 1 {
		c.doubled.Add(1)
	}
	return nil
}

// Storm is how a crowd came back.
type Storm struct {
	Clients    int
	Registered time.Duration // until all were registered
	Half, Most time.Duration // until half and until 99 of 100 were
	Routable   time.Duration // until an envelope of the partner's side had reached each
	Tries      int64         // connections that were tried
	TurnedAway int64         // of these, told to come back later
	Told       int64         // clients that were told so at least once
	Retried    int64         // probes that were refused for the moment and sent again
	Counts     Counts
}

// Probes that are on the way at once: a link between nodes has 256 places.
const probing = 128

// probeAgain is when a refused probe is sent once more.
const probeAgain = 50 * time.Millisecond

// Return waits until all have come back since a moment, and sends each an envelope over the
// senders, which are registered at the partner, as soon as it has registered.
func (c *Crowd) Return(ctx context.Context, since time.Time, senders []*Client) (Storm, error) {
	s := Storm{Clients: len(c.people)}
	places := make(chan struct{}, probing)
	routable := make(chan int, len(c.people))
	broken := make(chan error, len(senders))
	var refused atomic.Int64
	again := func(i int) {
		refused.Add(1)
		time.AfterFunc(probeAgain, func() {
			// A link that has ended is told by its reader.
			_ = senders[i%len(senders)].write(c.probes[i].frame)
		})
	}
	var readers sync.WaitGroup
	for _, sender := range senders {
		readers.Go(func() {
			broken <- sender.Listen(func(f *Frame) error {
				if f.Request == 0 || f.Request > uint64(len(c.probes)) {
					return nil
				}
				i := int(f.Request - 1)
				switch f.Class {
				case pb.ReceiptClass_RECEIPT_DELIVERED:
					if !c.probes[i].receipted.Swap(true) {
						<-places
						routable <- i
					}
				case pb.ReceiptClass_RECEIPT_EXPIRED:
					again(i)
				case pb.ReceiptClass_RECEIPT_REFUSED:
					if !link.LookupCode(f.Code).Retry {
						return errors.New("the node refused a probe: " + f.Code)
					}
					again(i)
				}
				return nil
			})
		})
	}
	defer readers.Wait()
	defer func() {
		for _, sender := range senders {
			sender.Close()
		}
	}()
	registered := make([]bool, len(c.people))
	left, reached := len(c.people), 0
	var waiting []int
	for reached < len(c.people) {
		var place chan struct{}
		if len(waiting) > 0 {
			place = places
		}
		select {
		case i := <-c.back:
			if registered[i] {
				continue // its link broke again in the storm; its probe is on the way
			}
			registered[i] = true
			waiting = append(waiting, i)
			left--
			switch back := len(c.people) - left; back {
			case len(c.people):
				s.Registered = time.Since(since)
			case (len(c.people) + 1) / 2:
				s.Half = time.Since(since)
			case len(c.people) * 99 / 100:
				s.Most = time.Since(since)
			}
		case place <- struct{}{}:
			i := waiting[0]
			waiting = waiting[1:]
			s.Counts.Sent++
			if err := senders[i%len(senders)].write(c.probes[i].frame); err != nil {
				return s, err
			}
		case <-routable:
			reached++
		case err := <-broken:
			return s, err
		case <-ctx.Done():
			c.count(&s, refused.Load())
			return s, ctx.Err()
		}
	}
	s.Routable = time.Since(since)
	// The receipts are here; the last deliveries may still be in the clients' sockets.
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for c.delivered.Load() < int64(len(c.people)) && ctx.Err() == nil {
		<-tick.C
	}
	c.count(&s, refused.Load())
	return s, nil
}

func (c *Crowd) count(s *Storm, refused int64) {
	s.Tries, s.TurnedAway, s.Told, s.Retried = c.tries.Load(), c.turnedAway.Load(), c.told.Load(), refused
	s.Counts.Refused, s.Counts.Delivered = refused, c.delivered.Load()
	s.Counts.Misdelivered, s.Counts.Doubled = c.misdelivered.Load(), c.doubled.Load()
	for _, p := range c.probes {
		if p.receipted.Load() {
			s.Counts.Receipts++
		}
		if p.arrived.Load() == 0 {
			s.Counts.Lost++
		}
	}
}

// Leave ends all links and waits for everybody.
func (c *Crowd) Leave() {
	c.cancel()
	c.links.Wait()
}

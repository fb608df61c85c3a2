package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Counts is what became of envelopes, or of the messages of the bare relay.
type Counts struct {
	Sent      int64 `json:"sent"`
	Delivered int64 `json:"delivered"` // taken by the device that they were for
	Receipts  int64 `json:"receipts"`  // told to the sender as delivered
	Refused   int64 `json:"refused"`   // told to the sender as refused, and sent again

	Lost         int64 `json:"lost"` // without a delivery or without a receipt at the end
	Misdelivered int64 `json:"misdelivered"`
	Doubled      int64 `json:"doubled"`
}

// Add sums counts up.
func (c *Counts) Add(o Counts) {
	c.Sent += o.Sent
	c.Delivered += o.Delivered
	c.Receipts += o.Receipts
	c.Refused += o.Refused
	c.Lost += o.Lost
	c.Misdelivered += o.Misdelivered
	c.Doubled += o.Doubled
}

// Clean says whether nothing went wrong.
func (c Counts) Clean() bool {
	return c.Lost == 0 && c.Misdelivered == 0 && c.Doubled == 0 && c.Sent == c.Delivered && c.Sent == c.Receipts
}

// Traffic is pairs of clients that send each other live envelopes, each with so many on the
// way: a receipt makes place for the next. Every envelope is known by its id and its content
// until it has been delivered to the partner and the sender has been told so.
type Traffic struct {
	ends   []*end
	window int
	pace   time.Duration // between a receipt and the next envelope

	size    int
	seal    Seal
	stopped atomic.Bool

	sent, delivered, receipts, refused, misdelivered, doubled atomic.Int64

	readers sync.WaitGroup
	mu      sync.Mutex // guards failed
	failed  error
}

// Seal says how the hops of a run's envelopes are sealed.
type Seal uint8

const (
	// SealSession is what clients do for the frames of a session: one encapsulation for many.
	SealSession Seal = iota
	// SealFresh makes an encapsulation for each envelope. They are made beforehand, see Stock.
	SealFresh
)

// end is one client and what it has on the way.
type end struct {
	t       *Traffic
	c       *Client
	partner *end
	index   uint32
	handle  envelope.Handle // what the frames of one session begin with

	mu      sync.Mutex // guards the rest
	next    uint64
	flight  map[uint64]*flying
	body    []byte // random content of this run's size
	stock   []*flying
	session *envelope.HopSender
}

// flying is one envelope between its first byte and its end.
type flying struct {
	id                   envelope.ID
	frame                []byte // the Submit, to be sent again when it is refused
	delivered, receipted bool
}

// Where a payload says whose it is; behind it stands the run's random content.
const (
	atNumber = 8  // behind the handle
	atIndex  = 16 // of the sender
	atBody   = 20
)

// NewTraffic makes pairs of neighbours: 0 with 1, 2 with 3. Each has as many envelopes on the
// way as the window says, and waits the pace between a receipt and the next. The clients have
// registered; from now on they belong to the traffic, which reads them until Close.
func NewTraffic(clients []*Client, window int, pace time.Duration) (*Traffic, error) {
	if len(clients)%2 != 0 {
		return nil, errors.New("traffic needs pairs of clients")
	}
	t := &Traffic{window: window, pace: pace}
	t.stopped.Store(true)
	for i, c := range clients {
		t.ends = append(t.ends, &end{t: t, c: c, index: uint32(i), handle: envelope.NewHandle(), flight: make(map[uint64]*flying)})
	}
	for i, e := range t.ends {
		e.partner = t.ends[i^1]
	}
	for _, e := range t.ends {
		t.readers.Go(func() {
			if err := e.c.Listen(e.got); err != nil {
				t.fail(fmt.Errorf("a link ended: %w", err))
			}
		})
	}
	return t, nil
}

// fail keeps the first error; a run that has one is over.
func (t *Traffic) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed == nil {
		t.failed = err
	}
	t.stopped.Store(true)
}

// Err is what ended the traffic before its time.
func (t *Traffic) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// Stock seals so many envelopes for each client beforehand, for the next run with SealFresh:
// X25519 for each would keep the driver from filling the node.
func (t *Traffic) Stock(size, each int) error {
	errs := make(chan error, len(t.ends))
	for _, e := range t.ends {
		go func() { errs <- e.fill(size, each) }()
	}
	var err error
	for range t.ends {
		err = errors.Join(err, <-errs)
	}
	return err
}

func (e *end) fill(size, each int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fresh(size)
	for i := range each {
		payload := e.payload(e.next + uint64(i))
		made, err := envelope.NewEnvelope(e.partner.c.key, e.partner.c.home.PeerID, envelope.Live, e.partner.c.hop(), payload)
		if err != nil {
			return err
		}
		e.stock = append(e.stock, &flying{id: made.ID(), frame: link.AppendSubmit(nil, e.next+uint64(i)+1, made.Marshal())})
	}
	return nil
}

func (e *end) fresh(size int) {
	e.body = make([]byte, size-atBody)
	_, _ = rand.Read(e.body)
}

func (e *end) payload(number uint64) []byte {
	b := make([]byte, atBody+len(e.body))
	copy(b, e.handle[:])
	binary.BigEndian.PutUint64(b[atNumber:], number)
	binary.BigEndian.PutUint32(b[atIndex:], e.index)
	copy(b[atBody:], e.body)
	return b
}

// Start lets all clients send envelopes of one payload size until Stop, or until the stock is
// used up.
func (t *Traffic) Start(size int, seal Seal) error {
	t.size, t.seal = size, seal
	t.stopped.Store(false)
	for _, e := range t.ends {
		e.mu.Lock()
		if seal == SealSession {
			e.fresh(size)
			// A session's frames have a handle and an encapsulation of their own.
			e.handle, e.session = envelope.NewHandle(), nil
		}
		e.mu.Unlock()
	}
	for _, e := range t.ends {
		for range t.window {
			if err := e.send(); err != nil {
				return err
			}
		}
	}
	return t.Err()
}

// send makes and submits the client's next envelope, if there is to be one.
func (e *end) send() error {
	if e.t.stopped.Load() {
		return nil
	}
	e.mu.Lock()
	f, err := e.make()
	if f != nil {
		e.flight[e.next] = f
		e.next++
	}
	e.mu.Unlock()
	if err != nil || f == nil {
		return err
	}
	e.t.sent.Add(1)
	return e.c.write(f.frame)
}

// make is called with mu held.
func (e *end) make() (*flying, error) {
	if e.t.seal == SealFresh {
		if len(e.stock) == 0 {
			return nil, nil
		}
		f := e.stock[0]
		e.stock = e.stock[1:]
		return f, nil
	}
	made, err := e.sealed(e.payload(e.next))
	if err != nil {
		return nil, err
	}
	return &flying{id: made.ID(), frame: link.AppendSubmit(nil, e.next+1, made.Marshal())}, nil
}

// sealed puts an envelope around a session frame, as a client does. Called with mu held.
func (e *end) sealed(payload []byte) (*envelope.Envelope, error) {
	to := e.partner.c
	for {
		if e.session == nil {
			s, err := envelope.NewHopSender(to.key, to.home.PeerID, to.hop())
			if err != nil {
				return nil, err
			}
			e.session = s
		}
		made, err := e.session.Envelope(payload)
		if !errors.Is(err, envelope.ErrExhausted) {
			return made, err
		}
		e.session = nil
	}
}

// got takes one frame of the node.
func (e *end) got(f *Frame) error {
	switch {
	case f.Payload != nil:
		e.partner.arrived(e, f)
		return nil
	case f.Class == pb.ReceiptClass_RECEIPT_DELIVERED:
		return e.receipt(f)
	case f.Class == pb.ReceiptClass_RECEIPT_REFUSED && f.Request != 0:
		return e.refused(f)
	case f.Class == pb.ReceiptClass_RECEIPT_REFUSED:
		return fmt.Errorf("the node ended the link: %s", f.Code)
	}
	return nil
}

// arrived is a delivery at one end, seen from the end that should have sent it.
func (e *end) arrived(at *end, f *Frame) {
	e.t.delivered.Add(1)
	if len(f.Payload) < atBody || binary.BigEndian.Uint32(f.Payload[atIndex:]) != e.index {
		e.t.misdelivered.Add(1)
		return
	}
	number := binary.BigEndian.Uint64(f.Payload[atNumber:])
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.flight[number]
	switch {
	case was == nil && number < e.next, was != nil && was.delivered:
		e.t.doubled.Add(1)
	case was == nil || was.id != f.ID || !bytes.Equal(f.Payload[atBody:], e.body):
		e.t.misdelivered.Add(1)
	case was.receipted:
		delete(e.flight, number)
	default:
		was.delivered = true
	}
}

// receipt makes place for the next envelope.
func (e *end) receipt(f *Frame) error {
	number := f.Request - 1
	e.mu.Lock()
	was := e.flight[number]
	switch {
	case was == nil || was.id != f.ID || was.receipted:
		e.mu.Unlock()
		return fmt.Errorf("a receipt for no envelope that is on its way")
	case was.delivered:
		delete(e.flight, number)
	default:
		was.receipted = true
	}
	e.mu.Unlock()
	e.t.receipts.Add(1)
	if e.t.pace > 0 {
		time.AfterFunc(e.t.pace, func() {
			if err := e.send(); err != nil {
				e.t.fail(err)
			}
		})
		return nil
	}
	return e.send()
}

// again is when a refused envelope is sent once more: a client would wait longer, but a
// benchmark that pauses measures the pause.
const again = 5 * time.Millisecond

func (e *end) refused(f *Frame) error {
	e.t.refused.Add(1)
	if !link.LookupCode(f.Code).Retry {
		return fmt.Errorf("the node refused an envelope: %s", f.Code)
	}
	e.mu.Lock()
	was := e.flight[f.Request-1]
	e.mu.Unlock()
	if was == nil {
		return errors.New("a refusal of no envelope that is on its way")
	}
	time.AfterFunc(again, func() {
		if err := e.c.write(was.frame); err != nil {
			e.t.fail(err)
		}
	})
	return nil
}

// Done is how many envelopes have come to their end so far.
func (t *Traffic) Done() int64 { return t.receipts.Load() }

// Drain waits until nothing is on its way any more. What the context cuts off is lost.
func (t *Traffic) Drain(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for t.Err() == nil && t.onTheWay() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (t *Traffic) onTheWay() (n int64) {
	for _, e := range t.ends {
		e.mu.Lock()
		n += int64(len(e.flight))
		if t.seal == SealFresh && !t.stopped.Load() {
			n += int64(len(e.stock))
		}
		e.mu.Unlock()
	}
	return n
}

// Stop ends a run: nothing new is sent, what is on its way gets the context's time to arrive,
// and the counts of the run are taken.
func (t *Traffic) Stop(ctx context.Context) (Counts, error) {
	t.stopped.Store(true)
	t.Drain(ctx)
	c := Counts{
		Sent: t.sent.Swap(0), Delivered: t.delivered.Swap(0), Receipts: t.receipts.Swap(0), Refused: t.refused.Swap(0),
		Misdelivered: t.misdelivered.Swap(0), Doubled: t.doubled.Swap(0), Lost: t.onTheWay(),
	}
	for _, e := range t.ends {
		e.mu.Lock()
		clear(e.flight)
		e.stock = nil
		e.mu.Unlock()
	}
	return c, t.Err()
}

// Close ends the links and waits for their readers.
func (t *Traffic) Close() {
	for _, e := range t.ends {
		e.c.Close()
	}
	t.readers.Wait()
}

// FrameSize is the size of the Submit frame around an envelope with a payload of so many bytes.
func FrameSize(size int) int {
	e := envelope.Envelope{TTL: envelope.Live, Payload: make([]byte, size)}
	return len(link.AppendSubmit(nil, 1<<14, e.Marshal()))
}

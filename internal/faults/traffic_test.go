//go:build linux

package faults

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// note is one envelope of a stored class, and all that this side knows of it. The traffic's mu
// guards it.
type note struct {
	number   int
	from, to *device
	raw      []byte // the envelope; a retry sends the same bytes
	id       envelope.ID
	sum      [32]byte // of the payload

	sent    *line // the link on which it waits for a receipt
	durable bool  // its node called it durably accepted
	stored  bool  // a receipt or an outcome says that it is in its mailbox, or was fetched
	dead    string
	parked  bool // it relies on "durable": it is not submitted again
	relies  bool // drawn: that is what it will do when its link ends
	tries   int
	arrived int  // times it was given to the application
	closed  bool // takes no room any more
}

// promised: somebody acknowledged it, so it has to arrive.
func (n *note) promised() bool { return n.stored || n.durable }

// settled: its sender knows its end.
func (n *note) settled() bool { return n.stored || n.dead != "" }

// retried are the codes at which a client tries the same bytes again, as client-link.md says.
var retried = map[string]bool{
	link.CodeQuota: true, link.CodeRate: true, link.CodeUnreachable: true, link.CodeUnavailable: true,
	link.CodeQueueFull: true, link.CodeDraining: true, link.CodeSlow: true, link.CodeInternal: true,
}

// traffic is many devices at two nodes that write notes to each other, and the ledger of it.
type traffic struct {
	t       *testing.T
	ctx     context.Context
	end     context.CancelFunc
	wg      sync.WaitGroup
	devices []*device
	window  int // notes on their way to one mailbox from one node
	local   int // of a hundred notes, how many stay at their node
	sizes   func(*rand.Rand) int

	mu      sync.Mutex // guards all below
	cond    *sync.Cond
	dice    *rand.Rand
	notes   []*note
	byID    map[envelope.ID]*note
	todo    map[*device][]*note // waits for being submitted, again too
	left    int                 // notes that have not been made yet
	active  map[*note]bool      // neither settled nor left to their node
	open    map[[2]any]int      // per mailbox and source node: not yet settled and arrived
	routing map[*server][32]byte
	codes   map[string]int   // refusals that were tried again
	events  int              // receipts and deliveries: the time of this world
	again   int              // deliveries that the device recognised
	keep    map[*server]bool // nothing is acknowledged there
	kept    []func()         // what would have been
	lives   map[envelope.ID]chan *pb.Receipt
	faults  []string
}

// newTraffic connects devices, so many at each node, and makes no note yet.
func newTraffic(t *testing.T, dice *rand.Rand, each int, servers ...*server) *traffic {
	t.Helper()
	return newTrafficOf(t, dice, each, false, servers...)
}

// newTrafficOf also says whether the devices come back when a Drain tells them to, or as soon
// as they see the node again.
func newTrafficOf(t *testing.T, dice *rand.Rand, each int, hints bool, servers ...*server) *traffic {
	t.Helper()
	tr := &traffic{t: t, dice: dice, window: 24, local: 10, sizes: mixedSizes, byID: map[envelope.ID]*note{}, todo: map[*device][]*note{},
		active: map[*note]bool{}, keep: map[*server]bool{}, lives: map[envelope.ID]chan *pb.Receipt{}, open: map[[2]any]int{}, routing: map[*server][32]byte{}, codes: map[string]int{}}
	tr.cond = sync.NewCond(&tr.mu)
	tr.ctx, tr.end = context.WithCancel(context.Background())
	t.Cleanup(tr.stop)
	for i := range each {
		for _, s := range servers {
			d := newDevice(t, fmt.Sprintf("%s %d", s.domain, i), len(tr.devices), s)
			d.hints = hints
			tr.devices = append(tr.devices, d)
		}
	}
	for _, d := range tr.devices {
		tr.wg.Go(func() { tr.stay(d) })
		tr.wg.Go(func() { tr.write(d) })
	}
	tr.connected()
	return tr
}

// connected waits until every device is registered at its node.
func (tr *traffic) connected() {
	tr.t.Helper()
	until(tr.t, "every device has a link", func() bool {
		return !slices.ContainsFunc(tr.devices, func(d *device) bool { return d.current() == nil })
	})
}

func (tr *traffic) stop() {
	tr.end()
	tr.mu.Lock()
	tr.cond.Broadcast()
	tr.mu.Unlock()
	for _, d := range tr.devices {
		if l := d.current(); l != nil {
			l.over()
		}
	}
	tr.wg.Wait()
}

// mixedSizes: mostly small, some so large that little of it fits into a node's memory.
func mixedSizes(dice *rand.Rand) int {
	switch n := dice.IntN(100); {
	case n < 80:
		return 1024
	case n < 92:
		return 4096
	case n < 97:
		return 16384
	}
	return 65536
}

// exchange lets the devices make and send so many more notes.
func (tr *traffic) exchange(n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.left += n
	tr.cond.Broadcast()
}

// wrong notes what must not happen; the test goes on, so that one run shows all of it.
func (tr *traffic) wrong(format string, args ...any) {
	if len(tr.faults) < 20 {
		tr.faults = append(tr.faults, fmt.Sprintf(format, args...))
	}
}

// stay keeps a device connected: it reads, and comes back when the link has ended.
func (tr *traffic) stay(d *device) {
	for tr.ctx.Err() == nil {
		starts, host, changed := d.home.now()
		pause, cut := time.Duration(0), false
		l, err := dialLine(tr.ctx, host, d.key, d.cert())
		if err == nil {
			pause, cut = tr.serve(d, l)
		}
		if err != nil || cut {
			// It is down, or on its way to be. Another process is announced, and the same one
			// may only have been busy.
			if pause == 0 {
				pause = 20*time.Millisecond + time.Duration(tr.draw(30))*time.Millisecond
			}
		}
		if now, _, _ := d.home.now(); now != starts && !d.hints {
			continue
		}
		if d.hints {
			changed = nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-changed:
		case <-tr.ctx.Done():
		}
		timer.Stop()
	}
}

func (tr *traffic) draw(n int) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.dice.IntN(n)
}

// serve is one link from its handshake to its end. It says when to come back.
func (tr *traffic) serve(d *device, l *line) (pause time.Duration, cut bool) {
	stop := context.AfterFunc(tr.ctx, l.over)
	defer stop()
	tr.mu.Lock()
	tr.routing[d.home] = l.node.Descriptor.RoutingKey
	tr.mu.Unlock()
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		if err := d.open(tr.ctx, l); err != nil {
			l.over()
			return
		}
		d.mu.Lock()
		d.line = l
		d.mu.Unlock()
		tr.wake()
	}()
	cut = true
	for {
		f, err := l.read()
		if err != nil {
			break
		}
		switch {
		case f.GetReceipt() != nil:
			tr.receipt(d, l, f.GetReceipt())
		case f.GetDeliver() != nil:
			tr.delivered(d, f.GetDeliver())
			if id := f.GetDeliver().StoredId; id != 0 {
				tr.acknowledge(d, l, id)
			}
		case f.GetDrain() != nil:
			cut = false
			hint := f.GetDrain()
			pause = time.Duration(hint.ReconnectAfterMs)*time.Millisecond + time.Duration(tr.draw(int(hint.JitterMs)+1))*time.Millisecond
		case f.GetError() != nil && f.Id == 0:
			pause = time.Duration(f.GetError().RetryAfterMs) * time.Millisecond
		case f.GetError() != nil:
			if !tr.refusedSubmit(d, l, f) {
				l.pass(f)
			}
		default:
			l.pass(f)
		}
	}
	l.over()
	<-opened
	d.mu.Lock()
	if d.line == l {
		d.line = nil
	}
	if cut {
		d.cuts++
	} else {
		d.drains++
	}
	d.mu.Unlock()
	tr.broken(d, l)
	return pause, cut
}

// acknowledge tells the node that it may forget an envelope, unless the mailboxes of that node
// are to fill.
func (tr *traffic) acknowledge(d *device, l *line, id uint64) {
	tr.mu.Lock()
	keep := tr.keep[d.home]
	if keep {
		tr.kept = append(tr.kept, func() { tr.acknowledge(d, l, id) })
	}
	tr.mu.Unlock()
	if !keep {
		// When this is lost the envelope comes again, and is recognised.
		_ = l.send(&pb.ClientFrame{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: []uint64{id}}}})
	}
}

// keeps lets the mailboxes of a node fill: its devices read and acknowledge nothing.
func (tr *traffic) keeps(s *server) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.keep[s] = true
}

// takes ends that: all that was read is acknowledged.
func (tr *traffic) takes(s *server) {
	tr.mu.Lock()
	tr.keep[s] = false
	kept := tr.kept
	tr.kept = nil
	tr.mu.Unlock()
	for _, ack := range kept {
		ack() // those of another node are kept again
	}
}

// live sends an envelope of the live class, and says how it ended.
func (tr *traffic) live(from, to *device) (*pb.Receipt, error) {
	body := make([]byte, 1024)
	binary.BigEndian.PutUint64(body, uint64(tr.draw(1<<30)))
	binary.BigEndian.PutUint64(body[8:], liveMark)
	tr.mu.Lock()
	key := tr.routing[to.home]
	tr.mu.Unlock()
	e, err := to.seal(key, envelope.Live, body)
	if err != nil {
		return nil, err
	}
	l := from.current()
	if l == nil {
		return nil, errEnded
	}
	ended := make(chan *pb.Receipt, 1)
	tr.mu.Lock()
	tr.lives[e.ID()] = ended
	tr.mu.Unlock()
	if err := l.sendBytes(link.AppendSubmit(nil, l.id(), e.Marshal())); err != nil {
		return nil, err
	}
	select {
	case r := <-ended:
		return r, nil
	case <-time.After(wait):
		return nil, errors.New("nobody says what became of a live envelope")
	}
}

// liveMark stands in the payloads of live envelopes where the others have their number.
const liveMark = 1<<64 - 1

// refusals is how often a code was answered and tried again.
func (tr *traffic) refusals(code string) int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.codes[code]
}

func (tr *traffic) made() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.notes)
}

// storedOf counts the notes from a number on that are for devices of a node and called stored.
func (tr *traffic) storedOf(s *server, from int) (n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, note := range tr.notes[from:] {
		if note.to.home == s && note.stored {
			n++
		}
	}
	return n
}

// at are the devices of a node.
func (tr *traffic) at(s *server) (out []*device) {
	for _, d := range tr.devices {
		if d.home == s {
			out = append(out, d)
		}
	}
	return out
}

func (tr *traffic) wake() {
	tr.mu.Lock()
	tr.cond.Broadcast()
	tr.mu.Unlock()
}

// happened moves the time of this world on.
func (tr *traffic) happenedLocked() {
	tr.events++
	tr.cond.Broadcast()
}

// after waits until so many more receipts and deliveries have come, or all is over.
func (tr *traffic) after(n int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for target := tr.events + n; tr.events < target && tr.ctx.Err() == nil && !tr.doneLocked(); {
		tr.cond.Wait()
	}
}

func (tr *traffic) receipt(d *device, l *line, r *pb.Receipt) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if ended := tr.lives[envelope.ID(r.EnvelopeId)]; ended != nil {
		if r.Class != pb.ReceiptClass_RECEIPT_ACCEPTED {
			ended <- r
			delete(tr.lives, envelope.ID(r.EnvelopeId))
		}
		return
	}
	n := tr.byID[envelope.ID(r.EnvelopeId)]
	if n == nil || n.from != d {
		tr.wrong("%s got a receipt for an envelope that is not its own", d.name)
		return
	}
	defer tr.happenedLocked()
	switch r.Class {
	case pb.ReceiptClass_RECEIPT_ACCEPTED:
		n.durable = n.durable || r.Durable
	case pb.ReceiptClass_RECEIPT_STORED:
		tr.storedLocked(n)
	case pb.ReceiptClass_RECEIPT_REFUSED:
		tr.refusedLocked(n, r.Code, time.Duration(r.RetryAfterMs)*time.Millisecond)
	default:
		tr.wrong("note %d ended as %v %s", n.number, r.Class, r.Code)
		n.dead, n.sent = r.Class.String(), nil
		delete(tr.active, n)
	}
}

func (tr *traffic) storedLocked(n *note) {
	n.sent = nil
	if !n.stored {
		n.stored = true
		delete(tr.active, n)
		tr.closeLocked(n)
	}
}

// refusedLocked: told, and so not lost. Codes that say so are tried again.
func (tr *traffic) refusedLocked(n *note, code string, pause time.Duration) {
	n.sent = nil
	n.durable, n.parked = false, false // the promise was taken back, with notice
	if n.settled() {
		return
	}
	if !retried[code] {
		tr.wrong("note %d was refused with %q", n.number, code)
		n.dead = code
		delete(tr.active, n)
		tr.cond.Broadcast()
		return
	}
	tr.codes[code]++
	tr.active[n] = true
	if pause == 0 {
		pause = 100 * time.Millisecond
	}
	pause += time.Duration(tr.dice.IntN(100)) * time.Millisecond
	time.AfterFunc(pause, func() {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.todo[n.from] = append(tr.todo[n.from], n)
		tr.cond.Broadcast()
	})
}

// refusedSubmit is an Error that answers a Submit; its id says which note.
func (tr *traffic) refusedSubmit(d *device, l *line, f *pb.NodeFrame) bool {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	number := int(f.Id) - submitIDs
	if number < 0 || number >= len(tr.notes) {
		return false
	}
	n := tr.notes[number]
	if n.sent != l {
		return true
	}
	tr.refusedLocked(n, f.GetError().Code, time.Duration(f.GetError().RetryAfterMs)*time.Millisecond)
	return true
}

// submitIDs is above every id of other frames of a link.
const submitIDs = 1 << 32

// broken is the end of a link for the notes that waited for a receipt on it.
func (tr *traffic) broken(d *device, l *line) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	var back []*note
	for n := range tr.active {
		if n.sent == l {
			back = append(back, n)
		}
	}
	slices.SortFunc(back, func(a, b *note) int { return a.number - b.number })
	for _, n := range back {
		n.sent = nil
		if n.durable && n.relies {
			n.parked = true
			delete(tr.active, n)
			tr.closeLocked(n)
			continue
		}
		tr.todo[d] = append(tr.todo[d], n)
	}
	tr.cond.Broadcast()
}

// delivered is what a device does with what it gets: it knows each envelope by its id, and
// gives a new one to the application.
func (tr *traffic) delivered(d *device, f *pb.Deliver) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	defer tr.happenedLocked()
	if f.StoredId == 0 && len(f.Payload) > 16 && binary.BigEndian.Uint64(f.Payload[8:]) == liveMark {
		return
	}
	if len(f.Payload) < 16 || binary.BigEndian.Uint64(f.Payload[8:]) >= uint64(len(tr.notes)) {
		tr.wrong("%s was given something that nobody sent", d.name)
		return
	}
	n := tr.notes[binary.BigEndian.Uint64(f.Payload[8:])]
	switch {
	case n.to != d:
		tr.wrong("note %d for %s was delivered to %s", n.number, n.to.name, d.name)
	case sha256.Sum256(f.Payload) != n.sum:
		tr.wrong("note %d arrived with another content", n.number)
	case !bytes.Equal(f.EnvelopeId, n.id[:]):
		tr.again++
		tr.wrong("note %d arrived under another envelope id", n.number)
	case n.arrived > 0:
		tr.again++ // recognised by its id: the application sees nothing
	default:
		n.arrived++
		tr.closeLocked(n)
	}
}

// closeLocked makes room for another note when this one has arrived and nobody waits for a
// receipt.
func (tr *traffic) closeLocked(n *note) {
	if n.arrived > 0 && (n.stored || n.parked) && !n.closed {
		n.closed = true
		tr.open[[2]any{n.to, n.from.home}]--
	}
	tr.cond.Broadcast()
}

// write submits the notes of a device over whatever link it has.
func (tr *traffic) write(d *device) {
	for {
		l, n := tr.nextNote(d)
		if n == nil {
			return
		}
		if err := l.sendBytes(link.AppendSubmit(nil, uint64(submitIDs+n.number), n.raw)); err != nil {
			// The reader sees the end of the link too, and puts back what was on it. If it was
			// before us, this one is ours to put back.
			if d.current() != l {
				tr.mu.Lock()
				if n.sent == l {
					n.sent = nil
					tr.todo[d] = append(tr.todo[d], n)
				}
				tr.mu.Unlock()
			}
		}
	}
}

// nextNote waits for a link and for something to send over it.
func (tr *traffic) nextNote(d *device) (*line, *note) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for {
		if tr.ctx.Err() != nil {
			return nil, nil
		}
		l := d.current()
		if l == nil {
			tr.cond.Wait()
			continue
		}
		for len(tr.todo[d]) > 0 {
			n := tr.todo[d][0]
			tr.todo[d] = tr.todo[d][1:]
			if n.settled() {
				continue
			}
			n.sent = l
			n.tries++
			return l, n
		}
		if n := tr.makeLocked(d); n != nil {
			n.sent = l
			n.tries++
			return l, n
		}
		tr.cond.Wait()
	}
}

// makeLocked makes a new note of d, if one is wanted and some mailbox has room.
func (tr *traffic) makeLocked(d *device) *note {
	if tr.left == 0 {
		return nil
	}
	to := tr.roomLocked(d)
	if to == nil {
		return nil
	}
	tr.left--
	n := &note{number: len(tr.notes), from: d, to: to, relies: tr.dice.IntN(2) == 0}
	body := make([]byte, tr.sizes(tr.dice))
	// The first eight bytes look like a session's, which keeps some in order and spreads most.
	binary.BigEndian.PutUint64(body, tr.dice.Uint64())
	binary.BigEndian.PutUint64(body[8:], uint64(n.number))
	for i := 16; i < len(body); i += 8 {
		binary.BigEndian.PutUint64(body[i:], tr.dice.Uint64())
	}
	n.sum = sha256.Sum256(body)
	ttl := envelope.Week
	if tr.dice.IntN(4) == 0 {
		ttl = envelope.Day
	}
	e, err := to.seal(tr.routing[to.home], ttl, body)
	if err != nil {
		tr.wrong("seal: %v", err)
		return nil
	}
	n.raw, n.id = e.Marshal(), e.ID()
	tr.notes = append(tr.notes, n)
	tr.byID[n.id] = n
	tr.active[n] = true
	tr.open[[2]any{to, d.home}]++
	return n
}

func (tr *traffic) roomLocked(d *device) *device {
	abroad := tr.dice.IntN(100) >= tr.local
	first := tr.dice.IntN(len(tr.devices))
	for i := range tr.devices {
		to := tr.devices[(first+i)%len(tr.devices)]
		if to != d && (to.home != d.home) == abroad && tr.open[[2]any{to, d.home}] < tr.window {
			return to
		}
	}
	return nil
}

// doneLocked: every note has been made, and each is settled or relies on its node's word.
func (tr *traffic) doneLocked() bool {
	return tr.left == 0 && len(tr.active) == 0
}

// settle waits until every note has its receipt, or its sender relies on its node for it.
func (tr *traffic) settle() {
	tr.t.Helper()
	last, at := -1, time.Now()
	until := time.NewTicker(20 * time.Millisecond)
	defer until.Stop()
	for range until.C {
		tr.mu.Lock()
		done, events := tr.doneLocked(), tr.events
		tr.mu.Unlock()
		if done {
			return
		}
		if events != last {
			last, at = events, time.Now()
		}
		if time.Since(at) > wait {
			tr.t.Fatalf("nothing goes on any more: %s", tr.state())
		}
	}
}

func (tr *traffic) state() string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	waiting, parked, stored, arrived := 0, 0, 0, 0
	for _, n := range tr.notes {
		switch {
		case n.stored:
			stored++
		case n.parked:
			parked++
		default:
			waiting++
		}
		arrived += n.arrived
	}
	linked := 0
	for _, d := range tr.devices {
		if d.current() != nil {
			linked++
		}
	}
	return fmt.Sprintf("%d notes made, %d to make; %d stored, %d left to their node, %d wait; %d arrived; %d deliveries recognised; %d of %d devices linked; refusals tried again %v; %v",
		len(tr.notes), tr.left, stored, parked, waiting, arrived, tr.again, linked, len(tr.devices), tr.codes, tr.faults)
}

// reckon is the end of it: the nodes are up, everything has been sent. Each note's fate must
// be known, and what was acknowledged must have arrived, once.
func (tr *traffic) reckon(servers ...*server) {
	tr.t.Helper()
	tr.settle()
	tr.connected()
	for _, s := range servers {
		s.sent(tr.t)
	}
	tr.ask()
	arrived := func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return !slices.ContainsFunc(tr.notes, func(n *note) bool { return n.promised() && n.arrived == 0 })
	}
	deadline := time.Now().Add(wait)
	for !arrived() && time.Now().Before(deadline) {
		tr.after(1)
		if tr.quiet() {
			break
		}
	}
	// Each device comes once more: all that it acknowledged is gone, and nothing comes twice.
	for _, d := range tr.devices {
		if err := tr.emptied(d); err != nil {
			tr.t.Errorf("the mailbox of %s: %v", d.name, err)
		}
	}
	state := tr.state()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lost, unknown, acknowledged := 0, 0, 0
	for _, n := range tr.notes {
		if n.promised() {
			acknowledged++
			if n.arrived == 0 {
				lost++
			}
		}
		if !n.settled() {
			unknown++
		}
		if n.arrived > 1 {
			tr.wrong("note %d was given to the application %d times", n.number, n.arrived)
		}
	}
	tr.t.Logf("acknowledged %d, lost %d, of unknown fate %d; %s", acknowledged, lost, unknown, state)
	if lost != 0 || unknown != 0 || len(tr.faults) != 0 {
		tr.t.Errorf("acknowledged and lost %d, of unknown fate %d, and: %v", lost, unknown, tr.faults)
	}
}

// quiet waits whether anything comes at all: all mailboxes are empty at their nodes.
func (tr *traffic) quiet() bool {
	for _, d := range tr.devices {
		if tr.emptied(d) != nil {
			return false
		}
	}
	return true
}

// emptied asks the node for what waits in the device's mailbox until nothing does. Register on
// the open link answers how much that is.
func (tr *traffic) emptied(d *device) error {
	ctx, cancel := context.WithTimeout(tr.ctx, wait)
	defer cancel()
	for {
		waiting, err := tr.waiting(ctx, d)
		if err != nil || waiting == 0 {
			return err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d envelopes stay in it", waiting)
		}
	}
}

// waiting is how much is in a device's mailbox, in the words of its node.
func (tr *traffic) waiting(ctx context.Context, d *device) (int, error) {
	l := d.current()
	if l == nil {
		return 0, errEnded
	}
	hash := sha256.Sum256(d.token[:])
	f, err := l.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: d.tag[:], TokenHash: hash[:], TokenEpoch: 1}}})
	if err != nil {
		return 0, err
	}
	return int(f.GetRegistered().GetWaiting()), nil
}

// ask finds out what became of the notes that were left to their node, by the query that tells
// nobody who asks about what: first at the destination, then at the own node, which keeps how
// those ended that an earlier process of it had taken.
func (tr *traffic) ask() {
	tr.mu.Lock()
	var open []*note
	for _, n := range tr.notes {
		if !n.settled() {
			open = append(open, n)
		}
	}
	tr.mu.Unlock()
	queues := map[*device][]*note{}
	for _, n := range open {
		queues[n.from] = append(queues[n.from], n)
	}
	var all sync.WaitGroup
	for d, notes := range queues {
		all.Go(func() {
			for _, n := range notes {
				fate, err := tr.fate(d, n)
				tr.mu.Lock()
				switch {
				case err != nil:
					tr.wrong("the fate of note %d: %v", n.number, err)
				case fate == envelopepb.Fate_FATE_STORED || fate == envelopepb.Fate_FATE_DELIVERED:
					n.parked = false
					tr.storedLocked(n)
				case fate != envelopepb.Fate_FATE_UNSPECIFIED:
					// Refused or expired: the promise was taken back, and the sender can know.
					n.durable, n.dead = false, fate.String()
					tr.codes["fate "+fate.String()]++
				}
				tr.mu.Unlock()
			}
		})
	}
	all.Wait()
	tr.mu.Lock()
	asked := len(open)
	tr.mu.Unlock()
	tr.t.Logf("%d fates asked for", asked)
}

func (tr *traffic) fate(d *device, n *note) (envelopepb.Fate, error) {
	ctx, cancel := context.WithTimeout(tr.ctx, wait)
	defer cancel()
	var fate envelopepb.Fate
	for _, at := range []*server{n.to.home, d.home} {
		tr.mu.Lock()
		key := tr.routing[at]
		tr.mu.Unlock()
		for {
			var err error
			fate, err = d.outcome(ctx, at, key, n.id)
			var refused *refusal
			if errors.As(err, &refused) && retried[refused.code] || errors.Is(err, errEnded) && tr.ctx.Err() == nil {
				pause := 200 * time.Millisecond
				if refused != nil {
					pause = max(pause, refused.retry)
				}
				select {
				case <-time.After(pause):
					continue
				case <-ctx.Done():
				}
			}
			if err != nil {
				return 0, err
			}
			break
		}
		if fate != envelopepb.Fate_FATE_UNSPECIFIED {
			return fate, nil
		}
	}
	return fate, nil
}

// cut ends the link of some device in the middle of whatever it does.
func (tr *traffic) cut() {
	if l := tr.devices[tr.draw(len(tr.devices))].current(); l != nil {
		_ = l.ws.Close() // its reader sees that
	}
}

// repeat submits notes again that arrived long ago, as a client does that was away and does not
// know: they are answered like the first time, and nobody gets them again.
func (tr *traffic) repeat(n int) {
	tr.t.Helper()
	tr.mu.Lock()
	before := tr.again
	for range n {
		n := tr.notes[tr.dice.IntN(len(tr.notes))]
		if n.stored && n.arrived > 0 && !tr.active[n] {
			n.stored, n.closed = false, false
			tr.active[n] = true
			tr.open[[2]any{n.to, n.from.home}]++
			tr.todo[n.from] = append(tr.todo[n.from], n)
		}
	}
	tr.cond.Broadcast()
	tr.mu.Unlock()
	tr.settle()
	if !tr.quiet() {
		tr.t.Error("a mailbox is not empty")
	}
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.again != before || len(tr.faults) != 0 {
		tr.t.Errorf("of %d notes that were submitted again, %d were delivered again; %v", n, tr.again-before, tr.faults)
	}
}

// startTraffic is two partners and so many devices at each.
func startTraffic(t *testing.T, each int, options ...option) (tr *traffic, acme, globex *server) {
	t.Helper()
	dice := dice(t)
	acme, globex = twoServers(t, options...)
	return newTraffic(t, dice, each, acme, globex), acme, globex
}

// large makes every note from now on as large as one can be.
func (tr *traffic) large() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.sizes = func(*rand.Rand) int { return envelope.MaxPayload }
}

// toldOnly holds what senders were refused with to the codes that fit what was done.
func (tr *traffic) toldOnly(codes ...string) {
	tr.t.Helper()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for code, n := range tr.codes {
		if !slices.Contains(codes, code) {
			tr.t.Errorf("somebody was told %q, %d times", code, n)
		}
	}
}

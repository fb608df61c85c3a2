package node

import (
	"context"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store"
)

// How much of a mailbox may be on its way to a device without its acknowledgement. The
// bytes leave room in the link's queue for live frames.
const (
	maxUnacked      = 64
	maxUnackedBytes = 512 << 10
	pumpBatch       = 16
)

// delivery is the state of one registered link: how far its mailbox has been read, and what
// waits for an acknowledgement. Guarded by the link's mu.
type delivery struct {
	cursor  store.Seq
	unacked map[store.Seq]unacked // only while something is
	bytes   int
	pumping bool
	again   bool // something came while the pump was running
	undone  bool // some of unacked was acknowledged, and the store could not remove it
}

type unacked struct {
	bytes int
	knock bool
	id    [16]byte
	acked bool // by the device, and not removed yet
}

func (l *clientLink) registered() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mail != nil
}

// wake starts the pump unless it runs. The pump is a goroutine only while there is
// something to fetch.
func (l *clientLink) wake() {
	l.mu.Lock()
	if l.mail == nil {
		l.mu.Unlock()
		return
	}
	if l.mail.pumping {
		l.mail.again = true
		l.mu.Unlock()
		return
	}
	l.mail.pumping = true
	l.mu.Unlock()
	l.n.group.Go(l.pumpLoop)
}

// pumpLoop sends what waits in the mailbox, oldest first, within the window.
func (l *clientLink) pumpLoop() {
	for {
		l.mu.Lock()
		m := l.mail
		m.again = false
		cursor, room := m.cursor, maxUnacked-len(m.unacked)
		if m.bytes >= maxUnackedBytes {
			room = 0
		}
		l.mu.Unlock()

		sent := 0
		if room > 0 && l.alive() {
			waiting, err := l.n.db.Peek(l.n.background, l.device, cursor, min(room, pumpBatch))
			if err != nil && l.n.background.Err() == nil {
				l.n.storeError("mailbox read failed", err)
			}
			for _, e := range waiting {
				if !l.deliverStored(e) {
					break
				}
				sent++
			}
		}

		l.mu.Lock()
		if sent == 0 && !m.again {
			m.pumping = false
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
	}
}

// deliverStored puts one envelope on the link. False: the window or the link is full.
func (l *clientLink) deliverStored(e store.Stored) bool {
	l.mu.Lock()
	m := l.mail
	if m.bytes > 0 && m.bytes+len(e.Payload) > maxUnackedBytes {
		l.mu.Unlock()
		return false
	}
	if m.unacked == nil {
		m.unacked = make(map[store.Seq]unacked)
	}
	m.unacked[e.Seq] = unacked{bytes: len(e.Payload), knock: e.Knock, id: e.ID}
	m.bytes += len(e.Payload)
	m.cursor = e.Seq
	l.mu.Unlock()

	buf := message(link.DeliverSize(uint64(e.Seq), e.Knock, len(e.Payload)))
	buf.b = link.AppendDeliver(buf.b, uint64(e.Seq), e.Knock, e.Hint[:], e.Payload, e.ID[:])
	return l.send(buf)
}

// acknowledge deletes what the device has fetched, then makes room in the window.
func (l *clientLink) acknowledge(ctx context.Context, seqs []store.Seq) {
	var knocks [][16]byte
	l.mu.Lock()
	if l.mail == nil {
		l.mu.Unlock()
		return
	}
	for _, s := range seqs {
		if u, ok := l.mail.unacked[s]; ok && u.knock {
			knocks = append(knocks, u.id)
		}
	}
	l.mu.Unlock()

	if err := l.n.db.Ack(ctx, l.device, seqs); err != nil {
		// Nothing was deleted. The device does not say it again: the sweep does, until the store
		// takes it; a new link is given the same envelopes, and the device recognises them.
		l.n.storeError("mailbox acknowledgement failed", err)
		l.mu.Lock()
		for _, s := range seqs {
			if u, ok := l.mail.unacked[s]; ok {
				u.acked = true
				l.mail.unacked[s], l.mail.undone = u, true
			}
		}
		l.mu.Unlock()
		return
	}
	// A stranger who asks what became of a knock learns "stored" and nothing more: that it
	// was fetched would tell when the person is there.
	for _, id := range knocks {
		if err := l.n.db.Record(ctx, id, store.FateStored, l.n.now().Add(store.OutcomeKept)); err != nil {
			l.n.storeError("outcome write failed", err)
		}
	}
	l.mu.Lock()
	for _, s := range seqs {
		if u, ok := l.mail.unacked[s]; ok {
			l.mail.bytes -= u.bytes
			delete(l.mail.unacked, s)
		}
	}
	if len(l.mail.unacked) == 0 {
		l.mail.unacked = nil // a map keeps its buckets; an idle client needs none
	}
	l.mu.Unlock()
	l.n.metrics.acked.Add(float64(len(seqs)))
	l.wake()
}

// acknowledgeAgain tries once more to remove what the store could not. A full window would
// close a mailbox otherwise that its device has emptied, for as long as the link lives.
func (l *clientLink) acknowledgeAgain() {
	l.mu.Lock()
	if l.mail == nil || !l.mail.undone || l.work != nil {
		l.mu.Unlock()
		return
	}
	l.mail.undone = false
	var seqs []store.Seq
	for s, u := range l.mail.unacked {
		if u.acked {
			seqs = append(seqs, s)
		}
	}
	l.mu.Unlock()
	if len(seqs) > 0 {
		l.n.group.Go(func() { l.enqueue(job{acks: seqs}) })
	}
}

// closeDevice ends the link of a device whose mailbox is gone or denied.
func (n *Node) closeDevice(id identity.DeviceID, code string) {
	if l := n.hub.device(id); l != nil {
		l.goodbye(code, 0)
	}
}

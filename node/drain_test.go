//go:build linux || darwin

package node

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// TestADrainGoesInOrder: nothing new is let in, submits under way are answered, clients are
// sent away, and the partner is told only when they have gone.
func TestADrainGoesInOrder(t *testing.T) {
	p := startPair(t)
	until(t, "they have a link", func() bool { return p.state() == federation.StateConnected })
	bob, bobs := join(t, p.acme)
	_, alices := join(t, p.acme)
	_, carols := join(t, p.globex)
	_, release := stalled(t, p.acme, bob)
	// Alice's envelope is in line for Bob, whose connection takes nothing now.
	e := to(t, p.acme, bob, envelope.Live, payload(1024))
	id := alices.id()
	alices.sendBytes(link.AppendSubmit(nil, id, e.Marshal()))
	until(t, "it is on its way", func() bool { return p.acme.answering.Load() == 1 })
	globexSees := func() federation.State {
		for _, s := range p.globex.fed.Peers() {
			if s.Peer == p.acme.self {
				return s.State
			}
		}
		return ""
	}

	p.acme.end()
	until(t, "the drain has begun", func() bool { return p.acme.draining.Load() })
	if status, text, _ := get1(t, "http://"+p.acme.httpAddr+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(text, "draining") {
		t.Errorf("readyz says %d %q", status, text)
	}
	if status, _, _ := get1(t, "http://"+p.acme.httpAddr+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz says %d", status)
	}
	if _, text, _ := get1(t, p.acme.Facts().Metrics); !strings.Contains(text, "trunkline_ready 0\n") {
		t.Error("the metrics call it ready")
	}
	if _, resp, err := dialRaw(t, p.acme, nil); err == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new link: %v, %v", resp, err)
	}
	// The partner knows nothing yet, and what it sends is taken.
	if state := globexSees(); state != federation.StateConnected {
		t.Errorf("the partner sees %s while clients are here", state)
	}
	note := to(t, p.acme, bob, envelope.Week, payload(1024))
	if receipt := carols.submit(note); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Errorf("from the partner: %v", receipt)
	}
	release()
	if receipt := alices.receipt(id); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("what was under way: %v", receipt)
	}
	if d := bobs.deliver(); !bytes.Equal(d.Payload, e.Payload) && !bytes.Equal(d.Payload, note.Payload) {
		t.Error("Bob got something else")
	}
	for name, c := range map[string]*raw{"Alice": alices, "Bob": bobs} {
		if d := c.ends().GetDrain(); d.GetReconnectAfterMs() == 0 || d.GetJitterMs() == 0 || d.GetReason() != link.CodeDraining {
			t.Errorf("%s's last word is %v", name, d)
		}
	}
	until(t, "the partner is told", func() bool { return globexSees() == federation.StateDraining })
	p.acme.stopped()
}

// TestSIGTERMOfABusyNode ends a node in a process of its own with fifty clients and a partner,
// and starts it again: everybody was told, nothing that was promised is lost, and all is as
// before without anybody's hand.
func TestSIGTERMOfABusyNode(t *testing.T) {
	acmeDir, globexDir := t.TempDir(), t.TempDir()
	acmeMade, err := Init(testConfig(acmeDir, "acme.example"))
	if err != nil {
		t.Fatal(err)
	}
	globexMade, err := Init(testConfig(globexDir, "globex.example"))
	if err != nil {
		t.Fatal(err)
	}
	writePolicy(t, acmeDir, partnerPolicy("globex.example", globexMade.DomainKey))
	source := filepath.Join(acmeDir, "globex.example.document")
	globex := startPartner(t, globexDir, "globex.example", "acme.example", acmeMade.DomainKey)
	acme := startChild(t, acmeDir, childPeer+"="+source)
	tell(t, globex, acme.running)
	tell(t, acme.running, globex)
	globexSees := func(want federation.State) func() bool {
		return func() bool {
			for _, s := range globex.fed.Peers() {
				if s.Peer == acme.self {
					return s.State == want
				}
			}
			return false
		}
	}
	until(t, "they have a link", globexSees(federation.StateConnected))

	const many = 50
	people, links := make([]*person, many), make([]*raw, many)
	both := func(f func(i int)) {
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() { f(i) })
		}
		all.Wait()
	}
	both(func(i int) {
		people[i] = newPerson(t, acme.running)
		links[i] = dial(t, acme.running, people[i])
		links[i].publish(acme.running, people[i], "")
		if f := links[i].register(people[i], 0); f.GetRegistered() == nil {
			t.Errorf("client %d: %v", i, f)
		}
	})
	acme.knowsItsKey(links[0])
	carol, carols := join(t, globex)
	if t.Failed() {
		return
	}
	// Each has a note for its neighbour, one for Carol at the partner, and a live envelope for
	// her on the way when the node is told to end.
	type mark struct{ note, remote, live uint64 }
	marks := make([]mark, many)
	bodies, forCarol := make([][]byte, many), make([][]byte, many)
	both(func(i int) {
		c := links[i]
		bodies[i], forCarol[i] = payload(1024), payload(1024)
		m := mark{c.id(), c.id(), c.id()}
		marks[i] = m
		c.sendBytes(link.AppendSubmit(nil, m.note, to(t, acme.running, people[(i+1)%many], envelope.Week, bodies[i]).Marshal()))
		c.sendBytes(link.AppendSubmit(nil, m.live, to(t, globex, carol, envelope.Live, payload(1024)).Marshal()))
		if i < 10 { // a mailbox takes 32 of one node
			c.sendBytes(link.AppendSubmit(nil, m.remote, to(t, globex, carol, envelope.Week, forCarol[i]).Marshal()))
		}
	})
	// What the node has not read when it stops reading is answered by nothing, and the client
	// knows that; what it has read is what this is about.
	links[0].awaitReceipt(marks[0].remote)
	if err := acme.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards stored, promised, accepted
	stored, promised, accepted := map[string]bool{}, map[string]bool{}, 0
	both(func(i int) {
		drained := false
		for f := range links[i].frames {
			links[i].later = append(links[i].later, f)
		}
		for n, f := range links[i].later {
			if drained = f.GetDrain() != nil; drained && n != len(links[i].later)-1 {
				t.Errorf("client %d was told something after the goodbye", i)
			}
			r := f.GetReceipt()
			mu.Lock()
			switch {
			case r == nil:
			case f.Id == marks[i].note && r.Class == pb.ReceiptClass_RECEIPT_STORED:
				stored[fmt.Sprintf("%x", sha256.Sum256(bodies[i]))] = true
			case f.Id == marks[i].live && r.Class == pb.ReceiptClass_RECEIPT_ACCEPTED:
				accepted++
			case f.Id == marks[i].live:
				accepted-- // its end was told, too
			case f.Id == marks[i].remote && r.Class == pb.ReceiptClass_RECEIPT_REFUSED:
				t.Errorf("client %d: a note for the partner ended as %v", i, r)
			case f.Id == marks[i].remote:
				promised[string(forCarol[i])] = true
			}
			mu.Unlock()
		}
		if !drained {
			t.Errorf("client %d was cut off without a goodbye", i)
		}
	})
	if accepted != 0 {
		t.Errorf("%d live envelopes were accepted and their end was not told", accepted)
	}
	if err := <-acme.ended; err != nil {
		t.Errorf("the node ended with %v", err)
	}
	if _, err := os.Lstat(filepath.Join(acmeDir, fileSocket)); err == nil {
		t.Error("its socket is left")
	}
	until(t, "the partner knows that it is away for a while", func() bool { return !globexSees(federation.StateConnected)() })

	again := startChild(t, acmeDir, childPeer+"="+source)
	tell(t, globex, again.running)
	until(t, "they have a link again", globexSees(federation.StateConnected))
	both(func(i int) {
		c := dial(t, again.running, people[i])
		f := c.register(people[i], 0)
		for range f.GetRegistered().GetWaiting() {
			d := c.deliver()
			mu.Lock()
			delete(stored, fmt.Sprintf("%x", sha256.Sum256(d.Payload)))
			mu.Unlock()
			c.ack(d.StoredId)
		}
		if f.GetRegistered() == nil {
			t.Errorf("client %d comes back: %v", i, f)
		}
	})
	if len(stored) != 0 {
		t.Errorf("%d notes were called stored and are gone", len(stored))
	}
	// Carol has each note that was accepted for her, once, whichever process sent it.
	if len(promised) == 0 {
		t.Fatal("no note for the partner was accepted: this looks at nothing")
	}
	seen := map[string]bool{}
	for len(promised) > 0 {
		d := carols.deliver()
		if d.StoredId == 0 {
			continue
		}
		if body := string(d.Payload); seen[body] {
			t.Error("a note arrived twice")
		} else {
			seen[body] = true
			delete(promised, body)
		}
		carols.ack(d.StoredId)
	}
	if err := again.signal(syscall.SIGTERM); err != nil {
		t.Errorf("the second time it ended with %v", err)
	}
}

package node

import (
	"bytes"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// answered says what an already submitted frame was answered with by now: everything that the
// node had to say before it answers a ping.
func (c *raw) answered(id uint64) (classes []pb.ReceiptClass) {
	c.t.Helper()
	c.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 9}}})
	for _, f := range c.later {
		if f.Id == id && f.GetReceipt() != nil {
			classes = append(classes, f.GetReceipt().Class)
		}
	}
	return classes
}

// stalled is a device whose connection takes nothing until the writer is let go.
func stalled(t *testing.T, r *running, p *person) (l *clientLink, release func()) {
	t.Helper()
	sink(t, r, p)
	l = r.hub.device(p.device.ID())
	return l, func() { l.n.group.Go(l.writeLoop) }
}

func TestDeliveredIsSaidWhenTheConnectionHasTheEnvelope(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	_, release := stalled(t, r, bob)
	e := to(t, r, bob, envelope.Live, payload(1024))
	id := alices.id()
	alices.sendBytes(link.AppendSubmit(nil, id, e.Marshal()))
	if got := alices.answered(id); len(got) != 0 {
		t.Fatalf("before the device had it: %v", got)
	}
	// The same bytes again are neither delivered twice nor called delivered.
	if receipt := alices.submit(e); receipt.Code != link.CodeUnavailable {
		t.Errorf("again, while the first is on its way: %v", receipt)
	}
	release()
	if receipt := alices.receipt(id); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Fatalf("when it has it: %v", receipt)
	}
	if d := bobs.deliver(); !bytes.Equal(d.Payload, e.Payload) {
		t.Error("another payload")
	}
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("the same bytes later: %v", receipt)
	}
}

func TestALiveEnvelopeWhoseConnectionBreaksIsRefusedAndMayBeTriedAgain(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	_, alices := join(t, r)
	l, release := stalled(t, r, bob)
	e := to(t, r, bob, envelope.Live, payload(1024))
	id := alices.id()
	alices.sendBytes(link.AppendSubmit(nil, id, e.Marshal()))
	remote := make(chan federation.Outcome, 1)
	other := to(t, r, bob, envelope.Live, payload(1024))
	go func() {
		remote <- r.Deliver(t.Context(), federation.Source{Peer: r.self, Domain: "acme.example"}, other)
	}()
	until(t, "both are in line", func() bool {
		l.wmu.Lock()
		defer l.wmu.Unlock()
		return l.out.len() == 2
	})
	l.close()
	release()
	if receipt := alices.receipt(id); receipt.Class != pb.ReceiptClass_RECEIPT_REFUSED || receipt.Code != link.CodeUnavailable {
		t.Fatalf("got %v", receipt)
	}
	if out := <-remote; out.Fate != envelopepb.Fate_FATE_REFUSED || out.Code != link.CodeUnavailable {
		t.Errorf("another node is told %v", out)
	}
	until(t, "Bob has gone", func() bool { return r.hub.device(bob.device.ID()) == nil })
	if receipt := alices.submit(e); receipt.Code != link.CodeUnreachable {
		t.Errorf("without a connection: %v", receipt)
	}
	bobs := dial(t, r, bob)
	bobs.register(bob, 0)
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Errorf("the same bytes to the next connection: %v", receipt)
	}
	if d := bobs.deliver(); !bytes.Equal(d.Payload, e.Payload) {
		t.Error("another payload")
	}
}

func TestALiveEnvelopeDoesNotWaitLongForAConnectionThatTakesNothing(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	r.liveTimeout = 20 * time.Millisecond
	bob, bobs := join(t, r)
	_, alices := join(t, r)
	l, release := stalled(t, r, bob)
	late := to(t, r, bob, envelope.Live, payload(1024))
	if receipt := alices.submit(late); receipt.Code != link.CodeUnavailable {
		t.Fatalf("in line for too long: %v", receipt)
	}
	// What was refused is not delivered afterwards, and what is stored comes all the same.
	note := to(t, r, bob, envelope.Week, payload(1024))
	if receipt := alices.submit(note); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Fatal(receipt)
	}
	release()
	if d := bobs.deliver(); !bytes.Equal(d.Payload, note.Payload) {
		t.Error("something else than the note was delivered")
	}
	// A connection that has been at one frame for long takes nothing live, at once.
	l.wrote.Store(r.coarse.Load() - int64(liveTimeout/time.Second))
	if receipt := alices.submit(late); receipt.Code != link.CodeUnavailable {
		t.Errorf("behind a frame that does not leave: %v", receipt)
	}
}

// TestADeniedLinkEndsAlthoughItDoesNotRead: its socket is full, so the reason cannot reach it.
func TestADeniedLinkEndsAlthoughItDoesNotRead(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, _ := join(t, r)
	mallory, mallorys := join(t, r)
	l, release := stalled(t, r, mallory)
	writePolicy(t, r.dir, registerPolicy("listed", alice.root.Public()))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	l.wmu.Lock()
	if l.cut == nil {
		t.Fatal("nothing will close the link")
	}
	l.cut.Reset(0) // three seconds of the system's clock, brought forward
	l.wmu.Unlock()
	mallorys.ends()
	release()
	until(t, "the link is gone", func() bool { return r.hub.device(mallory.device.ID()) == nil })
}

// TestALinkThatWasToldToGoSubmitsNothingMore: it keeps writing and does not close.
func TestALinkThatWasToldToGoSubmitsNothingMore(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	alice, alices := join(t, r)
	mallory, mallorys := join(t, r)
	if receipt := alices.submit(to(t, r, mallory, envelope.Week, payload(1024))); receipt.Class != pb.ReceiptClass_RECEIPT_STORED {
		t.Fatal(receipt)
	}
	waiting := mallorys.deliver()
	_, release := stalled(t, r, mallory) // the connection stays open, so that it could be used
	writePolicy(t, r.dir, registerPolicy("listed", alice.root.Public()))
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	mallorys.sendBytes(link.AppendSubmit(nil, mallorys.id(), to(t, r, alice, envelope.Week, payload(1024)).Marshal()))
	mallorys.ack(waiting.StoredId)
	until(t, "what it acknowledged has gone", func() bool {
		usage, err := r.db.Stats(t.Context(), mallory.device.ID())
		return err == nil && usage.Envelopes == 0
	})
	expectWaiting(t, r, alice, 0)
	release()
	mallorys.ends()
}

// waiter waits for the ends of live envelopes.
type waiter chan federation.Outcome

func (c waiter) delivery(_ *handover, out federation.Outcome, _ *clientLink) { c <- out }

func TestALinkWithTooMuchInLineIsClosedAndNothingInItIsCalledDelivered(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, bobs := join(t, r)
	l, release := stalled(t, r, bob)
	taken, ends := 0, make(waiter, maxQueuedFrames)
	body := payload(1024)
	code := ""
	for i := 0; code == ""; i++ {
		if i > maxQueuedFrames {
			t.Fatal("the line has no end")
		}
		h := &handover{n: r.Node, id: envelope.ID{byte(i)}, to: ends}
		if _, code = r.hub.deliverLive(bob.device.ID(), &envelope.Hop{}, body, h); code == "" {
			taken++
		}
	}
	if code != link.CodeUnavailable || taken < maxQueuedFrames/2 {
		t.Errorf("after %d: %q", taken, code)
	}
	for range taken {
		if <-ends == outcomeDelivered {
			t.Fatal("an envelope that was dropped is called delivered")
		}
	}
	l.wmu.Lock()
	left := l.out.len()
	l.wmu.Unlock()
	if left != 1 {
		t.Errorf("%d frames wait beside the goodbye", left-1)
	}
	release()
	if last := bobs.ends(); errorCode(last) != link.CodeSlow {
		t.Errorf("its last word is %v", last)
	}
}

// TestWhoIsRegisteredIsReachedAtOnce: the moment in which a client reads Registered is the one
// from which everybody reaches it.
func TestWhoIsRegisteredIsReachedAtOnce(t *testing.T) {
	r := start(t, t.TempDir(), "acme.example", openPolicy)
	bob, _ := join(t, r)
	for i := range 100 {
		c := dial(t, r, bob)
		if f := c.register(bob, 0); f.GetRegistered() == nil {
			t.Fatal(f)
		}
		if out := r.Deliver(t.Context(), r.local, to(t, r, bob, envelope.Live, payload(1024))); out != outcomeDelivered {
			t.Fatalf("link %d: %v", i, out)
		}
		if f := c.read(); f.GetDeliver() == nil {
			t.Fatalf("link %d: %v", i, f)
		}
	}
}

// TestALiveEnvelopeIsRecognisedByTheProcessThatDeliveredIt: of live envelopes nothing is
// written down, so behind a restart the device's own memory is what recognises them.
func TestALiveEnvelopeIsRecognisedByTheProcessThatDeliveredIt(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir, "acme.example", openPolicy)
	bob, bobs := join(t, r)
	alice, alices := join(t, r)
	e := to(t, r, bob, envelope.Live, payload(1024))
	for range 3 {
		if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
			t.Fatal(receipt)
		}
	}
	first := bobs.deliver()
	bobs.call(&pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 2}}})
	if len(bobs.later) != 0 {
		t.Errorf("Bob also got %v", bobs.later)
	}
	r.stopped()
	r = start(t, dir, "acme.example", "")
	bobs, alices = dial(t, r, bob), dial(t, r, alice)
	bobs.register(bob, 0)
	if receipt := alices.submit(e); receipt.Class != pb.ReceiptClass_RECEIPT_DELIVERED {
		t.Fatal(receipt)
	}
	if again := bobs.deliver(); !bytes.Equal(again.EnvelopeId, first.EnvelopeId) {
		t.Error("it is not told under its own id")
	}
}

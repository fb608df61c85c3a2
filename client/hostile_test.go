package client_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// The node in these tests lies about others: about domains, their nodes, their people.

func TestASwappedDomainDocumentOrDescriptorIsRefused(t *testing.T) {
	t.Parallel()
	for _, lie := range []struct {
		name string
		tell func(*theatre)
	}{
		{"a document signed by another key", func(h *theatre) { h.document = h.signDocument(newKey(h.t), 2, h.peer) }},
		{"another document of the same epoch", func(h *theatre) { h.document = h.signDocument(h.key, 1, h.peer, publicOf(h.t, newKey(h.t)).PeerID()) }},
		{"a document of another domain", func(h *theatre) {
			old := h.domain
			h.domain = "initech.example"
			h.document = h.signDocument(h.key, 2, h.peer)
			h.domain = old
		}},
		{"a flipped bit in the document", func(h *theatre) { h.document[100] ^= 1 }},
		{"a descriptor of a node that the document does not name", func(h *theatre) {
			h.docs = [][]byte{h.signDescriptor(newKey(h.t), h.domain, time.Now().Add(time.Minute))}
		}},
		{"a descriptor of another domain", func(h *theatre) {
			h.docs = [][]byte{h.signDescriptor(h.host, "initech.example", time.Now().Add(time.Minute))}
		}},
		{"an older descriptor", func(h *theatre) {
			h.docs = [][]byte{h.signDescriptor(h.host, h.domain, time.Now().Add(-time.Hour))}
		}},
		{"a flipped bit in the descriptor", func(h *theatre) { h.docs[0][100] ^= 1 }},
	} {
		t.Run(lie.name, func(t *testing.T) {
			t.Parallel()
			alice, h := alone(t)
			known, stranger := h.puppet(), h.puppet()
			if _, err := alice.Find(within(t), known.address()); err != nil {
				t.Fatalf("the honest answer was refused: %v", err)
			}
			h.stage(lie.tell)
			// Without a peer id in the address the domain is asked for each time.
			_, err := alice.Find(within(t), identity.Address{Root: stranger.id(), Domain: h.domain})
			if !errors.Is(err, client.ErrVerification) {
				t.Errorf("the lie ended as %v", err)
			}
			contacts, err := alice.Contacts()
			if err != nil || len(contacts) != 1 || contacts[0].ID != known.id() {
				t.Errorf("contacts after the lie: %d, %v", len(contacts), err)
			}
		})
	}
}

func TestALyingAnswerToALookUpIsRefused(t *testing.T) {
	t.Parallel()
	for _, lie := range []struct {
		name  string
		lie   func(t *testing.T, h *theatre, p *puppet) *envelopepb.Answer
		want  error
		alarm bool // and the person is told
		stop  bool // and nothing is sent to that contact any more
	}{
		{name: "another identity", want: client.ErrVerification, lie: func(t *testing.T, h *theatre, _ *puppet) *envelopepb.Answer {
			return h.puppet().answer()
		}},
		{name: "a flipped bit", want: client.ErrVerification, lie: func(t *testing.T, _ *theatre, p *puppet) *envelopepb.Answer {
			a := p.answer()
			a.List[80] ^= 1
			return a
		}},
		{name: "an older list", want: client.ErrVerification, lie: func(t *testing.T, _ *theatre, p *puppet) *envelopepb.Answer {
			first, err := p.root.NewList(p.device.Public(), p.list.Homes, [32]byte{}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_FOUND, List: first.Bytes(), Bundles: [][]byte{p.bundle.Bytes()}}
		}},
		{name: "17: another list of the same epoch", want: client.ErrAlarm, alarm: true, stop: true, lie: func(t *testing.T, _ *theatre, p *puppet) *envelopepb.Answer {
			other, err := identity.GenerateDevice()
			if err != nil {
				t.Fatal(err)
			}
			fork := *p.list
			cert, err := p.root.CertifyDevice(other.Public(), fork.Epoch, time.Now(), time.Now().Add(24*time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			fork.Devices = append(append([]*identity.DeviceCert(nil), fork.Devices...), cert)
			list, err := p.root.SignList(fork)
			if err != nil {
				t.Fatal(err)
			}
			return &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_FOUND, List: list.Bytes()}
		}},
		{name: "20.PP: a list that names other homes", want: client.ErrAlarm, alarm: true, lie: func(t *testing.T, h *theatre, p *puppet) *envelopepb.Answer {
			moved, err := p.root.SetHomes(p.list, []identity.Home{{PeerID: publicOf(t, newKey(t)).PeerID(), Domain: h.domain}}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_FOUND, List: moved.Bytes()}
		}},
		{name: "nobody", want: client.ErrNotFound, lie: func(*testing.T, *theatre, *puppet) *envelopepb.Answer {
			return &envelopepb.Answer{Status: envelopepb.AnswerStatus_ANSWER_ABSENT}
		}},
	} {
		t.Run(lie.name, func(t *testing.T) {
			t.Parallel()
			alice, h := alone(t)
			p := h.puppet()
			var err error
			if p.list, err = p.root.Renew(p.list, time.Now()); err != nil { // epoch 2
				t.Fatal(err)
			}
			h.stage(func(h *theatre) { h.answers[p.id()] = p.answer() })
			befriend := p
			befriend.study(alice.id())
			if _, err := alice.Knock(within(t), p.address(), "hello", "alice"); err != nil {
				t.Fatal(err)
			}
			p.deliver(p.seal(&envelope.Knock{Accept: true, Home: identity.Home{PeerID: h.peer, Domain: h.domain}}), false)
			told(t, alice, func(e client.KnockAccepted) bool { return e.From == p.id() })

			a := lie.lie(t, h, p)
			h.stage(func(h *theatre) { h.answers[p.id()] = a })
			if _, err := alice.Find(within(t), p.address()); !errors.Is(err, lie.want) {
				t.Fatalf("the lie ended as %v, not as %v", err, lie.want)
			}
			if lie.alarm {
				told(t, alice, func(e client.Alarm) bool { return e.From == p.id() })
			}
			contacts, err := alice.Contacts()
			if err != nil || len(contacts) != 1 || contacts[0].Epoch != 2 || contacts[0].Devices != 1 || contacts[0].State != keep.ContactAccepted {
				t.Errorf("the contact after the lie: %+v, %v", contacts, err)
			}
			if contacts[0].Alarm != lie.stop {
				t.Errorf("alarm of the contact is %v", contacts[0].Alarm)
			}
			_, err = alice.SendNote(within(t), p.id(), "are you there?")
			if stopped := errors.Is(err, client.ErrAlarm); stopped != lie.stop {
				t.Errorf("sending after the lie: %v", err)
			}
			if !lie.stop {
				return
			}
			if _, err := alice.Ring(within(t), p.id(), client.CallOptions{Media: client.Audio}); !errors.Is(err, client.ErrAlarm) {
				t.Errorf("ringing after the lie: %v", err)
			}
			if err := alice.Resolve(p.id()); err != nil {
				t.Fatal(err)
			}
			if _, err := alice.SendNote(within(t), p.id(), "are you there?"); err != nil {
				t.Errorf("after the person has decided: %v", err)
			}
			p.opened(envelopepb.Type_TYPE_NOTE)
		})
	}
}

func TestAGhostDeviceOfTheNodeIsNotWrittenTo70(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := h.puppet()
	p.study(alice.id())
	ghostDevice, err := identity.GenerateDevice()
	if err != nil {
		t.Fatal(err)
	}
	ghost := h.deviceOf(p.root, ghostDevice, p.list) // signed by itself, in no list
	a := p.answer()
	a.Bundles = append(a.Bundles, ghost.bundle.Bytes())
	h.stage(func(h *theatre) { h.answers[p.id()] = a })
	if _, err := alice.Knock(within(t), p.address(), "hello", "alice"); err != nil {
		t.Fatal(err)
	}
	p.opened(envelopepb.Type_TYPE_KNOCK)
	// The knock to the real device came; to all devices at once went no other envelope.
	if n := h.arrivals(); n != 0 {
		t.Errorf("%d further envelopes were sent", n)
	}
}

func TestAWithheldDeliveryAndReceiptLoseNothing(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	acme := m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice, bob := newHuman(t, "alice", acme), newHumanAt(t, "bob", m.server.URL)
	meet(t, alice, bob)

	m.rule(func(m *middle) {
		m.down = func(f *pb.NodeFrame) bool { return f.GetDeliver() == nil }
	})
	id, err := alice.SendNote(within(t), bob.id(), "withheld for a while")
	if err != nil {
		t.Fatal(err)
	}
	m.until("the node's delivery", func(_ []*pb.ClientFrame, seen []*pb.NodeFrame) bool {
		return len(seen) > 0 && seen[len(seen)-1].GetDeliver() != nil
	})
	m.rule(func(m *middle) { m.down = nil })
	m.cut() // a new link: what was not acknowledged comes again
	told(t, bob, func(e client.NoteReceived) bool { return e.ID == id })
	told(t, alice, func(e client.NoteFate) bool { return e.Message == id && e.State == client.NoteRead })

	// Receipts withheld: the fate is asked for at the destination.
	m.rule(func(m *middle) {
		m.down = func(f *pb.NodeFrame) bool { return f.GetReceipt() == nil }
	})
	if _, err := bob.SendNote(within(t), alice.id(), "whose receipt is withheld"); err != nil {
		t.Fatal(err)
	}
	told(t, alice, func(e client.NoteReceived) bool { return e.Text == "whose receipt is withheld" })
	m.cut() // the ledger may ask again at once
	if err := bob.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	sum, err := bob.Flush(within(t))
	if err != nil {
		m.rule(func(m *middle) { m.down = nil })
		t.Fatalf("the ledger stays open: %v, %+v", err, sum)
	}
	balanced(t, bob, sum)
	if sum.Lost != 0 || sum.Expired != 0 {
		t.Errorf("the ledger of bob: %+v", sum)
	}
}

func balanced(t *testing.T, h *human, sum keep.Totals) {
	t.Helper()
	if sum.Sent != sum.Delivered+sum.StoredPending+sum.Expired+sum.Refused+sum.Lost+sum.Open {
		t.Errorf("the ledger of %s does not add up: %+v", h.name, sum)
	}
}

func TestChangedRepeatedAndReorderedDeliveriesChangeNothing(t *testing.T) {
	t.Parallel()
	m := newMiddle(t)
	acme := m.exchange(t, "acme.example", filepath.Join(t.TempDir(), "acme"))
	alice, bob := newHuman(t, "alice", acme), newHumanAt(t, "bob", m.server.URL)
	meet(t, alice, bob)

	// Hold three notes back, then deliver them in the reverse order.
	var held []*pb.NodeFrame
	m.rule(func(m *middle) {
		m.down = func(f *pb.NodeFrame) bool {
			if f.GetDeliver() != nil {
				held = append(held, f)
				return false
			}
			return true
		}
	})
	texts := []string{"first note", "second note", "third note"}
	for _, text := range texts {
		if _, err := alice.SendNote(within(t), bob.id(), text); err != nil {
			t.Fatal(err)
		}
	}
	m.until("three deliveries", func([]*pb.ClientFrame, []*pb.NodeFrame) bool { return len(held) == 3 })
	m.rule(func(m *middle) { m.down = nil })

	// Each with one bit changed, in header, ciphertext and end; with another hint; cut; as a
	// knock; under an id that says it is live.
	before := m.submitted()
	for _, f := range held {
		for i, change := range []func(*pb.Deliver){
			func(d *pb.Deliver) { d.Payload[40] ^= 1 },
			func(d *pb.Deliver) { d.Payload[len(d.Payload)/2] ^= 0x80 },
			func(d *pb.Deliver) { d.Payload[len(d.Payload)-1] ^= 1 },
			func(d *pb.Deliver) { d.Hint[0] ^= 1 },
			func(d *pb.Deliver) { d.Payload = d.Payload[:1024] },
			func(d *pb.Deliver) { d.Payload = append(d.Payload, make([]byte, len(d.Payload))...) },
		} {
			g := f.GetDeliver()
			d := &pb.Deliver{
				StoredId: uint64(1<<30 + i), Knock: g.Knock, Hint: append([]byte(nil), g.Hint...),
				Payload: append([]byte(nil), g.Payload...), EnvelopeId: g.EnvelopeId,
			}
			change(d)
			m.inject(&pb.NodeFrame{Kind: &pb.NodeFrame_Deliver{Deliver: d}})
		}
	}
	m.settled()
	if wasTold(bob, always[client.NoteReceived]) || m.submitted() != before {
		t.Fatal("a changed payload was taken or answered")
	}
	for _, i := range []int{2, 1, 0} {
		m.inject(held[i])
		told(t, bob, func(e client.NoteReceived) bool { return e.Text == texts[i] })
	}
	notes, err := bob.Notes(alice.id(), 0, 10)
	if err != nil || len(notes) != 3 {
		t.Fatalf("the history has %d notes, %v", len(notes), err)
	}

	// The same bytes again and again: no event and no second line of history, and after a
	// restart as little.
	for range 3 {
		for _, f := range held {
			m.inject(f)
		}
	}
	m.settled()
	bob.leave(t)
	bob.start(t)
	for _, f := range held {
		m.inject(f)
	}
	m.settled()
	if wasTold(bob, always[client.NoteReceived]) {
		t.Error("a repeated note was shown again")
	}
	if notes, err = bob.Notes(alice.id(), 0, 10); err != nil || len(notes) != 3 {
		t.Errorf("the history has %d notes, %v", len(notes), err)
	}
}

func TestAResealedMessageIsAReplay37AndAForwardedOneIsDropped31(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := befriended(t, h, alice)
	note := &envelope.Note{Text: "sealed once"}
	id := envelope.NewMessageID()
	fix := func(m *envelope.Message) { m.ID = id }
	p.deliver(p.seal(note, fix), false)
	told(t, alice, func(e client.NoteReceived) bool { return e.ID == id })
	p.opened(envelopepb.Type_TYPE_READ)
	p.deliver(p.seal(note, fix), false) // a new age file around the same message id
	h.m.settled()
	if wasTold(alice, always[client.NoteReceived]) {
		t.Error("a message that was sealed anew was shown twice")
	}
	// 36: the same message id of another sender is another message.
	q := befriended(t, h, alice)
	q.deliver(q.seal(&envelope.Note{Text: "mine"}, fix), false)
	told(t, alice, func(e client.NoteReceived) bool { return e.From == q.id() && e.ID == id })
}

func TestAStrangerCanKnockAndNothingElse(t *testing.T) {
	t.Parallel()
	alice, h := alone(t)
	p := h.puppet()
	p.study(alice.id())
	ring, err := envelope.NewRing(p.device, p.cert(), p.theirs, envelope.RingConfig{
		Media: client.Audio, SessionID: envelope.NewSessionID(), Now: time.Now(), OwnList: p.list, PeerList: p.them,
		Reply: envelope.ReplyAddress{Home: identity.Home{PeerID: h.peer, Domain: h.domain}, Tag: p.tag, Token: p.token},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := h.m.submitted()
	for _, payload := range [][]byte{
		ring.Payload,
		p.seal(&envelope.Note{Text: "buy this"}),
		p.seal(&envelope.Read{IDs: []envelope.MessageID{{1}}}),
		p.seal(&envelope.ListUpdate{List: p.list.Bytes()}),
		p.seal(&envelope.Cancel{RingHash: [32]byte{1}, Reason: envelopepb.Reason_REASON_ENDED}),
		p.seal(&envelope.Knock{Accept: true, Home: identity.Home{PeerID: h.peer, Domain: h.domain}}),
		p.seal(&envelope.ContactSync{Root: newRoot(t).Public(), Home: identity.Home{PeerID: h.peer, Domain: h.domain}, State: envelopepb.ContactState_CONTACT_STATE_ACCEPTED}),
	} {
		p.deliver(payload, true)
	}
	h.m.settled()
	contacts, err := alice.Contacts()
	if err != nil || len(contacts) != 0 || h.m.submitted() != before {
		t.Errorf("a stranger got through: %d contacts, %d answers, %v", len(contacts), h.m.submitted()-before, err)
	}
	for _, e := range []bool{
		wasTold(alice, always[client.Ringing]), wasTold(alice, always[client.NoteReceived]), wasTold(alice, always[client.Missed]),
		wasTold(alice, always[client.KnockAccepted]), wasTold(alice, always[client.Alarm]),
	} {
		if e {
			t.Error("the person was told of something that a stranger sent")
		}
	}
	// The same stranger may knock.
	p.deliver(p.seal(&envelope.Knock{Text: "may I?", Name: "p", Home: identity.Home{PeerID: h.peer, Domain: h.domain}}), true)
	told(t, alice, func(e client.KnockReceived) bool { return e.From == p.id() && e.Text == "may I?" })
}

package keep

import (
	"bytes"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

func fullContact(n byte, at time.Time) Contact {
	return Contact{
		Root: someone(n), Domain: "globex.example", Home: home.PeerID, Petname: "Bob", Name: "Robert", State: ContactAccepted,
		Text: "hello", Verified: true, Changed: true,
		Pin:  identity.Pin{Epoch: 7, Hash: [32]byte{1}, Seen: at, Recovery: [32]byte{2}, Suite: 1},
		List: []byte("list"), Evidence: [][]byte{[]byte("one"), []byte("two")},
		Grants: []Grant{{Device: identity.DeviceID{1}, PeerID: home.PeerID, Domain: "globex.example", Tag: envelope.RouteTag{3}, Token: envelope.Token{4}, TokenEpoch: 5}},
		Given:  map[string]uint64{"acme.example": 3, "b.example": 1},
		Told:   map[identity.DeviceID]time.Time{{1}: at, {2}: at.Add(time.Second)},
		Added:  at,
	}
}

func TestAContactIsWhatWasLastWritten(t *testing.T) {
	f := newFolder(t, Options{})
	_, err := f.Contact(someone(1))
	f.is(err, ErrNotFound)
	later, c := fullContact(1, f.Now().Add(time.Hour)), fullContact(2, f.Now())
	f.ok(f.PutContact(later))
	f.ok(f.PutContact(c))
	f.ok(f.PutContact(Contact{Root: someone(3), Added: f.Now().Add(2 * time.Hour)}))
	f.reopen()
	got, err := f.Contact(c.Root)
	f.ok(err)
	if !reflect.DeepEqual(got, c) {
		t.Fatal("another contact")
	}
	all, err := f.Contacts()
	f.ok(err)
	if len(all) != 3 || !reflect.DeepEqual(all[0], c) || !reflect.DeepEqual(all[1], later) {
		t.Fatal("other contacts, or another order")
	}
	got, err = f.UpdateContact(c.Root, func(c *Contact) error { c.State = ContactBlocked; return nil })
	f.ok(err)
	if got.State != ContactBlocked || got.Petname != "Bob" {
		t.Fatal("the change came back differently")
	}
	no := errors.New("no")
	_, err = f.UpdateContact(c.Root, func(c *Contact) error { c.Petname = "Eve"; return no })
	f.is(err, no)
	_, err = f.UpdateContact(someone(9), func(*Contact) error { return nil })
	f.is(err, ErrNotFound)
	if _, err = f.UpdateContact(c.Root, func(c *Contact) error { c.Root = someone(8); return nil }); err == nil {
		t.Fatal("a contact changed its root key")
	}
	if got, err = f.Contact(c.Root); err != nil || got.Petname != "Bob" || got.State != ContactBlocked {
		t.Fatalf("a change that was refused was written, %v", err)
	}
}

func TestChangesOfOneContactAtOnceAreAllKept(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.PutContact(Contact{Root: someone(1), Given: map[string]uint64{"n": 0}}))
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = f.UpdateContact(someone(1), func(c *Contact) error {
				if _, err := f.Contacts(); err != nil { // a change may read
					return err
				}
				c.Given["n"]++
				return nil
			})
		})
	}
	wg.Wait()
	f.ok(errors.Join(errs...))
	c, err := f.Contact(someone(1))
	f.ok(err)
	if c.Given["n"] != 40 {
		t.Fatalf("%d of 40 changes are there", c.Given["n"])
	}
}

func TestStrangersWaitInABoundedPool(t *testing.T) {
	f := newFolder(t, Options{MaxKnocks: 3})
	for n := range byte(3) {
		f.ok(f.PutKnock(Knock{Root: someone(n), Device: identity.DeviceID{n}, Message: message(1), Name: "n", Text: "first", Domain: "d.example", Home: home.PeerID, Received: f.Now().Add(-time.Duration(n) * time.Minute)}))
	}
	f.is(f.PutKnock(Knock{Root: someone(9), Received: f.Now()}), ErrKnocksFull)
	f.ok(f.PutKnock(Knock{Root: someone(1), Text: "again", Received: f.Now().Add(time.Minute)}))
	f.reopen()
	all, err := f.Knocks()
	f.ok(err)
	if len(all) != 3 || all[0].Root != someone(2) || all[2].Text != "again" || all[0].Text != "first" || all[0].Home != home.PeerID {
		t.Fatal("other knocks, or another order")
	}
	f.ok(f.RemoveKnock(someone(2)))
	f.ok(f.RemoveKnock(someone(2)))
	_, err = f.Knock(someone(2))
	f.is(err, ErrNotFound)
	f.ok(f.PutKnock(Knock{Root: someone(9), Received: f.Now()}))
	_, err = f.Knock(someone(9))
	f.ok(err)
}

func TestADocumentOnlyGoesForward(t *testing.T) {
	f := newFolder(t, Options{})
	_, err := f.Document("domain", "acme.example")
	f.is(err, ErrNotFound)
	d := Document{Kind: "domain", Name: "acme.example", Epoch: 5, Hash: [32]byte{5}, Bytes: []byte("five")}
	f.ok(f.Witness(d))
	f.ok(f.Witness(d))
	older, rival := d, d
	older.Epoch, older.Hash = 4, [32]byte{4}
	rival.Hash = [32]byte{6}
	f.is(f.Witness(older), ErrRollback)
	f.is(f.Witness(rival), ErrConflict)
	f.ok(f.Witness(Document{Kind: "descriptor", Name: "acme.example", Epoch: 1}))
	f.reopen()
	got, err := f.Document("domain", "acme.example")
	f.ok(err)
	if got.Epoch != 5 || got.Hash != d.Hash || !bytes.Equal(got.Bytes, d.Bytes) || got.Kind != "domain" || !got.Seen.Equal(f.Now()) {
		t.Fatalf("%+v", got)
	}
}

func TestNotesKeepTheirOrderAndTheirState(t *testing.T) {
	f := newFolder(t, Options{})
	bob, eve := someone(1), someone(2)
	var want []Note
	for n := range 6 {
		note := Note{ID: message(n), Contact: bob, Out: n%2 == 0, Text: string(rune('a' + n)), ReplyTo: message(n + 50),
			Created: f.Now(), Expires: f.Now().Add(time.Hour), State: NoteQueued}
		got, err := f.PutNote(note)
		f.ok(err)
		_, err = f.PutNote(Note{ID: message(n), Contact: eve, Text: "eve", State: NoteDelivered})
		f.ok(err)
		note.Seq = got.Seq
		want = append(want, note)
	}
	// The same id in the other direction is another note; in the same it is the same.
	reverse, err := f.PutNote(Note{ID: message(0), Contact: bob, Out: false, Text: "z", State: NoteDelivered})
	f.ok(err)
	again, err := f.PutNote(Note{ID: message(0), Contact: bob, Out: true, Text: "changed"})
	f.ok(err)
	if again.Text != "a" || again.Seq != want[0].Seq || reverse.Seq == want[0].Seq {
		t.Fatal("a note was written over")
	}
	want = append(want, reverse)
	f.reopen()
	got, err := f.Notes(bob, 0, 100)
	f.ok(err)
	if !reflect.DeepEqual(got, want) {
		t.Fatal("another history")
	}
	if got, err = f.Notes(bob, want[1].Seq, 2); err != nil || !reflect.DeepEqual(got, want[2:4]) {
		t.Fatalf("a page is another one, %v", err)
	}
	if got, err = f.RecentNotes(bob, 3); err != nil || !reflect.DeepEqual(got, want[4:]) {
		t.Fatalf("the last three are others, %v", err)
	}
	if got, err = f.RecentNotes(eve, 100); err != nil || len(got) != 6 {
		t.Fatalf("%d of eve, %v", len(got), err)
	}
	if got, err = f.RecentNotes(someone(3), 3); err != nil || len(got) != 0 {
		t.Fatalf("%d of nobody, %v", len(got), err)
	}
	n, err := f.UpdateNote(bob, true, message(2), func(n *Note) error { n.State, n.Code = NoteRefused, "quota"; return nil })
	f.ok(err)
	if n.State != NoteRefused {
		t.Fatal("the change came back differently")
	}
	if n, err = f.Note(bob, true, message(2)); err != nil || n.Code != "quota" || n.Text != "c" {
		t.Fatalf("the change was not written, %v", err)
	}
	_, err = f.UpdateNote(bob, true, message(99), func(*Note) error { return nil })
	f.is(err, ErrNotFound)
	if _, err = f.UpdateNote(bob, true, message(2), func(n *Note) error { n.ID = message(3); return nil }); err == nil {
		t.Fatal("a note changed its name")
	}
}

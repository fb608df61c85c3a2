package keep

import (
	"bytes"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

func TestPrekeysAreKeptAndRotate(t *testing.T) {
	f := newFolder(t, Options{})
	var ids []envelope.PrekeyID
	for n := range byte(3) {
		p, err := envelope.GeneratePrekey(f.Now().Add(time.Duration(n) * 24 * time.Hour))
		f.ok(err)
		seed := p.Seed()
		f.ok(f.PutPrekey(Prekey{ID: p.ID(), Created: p.Created(), Secret: seed[:]}))
		ids = append(ids, p.ID())
	}
	f.reopen()
	all, err := f.Prekeys()
	f.ok(err)
	if len(all) != 3 || all[0].ID != ids[2] || all[2].ID != ids[0] {
		t.Fatal("other prekeys, or not the newest first")
	}
	for _, p := range all {
		again, err := envelope.PrekeyFromSeed([32]byte(p.Secret), p.Created)
		f.ok(err)
		if again.ID() != p.ID {
			t.Fatal("another secret")
		}
	}
	f.ok(f.DeletePrekeys(ids[0], ids[1]))
	f.ok(f.DeletePrekeys(ids[0], [16]byte{99}))
	f.reopen()
	if all, err = f.Prekeys(); err != nil || len(all) != 1 || all[0].ID != ids[2] {
		t.Fatalf("%d prekeys, %v", len(all), err)
	}
	if err := f.PutPrekey(Prekey{ID: [16]byte{1}}); err == nil {
		t.Error("a prekey without a secret was taken")
	}
}

// bbolt keeps deleted bytes in its free pages. The test looks for the secret itself, and,
// since that is sealed, for the key that would open what is left of it.
func TestADeletedPrekeyIsGoneFromEveryFile(t *testing.T) {
	f := newFolder(t, Options{})
	gone := Prekey{ID: [16]byte{1}, Created: f.Now(), Secret: bytes.Repeat([]byte("to be deleted "), 3)}
	kept := Prekey{ID: [16]byte{2}, Created: f.Now(), Secret: bytes.Repeat([]byte("to be kept "), 3)}
	f.ok(f.PutPrekey(gone))
	f.ok(f.PutPrekey(kept))
	goneKey, _ := f.prekeys.Get(kv.KeyID(gone.ID))
	keptKey, _ := f.prekeys.Get(kv.KeyID(kept.ID))
	disk := f.disk()
	if !bytes.Contains(disk, goneKey[:]) || !bytes.Contains(disk, keptKey[:]) {
		t.Fatal("the search does not find what is there")
	}
	f.ok(f.DeletePrekeys(gone.ID))
	disk = f.disk()
	if bytes.Contains(disk, gone.Secret) || bytes.Contains(disk, kept.Secret) {
		t.Fatal("a secret stands on the disk in clear")
	}
	if bytes.Contains(disk, goneKey[:]) {
		t.Fatal("the key of the deleted secret is still there")
	}
	if !bytes.Contains(disk, keptKey[:]) {
		t.Fatal("the other key is gone too")
	}
	f.reopen()
	if bytes.Contains(f.disk(), goneKey[:]) {
		t.Fatal("it came back")
	}
	if all, err := f.Prekeys(); err != nil || len(all) != 1 || !bytes.Equal(all[0].Secret, kept.Secret) {
		t.Fatalf("%d prekeys, %v", len(all), err)
	}
}

func TestWhatIsForgottenOfAPersonIsGoneFromEveryFile(t *testing.T) {
	f := newFolder(t, Options{})
	bob := someone(1)
	text := []byte("a note that nobody is to find again")
	c := fullContact(1, f.Now())
	c.Text = string(text)
	f.ok(f.PutContact(c))
	_, err := f.PutNote(Note{ID: message(1), Contact: bob, Text: string(text), State: NoteDelivered})
	f.ok(err)
	_, err = f.PutNote(Note{ID: message(1), Contact: someone(2), Text: string(text), State: NoteDelivered})
	f.ok(err)
	f.ok(f.PutKnock(Knock{Root: bob, Text: string(text), Received: f.Now()}))
	f.ok(f.PutTransfer(Transfer{ID: FileID{1}, Contact: bob, Name: string(text), Secret: text, Units: 4}))
	f.ok(f.PutHome(Home{Domain: "acme.example", MailboxSecret: [32]byte(text)}))
	var keys []kv.Key
	for _, id := range []kv.KeyID{
		ringKey("contact", bob[:]), ringKey("notes", bob[:]), ringKey("knock", bob[:]),
		ringKey("transfer", transferKey(FileID{1}, false)), ringKey("home", []byte("acme.example")),
	} {
		k, ok := f.records.Get(id)
		if !ok || !bytes.Contains(f.disk(), k[:]) {
			t.Fatal("the search does not find what is there")
		}
		keys = append(keys, k)
	}
	f.ok(f.RemoveContact(bob))
	f.ok(f.RemoveKnock(bob))
	f.ok(f.RemoveTransfer(FileID{1}, false))
	f.ok(f.RemoveHome("acme.example"))
	disk := f.disk()
	if bytes.Contains(disk, text) {
		t.Error("text stands on the disk in clear")
	}
	for i, k := range keys {
		if bytes.Contains(disk, k[:]) {
			t.Errorf("key %d is still there", i)
		}
	}
	_, err = f.Contact(bob)
	f.is(err, ErrNotFound)
	_, err = f.Note(bob, false, message(1))
	f.is(err, ErrNotFound)
	if notes, err := f.Notes(someone(2), 0, 10); err != nil || len(notes) != 1 || notes[0].Text != string(text) {
		t.Errorf("somebody else's history: %d notes, %v", len(notes), err)
	}
	f.ok(f.RemoveContact(bob)) // again is no error
	f.reopen()
	_, err = f.PutNote(Note{ID: message(1), Contact: bob, Text: "anew", State: NoteDelivered})
	f.ok(err)
}

// A crash after the records are gone and before their keys are leaves keys that nothing
// needs; the next start drops them.
func TestKeysThatACrashHasLeftGoAtTheNextStart(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.PutPrekey(Prekey{ID: [16]byte{1}, Created: f.Now(), Secret: []byte("secret")}))
	f.ok(f.PutContact(Contact{Root: someone(1)}))
	for _, ring := range []*kv.Keyring{f.prekeys, f.records} {
		for n := range byte(5) {
			_, err := ring.Ensure(kv.KeyID{200, n})
			f.ok(err)
		}
		f.ok(ring.Flush())
	}
	f.reopen()
	if f.prekeys.Len() != 1 || f.records.Len() != 2 { // the device's and the contact's
		t.Fatalf("%d and %d keys", f.prekeys.Len(), f.records.Len())
	}
	if _, err := f.Contact(someone(1)); err != nil {
		t.Fatal(err)
	}
}

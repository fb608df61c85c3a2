package keep

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// FuzzRecords gives every decoder of records the same bytes: none may crash or take more
// memory than it is given, and what is taken can be written and read again.
func FuzzRecords(f *testing.F) {
	at := time.UnixMilli(1763640000123).UTC()
	f.Add([]byte{})
	f.Add(encodeProfile(Profile{Root: someone(1), Device: someone(2), Custody: CustodyPlain, Created: at}))
	f.Add(encodeHome(Home{Domain: "acme.example", URL: "https://acme.example", TokenEpoch: 2, Grace: true, Registered: at}))
	f.Add(encodeContact(fullContact(1, at)))
	f.Add(encodeKnock(Knock{Root: someone(1), Text: "hello", Received: at}))
	f.Add(encodeNote(Note{ID: message(1), Text: "text", Created: at, State: NoteRead, Acked: true}))
	f.Add(encodeSubmitted(Submitted{ID: envelope.ID{1}, Envelope: []byte("e"), At: at, Fate: FateRefused, Code: "quota"}))
	f.Add(encodeTransfer(Transfer{ID: FileID{1}, Name: "n", Manifest: []byte("m"), Units: 9, Started: at}))
	f.Add(encodeDocument(Document{Epoch: 3, Bytes: []byte("document"), Seen: at}))
	f.Add(fates{1, 2, 3, 4, 5, 6, 7, 8}.encode())
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAAAAAAAAAAAAAAAAAAAA 18\nrest"))
	f.Add(bytes.Repeat([]byte{255}, 400))
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, "profile", b, decodeProfile, encodeProfile)
		check(t, "home", b, decodeHome, encodeHome)
		check(t, "contact", b, decodeContact, encodeContact)
		check(t, "knock", b, decodeKnock, encodeKnock)
		check(t, "note", b, decodeNote, encodeNote)
		check(t, "submitted", b, decodeSubmitted, encodeSubmitted)
		check(t, "transfer", b, decodeTransfer, encodeTransfer)
		check(t, "document", b, decodeDocument, encodeDocument)
		check(t, "totals", b, decodeFates, fates.encode)
		if work, err := scryptWork(b); err == nil && (work < 1 || work > 255) {
			t.Fatalf("work factor %d", work)
		}
	})
}

func check[T any](t *testing.T, what string, b []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	v, err := decode(b)
	if err != nil {
		if !errors.Is(err, kv.ErrValue) {
			t.Fatalf("%s: %v", what, err)
		}
		return
	}
	once := encode(v)
	again, err := decode(once)
	if err != nil || !bytes.Equal(encode(again), once) {
		t.Fatalf("%s: written again it does not read the same: %v", what, err)
	}
	if len(once) > len(b)+80 {
		t.Fatalf("%s: %d bytes became %d", what, len(b), len(once))
	}
}

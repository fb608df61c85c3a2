package keep

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/internal/leak"
)

func fullRoom(n byte, at time.Time) Room {
	return Room{
		Base: "https://node.example", ID: [32]byte{n, 1}, Secret: [32]byte{n, 2, 3, 4, 5, 6, 7, 8}, Owner: true, Steward: [32]byte{n, 3, 9, 8, 7, 6, 5, 4},
		Card: []byte("a signed card with a title"), Expires: at.Add(time.Hour), Seen: at,
	}
}

func TestARoomIsWhatWasLastWrittenAndGoesForGood(t *testing.T) {
	f := newFolder(t, Options{})
	_, err := f.Room([32]byte{9})
	f.is(err, ErrNotFound)
	first, second := fullRoom(1, f.Now()), fullRoom(2, f.Now().Add(time.Minute))
	f.ok(f.PutRoom(first))
	f.ok(f.PutRoom(second))
	f.reopen()
	all, err := f.Rooms()
	f.ok(err)
	if len(all) != 2 || !reflect.DeepEqual(all[0], second) || !reflect.DeepEqual(all[1], first) {
		t.Fatal("other rooms, or another order")
	}
	first.Secret[0]++
	f.ok(f.PutRoom(first))
	if got, err := f.Room(first.ID); err != nil || got.Secret != first.Secret {
		t.Fatal("the new secret was not kept", err)
	}
	f.ok(f.RemoveRoom(second.ID))
	f.ok(f.RemoveRoom(second.ID)) // what is not there is no error
	if _, err := f.Room(second.ID); err != ErrNotFound {
		t.Fatal(err)
	}
	if f.PutRoom(Room{ID: [32]byte{5}, Card: make([]byte, maxRoomCard+1)}) == nil {
		t.Error("a card of any size is kept")
	}
	leak.NewHunt(t, leak.Text("title", "a signed card with a title"), leak.Secret("secret", first.Secret[:]), leak.Secret("id", first.ID[:]),
		leak.Secret("steward", first.Steward[:])).Dir("the folder", f.dir, leak.Text("a bucket of the file", "transfers"))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(format, first); strings.Contains(got, "node.example") || strings.Contains(got, "title") {
			t.Errorf("%s prints %s", format, got)
		}
	}
}

package bolt

import (
	"bytes"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// FuzzValues gives every decoder of stored values the same bytes: none may crash, and what
// is taken must be written again as it was.
func FuzzValues(f *testing.F) {
	at := time.UnixMilli(1763640000123).UTC()
	f.Add([]byte{})
	f.Add(encodeEntry(entry{id: envelope.ID{1}, expires: at.UnixMilli(), size: 1024, ttl: envelope.Week, knock: true}))
	f.Add(account{registered: at, epoch: 3, hash: [32]byte{1}, list: []byte("list")}.encode())
	f.Add(device{route: store.Route{Tag: envelope.RouteTag{1}, TokenEpoch: 2}, bundle: []byte("bundle"), earlier: []envelope.RouteTag{{2}, {3}}}.encode())
	f.Add(encodeInvitation(store.Invitation{Note: "note", Created: at, Uses: 3, Used: 1}))
	f.Add(encodeQueued(store.Queued{ID: envelope.ID{1}, Expires: at, Envelope: []byte("envelope")}))
	f.Add(bytes.Repeat([]byte{255}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, again []byte, err error) {
			t.Helper()
			if err == nil && !bytes.Equal(again, b) {
				t.Fatalf("%s: written again it is another value", what)
			}
		}
		e, err := decodeEntry(b)
		same("entry", encodeEntry(e), err)
		a, err := decodeAccount(b)
		same("account", a.encode(), err)
		d, err := decodeDevice(b)
		same("device", d.encode(), err)
		i, err := decodeInvitation(b)
		same("invitation", encodeInvitation(i), err)
		q, err := decodeQueued(b)
		same("queued", encodeQueued(q), err)

		var v store.Envelope
		if err := decodeEnvelope(b, &v); err == nil && len(v.Payload) > len(b) {
			t.Fatal("a payload longer than the value")
		}
		if _, err := openEnvelope(kv.Key{1}, b); err == nil {
			t.Fatal("opened under a key that nobody has")
		}
		if _, _, err := parseIndexKey(b); err == nil && len(b) != 24 {
			t.Fatal("an index key of another length")
		}
	})
}

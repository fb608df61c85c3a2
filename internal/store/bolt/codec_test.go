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
	f.Add(appendLogHeader(nil, store.MailboxID{2}, kv.KeyID{3}, &entry{id: envelope.ID{1}, expires: at.UnixMilli(), size: 1024, ttl: envelope.Week, knock: true}))
	f.Add(account{registered: at, epoch: 3, hash: [32]byte{1}, list: []byte("list")}.encode())
	f.Add(device{route: store.Route{Tag: envelope.RouteTag{1}, TokenEpoch: 2}, bundle: []byte("bundle"), earlier: []envelope.RouteTag{{2}, {3}}}.encode())
	f.Add(encodeInvitation(store.Invitation{Note: "note", Created: at, Uses: 3, Used: 1}))
	f.Add(encodeQueued(store.Queued{ID: envelope.ID{1}, Expires: at, Envelope: []byte("envelope")}))
	f.Add(bytes.Repeat([]byte{255}, 200))
	nobody, err := newSealer(kv.KeyID{1}, kv.Key{1})
	mustDo(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(what string, again []byte, err error) {
			t.Helper()
			if err == nil && !bytes.Equal(again, b) {
				t.Fatalf("%s: written again it is another value", what)
			}
		}
		box, keyID, e, err := decodeLogHeader(b)
		if err == nil && !bytes.Equal(appendLogHeader(nil, box, keyID, &e), b[:logHeader]) {
			t.Fatal("log header: written again it is another value")
		}
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
		if _, err := openEnvelope(nobody, b); err == nil {
			t.Fatal("opened under a key that nobody has")
		}
	})
}

func TestASealedEnvelopeOpensOnlyWhereItBelongs(t *testing.T) {
	s, err := newSealer(kv.KeyID{1}, kv.Key{2})
	mustDo(t, err)
	e := numbered(3, 100)
	e.Received, e.Collapse, e.Hint = time.UnixMilli(1763640000123).UTC(), envelope.CollapseKey{5}, [2]byte{6, 7}
	x := entry{id: e.ID, collapse: e.Collapse, size: 100, ttl: e.TTL}
	v, err := sealEnvelope(nil, s, &e, &x)
	mustDo(t, err)
	if len(v) != logSize+len(e.Payload) {
		t.Fatalf("%d bytes, want %d", len(v), logSize+len(e.Payload))
	}
	got, err := openEnvelope(s, v)
	mustDo(t, err)
	if !bytes.Equal(got.Payload, e.Payload) || got.ID != e.ID || got.Mailbox != e.Mailbox || got.Source != e.Source ||
		got.Hint != e.Hint || got.Collapse != e.Collapse || !got.Received.Equal(e.Received) {
		t.Fatalf("another envelope")
	}
	for _, at := range []int{entrySize, entrySize + 16, logHeader, plainStart, len(v) - 1} {
		bad := bytes.Clone(v)
		bad[at] ^= 1
		if _, err := openEnvelope(s, bad); err == nil {
			t.Errorf("byte %d does not count", at)
		}
	}
}

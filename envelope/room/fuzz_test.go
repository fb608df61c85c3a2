package room

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/identity"
)

// Every decoder of outside bytes has a target. Behind a signature it is reached by signing what
// the fuzzer has made: whoever has a device key can do that too.

func FuzzParseLink(f *testing.F) {
	f.Add(Link{Base: "https://node.example", Room: ID(seed(3)), Secret: Secret(seed(4))}.Text())
	f.Add("http://127.0.0.1:7420/r/#")
	f.Fuzz(func(t *testing.T, s string) {
		l, err := ParseLink(s)
		if err != nil {
			return
		}
		if again, err := ParseLink(l.Text()); err != nil || again != l {
			t.Fatalf("a link that was read is not read again: %v", err)
		}
	})
}

func FuzzCard(f *testing.F) {
	h := newHouse(f)
	f.Add(h.card.signed[identity.SignatureSize:])
	f.Fuzz(func(t *testing.T, msg []byte) {
		signed := h.owner.Device.SignObject(contextCard, msg)
		c, err := ParseCard(signed)
		if err != nil {
			return
		}
		again, err := SignCard(h.owner.Device, *c)
		if err != nil || !bytes.Equal(again.signed, signed) {
			t.Fatalf("another form of the same card: %v", err)
		}
	})
}

func FuzzCardBox(f *testing.F) {
	h := newHouse(f)
	box, err := h.keys.sealCard(h.card, seed(1))
	must(f, err)
	f.Add(box)
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := h.keys.OpenCard(h.id, b); err == nil && !bytes.Equal(b, box) && c.Room() != h.id {
			t.Fatal("a box that was never sealed opened")
		}
	})
}

func FuzzJoin(f *testing.F) {
	h := newHouse(f)
	bob := person(f, 4, "Bob")
	j := h.join(f, bob, 2)
	content, err := h.keys.open(h.id, labelAnnounce, j.Payload[handleSize:])
	must(f, err)
	f.Add(content[32+identity.SignatureSize:])
	f.Fuzz(func(t *testing.T, msg []byte) {
		signed := bob.Device.SignObject(identity.ContextJoin, msg)
		got, err := parseJoin(signed, h.id, base)
		if err != nil {
			return
		}
		if got.Index == 0 || got.JoinHash != hashOf(signed) || len(got.Name) > MaxName {
			t.Fatal("a JOIN out of its limits was read")
		}
		// Whatever was read can be answered.
		if _, _, err := got.Welcome(h.owner, h.keys, h.id, j.Own, base); err != nil {
			t.Fatalf("a JOIN that was read cannot be welcomed: %v", err)
		}
	})
}

func FuzzAnnouncement(f *testing.F) {
	h := newHouse(f)
	j := h.join(f, h.owner, 1)
	f.Add(j.Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := h.keys.OpenJoin(h.id, b, base); err == nil && !bytes.Equal(b, j.Payload) {
			t.Fatal("an announcement that was never made opened")
		}
	})
}

func FuzzWelcome(f *testing.F) {
	h := newHouse(f)
	alice := h.owner
	comes := h.join(f, person(f, 4, "Bob"), 2)
	// A fuzzing run has several processes, and each prepares its target anew: what is drawn
	// would be another one in each.
	b, err := os.ReadFile(filepath.Join("..", "..", "docs", "spec", "vectors", "room.json"))
	must(f, err)
	var fixed roomVectors
	must(f, json.Unmarshal(b, &fixed))
	payload := fixed.Welcome.Payload
	f.Add(payload, []byte{})
	f.Fuzz(func(t *testing.T, b, inner []byte) {
		comes.tries = 0
		if _, _, err := comes.Finish(b, base); err == nil && !bytes.Equal(b, payload) {
			t.Fatal("a welcome that was never made opened")
		}
		signed := alice.Device.SignObject(contextWelcome, inner)
		if w, err := parseWelcome(signed, h.id, base); err == nil && w.Index == 0 {
			t.Fatal("a WELCOME out of its limits was read")
		}
	})
}

func FuzzRoster(f *testing.F) {
	h := newHouse(f)
	r, err := SignRoster(h.owner, h.id, nil, []Seat{h.join(f, h.owner, 1).Own.Seat()}, nil, base)
	must(f, err)
	f.Add(r.signed[identity.SignatureSize:])
	f.Fuzz(func(t *testing.T, msg []byte) {
		signed := h.owner.Device.SignObject(identity.ContextRoster, msg)
		got, err := ParseRoster(signed)
		if err != nil {
			return
		}
		if got.Epoch == 0 || len(got.Seats) > MaxSeats || len(got.Banned) > MaxBanned || got.Hash != hashOf(signed) {
			t.Fatal("a roster out of its limits was read")
		}
	})
}

func FuzzMessage(f *testing.F) {
	for _, m := range messages(f) {
		b, err := MarshalMessage(m.message)
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		if again, err := MarshalMessage(m); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x (%v)", b, again, err)
		}
	})
}

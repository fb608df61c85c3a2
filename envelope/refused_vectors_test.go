package envelope

import (
	"slices"
	"testing"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

type refusedVectors struct {
	About    string          `json:"about"`
	Parties  [2]vectorParty  `json:"parties"`
	NowMS    int64           `json:"now_ms"`
	Payloads []refusedVector `json:"payloads"`
}

type refusedVector struct {
	Name    string `json:"name"`
	Reason  string `json:"reason"`
	Payload []byte `json:"payload_b64"`
}

// What a second implementation must drop. Several of these are opened without a word by a
// library of age that lets recipients be mixed.
func TestRefusedVectors(t *testing.T) {
	vectorFile(t, "envelope_refused.json", func(fixed *refusedVectors) *refusedVectors {
		a, b := vectorWorld(t)
		c := newParty(t, 3)
		a.knows(c)
		v := &refusedVectors{
			About: vectorEncoding + "Payloads that parties[1] drops although age opens all but one of them, each with the word that the " +
				"local counter uses. parties[0] is an accepted contact. The first is good and is opened.",
			Parties: vectorParties(t, a, b),
			NowMS:   base.UnixMilli(),
		}
		hybrid := b.bundle().recipient
		signed := a.inner(&Note{Text: "x"}, b)
		block := func(change func([]byte)) []byte {
			plain := make([]byte, bucket4K-ageOverhead)
			must(t, Pad(plain, signed))
			change(plain)
			return sealPlain(t, plain, b)
		}
		forged := func(change func(*pb.Inner)) []byte { return a.sealSignedTo(a.forge(b, change), b) }
		raw := func(msg []byte) []byte {
			return a.sealSignedTo(a.device.SignObject(identity.ContextInner, msg), b)
		}
		classic, err := age.GenerateX25519Identity()
		must(t, err)
		msg := signed[identity.SignatureSize:]
		other := c.root.Public()
		for i, r := range []struct {
			name, reason string
			payload      func() []byte
		}{
			{"good", "", func() []byte { return a.sealSignedTo(signed, b) }},
			{"hybrid and classic stanza", "recipients", func() []byte {
				return sealWith(t, bucket4K, signed, hidden{hybrid}, classic.Recipient())
			}},
			{"two hybrid stanzas", "recipients", func() []byte { return sealWith(t, bucket8K, signed, hybrid, hybrid) }},
			{"grease stanza", "recipients", func() []byte { return sealWith(t, bucket4K, signed, hidden{hybrid}, grease{}) }},
			{"classic stanza only", "decrypt", func() []byte { return sealWith(t, bucket4K, signed, classic.Recipient()) }},
			{"padding not zero", "malformed", func() []byte { return block(func(p []byte) { p[len(p)-1] = 1 }) }},
			{"length beyond the block", "malformed", func() []byte { return block(func(p []byte) { p[0] = 0xff }) }},
			{"unknown field", "malformed", func() []byte {
				return raw(protowire.AppendBytes(protowire.AppendTag(slices.Clone(msg), 99, protowire.BytesType), []byte{1}))
			}},
			{"long varint", "malformed", func() []byte { return raw(slices.Concat([]byte{0x08, 0x81, 0x00}, msg[2:])) }},
			{"signed under another context", "sender", func() []byte {
				return a.sealSignedTo(a.device.SignObject(identity.ContextDeviceCert, msg), b)
			}},
			{"sender root swapped", "sender", func() []byte { return forged(func(m *pb.Inner) { m.SenderRoot = other[:] }) }},
			{"made for someone else", "recipient", func() []byte { return a.sealSignedTo(a.inner(&Note{Text: "x"}, c), b) }},
			{"other route tag", "recipient", func() []byte { return forged(func(m *pb.Inner) { m.RouteTag = make([]byte, 16) }) }},
			{"expired", "time", func() []byte {
				return forged(func(m *pb.Inner) {
					m.Expires = uint64(base.Add(-3 * time.Minute).UnixMilli())
					m.Created = m.Expires - 1000
				})
			}},
			{"created six minutes ahead", "time", func() []byte {
				return forged(func(m *pb.Inner) { m.Created += 6 * 60 * 1000; m.Expires = m.Created + 1000 })
			}},
			{"suite 2", "malformed", func() []byte { return forged(func(m *pb.Inner) { m.Suite = 2 }) }},
		} {
			var payload []byte
			if fixed != nil {
				if fixed.Payloads[i].Name != r.name {
					t.Fatalf("vector %d is %q", i, fixed.Payloads[i].Name)
				}
				payload = fixed.Payloads[i].Payload
			} else {
				payload = r.payload()
			}
			_, err := b.open(payload)
			reason := ""
			if err != nil {
				reason = DropReason(err)
			}
			if reason != r.reason {
				t.Errorf("%s: dropped for %q, want %q: %v", r.name, reason, r.reason, err)
			}
			v.Payloads = append(v.Payloads, refusedVector{r.name, reason, payload})
		}
		return v
	})
}

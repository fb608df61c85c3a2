package envelope

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// What travels inside: bodies, session messages, hops and bundles, with what must be refused of
// each. Nothing here is drawn at random, so all of it comes out byte for byte.

type bodyVectors struct {
	About           string         `json:"about"`
	Bodies          []bodyVector   `json:"bodies"`
	Refused         []bodyVector   `json:"bodies_refused"`
	Session         []bodyVector   `json:"session_messages"`
	SessionRefused  []bodyVector   `json:"session_messages_refused"`
	Hops            []hopPlain     `json:"hop_plaintexts"`
	List            hexBytes       `json:"bundle_list"`
	NowMS           int64          `json:"now_ms"`
	Bundles         []bundleVector `json:"bundles"`
	MaxLifetimes    map[string]int `json:"max_lifetime_ms"`
	MessageCarriers []carrier      `json:"who_may_send"`
}

type bodyVector struct {
	Name   string         `json:"name"`
	Type   int            `json:"type"`
	Fields map[string]any `json:"fields,omitempty"`
	Body   hexBytes       `json:"body"`
}

type hopPlain struct {
	Name    string   `json:"name"`
	Plain   hexBytes `json:"plain"`
	TTL     int      `json:"ttl"`
	Payload int      `json:"payload_size"`
	Accept  bool     `json:"accept"`
}

type bundleVector struct {
	Name   string   `json:"name"`
	Accept bool     `json:"accept"`
	Bundle hexBytes `json:"bundle"`
}

type carrier struct {
	Standing string `json:"standing"`
	Types    []int  `json:"types"`
}

func TestBodyVectors(t *testing.T) {
	vectorFile(t, "bodies.json", func(*bodyVectors) *bodyVectors {
		a, b := vectorWorld(t)
		v := &bodyVectors{
			About: vectorEncoding + "Canonical bodies of message types (envelope.md, sections 6 and 7) and of session messages " +
				"(session.md, section 5), hop plaintexts (envelope.md, section 3) and bundles, which are held against bundle_list " +
				"at now_ms. A refused one is wrong in what its name says and in nothing else.",
			List: b.list.Bytes(), NowMS: base.UnixMilli(), MaxLifetimes: map[string]int{},
		}
		v.Bodies, v.Refused = bodies(t, a, b)
		v.Session, v.SessionRefused = sessionBodies(t)
		v.Hops = hopPlaintexts()
		v.Bundles = bundles(t, b)
		for i := range len(pb.Type_name) - 1 {
			kind := pb.Type(i + 1)
			v.MaxLifetimes[strings.TrimPrefix(kind.String(), "TYPE_")] = int(MaxLifetime(kind).Milliseconds())
		}
		for i, name := range []string{"stranger", "knocked", "accepted", "blocked", "own"} {
			c := carrier{Standing: name, Types: []int{}}
			for kind := range pb.Type_name {
				if maySend(Standing(i), pb.Type(kind)) {
					c.Types = append(c.Types, int(kind))
				}
			}
			slices.Sort(c.Types)
			v.MessageCarriers = append(v.MessageCarriers, c)
		}
		return v
	})
}

func bodies(t *testing.T, a, b *party) (good, refused []bodyVector) {
	t.Helper()
	x := func(p []byte) string { return hex.EncodeToString(p) }
	fill := func(n byte, size int) []byte { return bytes.Repeat([]byte{n}, size) }
	kem, _, _ := suiteXWing()
	seed := seed(0x91)
	ephemeral, err := kem.NewPrivateKey(seed[:])
	must(t, err)
	key := ephemeral.PublicKey().Bytes()
	home := func() map[string]any {
		return map[string]any{"domain": a.home.Domain, "peer_id": x(a.home.PeerID[:])}
	}
	reply := ReplyAddress{Home: a.home, Tag: a.tag, Token: a.token, Handle: Handle(fill(0x92, 8))}
	replyFields := func(handle bool) map[string]any {
		m := home()
		m["route_tag"], m["token"] = x(a.tag[:]), x(a.token[:])
		if handle {
			m["handle"] = x(reply.Handle[:])
		}
		return m
	}
	accepted := reply
	accepted.Handle = Handle{}
	with := func(m map[string]any, more map[string]any) map[string]any {
		for k, v := range more {
			m[k] = v
		}
		return m
	}
	root, grant := b.root.Public(), *a.grant()
	grantFields := with(home(), map[string]any{"route_tag": x(grant.Tag[:]), "token": x(grant.Token[:]), "token_epoch": 1, "device": x(grant.Device[:])})
	knock := &Knock{Text: "It is me", Name: "Ännchen", Home: a.home}
	knockFields := func() map[string]any { return with(home(), map[string]any{"text": knock.Text, "name": knock.Name}) }
	for _, c := range []struct {
		name   string
		body   Body
		fields map[string]any
	}{
		{"KNOCK", knock, knockFields()},
		{"KNOCK without words", &Knock{Home: a.home}, home()},
		{"KNOCK_ACCEPT", &Knock{Accept: true, Text: knock.Text, Name: knock.Name, Home: a.home}, knockFields()},
		{"NOTE", &Note{Text: "Grüße\n☎"}, map[string]any{"text": "Grüße\n☎"}},
		{"NOTE that answers", &Note{Text: "yes", ReplyTo: MessageID(fill(5, 16))}, map[string]any{"text": "yes", "reply_to": x(fill(5, 16))}},
		{"NOTE without words", &Note{}, map[string]any{}},
		{"READ", &Read{IDs: []MessageID{MessageID(fill(1, 16)), MessageID(fill(2, 16))}}, map[string]any{"message_ids": []string{x(fill(1, 16)), x(fill(2, 16))}}},
		{"RING", &RingBody{Ephemeral: key, Media: pb.Media_MEDIA_AUDIO, Reply: reply, Collapse: CollapseKey(fill(3, 16))},
			map[string]any{"ephemeral_seed": x(seed[:]), "media": 1, "reply": replyFields(true), "collapse_key": x(fill(3, 16))}},
		{"RING for files", &RingBody{Ephemeral: key, Reply: reply, Collapse: CollapseKey(fill(3, 16))},
			map[string]any{"ephemeral_seed": x(seed[:]), "media": 0, "reply": replyFields(true), "collapse_key": x(fill(3, 16))}},
		{"ACCEPT", &RingAnswer{Kind: pb.Type_TYPE_ACCEPT, RingHash: [32]byte(fill(4, 32)), EncHash: [32]byte(fill(5, 32)), Reply: accepted},
			map[string]any{"ring_hash": x(fill(4, 32)), "enc_hash": x(fill(5, 32)), "reply": replyFields(false)}},
		{"DECLINE", &RingAnswer{Kind: pb.Type_TYPE_DECLINE, RingHash: [32]byte(fill(4, 32)), EncHash: [32]byte(fill(5, 32)), Reason: pb.Reason_REASON_DECLINED},
			map[string]any{"ring_hash": x(fill(4, 32)), "enc_hash": x(fill(5, 32)), "reason": 3}},
		{"BUSY", &RingAnswer{Kind: pb.Type_TYPE_BUSY, RingHash: [32]byte(fill(4, 32)), EncHash: [32]byte(fill(5, 32)), Reason: pb.Reason_REASON_BUSY},
			map[string]any{"ring_hash": x(fill(4, 32)), "enc_hash": x(fill(5, 32)), "reason": 4}},
		{"CANCEL", &Cancel{RingHash: [32]byte(fill(4, 32)), Reason: pb.Reason_REASON_ANSWERED_ELSEWHERE}, map[string]any{"ring_hash": x(fill(4, 32)), "reason": 2}},
		{"LIST_UPDATE", &ListUpdate{List: a.list.Bytes()}, map[string]any{"list": x(a.list.Bytes())}},
		{"CONTACT_SYNC", &ContactSync{Root: root, Home: a.home, State: pb.ContactState_CONTACT_STATE_ACCEPTED, Name: "B", Grants: []Grant{grant}},
			with(home(), map[string]any{"root_key": x(root[:]), "state": 1, "name": "B", "grants": []any{grantFields}})},
		{"CONTACT_SYNC, blocked", &ContactSync{Root: root, Home: a.home, State: pb.ContactState_CONTACT_STATE_BLOCKED},
			with(home(), map[string]any{"root_key": x(root[:]), "state": 2})},
	} {
		raw, err := c.body.Marshal()
		must(t, err)
		if _, err := ParseBody(c.body.Type(), raw); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		good = append(good, bodyVector{c.name, int(c.body.Type()), c.fields, raw})
	}
	// TOKEN_UPDATE has no body; what it says is the grant of the message.
	good = append(good, bodyVector{"TOKEN_UPDATE", int(pb.Type_TYPE_TOKEN_UPDATE), map[string]any{}, hexBytes{}})
	good = append(good, bodyVector{"COMPARED", int(pb.Type_TYPE_COMPARED), map[string]any{}, hexBytes{}})

	of := func(name string) []byte {
		for _, v := range good {
			if v.Name == name {
				return bytes.Clone(v.Body)
			}
		}
		t.Fatalf("no body %s", name)
		return nil
	}
	field := func(b []byte, n protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), value)
	}
	number := func(b []byte, n protowire.Number, value uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), value)
	}
	ringWith := func(change func(key []byte)) []byte {
		k := bytes.Clone(key)
		change(k)
		raw, err := (&RingBody{Ephemeral: k, Media: pb.Media_MEDIA_AUDIO, Reply: reply, Collapse: CollapseKey(fill(3, 16))}).Marshal()
		must(t, err)
		return raw
	}
	replyWith := func(change func(*ReplyAddress)) []byte {
		r := reply
		change(&r)
		raw, err := (&RingBody{Ephemeral: key, Media: pb.Media_MEDIA_AUDIO, Reply: r, Collapse: CollapseKey(fill(3, 16))}).Marshal()
		must(t, err)
		return raw
	}
	for _, c := range []struct {
		name string
		kind pb.Type
		body []byte
	}{
		{"KNOCK of 513 bytes of text", pb.Type_TYPE_KNOCK, field(field(field(nil, 1, fill('x', 513)), 3, []byte(a.home.Domain)), 4, a.home.PeerID[:])},
		{"KNOCK with a line feed in the name", pb.Type_TYPE_KNOCK, field(field(field(nil, 2, []byte("a\nb")), 3, []byte(a.home.Domain)), 4, a.home.PeerID[:])},
		{"KNOCK without a home", pb.Type_TYPE_KNOCK, field(nil, 1, []byte("hello"))},
		{"KNOCK from a domain in upper case", pb.Type_TYPE_KNOCK, field(field(nil, 3, []byte("ACME.example")), 4, a.home.PeerID[:])},
		{"NOTE of 16,385 bytes", pb.Type_TYPE_NOTE, field(nil, 1, fill('x', MaxNoteText+1))},
		{"NOTE with NUL", pb.Type_TYPE_NOTE, field(nil, 1, []byte("a\x00b"))},
		{"NOTE that is not UTF-8", pb.Type_TYPE_NOTE, field(nil, 1, []byte{0xff})},
		{"NOTE that answers 15 bytes", pb.Type_TYPE_NOTE, field(field(nil, 1, []byte("a")), 2, fill(1, 15))},
		{"NOTE with an unknown field", pb.Type_TYPE_NOTE, field(of("NOTE"), 9, []byte{1})},
		{"READ of nothing", pb.Type_TYPE_READ, nil},
		{"READ of 65", pb.Type_TYPE_READ, bytes.Repeat(field(nil, 1, fill(1, 16)), 65)},
		{"READ of 15 bytes", pb.Type_TYPE_READ, field(nil, 1, fill(1, 15))},
		{"RING with a low-order X25519 part", pb.Type_TYPE_RING, ringWith(func(k []byte) { clear(k[1184:]) })},
		{"RING with ML-KEM coefficients out of range", pb.Type_TYPE_RING, ringWith(func(k []byte) { k[0], k[1], k[2] = 0xff, 0xff, 0xff })},
		{"RING without a reply token", pb.Type_TYPE_RING, replyWith(func(r *ReplyAddress) { r.Token = Token{} })},
		{"RING without a reply address", pb.Type_TYPE_RING, field(number(field(nil, 1, key), 2, 1), 4, fill(3, 16))},
		{"RING for media 3", pb.Type_TYPE_RING, func() []byte {
			b := of("RING")
			b[1+2+1216+1] = 3 // tag, length of 1,216, key, tag
			return b
		}()},
		{"ACCEPT with a handle", pb.Type_TYPE_ACCEPT, func() []byte {
			raw := field(field(nil, 1, fill(4, 32)), 2, fill(5, 32))
			addr := field(field(field(field(field(nil, 1, a.home.PeerID[:]), 2, []byte(a.home.Domain)), 3, a.tag[:]), 4, a.token[:]), 5, fill(1, 8))
			return field(raw, 3, addr)
		}()},
		{"ACCEPT without a reply address", pb.Type_TYPE_ACCEPT, field(field(nil, 1, fill(4, 32)), 2, fill(5, 32))},
		{"ACCEPT with a reason", pb.Type_TYPE_ACCEPT, number(of("ACCEPT"), 4, 3)},
		{"DECLINE without a reason", pb.Type_TYPE_DECLINE, field(field(nil, 1, fill(4, 32)), 2, fill(5, 32))},
		{"DECLINE for reason 7", pb.Type_TYPE_DECLINE, number(field(field(nil, 1, fill(4, 32)), 2, fill(5, 32)), 4, 7)},
		{"CANCEL without a reason", pb.Type_TYPE_CANCEL, field(nil, 1, fill(4, 32))},
		{"CANCEL of 31 bytes", pb.Type_TYPE_CANCEL, number(field(nil, 1, fill(4, 31)), 2, 1)},
		{"LIST_UPDATE of 4,097 bytes", pb.Type_TYPE_LIST_UPDATE, field(nil, 1, fill(1, 4097))},
		{"TOKEN_UPDATE with a body", pb.Type_TYPE_TOKEN_UPDATE, []byte{0x08, 0x01}},
		{"COMPARED with a body", pb.Type_TYPE_COMPARED, []byte{0x08, 0x01}},
		{"CONTACT_SYNC without a state", pb.Type_TYPE_CONTACT_SYNC, field(field(field(nil, 1, root[:]), 2, []byte(a.home.Domain)), 3, a.home.PeerID[:])},
		{"type 14", 14, nil},
	} {
		if _, err := ParseBody(c.kind, c.body); err == nil {
			t.Errorf("%s: read", c.name)
		}
		refused = append(refused, bodyVector{Name: c.name, Type: int(c.kind), Body: c.body})
	}
	return good, refused
}

func sessionBodies(t *testing.T) (good, refused []bodyVector) {
	t.Helper()
	line := "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host"
	describe := func(kind pb.SessionType, generation uint32) (*pb.SessionMessage, map[string]any) {
		m := aDescription(kind)
		m.Generation = generation
		f := map[string]any{"sdp": string(m.Sdp), "fingerprint": hex.EncodeToString(m.Fingerprint), "ufrag": m.Ufrag, "setup": int(m.Setup)}
		if generation > 0 {
			f["generation"] = int(generation)
		}
		return m, f
	}
	offer, offerFields := describe(pb.SessionType_SESSION_OFFER, 0)
	answer, answerFields := describe(pb.SessionType_SESSION_ANSWER, 1)
	for _, c := range []struct {
		name   string
		m      *pb.SessionMessage
		fields map[string]any
	}{
		{"CONFIRM", &pb.SessionMessage{Type: pb.SessionType_SESSION_CONFIRM}, map[string]any{}},
		{"OFFER", offer, offerFields},
		{"ANSWER after a restart", answer, answerFields},
		{"ICE", &pb.SessionMessage{Type: pb.SessionType_SESSION_ICE, Candidates: []string{line}, Generation: 2}, map[string]any{"candidates": []string{line}, "generation": 2}},
		{"ICE_END", &pb.SessionMessage{Type: pb.SessionType_SESSION_ICE_END}, map[string]any{}},
		{"RESTART", &pb.SessionMessage{Type: pb.SessionType_SESSION_RESTART, Generation: 1}, map[string]any{"generation": 1}},
		{"BYE", &pb.SessionMessage{Type: pb.SessionType_SESSION_BYE, Reason: pb.Reason_REASON_ENDED}, map[string]any{"reason": 1}},
		{"BYE for an alarm", &pb.SessionMessage{Type: pb.SessionType_SESSION_BYE, Reason: pb.Reason_REASON_ALARM}, map[string]any{"reason": 7}},
		{"BYE for a reason of a later version", &pb.SessionMessage{Type: pb.SessionType_SESSION_BYE, Reason: 99}, map[string]any{"reason": 99}},
	} {
		raw, err := MarshalSessionMessage(c.m)
		must(t, err)
		good = append(good, bodyVector{c.name, int(c.m.Type), c.fields, raw})
	}
	for _, c := range []struct {
		name string
		m    *pb.SessionMessage
	}{
		{"OFFER without SDP", &pb.SessionMessage{Type: pb.SessionType_SESSION_OFFER, Fingerprint: make([]byte, 32), Ufrag: "abcd", Setup: 3}},
		{"OFFER with a fingerprint of 20 bytes", &pb.SessionMessage{Type: pb.SessionType_SESSION_OFFER, Sdp: []byte("v=0"), Fingerprint: make([]byte, 20), Ufrag: "abcd", Setup: 3}},
		{"OFFER with setup 4", &pb.SessionMessage{Type: pb.SessionType_SESSION_OFFER, Sdp: []byte("v=0"), Fingerprint: make([]byte, 32), Ufrag: "abcd", Setup: 4}},
		{"ICE with SDP", &pb.SessionMessage{Type: pb.SessionType_SESSION_ICE, Sdp: []byte("v=0"), Candidates: []string{line}}},
		{"ICE without candidates", &pb.SessionMessage{Type: pb.SessionType_SESSION_ICE}},
		{"BYE without a reason", &pb.SessionMessage{Type: pb.SessionType_SESSION_BYE}},
		{"BYE for reason -1", &pb.SessionMessage{Type: pb.SessionType_SESSION_BYE, Reason: -1}},
		{"CONFIRM with a reason", &pb.SessionMessage{Type: pb.SessionType_SESSION_CONFIRM, Reason: pb.Reason_REASON_ENDED}},
		{"RESTART with candidates", &pb.SessionMessage{Type: pb.SessionType_SESSION_RESTART, Candidates: []string{line}}},
		{"type 8", &pb.SessionMessage{Type: 8}},
		{"no type", &pb.SessionMessage{}},
	} {
		raw, err := marshalBody(c.m)
		must(t, err)
		if _, err := ParseSessionMessage(raw); err == nil {
			t.Errorf("%s: read", c.name)
		}
		refused = append(refused, bodyVector{Name: c.name, Type: int(c.m.Type), Body: raw})
	}
	return good, refused
}

func hopPlaintexts() (out []hopPlain) {
	plain := func(h Hop, flags byte) hexBytes {
		return hexBytes(bytes.Join([][]byte{h.Tag[:], h.Token[:], h.Collapse[:], h.Hint[:], {flags}}, nil))
	}
	knock := someHop
	knock.Token, knock.Collapse = Token{}, CollapseKey{}
	for _, c := range []struct {
		name    string
		plain   hexBytes
		ttl     TTL
		payload int
	}{
		{"note", plain(someHop, 0), Week, 8192},
		{"frame", plain(Hop{Tag: someHop.Tag, Token: someHop.Token}, 0), Live, 1024},
		{"knock", plain(knock, 1), Week, 4096},
		{"knock of 8,192", plain(knock, 1), Week, 8192},
		{"knock with a token", plain(someHop, 1), Week, 4096},
		{"knock of the live class", plain(knock, 1), Live, 4096},
		{"unknown flag", plain(someHop, 2), Week, 4096},
		{"50 bytes", plain(someHop, 0)[:50], Week, 4096},
		{"52 bytes", append(plain(someHop, 0), 0), Week, 4096},
	} {
		h, err := parseHop(c.plain)
		if err == nil {
			err = checkHop(c.ttl, c.payload, h)
		}
		out = append(out, hopPlain{c.name, c.plain, int(c.ttl), c.payload, err == nil})
	}
	return out
}

func bundles(t *testing.T, b *party) (out []bundleVector) {
	t.Helper()
	key := func(change func([]byte) []byte) []byte { return withKey(t, b, change) }
	for _, c := range []struct {
		name   string
		bundle []byte
	}{
		{"good", b.bundle().Bytes()},
		{"suites 1 and 2", resign(t, b, func(m *pb.PrekeyBundle) { m.Suites = []uint32{1, 2} })},
		{"suite 2 only", resign(t, b, func(m *pb.PrekeyBundle) { m.Suites = []uint32{2} })},
		{"suites not ascending", resign(t, b, func(m *pb.PrekeyBundle) { m.Suites = []uint32{2, 1} })},
		{"signed by another device", newParty(t, 3).device.SignObject(identity.ContextPrekey, b.bundle().Bytes()[identity.SignatureSize:])},
		{"signed under another context", b.device.SignObject(identity.ContextInner, b.bundle().Bytes()[identity.SignatureSize:])},
		{"of a device that is not listed", func() []byte {
			ghost := identity.DeviceFromSeed(seed(0x66))
			x, err := b.prekeys.Current().Bundle(ghost, b.root.Public(), b.list.Epoch, Route{Home: b.home, Tag: b.tag})
			must(t, err)
			return x.Bytes()
		}()},
		{"newer than the list", resign(t, b, func(m *pb.PrekeyBundle) { m.Epoch++ })},
		{"past its end", resign(t, b, func(m *pb.PrekeyBundle) { m.NotBefore -= 7 * 86400; m.NotAfter -= 7 * 86400 })},
		{"of tomorrow", resign(t, b, func(m *pb.PrekeyBundle) { m.NotBefore += 86400; m.NotAfter += 86400 })},
		{"nine days", resign(t, b, func(m *pb.PrekeyBundle) { m.NotAfter += 2 * 86400 })},
		{"beginning within a day", resign(t, b, func(m *pb.PrekeyBundle) { m.NotBefore++ })},
		{"route is no home of the list", resign(t, b, func(m *pb.PrekeyBundle) { m.Route.PeerId = strayHome.PeerID.Bytes() })},
		{"other prekey id", resign(t, b, func(m *pb.PrekeyBundle) { m.PrekeyId = make([]byte, 16) })},
		{"key of 1,215 bytes", key(func(k []byte) []byte { return k[:1215] })},
		{"key of 1,217 bytes", key(func(k []byte) []byte { return append(k, 1) })},
		{"classic recipient", key(func(k []byte) []byte { return k[1184:] })},
		{"ML-KEM coefficients out of range", key(func(k []byte) []byte { k[0], k[1], k[2] = 0xff, 0xff, 0xff; return k })},
		{"low-order X25519 part", key(func(k []byte) []byte { clear(k[1184:]); return k })},
	} {
		_, err := ParseBundle(c.bundle, b.list, base)
		out = append(out, bundleVector{c.name, err == nil, c.bundle})
	}
	for i, v := range out {
		if v.Accept != (i < 2) {
			t.Errorf("%s: accepted %v", v.Name, v.Accept)
		}
	}
	return out
}

package envelope

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

func cardKey(t testing.TB, n byte) *ecdh.PrivateKey {
	t.Helper()
	s := seed(n)
	k, err := ecdh.X25519().NewPrivateKey(s[:])
	must(t, err)
	return k
}

// card is a card of p: everything in it follows from n.
func (p *party) card(kind CardKind, n byte, change func(*Card)) (*Card, []byte) {
	p.t.Helper()
	c := &Card{
		Kind: kind, Cert: p.cert, ID: [16]byte(bytes.Repeat([]byte{n}, 16)), Created: base, Expires: base.Add(CardLifetime),
		Ephemeral: [32]byte(cardKey(p.t, n).PublicKey().Bytes()), Ufrag: "uF+/", Pwd: "abcdefghijklmnopqrstuv", Fingerprint: seed(n ^ 0xff),
		Candidates: []CardCandidate{{Type: CardHost, Addr: netip.MustParseAddrPort("192.0.2.7:50000")}},
	}
	if kind == CardOffer {
		c.Media = pb.Media_MEDIA_VIDEO
	}
	if change != nil {
		change(c)
	}
	signed, err := c.Sign(p.device, base)
	must(p.t, err)
	return c, signed
}

// forgeCard changes what p signed and signs it again: what a hostile but real device can make.
func (p *party) forgeCard(kind CardKind, change func(*pb.Card)) []byte {
	p.t.Helper()
	answerTo := func(c *Card) { c.Offer = seed(9) }
	if kind == CardOffer {
		answerTo = nil
	}
	_, signed := p.card(kind, 0xa1, answerTo)
	var m pb.Card
	must(p.t, canon.Unmarshal(signed[identity.SignatureSize:], MaxCard, &m))
	change(&m)
	msg, err := canon.Marshal(&m)
	must(p.t, err)
	return p.device.SignObject(identity.ContextCard, msg)
}

type cardVectors struct {
	About   string         `json:"about"`
	Parties [2]vectorParty `json:"parties"`
	NowMS   int64          `json:"now_ms"`
	Good    []cardVector   `json:"good"`
	Session cardSession    `json:"session"`
	Refused []refusedCard  `json:"refused"`
	Texts   []refusedText  `json:"refused_texts"`
}

type cardVector struct {
	Name          string        `json:"name"`
	By            int           `json:"by"`
	Kind          int           `json:"kind"`
	ID            hexBytes      `json:"id"`
	Created       int64         `json:"created"`
	Expires       int64         `json:"expires"`
	EphemeralSeed hexBytes      `json:"ephemeral_seed"`
	Ephemeral     hexBytes      `json:"ephemeral"`
	Ufrag         string        `json:"ufrag"`
	Pwd           string        `json:"pwd"`
	Fingerprint   hexBytes      `json:"fingerprint"`
	Candidates    []cardAddress `json:"candidates"`
	Media         int           `json:"media"`
	RelayOnly     bool          `json:"relay_only"`
	Called        string        `json:"called"`
	Domain        string        `json:"domain"`
	PeerID        hexBytes      `json:"peer_id"`
	Offer         hexBytes      `json:"offer"`
	Signed        hexBytes      `json:"signed"`
	Hash          hexBytes      `json:"hash"`
	Link          string        `json:"link"`
	AppLink       string        `json:"app_link"`
	QR            string        `json:"qr"`
}

// cardAddress is a candidate: an address, or the UUID behind which a browser hides it.
type cardAddress struct {
	Type    int      `json:"type"`
	Address string   `json:"address"`
	Name    hexBytes `json:"name"`
	Port    int      `json:"port"`
	Bytes   hexBytes `json:"bytes"`
}

type cardSession struct {
	Offer       hexBytes     `json:"offer"`
	Answer      hexBytes     `json:"answer"`
	OfferSeed   hexBytes     `json:"offer_ephemeral_seed"`
	AnswerSeed  hexBytes     `json:"answer_ephemeral_seed"`
	Transcript0 hexBytes     `json:"transcript_of_cards"`
	Bindings0   []vectorBind `json:"bindings_of_cards"`
	XWingSeed   hexBytes     `json:"xwing_seed"`
	Key         hexBytes     `json:"xwing_key"`
	Enc         hexBytes     `json:"encapsulation"`
	Transcript  hexBytes     `json:"transcript"`
	Keys        vectorKeys   `json:"keys"`
	Bindings    []vectorBind `json:"channel_bindings"`
}

type refusedCard struct {
	Name   string   `json:"name"`
	Reason string   `json:"reason"`
	Want   int      `json:"want"` // the kind that is wanted
	NowMS  int64    `json:"now_ms"`
	Pinned bool     `json:"pinned"` // the reader knows the newest list of parties[0]
	Signed hexBytes `json:"signed"`
}

type refusedText struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Text   string `json:"text"`
}

func uuid(n byte) [16]byte { return [16]byte(bytes.Repeat([]byte{n}, 16)) }

func goodCards(t *testing.T, a, b *party) (out []cardVector, offer, answer *Card) {
	t.Helper()
	add := func(name string, by int, p *party, kind CardKind, n byte, change func(*Card)) *Card {
		c, signed := p.card(kind, n, change)
		parsed, err := ParseCard(signed)
		must(t, err)
		if parsed.Hash() != sha256.Sum256(signed) || parsed.Hash() != c.Hash() {
			t.Fatal("another hash")
		}
		s, h := seed(n), c.Hash()
		v := cardVector{
			Name: name, By: by, Kind: int(c.Kind), ID: c.ID[:], Created: c.Created.Unix(), Expires: c.Expires.Unix(), EphemeralSeed: s[:], Ephemeral: c.Ephemeral[:],
			Ufrag: c.Ufrag, Pwd: c.Pwd, Fingerprint: c.Fingerprint[:], Media: int(c.Media), RelayOnly: c.RelayOnly, Called: c.Name,
			Signed: signed, Hash: h[:], Link: CardLink("https://acme.example", signed), AppLink: CardLink("", signed), QR: CardQR(signed),
		}
		if c.Home != (identity.Home{}) {
			v.Domain, v.PeerID = c.Home.Domain, c.Home.PeerID[:]
		}
		if c.Kind == CardAnswer {
			v.Offer = c.Offer[:]
		}
		for _, k := range c.Candidates {
			at := cardAddress{Type: int(k.Type), Bytes: k.bytes()}
			if k.Addr.IsValid() {
				at.Address, at.Port = k.Addr.Addr().String(), int(k.Addr.Port())
			} else {
				at.Name, at.Port = k.Name[:], int(k.Port)
			}
			v.Candidates = append(v.Candidates, at)
		}
		for _, text := range []string{v.Link, v.AppLink, v.QR, CardText(signed), " \n" + v.Link + "\n", "Web+Trunkline://" + CardText(signed)} {
			got, err := ParseCardText(text)
			must(t, err)
			if !bytes.Equal(got, signed) {
				t.Fatalf("%.20q gives another card", text)
			}
		}
		out = append(out, v)
		return c
	}
	offer = add("an offer with every kind of address", 0, a, CardOffer, 0xc1, func(c *Card) {
		c.Name, c.Home = "Ada Lovelace ✨", a.home
		c.Ufrag, c.Pwd = "aB3+aB3+aB3+aB3/aB3+aB3+aB3+aB3/", strings.Repeat("pW9/", 8)
		c.Candidates = []CardCandidate{
			{Type: CardHost, Addr: netip.MustParseAddrPort("10.1.2.3:50001")}, {Type: CardHost, Addr: netip.MustParseAddrPort("[2001:db8::7]:50002")},
			{Type: CardHost, Name: uuid(0x4d), Port: 50003}, {Type: CardReflexive, Addr: netip.MustParseAddrPort("198.51.100.7:1")},
			{Type: CardRelay, Addr: netip.MustParseAddrPort("203.0.113.9:65535")},
		}
	})
	answer = add("its answer", 1, b, CardAnswer, 0xc2, func(c *Card) { c.Offer = offer.Hash() })
	add("an offer of the longest life, for data, that hides its addresses", 1, b, CardOffer, 0xc3, func(c *Card) {
		c.Expires, c.Media, c.RelayOnly = base.Add(MaxCardLifetime), pb.Media_MEDIA_UNSPECIFIED, true
		c.Candidates = []CardCandidate{{Type: CardRelay, Addr: netip.MustParseAddrPort("203.0.113.9:3478")}}
	})
	return out, offer, answer
}

func TestCardVectors(t *testing.T) {
	vectorFile(t, "cards.json", func(fixed *cardVectors) *cardVectors {
		a, b := vectorWorld(t)
		v := &cardVectors{
			About: vectorEncoding + "Cards are by parties[by], and computed: signatures of Ed25519 are deterministic. The encapsulation is fixed, all else of " +
				"the session follows. Refused cards come to parties[1], who wants a card of the kind want and has made the offer good[2]; refused " +
				"texts are no signed card at all.",
			Parties: vectorParties(t, a, b),
			NowMS:   base.UnixMilli(),
		}
		var offer, answer *Card
		v.Good, offer, answer = goodCards(t, a, b)
		v.Session = cardSessionVector(t, v, offer, answer, fixed)
		own, err := ParseCard(v.Good[2].Signed)
		must(t, err)
		v.Refused = refusedCards(t, a, b, own)
		v.Texts = refusedTexts(t, v.Good[0].Signed)
		return v
	})
}

func cardSessionVector(t *testing.T, v *cardVectors, offer, answer *Card, fixed *cardVectors) cardSession {
	t.Helper()
	caller, err := NewMeeting(Initiator, cardKey(t, 0xc1), offer, answer)
	must(t, err)
	callee, err := NewMeeting(Responder, cardKey(t, 0xc2), offer, answer)
	must(t, err)
	if caller.th != callee.th || caller.binding != callee.binding {
		t.Fatal("the two sides of a meeting differ")
	}
	kem, _, _ := suiteXWing()
	xwing := seed(0xd1)
	caller.priv, err = kem.NewPrivateKey(xwing[:])
	must(t, err)
	caller.key = caller.priv.PublicKey().Bytes()
	s := cardSession{
		Offer: v.Good[0].Signed, Answer: v.Good[1].Signed, OfferSeed: v.Good[0].EphemeralSeed, AnswerSeed: v.Good[1].EphemeralSeed,
		Transcript0: caller.th[:], XWingSeed: xwing[:], Key: caller.key,
	}
	bindings := func(mac func(role Role, own, peer [32]byte) [32]byte) (out []vectorBind) {
		for role, pair := range [][2][32]byte{{offer.Fingerprint, answer.Fingerprint}, {answer.Fingerprint, offer.Fingerprint}} {
			m := mac(Role(role), pair[0], pair[1])
			out = append(out, vectorBind{role, pair[0][:], pair[1][:], m[:]})
		}
		return out
	}
	s.Bindings0 = bindings(func(role Role, own, peer [32]byte) [32]byte {
		m := caller
		if role == Responder {
			m = callee
		}
		return m.Binding(own, peer)
	})
	if fixed == nil {
		var there *Session
		s.Enc, there, err = callee.Respond(caller.key)
		must(t, err)
		defer func() {
			if there.keys != (keys{}) && !bytes.Equal(there.keys.th[:], s.Transcript) {
				t.Fatal("the two sides have other transcripts")
			}
		}()
	} else {
		s.Enc = fixed.Session.Enc
	}
	session, err := caller.Finish(s.Enc)
	must(t, err)
	k := session.keys
	s.Transcript = k.th[:]
	s.Keys = vectorKeys{k.frame[0][:], k.frame[1][:], k.handle[0][:], k.handle[1][:], k.media[:], k.file[:], k.binding[:],
		k.sas[:], k.mediaDir[0][:], k.mediaDir[1][:]}
	s.Bindings = bindings(func(role Role, own, peer [32]byte) [32]byte {
		mac, err := session.bind(role, own, peer)
		must(t, err)
		return mac
	})
	return s
}

func refusedCards(t *testing.T, a, b *party, own *Card) (out []refusedCard) {
	t.Helper()
	c := newParty(t, 3)
	_, offer := a.card(CardOffer, 0xa1, nil)
	_, answer := a.card(CardAnswer, 0xa2, func(c *Card) { c.Offer = own.Hash() })
	_, mine := b.card(CardOffer, 0xa3, nil)
	msg := offer[identity.SignatureSize:]
	raw := func(msg []byte) []byte { return a.device.SignObject(identity.ContextCard, msg) }
	forged := func(change func(*pb.Card)) []byte { return a.forgeCard(CardOffer, change) }
	flip := func(at int) []byte {
		b := slices.Clone(offer)
		b[at] ^= 1
		return b
	}
	lowOrder := make([]byte, 32)
	lowOrder[0] = 1
	notCanonical := bytes.Repeat([]byte{0xff}, 32)
	notCanonical[31] = 0x7f
	ms := base.UnixMilli()
	minutes := func(n int) int64 { return ms + int64(n)*60_000 }
	stranger := identity.DeviceFromSeed(seed(0x77))
	otherCert, err := c.root.CertifyDevice(a.device.Public(), 1, base.Add(-time.Hour), base.Add(time.Hour))
	must(t, err)
	brief, err := a.root.CertifyDevice(a.device.Public(), 1, base.Add(-time.Hour), base.Add(time.Minute))
	must(t, err)
	late, err := a.root.CertifyDevice(a.device.Public(), 1, base.Add(6*time.Minute), base.Add(time.Hour))
	must(t, err)
	unlisted, err := a.root.CertifyDevice(stranger.Public(), 1, base.Add(-time.Hour), base.Add(time.Hour))
	must(t, err)
	ofUnlisted := &Card{
		Kind: CardOffer, Cert: unlisted, ID: uuid(1), Created: base, Ephemeral: [32]byte(cardKey(t, 1).PublicKey().Bytes()), Ufrag: "abcd",
		Pwd: strings.Repeat("a", 22), Fingerprint: seed(1), Candidates: []CardCandidate{{Type: CardHost, Addr: netip.MustParseAddrPort("192.0.2.7:1")}},
	}
	fromUnlisted, err := ofUnlisted.Sign(stranger, base)
	must(t, err)
	for _, r := range []struct {
		name, reason string
		want         CardKind
		now          int64
		pinned       bool
		signed       []byte
	}{
		{"good offer", "", CardOffer, ms, true, offer},
		{"good answer", "", CardAnswer, ms, true, answer},
		{"a device that is not in a list that is not known either", "", CardOffer, ms, false, fromUnlisted},
		{"the last second", "", CardOffer, minutes(10) - 1000, true, offer},
		{"made five minutes ahead of the reader's clock", "", CardOffer, minutes(-5), false, offer},

		{"expired", "card_expired", CardOffer, minutes(10), true, offer},
		{"expired answer", "card_expired", CardAnswer, minutes(10), true, answer},
		{"not valid yet", "card_not_yet", CardOffer, minutes(-5) - 1000, false, offer},
		{"expired certificate", "card_expired", CardOffer, minutes(2), false, forged(func(m *pb.Card) { m.Cert = brief.Bytes() })},
		{"certificate not valid yet", "card_not_yet", CardOffer, ms, false, forged(func(m *pb.Card) { m.Cert = late.Bytes() })},
		{"an answer where an offer is wanted", "card_order", CardOffer, ms, true, answer},
		{"an offer where an answer is wanted", "card_order", CardAnswer, ms, true, offer},
		{"answer to another offer", "card_foreign", CardAnswer, ms, true, a.forgeCard(CardAnswer, func(m *pb.Card) { m.Offer[31] ^= 1 })},
		{"own card", "card_own", CardOffer, ms, false, mine},
		{"a device that the known list does not name", "card_device", CardOffer, ms, true, fromUnlisted},

		{"broken signature", "card_tampered", CardOffer, ms, false, flip(3)},
		{"a changed byte of the fingerprint", "card_tampered", CardOffer, ms, false, flip(bytes.Index(offer, bytes.Repeat([]byte{0xa1 ^ 0xff}, 32)) + 5)},
		{"a changed byte of the address", "card_tampered", CardOffer, ms, false, flip(bytes.Index(offer, []byte{192, 0, 2, 7}) + 3)},
		{"a changed byte of the certificate's signature", "card_tampered", CardOffer, ms, false, flip(bytes.Index(offer, a.cert.Bytes()) + 9)},
		{"a changed byte of its end", "card_tampered", CardOffer, ms, false, forgedEnd(offer)},
		{"signed under another context", "card_tampered", CardOffer, ms, false, a.device.SignObject(identity.ContextInner, msg)},
		{"signed by the root", "card_tampered", CardOffer, ms, false, identity.SignObject(rootSigner(a), identity.ContextCard, msg)},
		{"signed by another device", "card_tampered", CardOffer, ms, false, b.device.SignObject(identity.ContextCard, msg)},
		{"device certified by another root", "card_tampered", CardOffer, ms, false, forged(func(m *pb.Card) {
			cert := otherCert.Bytes()
			// The root that it names is parties[0]'s, the signature that of somebody else.
			copy(cert[bytes.Index(cert, rootBytes(c)):], rootBytes(a))
			m.Cert = cert
		})},
		{"ephemeral key of small order", "card_tampered", CardOffer, ms, false, forged(func(m *pb.Card) { m.Ephemeral = lowOrder })},
		{"ephemeral key all zero", "card_tampered", CardOffer, ms, false, forged(func(m *pb.Card) { m.Ephemeral = make([]byte, 32) })},
		{"ephemeral key not canonical", "card_tampered", CardOffer, ms, false, forged(func(m *pb.Card) { m.Ephemeral = notCanonical })},

		{"version 2", "card_version", CardOffer, ms, false, forged(func(m *pb.Card) { m.Version = 2 })},
		{"version 2 with a field that is not known here", "card_version", CardOffer, ms, false,
			raw(protowire.AppendBytes(protowire.AppendTag(slices.Concat([]byte{8, 2}, msg[2:]), 99, protowire.BytesType), []byte{1}))},
		{"no version", "card_malformed", CardOffer, ms, false, raw(msg[2:])},

		{"empty", "card_malformed", CardOffer, ms, false, []byte{}},
		{"cut", "card_malformed", CardOffer, ms, false, offer[:len(offer)-1]},
		{"trailing byte", "card_malformed", CardOffer, ms, false, append(slices.Clone(offer), 0)},
		{"trailing field", "card_malformed", CardOffer, ms, false,
			raw(protowire.AppendBytes(protowire.AppendTag(slices.Clone(msg), 99, protowire.BytesType), []byte{1}))},
		{"too long", "card_malformed", CardOffer, ms, false, append(slices.Clone(offer), make([]byte, MaxCard+1-len(offer))...)},
		{"long varint", "card_malformed", CardOffer, ms, false, raw(slices.Concat([]byte{0x08, 0x81, 0x00}, msg[2:]))},
		{"kind 3", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Kind = 3 })},
		{"id of 15 bytes", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Id = m.Id[:15] })},
		{"life of 30 minutes and a second", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Expires = m.Created + 1801 })},
		{"ends as it begins", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Expires = m.Created })},
		{"no times", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Created, m.Expires = 0, 0 })},
		{"ufrag of three", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Ufrag = "abc" })},
		{"ufrag with a line break", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Ufrag = "ab\r\nc" })},
		{"password of 21", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Pwd = m.Pwd[:21] })},
		{"password of 65", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Pwd = strings.Repeat("a", 65) })},
		{"fingerprint of 31", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Fingerprint = m.Fingerprint[:31] })},
		{"no candidate", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Candidates = nil })},
		{"thirteen candidates", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) {
			m.Candidates = nil
			for i := range 13 {
				m.Candidates = append(m.Candidates, []byte{1, 10, 0, 0, byte(i + 1), 1, 1})
			}
		})},
		{"a candidate twice", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Candidates = append(m.Candidates, m.Candidates[0]) })},
		{"candidate of no type", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Candidates[0][0] = 0 })},
		{"candidate of no family", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Candidates[0][0] = 0x31 })},
		{"candidate of port 0", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { copy(m.Candidates[0][5:], []byte{0, 0}) })},
		{"candidate that is multicast", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Candidates[0][1] = 224 })},
		{"candidate that is nowhere", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { copy(m.Candidates[0][1:], make([]byte, 4)) })},
		{"IPv4 in IPv6", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) {
			m.Candidates[0] = slices.Concat([]byte{0x11}, make([]byte, 10), []byte{255, 255, 192, 0, 2, 7, 1, 1})
		})},
		{"a name that is relayed", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) {
			m.Candidates[0] = slices.Concat([]byte{0x23}, bytes.Repeat([]byte{7}, 16), []byte{1, 1})
		})},
		{"an address of who hides them", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.RelayOnly = true })},
		{"media 3", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Media = 3 })},
		{"an answer that says what it is for", "card_malformed", CardAnswer, ms, false, a.forgeCard(CardAnswer, func(m *pb.Card) { m.Media = 1 })},
		{"an answer to nothing", "card_malformed", CardAnswer, ms, false, a.forgeCard(CardAnswer, func(m *pb.Card) { m.Offer = nil })},
		{"an offer that answers", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Offer = make([]byte, 32) })},
		{"name of 65", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Name = strings.Repeat("a", 65) })},
		{"name with a line break", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Name = "a\nb" })},
		{"home without a peer id", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.Domain = "acme.example" })},
		{"home of no domain", "card_malformed", CardOffer, ms, false, forged(func(m *pb.Card) { m.PeerId = a.home.PeerID[:] })},
	} {
		err := func() error {
			card, err := ParseCard(r.signed)
			if err != nil {
				return err
			}
			w := CardWant{Kind: r.want, Now: time.UnixMilli(r.now), Own: b.device.ID(), Offer: own}
			if r.pinned {
				w.Pinned = a.list
			}
			return card.Check(w)
		}()
		if got := CardReason(err); got != r.reason || (err == nil) != (r.reason == "") {
			t.Errorf("%s: refused for %q, want %q: %v", r.name, got, r.reason, err)
		}
		out = append(out, refusedCard{r.name, r.reason, int(r.want), r.now, r.pinned, r.signed})
	}
	return out
}

func rootSigner(p *party) ed25519.PrivateKey {
	s := p.root.Seed()
	return ed25519.NewKeyFromSeed(s[:])
}

func rootBytes(p *party) []byte { k := p.root.Public(); return k[:] }

// forgedEnd changes the last byte, which belongs to a candidate's port.
func forgedEnd(b []byte) []byte {
	b = slices.Clone(b)
	at := bytes.Index(b, []byte{192, 0, 2, 7}) + 5
	b[at] ^= 1
	return b
}

func refusedTexts(t *testing.T, signed []byte) (out []refusedText) {
	t.Helper()
	text := CardText(signed)
	for _, r := range []refusedText{
		{"empty", "card_malformed", ""},
		{"a contact link", "card_malformed", "https://acme.example/#add=tl1abc"},
		{"another version", "card_version", "https://acme.example/#c2." + text[3:]},
		{"another version in capitals", "card_version", "WEB+TRUNKLINE:C12.AAAA"},
		{"padding", "card_malformed", "c1." + base64.URLEncoding.EncodeToString(signed[:64])},
		{"the other alphabet", "card_malformed", "c1.++//"},
		{"bits behind the last byte", "card_malformed", "c1.AB"},
		{"a break inside", "card_malformed", text[:40] + "\n" + text[40:]},
		{"a blank inside", "card_malformed", text[:40] + " " + text[40:]},
		{"text behind it", "card_malformed", text + " see you"},
		{"base32 in small letters", "card_malformed", "C1.aaaaaaaa"},
		{"base32 with bits behind the last byte", "card_malformed", "C1.AB"},
		{"too long", "card_malformed", "c1." + strings.Repeat("A", MaxCardText)},
		{"not ASCII", "card_malformed", "c1.ä"},
	} {
		if _, err := ParseCardText(r.Text); CardReason(err) != r.Reason {
			t.Errorf("%s: refused for %q: %v", r.Name, CardReason(err), err)
		}
		out = append(out, r)
	}
	return out
}

func TestTheTwoSidesOfAMeetingHaveOneSession(t *testing.T) {
	a, b := vectorWorld(t)
	offer, _ := a.card(CardOffer, 0xc1, nil)
	answer, _ := b.card(CardAnswer, 0xc2, func(c *Card) { c.Offer = offer.Hash() })
	caller, err := NewMeeting(Initiator, cardKey(t, 0xc1), offer, answer)
	must(t, err)
	callee, err := NewMeeting(Responder, cardKey(t, 0xc2), offer, answer)
	must(t, err)
	fa, fb := offer.Fingerprint, answer.Fingerprint
	macA, macB := caller.Binding(fa, fb), callee.Binding(fb, fa)
	must(t, caller.CheckBinding(macB[:], fa, fb))
	must(t, callee.CheckBinding(macA[:], fb, fa))
	if caller.CheckBinding(macA[:], fa, fb) == nil {
		t.Fatal("our own binding reflected was taken")
	}
	if err := caller.CheckBinding(macB[:], fa, fa); !errors.Is(err, ErrBinding) {
		t.Fatal("a binding over another certificate was taken")
	}
	key, err := caller.Initiate()
	must(t, err)
	enc, there, err := callee.Respond(key)
	must(t, err)
	here, err := caller.Finish(enc)
	must(t, err)
	if here.keys != there.keys || here.Peer != b.root.Public() || there.PeerDevice != a.device.ID() {
		t.Fatal("two sessions")
	}
	frame, err := here.Seal([]byte("hello"))
	must(t, err)
	body, err := there.Open(frame)
	must(t, err)
	if string(body) != "hello" {
		t.Fatal("another body")
	}
}

func TestAStepOfACardSessionIsTakenOnceAndInItsTurn(t *testing.T) {
	a, b := vectorWorld(t)
	offer, _ := a.card(CardOffer, 0xc1, nil)
	answer, _ := b.card(CardAnswer, 0xc2, func(c *Card) { c.Offer = offer.Hash() })
	meet := func(r Role, n byte) *Meeting {
		m, err := NewMeeting(r, cardKey(t, n), offer, answer)
		must(t, err)
		return m
	}
	caller, callee := meet(Initiator, 0xc1), meet(Responder, 0xc2)
	if _, err := callee.Initiate(); !errors.Is(err, ErrCardStep) {
		t.Fatal("the answerer began")
	}
	if _, err := caller.Finish(make([]byte, xwingEnc)); !errors.Is(err, ErrCardStep) {
		t.Fatal("an encapsulation before the key was taken")
	}
	key, err := caller.Initiate()
	must(t, err)
	if _, err := caller.Initiate(); !errors.Is(err, ErrCardStep) {
		t.Fatal("a second key")
	}
	bad := slices.Clone(key)
	clear(bad[len(bad)-32:])
	if _, _, err := meet(Responder, 0xc2).Respond(bad); err == nil {
		t.Fatal("an X-Wing key with a low-order part was taken")
	}
	enc, there, err := callee.Respond(key)
	must(t, err)
	if _, _, err := callee.Respond(key); !errors.Is(err, ErrCardStep) {
		t.Fatal("a second answer")
	}
	changed := slices.Clone(enc)
	changed[0] ^= 1
	here, err := caller.Finish(changed)
	if err == nil {
		// ML-KEM refuses nothing: the two sides have different keys, and the second binding ends it.
		mac, err := here.Binding(offer.Fingerprint, answer.Fingerprint)
		must(t, err)
		if there.CheckBinding(mac[:], answer.Fingerprint, offer.Fingerprint) == nil {
			t.Fatal("a changed encapsulation went unnoticed")
		}
	}
	if _, err := NewMeeting(Initiator, cardKey(t, 0xc2), offer, answer); err == nil {
		t.Fatal("a meeting with a key that is not the card's")
	}
	other, _ := a.card(CardOffer, 0xc4, nil)
	if _, err := NewMeeting(Initiator, cardKey(t, 0xc4), other, answer); !errors.Is(err, ErrCardForeign) {
		t.Fatal("a meeting of an offer and an answer to another")
	}
}

func TestACardMessageIsOneThing(t *testing.T) {
	for _, m := range []*pb.CardMessage{
		{}, {Kind: &pb.CardMessage_Binding{Binding: &pb.CardBinding{Mac: make([]byte, 31)}}},
		{Kind: &pb.CardMessage_Key{Key: &pb.CardKey{Value: make([]byte, 1215)}}},
		{Kind: &pb.CardMessage_Encapsulation{Encapsulation: &pb.CardKey{Value: make([]byte, 1216)}}},
		{Kind: &pb.CardMessage_Upgraded{Upgraded: &pb.CardBinding{}}},
		{Kind: &pb.CardMessage_Frame{Frame: &pb.CardFrame{Frame: make([]byte, 1025)}}},
	} {
		if _, err := MarshalCardMessage(m); err == nil {
			t.Errorf("%v was written", m)
		}
	}
	m := &pb.CardMessage{Kind: &pb.CardMessage_Frame{Frame: &pb.CardFrame{Frame: bytes.Repeat([]byte{1}, 16384)}}}
	b, err := MarshalCardMessage(m)
	must(t, err)
	if _, err := ParseCardMessage(b); err != nil || len(b) > MaxCardMessage {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
}

package envelope

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// A card is what two people hand each other to meet without a node: an offer one way, its
// answer the other (docs/spec/cards.md).

// Limits of a card.
const (
	MaxCard           = 1024             // bytes, signature included
	CardLifetime      = 10 * time.Minute // as cards are made
	MaxCardLifetime   = 30 * time.Minute
	MaxCardCandidates = 12

	maxCardUfrag = 32
	maxCardPwd   = 64
)

// Errors of cards. All others mean that the bytes are no card.
var (
	// ErrCard: not a card, or one that was cut or changed so that it reads as none.
	ErrCard = errors.New("envelope: not a card")
	// ErrCardVersion: a card of a version that is not known here.
	ErrCardVersion = errors.New("envelope: card of another version")
	// ErrCardForged: the signature or the device's certificate does not verify.
	ErrCardForged = errors.New("envelope: card was changed, or is not its sender's")
	// ErrCardExpired and ErrCardEarly: outside its time, or outside that of the certificate.
	ErrCardExpired = errors.New("envelope: card has expired")
	ErrCardEarly   = errors.New("envelope: card is not valid yet")
	// ErrCardOrder: an answer where an offer is wanted, or the other way round.
	ErrCardOrder = errors.New("envelope: the other kind of card is wanted here")
	// ErrCardForeign: an answer to another offer.
	ErrCardForeign = errors.New("envelope: answer to another card")
	// ErrCardOwn: a card of this very device.
	ErrCardOwn = errors.New("envelope: own card")
	// ErrCardUsed: a card that was answered here before.
	ErrCardUsed = errors.New("envelope: card was used before")
	// ErrCardDevice: the pinned list of its sender does not name the device.
	ErrCardDevice = errors.New("envelope: device of the card is not one of its owner's")
)

// CardKind is what a card is for.
type CardKind = pb.CardKind

// The two kinds.
const (
	CardOffer  = pb.CardKind_CARD_OFFER
	CardAnswer = pb.CardKind_CARD_ANSWER
)

// Card is one side's half of a meeting. [Card.Sign] writes it, [ParseCard] reads it.
type Card struct {
	redact
	Kind             CardKind
	Cert             *identity.DeviceCert
	ID               [16]byte
	Created, Expires time.Time
	Ephemeral        [32]byte // X25519 public key
	Ufrag, Pwd       string   // of ICE
	Fingerprint      [32]byte // SHA-256 of the DTLS certificate
	Candidates       []CardCandidate
	Media            pb.Media // offers: what it is for
	RelayOnly        bool     // the sender hides its addresses
	Name             string   // what the person calls itself; nothing proves it
	Home             identity.Home
	Offer            [32]byte // answers: Hash of the offer

	hash [32]byte
}

// Hash is SHA-256 of the signed card. It is known once the card was signed or parsed.
func (c *Card) Hash() [32]byte { return c.hash }

// Root is the identity that the card says it is from.
func (c *Card) Root() identity.PublicKey { return c.Cert.Root }

// NewCardKey draws the ephemeral key of a card.
func NewCardKey() (*ecdh.PrivateKey, error) {
	k, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("card key: %w", err)
	}
	return k, nil
}

// Sign fills in what a new card needs, where it is zero: an id, and times from now on. Then
// it writes the signed card.
func (c *Card) Sign(device *identity.Device, now time.Time) ([]byte, error) {
	if c.Cert == nil || c.Cert.Device != device.Public() {
		return nil, fmt.Errorf("%w: the certificate is not this device's", ErrCard)
	}
	if c.ID == ([16]byte{}) {
		_, _ = rand.Read(c.ID[:])
	}
	if c.Created.IsZero() {
		c.Created = now
	}
	if c.Expires.IsZero() {
		c.Expires = c.Created.Add(CardLifetime)
	}
	m := &pb.Card{
		Version: version, Kind: c.Kind, Cert: c.Cert.Bytes(), Id: c.ID[:],
		Created: uint64(max(c.Created.Unix(), 0)), Expires: uint64(max(c.Expires.Unix(), 0)),
		Ephemeral: c.Ephemeral[:], Ufrag: c.Ufrag, Pwd: c.Pwd, Fingerprint: c.Fingerprint[:],
		Media: c.Media, RelayOnly: c.RelayOnly, Name: c.Name,
	}
	for _, candidate := range c.Candidates {
		m.Candidates = append(m.Candidates, candidate.bytes())
	}
	if c.Home != (identity.Home{}) {
		m.Domain, m.PeerId = c.Home.Domain, c.Home.PeerID[:]
	}
	if c.Kind == CardAnswer {
		m.Offer = c.Offer[:]
	}
	msg, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("sign card: %w", err)
	}
	signed := device.SignObject(identity.ContextCard, msg)
	// Reading it back applies the rules of the reader to what we write.
	back, err := ParseCard(signed)
	if err != nil {
		return nil, fmt.Errorf("sign card: %w", err)
	}
	*c = *back
	return signed, nil
}

// ParseCard reads a signed card and checks everything but the clock and what the reader
// expects: form, both keys, certificate and signature. [Card.Check] does the rest.
func ParseCard(signed []byte) (*Card, error) {
	if len(signed) > MaxCard {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrCard, len(signed), MaxCard)
	}
	if len(signed) < identity.SignatureSize+2 {
		return nil, fmt.Errorf("%w: %d bytes", ErrCard, len(signed))
	}
	msg := signed[identity.SignatureSize:]
	// A later version may have fields that this one does not know, and is told apart first.
	if msg[0] == tagVersion && msg[1] > version && msg[1] < 0x80 {
		return nil, ErrCardVersion
	}
	var m pb.Card
	if err := canon.Unmarshal(msg, MaxCard, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCard, err)
	}
	c, err := cardFrom(&m)
	if err != nil {
		return nil, err
	}
	if err := identity.VerifySignature(c.Cert.Device, identity.ContextCard, msg, signed[:identity.SignatureSize]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCardForged, err)
	}
	c.hash = sha256.Sum256(signed)
	return c, nil
}

func cardFrom(m *pb.Card) (*Card, error) {
	switch {
	case m.Version != version:
		return nil, fmt.Errorf("%w: version %d", ErrCard, m.Version)
	case m.Kind != CardOffer && m.Kind != CardAnswer:
		return nil, fmt.Errorf("%w: kind %d", ErrCard, m.Kind)
	case len(m.Id) != 16 || len(m.Fingerprint) != 32 || len(m.Ephemeral) != 32:
		return nil, fmt.Errorf("%w: a field of another length", ErrCard)
	case (m.Kind == CardAnswer) != (len(m.Offer) == 32), m.Kind == CardOffer && len(m.Offer) != 0:
		return nil, fmt.Errorf("%w: hash of the offer", ErrCard)
	case m.Media > pb.Media_MEDIA_VIDEO, m.Kind == CardAnswer && m.Media != 0:
		return nil, fmt.Errorf("%w: media", ErrCard)
	case !iceText(m.Ufrag, 4, maxCardUfrag) || !iceText(m.Pwd, 22, maxCardPwd):
		return nil, fmt.Errorf("%w: ICE credentials", ErrCard)
	case m.Created == 0 || m.Expires > maxCardTime || m.Created >= m.Expires || m.Expires-m.Created > uint64(MaxCardLifetime/time.Second):
		return nil, fmt.Errorf("%w: times", ErrCard)
	case len(m.Candidates) == 0 || len(m.Candidates) > MaxCardCandidates:
		return nil, fmt.Errorf("%w: %d candidates", ErrCard, len(m.Candidates))
	}
	c := &Card{
		Kind: m.Kind, ID: [16]byte(m.Id), Created: time.Unix(int64(m.Created), 0).UTC(), Expires: time.Unix(int64(m.Expires), 0).UTC(),
		Ephemeral: [32]byte(m.Ephemeral), Ufrag: m.Ufrag, Pwd: m.Pwd, Fingerprint: [32]byte(m.Fingerprint),
		Media: m.Media, RelayOnly: m.RelayOnly, Name: m.Name,
	}
	if m.Kind == CardAnswer {
		c.Offer = [32]byte(m.Offer)
	}
	for _, b := range m.Candidates {
		candidate, err := parseCardCandidate(b)
		if err != nil {
			return nil, err
		}
		if slices.Contains(c.Candidates, candidate) {
			return nil, fmt.Errorf("%w: a candidate twice", ErrCard)
		}
		if m.RelayOnly && candidate.Type != CardRelay {
			return nil, fmt.Errorf("%w: an address of who hides its addresses", ErrCard)
		}
		c.Candidates = append(c.Candidates, candidate)
	}
	if err := checkName(m.Name); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCard, err)
	}
	if m.Domain != "" || len(m.PeerId) != 0 {
		home, err := homeFrom(m.PeerId, m.Domain)
		if err != nil {
			return nil, fmt.Errorf("%w: home: %w", ErrCard, err)
		}
		c.Home = home
	}
	if err := identity.CheckX25519(m.Ephemeral); err != nil {
		return nil, fmt.Errorf("%w: ephemeral key: %w", ErrCardForged, err)
	}
	cert, err := identity.ParseDeviceCert(m.Cert)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCardForged, err)
	}
	c.Cert = cert
	return c, nil
}

// maxCardTime is the last second of the year 9999.
const maxCardTime = 253402300799

// iceText reports whether s has low to high characters of RFC 8839's ice-char.
func iceText(s string, low, high int) bool {
	if len(s) < low || len(s) > high {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '+' && c != '/' {
			return false
		}
	}
	return true
}

// CardWant is what a reader expects of a card.
type CardWant struct {
	Kind CardKind
	Now  time.Time
	// Own is this device.
	Own identity.DeviceID
	// Pinned is the newest list of the card's root, where one is known. Without one a card's
	// device is believed for as long as its certificate lasts.
	Pinned *identity.DeviceList
	// Offer is the own card that an answer is wanted for.
	Offer *Card
}

// Check holds a card against what is expected of it. Whether it was used before is for the
// caller, which has to remember its hash.
func (c *Card) Check(w CardWant) error {
	if c.Cert.DeviceID() == w.Own {
		return ErrCardOwn
	}
	if c.Kind != w.Kind {
		return ErrCardOrder
	}
	if w.Now.Add(identity.ClockAhead).Before(c.Created) {
		return ErrCardEarly
	}
	if !w.Now.Before(c.Expires) {
		return ErrCardExpired
	}
	switch err := c.Cert.ValidAt(w.Now); {
	case errors.Is(err, identity.ErrNotYetValid):
		return fmt.Errorf("%w: %w", ErrCardEarly, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrCardExpired, err)
	}
	if w.Pinned != nil {
		if w.Pinned.Root != c.Root() {
			return fmt.Errorf("%w: %w", ErrCardDevice, identity.ErrOtherIdentity)
		}
		if _, err := w.Pinned.Admit(c.Cert, w.Now); err != nil {
			return fmt.Errorf("%w: %w", ErrCardDevice, err)
		}
	}
	if c.Kind == CardAnswer && (w.Offer == nil || c.Offer != w.Offer.hash) {
		return ErrCardForeign
	}
	return nil
}

// CardCandidateType is how an address was found.
type CardCandidateType uint8

// The types that a card carries; peer-reflexive addresses are only found while connecting.
const (
	CardHost      CardCandidateType = 1
	CardReflexive CardCandidateType = 2
	CardRelay     CardCandidateType = 3
)

// CardCandidate is one way to a device: an address and port over UDP, or, in place of the
// address, the name of 16 bytes that a browser hides it behind:
//
//	type 1 (low half: 1 host, 2 reflexive, 3 relay; high half: 0 IPv4, 1 IPv6, 2 name)
//	address 4 or 16 | port 2
//
// A name is the UUID of an mDNS name (RFC 9562; "….local").
type CardCandidate struct {
	Type CardCandidateType
	Addr netip.AddrPort // invalid address: Name counts
	Name [16]byte
	Port uint16 // of Name
}

const (
	cardIPv4 = 0x00
	cardIPv6 = 0x10
	cardName = 0x20
)

func (c CardCandidate) bytes() []byte {
	if !c.Addr.IsValid() {
		b := append([]byte{byte(c.Type) | cardName}, c.Name[:]...)
		return append(b, byte(c.Port>>8), byte(c.Port))
	}
	family := byte(cardIPv6)
	if c.Addr.Addr().Is4() {
		family = cardIPv4
	}
	b := append([]byte{byte(c.Type) | family}, c.Addr.Addr().AsSlice()...)
	return append(b, byte(c.Addr.Port()>>8), byte(c.Addr.Port()))
}

func parseCardCandidate(b []byte) (c CardCandidate, err error) {
	bad := func(why string) (CardCandidate, error) {
		return CardCandidate{}, fmt.Errorf("%w: candidate: %s", ErrCard, why)
	}
	if len(b) != 7 && len(b) != 19 {
		return bad("length")
	}
	c.Type = CardCandidateType(b[0] & 0x0f)
	if c.Type < CardHost || c.Type > CardRelay {
		return bad("type")
	}
	address, port := b[1:len(b)-2], uint16(b[len(b)-2])<<8|uint16(b[len(b)-1])
	if port == 0 {
		return bad("port 0")
	}
	switch family := b[0] & 0xf0; {
	case family == cardIPv4 && len(address) == 4, family == cardIPv6 && len(address) == 16:
		addr, _ := netip.AddrFromSlice(address)
		if addr.IsUnspecified() || addr.IsMulticast() || addr.Is4In6() {
			return bad("address cannot be reached")
		}
		c.Addr = netip.AddrPortFrom(addr, port)
	case family == cardName && len(address) == 16 && c.Type == CardHost:
		c.Name, c.Port = [16]byte(address), port
		if c.Name == ([16]byte{}) {
			return bad("name")
		}
	default:
		return bad("family")
	}
	return c, nil
}

// CardReason is the word for an error of a card that both implementations and the vectors use,
// or "" for any other.
func CardReason(err error) string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{ErrCardVersion, "card_version"}, {ErrCardForged, "card_tampered"}, {ErrCardExpired, "card_expired"},
		{ErrCardEarly, "card_not_yet"}, {ErrCardOrder, "card_order"}, {ErrCardForeign, "card_foreign"},
		{ErrCardOwn, "card_own"}, {ErrCardUsed, "card_replayed"}, {ErrCardDevice, "card_device"}, {ErrCard, "card_malformed"},
	} {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return ""
}

package envelope

import (
	"crypto/cipher"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/trunkline-net/trunkline/identity"
)

// HopSize is the length of the box only the destination node opens:
//
//	encapsulation 32 | number 2 | tag 16, token 16, collapse key 16, hint 2, flags 1 | AEAD tag 16
//
// The key of the box is exported from the HPKE context of the encapsulation (RFC 9180, section
// 5.3) and the number is its nonce. So the frames of one session can share an encapsulation,
// and the X25519 operations are done once for all of them; every other envelope has an
// encapsulation of its own and the number zero.
const (
	HopSize      = hopHeader + hopPlainSize + aeadTag
	hopHeader    = x25519Size + 2
	hopPlainSize = 16 + 16 + 16 + 2 + 1
	hopAADSize   = 1 + len(identity.PeerID{}) + 1 + sha256.Size

	flagKnock = 1

	// MaxHops is how many hops one encapsulation can carry.
	MaxHops = 1 << 16
)

// HopUse names one use of one encapsulation. No honest sender gives two envelopes the same.
type HopUse [hopHeader]byte

// HopUse is what the destination node recognises a hop by.
func (e *Envelope) HopUse() HopUse { return HopUse(e.Hop[:hopHeader]) }

func (u HopUse) number() uint16 { return binary.BigEndian.Uint16(u[x25519Size:]) }

// Hop is what the destination node learns: where to put the payload, and whether the sender
// may.
type Hop struct {
	redact
	Tag      RouteTag
	Token    Token // all zero in a knock
	Collapse CollapseKey
	Hint     Hint // which prekey opens the payload; zero in frames and ring answers
	Knock    bool
}

// RoutingKey is a node's X25519 key that hops and queries are sealed to. It changes weekly.
type RoutingKey struct {
	redact
	seed [32]byte
	pub  [32]byte
	priv hpke.PrivateKey

	opened hopContexts
}

// GenerateRoutingKey draws a new routing key.
func GenerateRoutingKey() (*RoutingKey, error) {
	kem, _, _ := suiteX25519()
	priv, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("generate routing key: %w", err)
	}
	b, err := priv.Bytes()
	if err != nil {
		return nil, fmt.Errorf("generate routing key: %w", err)
	}
	return RoutingKeyFromSeed([32]byte(b))
}

// RoutingKeyFromSeed is the inverse of [RoutingKey.Seed]: seed is the X25519 secret key.
func RoutingKeyFromSeed(seed [32]byte) (*RoutingKey, error) {
	kem, _, _ := suiteX25519()
	priv, err := kem.NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("read routing key: %w", err)
	}
	return &RoutingKey{seed: seed, pub: [32]byte(priv.PublicKey().Bytes()), priv: priv}, nil
}

// Seed is the secret, for the node's key store.
func (k *RoutingKey) Seed() [32]byte { return k.seed }

// Public is what the node's descriptor carries.
func (k *RoutingKey) Public() [32]byte { return k.pub }

// hopAAD has fixed widths, so no two inputs give the same bytes:
//
//	version 1 | destination 38 | ttl class 1 | SHA-256 of the payload 32
func hopAAD(dst []byte, dest identity.PeerID, ttl TTL, payloadHash [32]byte) []byte {
	dst = append(dst, version)
	dst = append(dst, dest[:]...)
	dst = append(dst, byte(ttl))
	return append(dst, payloadHash[:]...)
}

// hopScratch is what sealing and opening pass through the AEAD's interface, which would
// otherwise be allocated for every hop.
type hopScratch struct {
	nonce [chacha20poly1305.NonceSize]byte
	aad   [hopAADSize]byte
	plain [hopPlainSize + aeadTag]byte
}

var hopScratches = sync.Pool{New: func() any { return new(hopScratch) }}

// HopSender seals the hops of one session's frames: they go to one device in the class live
// and share one encapsulation. The nodes on the way can group them by it, as they can by the
// handle that the frames begin with; frames of another session, or of the same one under
// another handle, need another HopSender. It may be used by several goroutines.
type HopSender struct {
	redact
	dest  identity.PeerID
	plain [hopPlainSize]byte
	enc   [x25519Size]byte
	aead  cipher.AEAD

	mu   sync.Mutex // guards next
	next int
}

// NewHopSender makes the encapsulation to a node's routing key.
func NewHopSender(routingKey [32]byte, dest identity.PeerID, h Hop) (*HopSender, error) {
	if h.Knock {
		return nil, fmt.Errorf("%w: the live class needs a token", ErrMalformed)
	}
	return newHopSender(routingKey, dest, h)
}

func newHopSender(routingKey [32]byte, dest identity.PeerID, h Hop) (*HopSender, error) {
	kem, kdf, aead := suiteX25519()
	pub, err := kem.NewPublicKey(routingKey[:])
	if err != nil {
		return nil, fmt.Errorf("seal hop: %w", err)
	}
	enc, context, err := hpke.NewSender(pub, kdf, aead, []byte(identity.ContextHop))
	if err != nil {
		return nil, fmt.Errorf("seal hop: %w", err)
	}
	s := &HopSender{dest: dest, plain: h.plaintext(), enc: [x25519Size]byte(enc)}
	if s.aead, err = hopAEAD(context.Export); err != nil {
		return nil, fmt.Errorf("seal hop: %w", err)
	}
	return s, nil
}

// hopAEAD makes the key of a context's boxes.
func hopAEAD(export func(string, int) ([]byte, error)) (cipher.AEAD, error) {
	key, err := export(identity.ContextHopKey, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	return chacha20poly1305.New(key)
}

// Envelope puts the next hop and an envelope around payload, which it keeps. After [MaxHops]
// of them it answers [ErrExhausted]: make another HopSender.
func (s *HopSender) Envelope(payload []byte) (*Envelope, error) {
	if !Bucket(len(payload)) {
		return nil, ErrSize
	}
	s.mu.Lock()
	number := s.next
	if number < MaxHops {
		s.next++
	}
	s.mu.Unlock()
	if number >= MaxHops {
		return nil, ErrExhausted
	}
	e := &Envelope{Destination: s.dest, TTL: Live, Payload: payload}
	s.seal(e, uint16(number))
	return e, nil
}

func (s *HopSender) seal(e *Envelope, number uint16) {
	copy(e.Hop[:], s.enc[:])
	binary.BigEndian.PutUint16(e.Hop[x25519Size:], number)
	w := hopScratches.Get().(*hopScratch)
	defer hopScratches.Put(w)
	binary.BigEndian.PutUint16(w.nonce[len(w.nonce)-2:], number)
	copy(w.plain[:], s.plain[:])
	box := s.aead.Seal(w.plain[:0], w.nonce[:], w.plain[:hopPlainSize], hopAAD(w.aad[:0], e.Destination, e.TTL, e.PayloadSum()))
	copy(e.Hop[hopHeader:], box)
}

// SealHop seals h to a node's routing key, bound to the payload, the destination and the
// ttl class: a node on the way cannot put it on anything else.
func SealHop(routingKey [32]byte, dest identity.PeerID, ttl TTL, payload []byte, h Hop) (box [HopSize]byte, err error) {
	if err := checkHop(ttl, len(payload), h); err != nil {
		return box, err
	}
	s, err := newHopSender(routingKey, dest, h)
	if err != nil {
		return box, err
	}
	e := Envelope{Destination: dest, TTL: ttl, Payload: payload}
	s.seal(&e, 0)
	return e.Hop, nil
}

// OpenHop opens the hop of an envelope that names self as its destination. A node tries its
// present routing key, then the one before it for 48 hours.
//
// An encapsulation that opened a live envelope is remembered, so that the next hop under it
// costs no X25519 and no allocation. What does not open is not remembered.
func (k *RoutingKey) OpenHop(e *Envelope, self identity.PeerID) (Hop, error) {
	return k.OpenHopWith(e, self, e.PayloadSum())
}

// OpenHopWith is OpenHop for an envelope whose PayloadSum is known.
func (k *RoutingKey) OpenHopWith(e *Envelope, self identity.PeerID, payload [sha256.Size]byte) (Hop, error) {
	if e.Destination != self {
		return Hop{}, fmt.Errorf("%w: hop for another node", ErrMalformed)
	}
	use := e.HopUse()
	if e.TTL != Live && use.number() != 0 {
		// What shares an encapsulation can be grouped; only frames of a session, which can be
		// grouped anyway, may.
		return Hop{}, fmt.Errorf("%w: hop %d of an encapsulation outside the live class", ErrMalformed, use.number())
	}
	enc := [x25519Size]byte(use[:])
	aead := k.opened.get(enc)
	known := aead != nil
	if !known {
		var err error
		if aead, err = k.hopKey(enc); err != nil {
			return Hop{}, ErrDecrypt
		}
	}
	w := hopScratches.Get().(*hopScratch)
	defer hopScratches.Put(w)
	binary.BigEndian.PutUint16(w.nonce[len(w.nonce)-2:], use.number())
	copy(w.plain[:], e.Hop[hopHeader:])
	plain, err := aead.Open(w.plain[:0], w.nonce[:], w.plain[:], hopAAD(w.aad[:0], self, e.TTL, payload))
	if err != nil {
		return Hop{}, ErrDecrypt
	}
	h, err := parseHop(plain)
	if err != nil {
		return Hop{}, err
	}
	if err := checkHop(e.TTL, len(e.Payload), h); err != nil {
		return Hop{}, err
	}
	if !known && e.TTL == Live {
		k.opened.put(enc, aead)
	}
	return h, nil
}

// hopKey does the X25519 of an encapsulation.
func (k *RoutingKey) hopKey(enc [x25519Size]byte) (cipher.AEAD, error) {
	_, kdf, aead := suiteX25519()
	context, err := hpke.NewRecipient(enc[:], k.priv, kdf, aead, []byte(identity.ContextHop))
	if err != nil {
		return nil, err
	}
	return hopAEAD(context.Export)
}

// hopContexts remembers the keys of encapsulations in two generations that take turns: what
// is in use moves on to the younger one, what is not goes with the older. Losing one costs
// its X25519 again and nothing else.
type hopContexts struct {
	mu       sync.RWMutex // guards young, old
	young    map[[x25519Size]byte]cipher.AEAD
	old      map[[x25519Size]byte]cipher.AEAD
	capacity int // of one generation; 0: maxHopContexts
}

// maxHopContexts times two generations times about 120 bytes is 4 MB at most.
const maxHopContexts = 1 << 14

func (c *hopContexts) get(enc [x25519Size]byte) cipher.AEAD {
	c.mu.RLock()
	aead, ok := c.young[enc]
	if !ok {
		aead, ok = c.old[enc]
		c.mu.RUnlock()
		if ok {
			c.put(enc, aead)
		}
		return aead
	}
	c.mu.RUnlock()
	return aead
}

func (c *hopContexts) put(enc [x25519Size]byte, aead cipher.AEAD) {
	c.mu.Lock()
	defer c.mu.Unlock()
	capacity := c.capacity
	if capacity == 0 {
		capacity = maxHopContexts
	}
	if c.young == nil || len(c.young) >= capacity {
		c.young, c.old = make(map[[x25519Size]byte]cipher.AEAD), c.young
	}
	c.young[enc] = aead
}

// plaintext is the inverse of parseHop.
func (h Hop) plaintext() (p [hopPlainSize]byte) {
	copy(p[0:], h.Tag[:])
	copy(p[16:], h.Token[:])
	copy(p[32:], h.Collapse[:])
	copy(p[48:], h.Hint[:])
	if h.Knock {
		p[50] = flagKnock
	}
	return p
}

func parseHop(plain []byte) (Hop, error) {
	if len(plain) != hopPlainSize {
		return Hop{}, fmt.Errorf("%w: hop of %d bytes", ErrMalformed, len(plain))
	}
	if plain[50]&^flagKnock != 0 {
		return Hop{}, fmt.Errorf("%w: unknown hop flag", ErrMalformed)
	}
	return Hop{
		Tag:      RouteTag(plain[0:16]),
		Token:    Token(plain[16:32]),
		Collapse: CollapseKey(plain[32:48]),
		Hint:     Hint(plain[48:50]),
		Knock:    plain[50]&flagKnock != 0,
	}, nil
}

// checkHop holds for both directions. A knock costs the recipient the most, so it has one
// size and cannot carry a token beside the flag.
func checkHop(ttl TTL, size int, h Hop) error {
	if !Bucket(size) {
		return ErrSize
	}
	if !ttl.Valid() {
		return fmt.Errorf("%w: ttl class %d", ErrMalformed, ttl)
	}
	if h.Knock && (size != KnockSize || !h.Token.IsZero()) {
		return fmt.Errorf("%w: a knock has no token and a payload of %d bytes", ErrMalformed, KnockSize)
	}
	if h.Knock && ttl == Live {
		return fmt.Errorf("%w: the live class needs a token", ErrMalformed)
	}
	return nil
}

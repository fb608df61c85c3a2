package room

import (
	"crypto/hpke"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Who comes into a room shows itself once, to everybody who is there, in an announcement of
// exactly 4,096 bytes:
//
//	door handle 8 | box around MAC 32 | signed JOIN                 (the box of hall.go)
//
// and each of them answers with a welcome of the same size, which only the one who comes can
// read and which makes the two a session:
//
//	handle 8 | encapsulation 1120 | HPKE Seal( length 4 | MAC 32 | signed WELCOME | zeros ) | tag 16
//
// HPKE base mode to the JOIN's X-Wing key; info = "trunkline/v1/room-pair\0" | SHA-256(signed
// JOIN); associated data = room id. The one who comes is the session's initiator.
const (
	maxJoin    = 2048
	maxWelcome = 1024

	encSize      = 1120
	welcomePlain = PayloadSize - handleSize - encSize - tagSize // 2952

	// JoinLife is how long a JOIN and a WELCOME are good.
	JoinLife = time.Minute
	// maxJoinLife is what a reader takes.
	maxJoinLife = 10 * time.Minute
	clockAhead  = 5 * time.Minute
	clockPast   = 2 * time.Minute

	// welcomeTries bounds the work that a node can cause with made-up welcomes.
	welcomeTries = 4 * MaxSeats
)

func xwing() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.MLKEM768X25519(), hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()
}

// Member is one device in a room, for one join.
type Member struct {
	redact
	Index    Index
	Cert     *identity.DeviceCert
	JoinHash [32]byte // SHA-256 of its signed JOIN
	Name     string   // what it calls itself: no proof of anything
}

// Root is the identity.
func (m *Member) Root() identity.PublicKey { return m.Cert.Root }

// Device is its device's id.
func (m *Member) Device() identity.DeviceID { return m.Cert.DeviceID() }

// Seat is how a roster names it.
func (m *Member) Seat() Seat {
	return Seat{Index: m.Index, Root: m.Root(), Device: m.Device(), JoinHash: m.JoinHash}
}

// Self is what a device says of itself in a room.
type Self struct {
	redact
	Device *identity.Device
	Cert   *identity.DeviceCert
	Name   string
}

// Joining is an own join whose welcomes are awaited. It holds the ephemeral secret until it is
// closed.
type Joining struct {
	redact
	Payload []byte // the announcement
	Own     Member

	room ID
	keys *Keys

	handle envelope.Handle

	mu    sync.Mutex // guards the rest
	priv  hpke.PrivateKey
	tries int
	seen  map[[32]byte]bool // encapsulations that made a session
	from  map[Index]bool
}

// NewJoin makes the announcement of a device at the index that the node has given it.
func NewJoin(self Self, keys *Keys, room ID, id JoinID, index Index, now time.Time) (*Joining, error) {
	kem, _, _ := xwing()
	priv, err := kem.GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return newJoin(self, keys, room, id, index, now, priv, envelope.NewHandle(), newSalt())
}

func newJoin(self Self, keys *Keys, room ID, id JoinID, index Index, now time.Time, priv hpke.PrivateKey, handle envelope.Handle, salt [saltSize]byte) (*Joining, error) {
	msg, err := canon.Marshal(&pb.Join{
		Version: 1, Room: room[:], Cert: self.Cert.Bytes(), Ephemeral: priv.PublicKey().Bytes(), JoinId: id[:],
		Index: uint32(index), Expires: uint64(now.Add(JoinLife).UnixMilli()), Handle: handle[:], Name: self.Name,
	})
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	signed := self.Device.SignObject(identity.ContextJoin, msg)
	if _, err := parseJoin(signed, room, now); err != nil {
		return nil, err
	}
	payload := make([]byte, PayloadSize)
	copy(payload, keys.door[:])
	if err := keys.seal(payload[handleSize:], room, labelAnnounce, salt, keys.withMAC(signed)); err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return &Joining{
		Payload: payload, Own: Member{Index: index, Cert: self.Cert, JoinHash: hashOf(signed), Name: self.Name},
		room: room, keys: keys, handle: handle, priv: priv, seen: map[[32]byte]bool{}, from: map[Index]bool{},
	}, nil
}

// Handle is what every welcome to this join begins with.
func (j *Joining) Handle() envelope.Handle { return j.handle }

// Close drops the ephemeral secret: no further session comes of this join.
func (j *Joining) Close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.priv = nil
}

// Finish opens a welcome and makes the session with whoever sent it. Each member welcomes once:
// the keys of a session exist once, so no counter of it is ever used twice.
func (j *Joining) Finish(payload []byte, now time.Time) (*Member, *envelope.Session, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.priv == nil {
		return nil, nil, envelope.ErrClosed
	}
	if len(payload) != PayloadSize || envelope.Handle(payload[:handleSize]) != j.handle {
		return nil, nil, ErrMalformed
	}
	enc := payload[handleSize : handleSize+encSize]
	encHash := sha256.Sum256(enc)
	if j.seen[encHash] {
		return nil, nil, ErrReplay
	}
	if j.tries++; j.tries > welcomeTries {
		j.priv = nil
		return nil, nil, envelope.ErrClosed
	}
	if err := envelope.CheckXWingEnc(enc); err != nil {
		return nil, nil, err
	}
	_, kdf, aead := xwing()
	ctx, err := hpke.NewRecipient(enc, j.priv, kdf, aead, pairInfo(j.Own.JoinHash))
	if err != nil {
		return nil, nil, envelope.ErrDecrypt
	}
	plain, err := ctx.Open(j.room[:], payload[handleSize+encSize:])
	if err != nil {
		return nil, nil, envelope.ErrDecrypt
	}
	content, err := envelope.Unpad(plain)
	if err != nil {
		return nil, nil, ErrMalformed
	}
	signed, err := j.keys.checkMAC(content)
	if err != nil {
		return nil, nil, err
	}
	w, err := parseWelcome(signed, j.room, now)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case w.answers != j.Own.JoinHash || w.encHash != encHash:
		return nil, nil, fmt.Errorf("%w: welcome to another join", ErrMalformed)
	case w.Index == j.Own.Index || w.JoinHash == j.Own.JoinHash:
		return nil, nil, fmt.Errorf("%w: welcome of oneself", ErrMalformed)
	case j.from[w.Index]:
		return nil, nil, ErrReplay
	}
	secret, err := ctx.Export(labelPairSecret, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	j.seen[encHash], j.from[w.Index] = true, true
	s := pairSession(envelope.Initiator, secret, j.room, j.Own.JoinHash, hashOf(signed), &j.Own, &w.Member)
	return &w.Member, s, nil
}

// pairInfo binds the encapsulation to the signed JOIN.
func pairInfo(joinHash [32]byte) []byte { return append([]byte(labelPair), joinHash[:]...) }

// pairSession erases secret.
func pairSession(role envelope.Role, secret []byte, room ID, join, welcome [32]byte, own, peer *Member) *envelope.Session {
	h := sha256.New()
	h.Write([]byte(labelTranscript))
	h.Write(room[:])
	h.Write(join[:])
	h.Write(welcome[:])
	s := envelope.NewSession(role, secret, [32]byte(h.Sum(nil)), seatTag(room, own.Index), seatTag(room, peer.Index))
	s.Peer, s.PeerDevice = peer.Root(), peer.Device()
	return s
}

// Join is somebody's JOIN that was opened.
type Join struct {
	Member
	ID        JoinID
	ephemeral []byte
	handle    envelope.Handle
}

// OpenJoin opens an announcement. That its index is the one it came from, and that neither the
// index nor the join was seen before, is for the caller to check.
func (k *Keys) OpenJoin(room ID, payload []byte, now time.Time) (*Join, error) {
	if len(payload) != PayloadSize || envelope.Handle(payload[:handleSize]) != k.door {
		return nil, ErrMalformed
	}
	content, err := k.open(room, labelAnnounce, payload[handleSize:])
	if err != nil {
		return nil, err
	}
	signed, err := k.checkMAC(content)
	if err != nil {
		return nil, err
	}
	return parseJoin(signed, room, now)
}

func parseJoin(signed []byte, room ID, now time.Time) (*Join, error) {
	var m pb.Join
	cert, err := openByDevice(signed, maxJoin, identity.ContextJoin, &m, func() []byte { return m.Cert })
	if err != nil {
		return nil, fmt.Errorf("JOIN: %w", err)
	}
	if m.Version != 1 || len(m.JoinId) != 16 || len(m.Handle) != handleSize || len(m.Room) != 32 {
		return nil, fmt.Errorf("JOIN: %w", ErrMalformed)
	}
	if ID(m.Room) != room {
		return nil, fmt.Errorf("JOIN: %w", ErrRoom)
	}
	if err := envelope.CheckXWing(m.Ephemeral); err != nil {
		return nil, fmt.Errorf("JOIN: %w", err)
	}
	if err := checkPresent(cert, m.Index, m.Expires, m.Name, now); err != nil {
		return nil, fmt.Errorf("JOIN: %w", err)
	}
	return &Join{
		Member: Member{Index: Index(m.Index), Cert: cert, JoinHash: hashOf(signed), Name: m.Name},
		ID:     JoinID(m.JoinId), ephemeral: m.Ephemeral, handle: envelope.Handle(m.Handle),
	}, nil
}

// checkPresent is what a JOIN and a WELCOME have in common.
func checkPresent(cert *identity.DeviceCert, index uint32, expires uint64, name string, now time.Time) error {
	if index == 0 || index > 1<<16-1 || expires > maxUnix*1000 {
		return ErrMalformed
	}
	end := time.UnixMilli(int64(expires))
	if now.After(end.Add(clockPast)) || end.After(now.Add(maxJoinLife+clockAhead)) {
		return ErrTime
	}
	if err := cert.ValidAt(now); err != nil {
		return err
	}
	return checkLine(name, MaxName)
}

// Welcome answers a JOIN: a payload for whoever joined, and the session with it. Every call
// makes another session; a JOIN is welcomed once.
func (j *Join) Welcome(self Self, keys *Keys, room ID, own Member, now time.Time) (payload []byte, s *envelope.Session, err error) {
	kem, kdf, aead := xwing()
	pub, err := kem.NewPublicKey(j.ephemeral)
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	enc, ctx, err := hpke.NewSender(pub, kdf, aead, pairInfo(j.JoinHash))
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	encHash := sha256.Sum256(enc)
	msg, err := canon.Marshal(&pb.Welcome{
		Version: 1, Room: room[:], Cert: self.Cert.Bytes(), Answers: j.JoinHash[:], EncHash: encHash[:], JoinHash: own.JoinHash[:],
		Index: uint32(own.Index), Expires: uint64(now.Add(JoinLife).UnixMilli()), Name: self.Name,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	signed := self.Device.SignObject(contextWelcome, msg)
	if _, err := parseWelcome(signed, room, now); err != nil {
		return nil, nil, err
	}
	var plain [welcomePlain]byte
	if err := envelope.Pad(plain[:], keys.withMAC(signed)); err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	box, err := ctx.Seal(room[:], plain[:])
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	secret, err := ctx.Export(labelPairSecret, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("welcome: %w", err)
	}
	s = pairSession(envelope.Responder, secret, room, j.JoinHash, hashOf(signed), &own, &j.Member)
	return slices.Concat(j.handle[:], enc, box), s, nil
}

type welcome struct {
	Member
	answers, encHash [32]byte
}

func parseWelcome(signed []byte, room ID, now time.Time) (*welcome, error) {
	var m pb.Welcome
	cert, err := openByDevice(signed, maxWelcome, contextWelcome, &m, func() []byte { return m.Cert })
	if err != nil {
		return nil, fmt.Errorf("WELCOME: %w", err)
	}
	if m.Version != 1 || len(m.Answers) != 32 || len(m.EncHash) != 32 || len(m.JoinHash) != 32 || len(m.Room) != 32 {
		return nil, fmt.Errorf("WELCOME: %w", ErrMalformed)
	}
	if ID(m.Room) != room {
		return nil, fmt.Errorf("WELCOME: %w", ErrRoom)
	}
	if err := checkPresent(cert, m.Index, m.Expires, m.Name, now); err != nil {
		return nil, fmt.Errorf("WELCOME: %w", err)
	}
	return &welcome{
		Member:  Member{Index: Index(m.Index), Cert: cert, JoinHash: [32]byte(m.JoinHash), Name: m.Name},
		answers: [32]byte(m.Answers), encHash: [32]byte(m.EncHash),
	}, nil
}

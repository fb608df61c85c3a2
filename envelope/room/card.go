package room

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Limits of a room. Sizes are bytes.
const (
	MaxTitle      = 128
	MaxName       = 64
	MaxModerators = 8
	MaxMembers    = 50
	MaxBanned     = 64
	// MaxSeats is how many may be in a room at one time.
	MaxSeats = 50
	// MaxLife is how long a room may last.
	MaxLife = 366 * 24 * time.Hour

	// MeshDefault is how many are in a mesh before the node's SFU takes over, where the card
	// says nothing else, and MeshMost how many a card may say.
	MeshDefault = 4
	MeshMost    = 10

	maxCard = 3072
)

// Entry is who gets into a room.
type Entry = pb.Entry

// Entries.
const (
	Open    = pb.Entry_ENTRY_OPEN    // whoever has the link
	Lobby   = pb.Entry_ENTRY_LOBBY   // whom a moderator admits
	Members = pb.Entry_ENTRY_MEMBERS // who stands in the card
)

// Topology is how media goes.
type Topology = pb.Topology

// Topologies.
const (
	Auto = pb.Topology_TOPOLOGY_AUTO
	Mesh = pb.Topology_TOPOLOGY_MESH
	SFU  = pb.Topology_TOPOLOGY_SFU
)

// Card says what a room is. Its owner signs it; that it is this room's is seen by the id. It
// comes from SignCard or from OpenCard and is not changed afterwards.
type Card struct {
	redact
	Owner      *identity.DeviceCert
	FirstGate  identity.PublicKey
	Nonce      [16]byte
	Serial     uint32
	Title      string
	Entry      Entry
	Moderators []identity.PublicKey // who takes the chair when the owner is away, first first
	Members    []identity.PublicKey // Entry Members alone
	Created    time.Time
	Expires    time.Time
	Topology   Topology
	MeshMost   int // 0: MeshDefault

	signed []byte
}

// SignCard signs a card with the owner's device. It applies the reader's rules.
func SignCard(device *identity.Device, c Card) (*Card, error) {
	m := &pb.Card{
		Version: 1, OwnerCert: c.Owner.Bytes(), FirstGate: c.FirstGate[:], Nonce: c.Nonce[:], Serial: c.Serial,
		Title: c.Title, Entry: c.Entry, Topology: c.Topology, MeshMost: uint32(c.MeshMost),
		Moderators: keysOut(c.Moderators), Members: keysOut(c.Members),
	}
	if c.Created.Unix() > 0 && c.Expires.Unix() > 0 {
		m.Created, m.Expires = uint64(c.Created.Unix()), uint64(c.Expires.Unix())
	}
	msg, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("room card: %w", err)
	}
	return ParseCard(device.SignObject(contextCard, msg))
}

// ParseCard reads a signed card and checks everything but the room's id.
func ParseCard(signed []byte) (*Card, error) {
	c, err := parseCard(signed)
	if err != nil {
		return nil, fmt.Errorf("room card: %w", err)
	}
	return c, nil
}

func parseCard(signed []byte) (*Card, error) {
	var m pb.Card
	cert, err := openByDevice(signed, maxCard, contextCard, &m, func() []byte { return m.OwnerCert })
	if err != nil {
		return nil, err
	}
	c := &Card{Owner: cert, Serial: m.Serial, Title: m.Title, Entry: m.Entry, Topology: m.Topology, MeshMost: int(m.MeshMost), signed: bytes.Clone(signed)}
	switch {
	case m.Version != 1, len(m.Nonce) != 16, m.Serial == 0, m.Entry < Open || m.Entry > Members, m.Topology < Auto || m.Topology > SFU,
		m.MeshMost != 0 && (m.MeshMost < 2 || m.MeshMost > MeshMost),
		len(m.Moderators) > MaxModerators, len(m.Members) > MaxMembers, m.Entry != Members && len(m.Members) > 0:
		return nil, ErrMalformed
	}
	c.Nonce = [16]byte(m.Nonce)
	if err := checkLine(m.Title, MaxTitle); err != nil {
		return nil, err
	}
	if c.FirstGate, err = identity.CheckKey(m.FirstGate); err != nil {
		return nil, err
	}
	if c.Moderators, err = keysIn(m.Moderators); err != nil {
		return nil, err
	}
	if c.Members, err = keysIn(m.Members); err != nil {
		return nil, err
	}
	if slices.Contains(c.Moderators, cert.Root) {
		return nil, fmt.Errorf("%w: the owner among the moderators", ErrMalformed)
	}
	const most = uint64(MaxLife / time.Second)
	if m.Created == 0 || m.Expires <= m.Created || m.Expires-m.Created > most || m.Expires > maxUnix {
		return nil, fmt.Errorf("%w: times", ErrMalformed)
	}
	c.Created, c.Expires = time.Unix(int64(m.Created), 0).UTC(), time.Unix(int64(m.Expires), 0).UTC()
	// The card outlives the certificate; the certificate had to be good when the room was made.
	if err := cert.ValidAt(c.Created); err != nil {
		return nil, err
	}
	return c, nil
}

// maxUnix is the last second of the year 9999.
const maxUnix = 253402300799

// Bytes is the signed card.
func (c *Card) Bytes() []byte { return bytes.Clone(c.signed) }

// Room is the id that the card belongs to.
func (c *Card) Room() ID { return MakeID(c.Owner.Root, c.Owner.Device, c.FirstGate, c.Nonce) }

// Position is the place of an identity in the line for the chair: 0 the owner, then the
// moderators. False: it is no moderator.
func (c *Card) Position(root identity.PublicKey) (int, bool) {
	if root == c.Owner.Root {
		return 0, true
	}
	i := slices.Index(c.Moderators, root)
	return i + 1, i >= 0
}

// MayEnter reports whether the card itself lets somebody in: everybody in an open room, the
// listed ones of a members' room, and always who may take the chair. In a lobby the roster
// says the rest.
func (c *Card) MayEnter(root identity.PublicKey) bool {
	_, moderator := c.Position(root)
	return moderator || c.Entry == Open || c.Entry == Members && slices.Contains(c.Members, root)
}

// MeshLimit is how many are in a mesh at most.
func (c *Card) MeshLimit() int {
	if c.MeshMost == 0 {
		return MeshDefault
	}
	return c.MeshMost
}

// SealCard seals a card for the node to keep.
func (k *Keys) SealCard(c *Card) ([]byte, error) {
	return k.sealCard(c, newSalt())
}

func (k *Keys) sealCard(c *Card, salt [saltSize]byte) ([]byte, error) {
	box := make([]byte, CardBoxSize)
	if err := k.seal(box, c.Room(), labelCardBox, salt, c.signed); err != nil {
		return nil, fmt.Errorf("seal room card: %w", err)
	}
	return box, nil
}

// OpenCard opens the card that a node keeps for a room, and holds it against the room's id.
func (k *Keys) OpenCard(room ID, box []byte) (*Card, error) {
	if len(box) != CardBoxSize {
		return nil, fmt.Errorf("open room card: %w: %d bytes", ErrMalformed, len(box))
	}
	signed, err := k.open(room, labelCardBox, box)
	if err != nil {
		return nil, fmt.Errorf("open room card: %w", err)
	}
	c, err := ParseCard(signed)
	if err != nil {
		return nil, err
	}
	if c.Room() != room {
		return nil, fmt.Errorf("open room card: %w", ErrRoom)
	}
	return c, nil
}

// openByDevice reads a canonical object that a device signed and that names the device's
// certificate itself.
func openByDevice(signed []byte, most int, context string, m proto.Message, cert func() []byte) (*identity.DeviceCert, error) {
	if len(signed) <= identity.SignatureSize || len(signed) > most {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(signed))
	}
	if err := canon.Unmarshal(signed[identity.SignatureSize:], most, m); err != nil {
		return nil, err
	}
	c, err := identity.ParseDeviceCert(cert())
	if err != nil {
		return nil, err
	}
	if _, err := identity.OpenObject(c.Device, context, signed, most); err != nil {
		return nil, err
	}
	return c, nil
}

func hashOf(signed []byte) [32]byte { return sha256.Sum256(signed) }

func keysOut(keys []identity.PublicKey) (out [][]byte) {
	for _, k := range keys {
		out = append(out, k.Bytes())
	}
	return out
}

// keysIn reads roots, each of which may stand once.
func keysIn(in [][]byte) (out []identity.PublicKey, err error) {
	for _, b := range in {
		k, err := identity.CheckKey(b)
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, k) {
			return nil, fmt.Errorf("%w: a root twice", ErrMalformed)
		}
		out = append(out, k)
	}
	return out, nil
}

// checkLine takes one line of text.
func checkLine(s string, most int) error {
	if len(s) > most || !utf8.ValidString(s) {
		return fmt.Errorf("%w: text", ErrMalformed)
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: control character in text", ErrMalformed)
		}
	}
	return nil
}

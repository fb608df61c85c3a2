package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Rooms: making them, finding them again, ending them. Being in one is in room.go.

// RoomSettings are what a new room is to be. The zero value is a room for whoever has the link,
// for a day.
type RoomSettings struct {
	Title      string
	Entry      room.Entry // 0: room.Open
	Moderators []identity.PublicKey
	Members    []identity.PublicKey // entry room.Members alone; the owner and moderators need not be listed
	Life       time.Duration        // 0: a day
	Seats      int                  // 0: as many as there may be
	Topology   room.Topology
	MeshMost   int // 0: room.MeshDefault
}

// DefaultRoomLife is how long a room lasts where nothing is said.
const DefaultRoomLife = 24 * time.Hour

// RoomInfo is what this device remembers of a room.
type RoomInfo struct {
	Link    room.Link
	Title   string
	Entry   room.Entry
	Owner   bool // made here
	Runs    bool // this device may admit, send away and close
	Expires time.Time
	Seen    time.Time
	Over    bool // its time is over
}

// CreateRoom makes a room at the own node and remembers it. The client runs.
func (c *Client) CreateRoom(ctx context.Context, s RoomSettings) (RoomInfo, error) {
	home, err := c.home()
	if err != nil {
		return RoomInfo{}, err
	}
	cert, err := c.keep.OwnCert()
	if err != nil {
		return RoomInfo{}, err
	}
	if s.Entry == 0 {
		s.Entry = room.Open
	}
	if s.Life == 0 {
		s.Life = DefaultRoomLife
	}
	secret := room.NewSecret()
	keys := secret.Keys()
	now := c.keep.Now()
	card, err := room.SignCard(c.device, room.Card{
		Owner: cert, FirstGate: keys.GatePublic(), Nonce: room.NewNonce(), Serial: 1, Title: s.Title, Entry: s.Entry,
		Moderators: s.Moderators, Members: s.Members, Created: now, Expires: now.Add(s.Life), Topology: s.Topology, MeshMost: s.MeshMost,
	})
	if err != nil {
		return RoomInfo{}, err
	}
	box, err := keys.SealCard(card)
	if err != nil {
		return RoomInfo{}, err
	}
	var steward [32]byte
	_, _ = rand.Read(steward[:]) // never fails on supported systems
	base, err := roomBase(home.URL)
	if err != nil {
		return RoomInfo{}, err
	}
	id, gate := card.Room(), keys.GatePublic()
	kept := keep.Room{Base: base, ID: id, Secret: secret, Owner: true, Steward: steward, Card: card.Bytes(), Expires: card.Expires, Seen: now}
	// Written down first: a room whose keys nobody has would stand there until its end.
	if err := c.keep.PutRoom(kept); err != nil {
		return RoomInfo{}, err
	}
	seats := s.Seats
	if card.Topology == room.Mesh && (seats == 0 || seats > card.MeshLimit()) {
		seats = card.MeshLimit()
	}
	answer, err := c.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomCreate{RoomCreate: &pb.RoomCreate{
		Room: id[:], GateKey: gate[:], StewardKey: stewardKey(steward).Public().(ed25519.PublicKey), Card: box,
		Seats: uint32(seats), Expires: uint64(card.Expires.Unix()), Lobby: s.Entry == room.Lobby,
	}}})
	if err == nil && answer.GetRoomCreated() == nil {
		err = errors.New("the node answered a new room with something else")
	}
	if err != nil {
		return RoomInfo{}, errors.Join(err, c.keep.RemoveRoom(id))
	}
	return roomInfo(kept, now)
}

func stewardKey(seed [32]byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed[:]) }

// roomBase is a node's address as it stands in a link.
func roomBase(home string) (string, error) {
	u, err := url.Parse(home)
	if err != nil || u.Host == "" {
		return "", fmt.Errorf("%q is not the address of a node", home)
	}
	return u.Scheme + "://" + u.Host, nil
}

func roomInfo(r keep.Room, now time.Time) (RoomInfo, error) {
	card, err := room.ParseCard(r.Card)
	if err != nil {
		return RoomInfo{}, err
	}
	return RoomInfo{
		Link:  room.Link{Base: r.Base, Room: r.ID, Secret: r.Secret},
		Title: card.Title, Entry: card.Entry, Owner: r.Owner, Runs: r.Steward != [32]byte{},
		Expires: r.Expires, Seen: r.Seen, Over: !r.Expires.After(now),
	}, nil
}

// Rooms are those that this device remembers: that it has made, or has been in.
func (c *Client) Rooms() ([]RoomInfo, error) {
	kept, err := c.keep.Rooms()
	if err != nil {
		return nil, err
	}
	var out []RoomInfo
	for _, r := range kept {
		info, err := roomInfo(r, c.keep.Now())
		if err != nil {
			return nil, err
		}
		out = append(out, info)
	}
	return out, nil
}

// ForgetRoom forgets a room, which goes on without.
func (c *Client) ForgetRoom(id room.ID) error { return c.keep.RemoveRoom(id) }

// ErrNotSteward means that this device has not the key that runs the room.
var ErrNotSteward = errors.New("this device does not run the room: its owner and the moderators do")

// CloseRoom ends a room for all who are in it, and for good.
func (c *Client) CloseRoom(ctx context.Context, id room.ID) error {
	kept, err := c.keep.Room(id)
	if errors.Is(err, keep.ErrNotFound) {
		return ErrNotSteward
	}
	if err != nil {
		return err
	}
	if kept.Steward == ([32]byte{}) {
		return ErrNotSteward
	}
	a, err := c.attendee("")
	if err != nil {
		return err
	}
	w, stop, err := a.dial(ctx, kept.Base, func(*pb.NodeFrame) {})
	if err != nil {
		return err
	}
	defer stop()
	control, err := link.SignCommand(stewardKey(kept.Steward), w.challenge, id, &pb.RoomCommand{Kind: &pb.RoomCommand_Close{Close: &pb.RoomClose{}}})
	if err != nil {
		return err
	}
	_, err = w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomControl{RoomControl: control}})
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == link.CodeNoRoom {
		err = nil // it is over already
	}
	if err != nil {
		return err
	}
	return c.keep.RemoveRoom(id)
}

// attendee is who goes into a room: a device of an identity, or a guest.
type attendee struct {
	self room.Self
	cfg  Config
	now  func() time.Time
	keep *keep.Keep // nil: a guest
	// pass asks the own node for its word at the node of a challenge; turn for a relay and what gives
	// it back. nil: there is no own node.
	pass func(ctx context.Context, at *pb.Challenge, key []byte) ([]byte, error)
	turn func(ctx context.Context) (*pb.TurnCredentials, func(), error)
}

// attendee is this client's device. An identity that is registered nowhere certifies the device
// on the spot.
func (c *Client) attendee(name string) (*attendee, error) {
	cert, err := c.keep.OwnCert()
	if errors.Is(err, keep.ErrNotFound) {
		var root *identity.Root
		if root, err = c.keep.Root(c.cfg.Passphrase); err == nil {
			now := c.keep.Now()
			cert, err = root.CertifyDevice(c.device.Public(), 1, now, now.Add(certLifetime))
		}
	}
	if err != nil {
		return nil, err
	}
	a := &attendee{self: room.Self{Device: c.device, Cert: cert, Name: name}, cfg: c.cfg, now: c.keep.Now, keep: c.keep}
	if _, err := c.home(); err == nil {
		a.pass, a.turn = c.roomPass, c.ownTurn
	}
	return a, nil
}

// roomPass is the own node's word for a key at the node of a room.
func (c *Client) roomPass(ctx context.Context, at *pb.Challenge, key []byte) ([]byte, error) {
	ask := func() (*pb.NodeFrame, error) {
		return c.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomPass{RoomPass: &pb.RoomPass{Node: at.Node, Key: key}}})
	}
	answer, err := ask()
	var refused *RefusedError
	if errors.As(err, &refused) && refused.Code == link.CodeUnknownDestination {
		// The own node has to know whose that node is. Whether it is told the truth is its own business.
		if _, err := c.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: at.Domain}}}); err != nil {
			return nil, err
		}
		answer, err = ask()
	}
	if err != nil {
		return nil, err
	}
	if answer.GetRoomPassed() == nil {
		return nil, errors.New("the node answered a request for its word with something else")
	}
	return answer.GetRoomPassed().Pass, nil
}

// ownTurn is a relay of the own node.
func (c *Client) ownTurn(ctx context.Context) (*pb.TurnCredentials, func(), error) {
	got, err := c.turnCredentials(ctx)
	if err != nil {
		return nil, nil, err
	}
	return got, func() { c.giveBack([]*pb.TurnCredentials{got}) }, nil
}

// newGuest makes an identity on the spot, which ends with the process.
func newGuest(cfg Config, name string) (*attendee, error) {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails on supported systems
	root := identity.RootFromSeed(seed)
	device, err := identity.GenerateDevice()
	if err != nil {
		return nil, err
	}
	now := cfg.Now
	if now == nil {
		now = time.Now
	}
	cert, err := root.CertifyDevice(device.Public(), 1, now().Add(-time.Minute), now().Add(certLifetime-time.Hour))
	if err != nil {
		return nil, err
	}
	return &attendee{self: room.Self{Device: device, Cert: cert, Name: name}, cfg: cfg, now: now}, nil
}

// dial makes a link without a device to the node of a room. A node that is a home of ours is held
// to its key.
func (a *attendee) dial(ctx context.Context, base string, onRoom func(*pb.NodeFrame)) (*wire, func(), error) {
	var pin identity.PeerID
	if a.keep != nil {
		homes, err := a.keep.Homes()
		if err != nil {
			return nil, nil, err
		}
		for _, h := range homes {
			if at, err := roomBase(h.URL); err == nil && at == base {
				pin = h.PeerID
			}
		}
	}
	w, err := dialWire(ctx, a.cfg.Dial, a.cfg.RootCAs, base, pin, nil, nil)
	if err != nil {
		return nil, nil, err
	}
	w.onDeliver = func(*pb.Deliver) bool { return true } // a link without a device has no mailbox
	w.onDrain = func(*pb.Drain) {}
	w.onRoom = onRoom
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	w.ended = make(chan struct{})
	go func() {
		defer close(w.ended)
		w.why = w.run(life)
	}()
	return w, func() { end(); <-w.ended }, nil
}

// knows refuses a device that the newest list which is known of its identity does not have:
// one that was revoked, or that somebody made up. Of a stranger nothing is known.
func (a *attendee) knows(cert *identity.DeviceCert) error {
	if a.keep == nil {
		return nil
	}
	var list *identity.DeviceList
	if cert.Root == a.self.Cert.Root {
		own, err := a.keep.OwnList()
		if errors.Is(err, keep.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		list = own
	} else {
		contact, err := a.keep.Contact(cert.Root)
		if errors.Is(err, keep.ErrNotFound) || err == nil && len(contact.List) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if contact.State == keep.ContactBlocked {
			return errors.New("a blocked contact")
		}
		if list, err = identity.ParseDeviceList(contact.List); err != nil {
			return err
		}
	}
	_, err := list.Admit(cert, a.now())
	return err
}

// steward is the seed of the room's steward key, if this device has it.
func (a *attendee) steward(id room.ID) (seed [32]byte, _ error) {
	if a.keep == nil {
		return seed, nil
	}
	kept, err := a.keep.Room(id)
	if errors.Is(err, keep.ErrNotFound) {
		return seed, nil
	}
	return kept.Steward, err
}

// remember writes down where this device is. Guests remember nothing.
func (a *attendee) remember(change func(*keep.Room), id room.ID) error {
	if a.keep == nil {
		return nil
	}
	kept, err := a.keep.Room(id)
	if err != nil && !errors.Is(err, keep.ErrNotFound) {
		return err
	}
	kept.ID = id
	change(&kept)
	kept.Seen = a.now()
	return a.keep.PutRoom(kept)
}

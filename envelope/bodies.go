package envelope

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Limits of bodies, in bytes.
const (
	MaxKnockText = 512
	MaxPetName   = 64 // what a person calls itself or a contact
	MaxNoteText  = 16384
	MaxReadIDs   = 64
	maxBody      = 24 << 10
)

// Body is the content of a message of one type. Each has a Marshal method and a Parse
// function with the same limits; [Opened] carries the parsed one.
type Body interface {
	// Type is the message type that carries the body.
	Type() pb.Type
	// Marshal writes the body canonically, or says which limit it breaks.
	Marshal() ([]byte, error)
}

// Grant is leave to deliver to one mailbox without knocking.
type Grant struct {
	redact
	Home       identity.Home
	Tag        RouteTag
	Token      Token
	TokenEpoch uint64
	Device     identity.DeviceID
}

func (g *Grant) proto() *pb.Grant {
	return &pb.Grant{PeerId: g.Home.PeerID[:], Domain: g.Home.Domain, RouteTag: g.Tag[:],
		Token: g.Token[:], TokenEpoch: g.TokenEpoch, Device: g.Device[:]}
}

func grantFrom(m *pb.Grant) (*Grant, error) {
	home, err := homeFrom(m.PeerId, m.Domain)
	if err != nil {
		return nil, err
	}
	if len(m.RouteTag) != 16 || len(m.Token) != 16 || len(m.Device) != 16 {
		return nil, fmt.Errorf("%w: grant", ErrMalformed)
	}
	g := &Grant{Home: home, Tag: RouteTag(m.RouteTag), Token: Token(m.Token),
		TokenEpoch: m.TokenEpoch, Device: identity.DeviceID(m.Device)}
	if g.Token.IsZero() {
		return nil, fmt.Errorf("%w: grant of the knock token", ErrMalformed)
	}
	return g, nil
}

func homeFrom(peer []byte, domain string) (identity.Home, error) {
	p, err := identity.PeerIDFromBytes(peer)
	if err != nil {
		return identity.Home{}, err
	}
	if err := identity.CheckDomain(domain); err != nil {
		return identity.Home{}, err
	}
	return identity.Home{PeerID: p, Domain: domain}, nil
}

// checkText refuses text over its limit, invalid UTF-8 and NUL. What is shown of a name is
// the client's to clean; what is stored is what was sent.
func checkText(what, s string, max int) error {
	if len(s) > max {
		return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrTooLarge, what, len(s), max)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %s is not UTF-8", ErrMalformed, what)
	}
	for _, r := range s {
		if r == 0 {
			return fmt.Errorf("%w: NUL in %s", ErrMalformed, what)
		}
	}
	return nil
}

// checkName is checkText for one line.
func checkName(s string) error {
	if err := checkText("name", s, MaxPetName); err != nil {
		return err
	}
	for _, r := range s {
		if unicode.IsControl(r) {
			return fmt.Errorf("%w: control character in name", ErrMalformed)
		}
	}
	return nil
}

func marshalBody(m proto.Message) ([]byte, error) {
	b, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal body: %w", err)
	}
	if len(b) > maxBody {
		return nil, ErrTooLarge
	}
	return b, nil
}

func parseBody(b []byte, m proto.Message) error {
	if err := canon.Unmarshal(b, maxBody, m); err != nil {
		return fmt.Errorf("parse body: %w", err)
	}
	return nil
}

// ParseBody reads the body of a message of type t. A type without one takes no bytes and
// gives nil.
func ParseBody(t pb.Type, b []byte) (Body, error) {
	var body Body
	var err error
	switch t {
	case pb.Type_TYPE_KNOCK:
		body, err = ParseKnock(b)
	case pb.Type_TYPE_KNOCK_ACCEPT:
		var k *Knock
		if k, err = ParseKnock(b); err == nil {
			k.Accept = true
			body = k
		}
	case pb.Type_TYPE_NOTE:
		body, err = ParseNote(b)
	case pb.Type_TYPE_READ:
		body, err = ParseRead(b)
	case pb.Type_TYPE_RING:
		body, err = ParseRing(b)
	case pb.Type_TYPE_ACCEPT, pb.Type_TYPE_DECLINE, pb.Type_TYPE_BUSY:
		body, err = ParseRingAnswer(t, b)
	case pb.Type_TYPE_CANCEL:
		body, err = ParseCancel(b)
	case pb.Type_TYPE_LIST_UPDATE:
		body, err = ParseListUpdate(b)
	case pb.Type_TYPE_TOKEN_UPDATE, pb.Type_TYPE_COMPARED:
		if len(b) != 0 {
			err = fmt.Errorf("%w: %s with a body", ErrMalformed, strings.TrimPrefix(t.String(), "TYPE_"))
		}
	case pb.Type_TYPE_CONTACT_SYNC:
		body, err = ParseContactSync(b)
	default:
		err = fmt.Errorf("%w: message type %d", ErrMalformed, t)
	}
	if err != nil {
		return nil, err
	}
	return body, nil
}

// Knock is the first words of a stranger, or, with Accept, the answer to them.
type Knock struct {
	redact
	Accept bool // KNOCK_ACCEPT; the grant stands in the message
	Text   string
	Name   string
	Home   identity.Home // where the sender's device list can be asked for
}

func (k *Knock) Type() pb.Type {
	if k.Accept {
		return pb.Type_TYPE_KNOCK_ACCEPT
	}
	return pb.Type_TYPE_KNOCK
}

func (k *Knock) check() error {
	if err := checkText("knock", k.Text, MaxKnockText); err != nil {
		return err
	}
	return checkName(k.Name)
}

func (k *Knock) Marshal() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	return marshalBody(&pb.Knock{Text: k.Text, Name: k.Name, Domain: k.Home.Domain, PeerId: k.Home.PeerID[:]})
}

// ParseKnock reads the body of a KNOCK or KNOCK_ACCEPT.
func ParseKnock(b []byte) (*Knock, error) {
	var m pb.Knock
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	home, err := homeFrom(m.PeerId, m.Domain)
	if err != nil {
		return nil, err
	}
	k := &Knock{Text: m.Text, Name: m.Name, Home: home}
	return k, k.check()
}

// Note is a written message.
type Note struct {
	redact
	Text    string
	ReplyTo MessageID // zero: a reply to nothing
}

func (*Note) Type() pb.Type { return pb.Type_TYPE_NOTE }

func (n *Note) Marshal() ([]byte, error) {
	if err := checkText("note", n.Text, MaxNoteText); err != nil {
		return nil, err
	}
	m := &pb.Note{Text: n.Text}
	if n.ReplyTo != (MessageID{}) {
		m.ReplyTo = n.ReplyTo[:]
	}
	return marshalBody(m)
}

// ParseNote reads the body of a NOTE.
func ParseNote(b []byte) (*Note, error) {
	var m pb.Note
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	n := &Note{Text: m.Text}
	if l := len(m.ReplyTo); l != 0 {
		if l != 16 {
			return nil, fmt.Errorf("%w: reply to %d bytes", ErrMalformed, l)
		}
		n.ReplyTo = MessageID(m.ReplyTo)
	}
	return n, checkText("note", n.Text, MaxNoteText)
}

// Read acknowledges notes to the person that wrote them.
type Read struct {
	redact
	IDs []MessageID // one to 64
}

func (*Read) Type() pb.Type { return pb.Type_TYPE_READ }

func (r *Read) Marshal() ([]byte, error) {
	if len(r.IDs) == 0 || len(r.IDs) > MaxReadIDs {
		return nil, fmt.Errorf("%w: %d message ids, 1 to %d", ErrTooLarge, len(r.IDs), MaxReadIDs)
	}
	m := &pb.Read{}
	for _, id := range r.IDs {
		m.MessageIds = append(m.MessageIds, id[:])
	}
	return marshalBody(m)
}

// ParseRead reads the body of a READ.
func ParseRead(b []byte) (*Read, error) {
	var m pb.Read
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	if len(m.MessageIds) == 0 || len(m.MessageIds) > MaxReadIDs {
		return nil, fmt.Errorf("%w: %d message ids", ErrMalformed, len(m.MessageIds))
	}
	r := &Read{}
	for _, id := range m.MessageIds {
		if len(id) != 16 {
			return nil, fmt.Errorf("%w: message id of %d bytes", ErrMalformed, len(id))
		}
		r.IDs = append(r.IDs, MessageID(id))
	}
	return r, nil
}

// ListUpdate carries the sender's newest device list to a contact that a node may have kept
// it from.
type ListUpdate struct {
	redact
	List []byte // signed; the receiver checks it like any other list
}

func (*ListUpdate) Type() pb.Type { return pb.Type_TYPE_LIST_UPDATE }

func (u *ListUpdate) Marshal() ([]byte, error) {
	if len(u.List) <= identity.SignatureSize || len(u.List) > maxList {
		return nil, fmt.Errorf("%w: list of %d bytes", ErrTooLarge, len(u.List))
	}
	return marshalBody(&pb.ListUpdate{List: u.List})
}

// ParseListUpdate reads the body of a LIST_UPDATE.
func ParseListUpdate(b []byte) (*ListUpdate, error) {
	var m pb.ListUpdate
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	if len(m.List) <= identity.SignatureSize || len(m.List) > maxList {
		return nil, fmt.Errorf("%w: list of %d bytes", ErrMalformed, len(m.List))
	}
	return &ListUpdate{List: m.List}, nil
}

// ContactSync tells an own other device what the person decided about a contact.
type ContactSync struct {
	redact
	Root   identity.PublicKey
	Home   identity.Home
	State  pb.ContactState
	Name   string
	Grants []Grant // at most 8
}

func (*ContactSync) Type() pb.Type { return pb.Type_TYPE_CONTACT_SYNC }

func (c *ContactSync) check() error {
	if c.State != pb.ContactState_CONTACT_STATE_ACCEPTED && c.State != pb.ContactState_CONTACT_STATE_BLOCKED {
		return fmt.Errorf("%w: contact state %d", ErrMalformed, c.State)
	}
	if len(c.Grants) > maxDevices {
		return fmt.Errorf("%w: %d grants", ErrTooLarge, len(c.Grants))
	}
	return checkName(c.Name)
}

func (c *ContactSync) Marshal() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &pb.ContactSync{RootKey: c.Root[:], Domain: c.Home.Domain, PeerId: c.Home.PeerID[:], State: c.State, Name: c.Name}
	for i := range c.Grants {
		m.Grants = append(m.Grants, c.Grants[i].proto())
	}
	return marshalBody(m)
}

// ParseContactSync reads the body of a CONTACT_SYNC.
func ParseContactSync(b []byte) (*ContactSync, error) {
	var m pb.ContactSync
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	root, err := identity.CheckKey(m.RootKey)
	if err != nil {
		return nil, err
	}
	home, err := homeFrom(m.PeerId, m.Domain)
	if err != nil {
		return nil, err
	}
	c := &ContactSync{Root: root, Home: home, State: m.State, Name: m.Name}
	for _, g := range m.Grants {
		grant, err := grantFrom(g)
		if err != nil {
			return nil, err
		}
		c.Grants = append(c.Grants, *grant)
	}
	return c, c.check()
}

package client

import (
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// Another device joins an identity in three steps, two of which people carry by hand:
//
//  1. the new device makes its key and shows a request: its device key and a one-time
//     X25519 key;
//  2. a device that can open the root key signs the next device list with the new device in
//     it, publishes it, and shows an approval sealed to that one-time key: the list, the
//     home, the contacts;
//  3. the new device reads the approval, publishes its own prekey and opens its mailbox.
//
// The request is compared by the person: it is on both screens. Nothing secret is in it.
const (
	requestPrefix  = "tldr1-"
	approvalPrefix = "tlda1-"
	labelPairing   = "trunkline/v1/pairing\x00" // HPKE info
	maxApproval    = 256 << 10
)

// DeviceRequest begins on a new device. Show Text; keep the value until Join.
type DeviceRequest struct {
	Text   string
	device *identity.Device
	secret *ecdh.PrivateKey
}

// NewDeviceRequest draws a device key and a one-time key.
func NewDeviceRequest() (*DeviceRequest, error) {
	device, err := identity.GenerateDevice()
	if err != nil {
		return nil, err
	}
	secret, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	public := device.Public()
	raw := append(public[:], secret.PublicKey().Bytes()...)
	return &DeviceRequest{
		Text: requestPrefix + base64.RawURLEncoding.EncodeToString(raw), device: device, secret: secret,
	}, nil
}

// CheckDeviceRequest says what is wrong with a request, before anybody is asked for a
// passphrase to approve it.
func CheckDeviceRequest(text string) error {
	_, _, err := parseRequest(text)
	return err
}

func parseRequest(text string) (device identity.PublicKey, once *ecdh.PublicKey, err error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), requestPrefix)
	if !ok {
		return device, nil, fmt.Errorf("this is not a device request: it begins with %s", requestPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(raw) != 64 {
		return device, nil, errors.New("the device request is damaged: copy it whole")
	}
	if device, err = identity.CheckKey(raw[:32]); err != nil {
		return device, nil, fmt.Errorf("device request: %w", err)
	}
	if err := identity.CheckX25519(raw[32:]); err != nil {
		return device, nil, fmt.Errorf("device request: %w", err)
	}
	once, err = ecdh.X25519().NewPublicKey(raw[32:])
	return device, once, err
}

// ApproveDevice signs a device list with the new device in it, publishes it and returns the
// approval for the new device.
func (c *Client) ApproveDevice(ctx context.Context, request string) (approval string, err error) {
	device, once, err := parseRequest(request)
	if err != nil {
		return "", err
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if err != nil {
		return "", err
	}
	list, err := c.changeOwnList(ctx, func(own *identity.DeviceList) (*identity.DeviceList, error) {
		if _, listed := own.Device(identity.DeviceIDOf(device)); listed {
			return own, nil // approved before: the approval may have been lost on its way
		}
		return root.AddDevice(own, device, c.keep.Now())
	})
	if err != nil {
		return "", err
	}
	c.later("tell of the new device", c.announceList)
	pack, err := c.pack(list)
	if err != nil {
		return "", err
	}
	public, err := hpke.NewDHKEMPublicKey(once)
	if err != nil {
		return "", err
	}
	box, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(labelPairing), pack)
	if err != nil {
		return "", err
	}
	return approvalPrefix + base64.RawURLEncoding.EncodeToString(box), nil
}

// pack writes what a new device needs: pieces of 4-byte length each, in this order: device
// list, home URL, home domain, home peer id, then one ContactSync per accepted contact.
func (c *Client) pack(list *identity.DeviceList) ([]byte, error) {
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	pieces := [][]byte{list.Bytes(), []byte(home.URL), []byte(home.Domain), home.PeerID.Bytes()}
	contacts, err := c.keep.Contacts()
	if err != nil {
		return nil, err
	}
	for _, k := range contacts {
		if sync := syncOf(k); sync != nil {
			b, err := sync.Marshal()
			if err != nil {
				return nil, err
			}
			pieces = append(pieces, b)
		}
	}
	out := joinPieces(pieces)
	if len(out) > maxApproval {
		return nil, errors.New("there are too many contacts to hand over at once")
	}
	return out, nil
}

func joinPieces(pieces [][]byte) []byte {
	var out []byte
	for _, p := range pieces {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}

func unpack(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, envelope.ErrMalformed
		}
		n := binary.BigEndian.Uint32(b)
		if uint64(n) > uint64(len(b)-4) {
			return nil, envelope.ErrMalformed
		}
		out = append(out, b[4:4+n])
		b = b[4+n:]
	}
	if len(out) < 4 {
		return nil, envelope.ErrMalformed
	}
	return out, nil
}

// Join makes this folder a device of the identity that approved the request. The root key
// stays where it was.
func Join(cfg Config, r *DeviceRequest, approval string) (*Client, error) {
	pieces, err := openPieces(r, approval)
	if err != nil {
		return nil, err
	}
	a, err := checkPieces(r.device.Public(), pieces)
	if err != nil {
		return nil, err
	}
	return join(cfg, r.device, a)
}

// openPieces opens an approval that was sealed for this request.
func openPieces(r *DeviceRequest, approval string) ([][]byte, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(approval), approvalPrefix)
	if !ok {
		return nil, fmt.Errorf("this is not an approval: it begins with %s", approvalPrefix)
	}
	if len(body) > 2*maxApproval {
		return nil, errors.New("the approval is too long")
	}
	box, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil {
		return nil, errors.New("the approval is damaged: copy it whole")
	}
	secret, err := hpke.NewDHKEMPrivateKey(r.secret)
	if err != nil {
		return nil, err
	}
	plain, err := hpke.Open(secret, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(labelPairing), box)
	if err != nil {
		return nil, fmt.Errorf("%w: the approval was made for another request", ErrVerification)
	}
	return unpack(plain)
}

// approved is what an approval says, checked.
type approved struct {
	list     *identity.DeviceList
	home     keep.Home
	contacts []*envelope.ContactSync
}

// checkPieces holds an approval against the device that asked for it, before anything of it
// is written down.
func checkPieces(device identity.PublicKey, pieces [][]byte) (approved, error) {
	list, err := identity.ParseDeviceList(pieces[0])
	if err != nil {
		return approved{}, fmt.Errorf("%w: %w", ErrVerification, err)
	}
	if _, listed := list.Device(identity.DeviceIDOf(device)); !listed {
		return approved{}, fmt.Errorf("%w: the device list does not name this device", ErrVerification)
	}
	peer, err := identity.PeerIDFromBytes(pieces[3])
	if err != nil {
		return approved{}, err
	}
	if !list.HasHome(peer) {
		return approved{}, fmt.Errorf("%w: the home is not in the device list", ErrVerification)
	}
	a := approved{list: list, home: keep.Home{PeerID: peer, Domain: string(pieces[2]), URL: string(pieces[1]), TokenEpoch: 1}}
	if err := identity.CheckDomain(a.home.Domain); err != nil {
		return approved{}, err
	}
	if _, _, err := linkURL(a.home.URL); err != nil {
		return approved{}, err
	}
	for _, raw := range pieces[4:] {
		sync, err := envelope.ParseContactSync(raw)
		if err != nil {
			return approved{}, fmt.Errorf("take over a contact: %w", err)
		}
		a.contacts = append(a.contacts, sync)
	}
	return a, nil
}

func join(cfg Config, device *identity.Device, a approved) (*Client, error) {
	home := a.home
	home.Tag = envelope.NewRouteTag()
	_, _ = rand.Read(home.MailboxSecret[:])
	k, err := keep.Create(cfg.Dir, keep.NewProfile{Root: a.list.Root, Device: device}, cfg.keep())
	if err != nil {
		return nil, err
	}
	home.Registered = k.Now()
	if err := errors.Join(k.SetOwnList(a.list), k.PutHome(home)); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	c, err := newClient(cfg, k)
	if err != nil {
		return nil, err
	}
	for _, sync := range a.contacts {
		if err := c.applySync(sync); err != nil {
			return nil, errors.Join(fmt.Errorf("take over a contact: %w", err), k.Close())
		}
	}
	return c, nil
}

// RevokeDevice signs a device list without the device. A contact knows it when it sees the
// new list, at the latest when the old one has ended.
func (c *Client) RevokeDevice(ctx context.Context, id identity.DeviceID) error {
	if id == c.device.ID() {
		return errors.New("this is the device you work on: revoke it from another one")
	}
	root, err := c.keep.Root(c.cfg.Passphrase)
	if err != nil {
		return err
	}
	if _, err := c.changeOwnList(ctx, func(own *identity.DeviceList) (*identity.DeviceList, error) {
		return root.Revoke(own, id, c.keep.Now())
	}); err != nil {
		return err
	}
	// The revoked device knows the contacts' tokens and ours: change ours without grace.
	if err := c.rotateToken(ctx, false); err != nil {
		return err
	}
	c.later("tell contacts of the new device list", c.announceList)
	return nil
}

// announceList sends the own list to every accepted contact and own device.
func (c *Client) announceList(ctx context.Context) error {
	list, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	contacts, err := c.keep.Contacts()
	if err != nil {
		return err
	}
	body := &envelope.ListUpdate{List: list.Bytes()}
	l := letter{body: body, kind: body.Type(), life: knockLife, ttl: envelope.Week, withGrant: true}
	var failed error
	for _, k := range contacts {
		if k.State == keep.ContactAccepted && len(k.Evidence) == 0 {
			_, err := c.deliverAll(ctx, k, l)
			failed = errors.Join(failed, passing(err))
		}
	}
	return errors.Join(failed, c.toOwnDevices(ctx, l))
}

// ownContact is this identity as its own devices see each other: where they live, the leave
// to deliver that they gave each other (Grants), and which of them know of this one (Told).
// It is written down as a contact is, and is none.
func (c *Client) ownContact() (keep.Contact, error) {
	home, err := c.home()
	if err != nil {
		return keep.Contact{}, err
	}
	k, err := c.keep.Contact(c.self)
	if errors.Is(err, keep.ErrNotFound) {
		k = keep.Contact{Root: c.self, Domain: home.Domain, Home: home.PeerID, Added: c.keep.Now()}
		err = c.keep.PutContact(k)
	}
	k.Domain, k.Home = home.Domain, home.PeerID
	return k, err
}

// ownDevices returns the identity's other devices that can be written to.
func (c *Client) ownDevices(ctx context.Context) (keep.Contact, []addressee, error) {
	list, err := c.keep.OwnList()
	if err != nil || len(list.Devices) < 2 {
		return keep.Contact{}, nil, err
	}
	own, err := c.ownContact()
	if err != nil {
		return own, nil, err
	}
	// A device that has just joined may have published its key a moment ago.
	c.directory.forget(c.self)
	to, err := c.addressees(ctx, own)
	return own, to, err
}

// toOwnDevices sends a letter to the identity's other devices, if there are any. Each carries
// leave to deliver: a device that is new goes as a knock, of which few can wait, and once only.
func (c *Client) toOwnDevices(ctx context.Context, l letter) error {
	_, to, err := c.ownDevices(ctx)
	if err != nil {
		return passing(err)
	}
	l.withGrant = true
	var failed error
	for _, a := range to {
		_, err := c.deliver(ctx, a, l)
		failed = errors.Join(failed, passing(err))
	}
	return failed
}

// greetOwnDevices tells each own device that does not know of this one of the own list and of
// every contact: a device that was recovered from the phrase knows nobody. Whom it has told it
// writes down, so that an end in between does not matter. It is done with every new link, with
// a list that names a new own device, and when an own device gives leave to deliver.
func (c *Client) greetOwnDevices(ctx context.Context) error {
	c.greetMu.Lock()
	defer c.greetMu.Unlock()
	own, to, err := c.ownDevices(ctx)
	if err != nil {
		return passing(err)
	}
	var failed error
	for _, a := range to {
		if _, told := own.Told[a.bundle.DeviceID()]; !told {
			failed = errors.Join(failed, passing(c.greet(ctx, a)))
		}
	}
	return failed
}

func (c *Client) greet(ctx context.Context, a addressee) error {
	list, err := c.keep.OwnList()
	if err != nil {
		return err
	}
	contacts, err := c.keep.Contacts()
	if err != nil {
		return err
	}
	update := &envelope.ListUpdate{List: list.Bytes()}
	letters := []letter{{body: update, kind: update.Type(), life: knockLife, ttl: envelope.Week, withGrant: true}}
	if a.grant == nil {
		// A knock, which is answered with leave to deliver; takeGrant comes back here. Of knocks
		// ten can wait, so contacts are not told by them.
		_, err := c.deliver(ctx, a, letters[0])
		return err
	}
	for _, k := range contacts {
		if sync := syncOf(k); sync != nil {
			letters = append(letters, letter{body: sync, kind: sync.Type(), life: knockLife, ttl: envelope.Week, withGrant: true})
		}
	}
	for _, l := range letters {
		if _, err := c.deliver(ctx, a, l); err != nil {
			return err
		}
	}
	_, err = c.keep.UpdateContact(c.self, func(k *keep.Contact) error {
		if k.Told == nil {
			k.Told = make(map[identity.DeviceID]time.Time)
		}
		k.Told[a.bundle.DeviceID()] = c.keep.Now()
		return nil
	})
	return err
}

// syncContact tells the own other devices what was decided about a contact.
func (c *Client) syncContact(root identity.PublicKey) {
	c.later("tell the own devices of a contact", func(ctx context.Context) error {
		k, err := c.keep.Contact(root)
		if err != nil {
			return err
		}
		body := syncOf(k)
		if body == nil {
			return nil
		}
		return c.toOwnDevices(ctx, letter{body: body, kind: body.Type(), life: knockLife, ttl: envelope.Week})
	})
}

func syncOf(k keep.Contact) *envelope.ContactSync {
	s := &envelope.ContactSync{
		Root: k.Root, Home: identity.Home{PeerID: k.Home, Domain: k.Domain}, Name: k.Name,
	}
	switch k.State {
	case keep.ContactAccepted:
		s.State = envelopepb.ContactState_CONTACT_STATE_ACCEPTED
	case keep.ContactBlocked:
		s.State = envelopepb.ContactState_CONTACT_STATE_BLOCKED
	default:
		return nil
	}
	if k.Home.IsZero() {
		return nil
	}
	for _, g := range k.Grants {
		s.Grants = append(s.Grants, envelope.Grant{
			Home: identity.Home{PeerID: g.PeerID, Domain: g.Domain}, Tag: g.Tag, Token: g.Token,
			TokenEpoch: g.TokenEpoch, Device: g.Device,
		})
	}
	return s
}

func (c *Client) onContactSync(_ *envelope.Opened, body *envelope.ContactSync) error {
	if err := c.applySync(body); err != nil {
		return err
	}
	if body.State == envelopepb.ContactState_CONTACT_STATE_BLOCKED {
		c.calls.endWith(body.Root)
		c.later("change the delivery token", func(ctx context.Context) error { return c.rotateToken(ctx, false) })
		return nil
	}
	c.later("hand out the delivery token", c.giveTokens)
	return nil
}

// applySync takes over another own device's decision. The device list of the contact is
// fetched and pinned by this device itself before anything is sent.
func (c *Client) applySync(s *envelope.ContactSync) error {
	if s.Root == c.self {
		return envelope.ErrMalformed
	}
	state := keep.ContactAccepted
	if s.State == envelopepb.ContactState_CONTACT_STATE_BLOCKED {
		state = keep.ContactBlocked
	}
	_, err := c.keep.Contact(s.Root)
	if errors.Is(err, keep.ErrNotFound) {
		err = c.keep.PutContact(keep.Contact{Root: s.Root, Domain: s.Home.Domain, Home: s.Home.PeerID, Name: s.Name, Added: c.keep.Now()})
	}
	if err != nil {
		return err
	}
	if _, err := c.keep.UpdateContact(s.Root, func(k *keep.Contact) error {
		k.State = state
		for i := range s.Grants {
			setGrant(k, keepGrant(&s.Grants[i]))
		}
		return nil
	}); err != nil {
		return err
	}
	if err := c.keep.RemoveKnock(s.Root); err != nil && !errors.Is(err, keep.ErrNotFound) {
		return err
	}
	return nil
}

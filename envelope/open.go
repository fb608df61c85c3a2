package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"filippo.io/age"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// Why a message was dropped, for local counters. Nothing of it goes to the network: an
// answer would tell a stranger which step it reached.
var (
	ErrRate      = errors.New("envelope: too many messages at once")
	ErrOverhead  = errors.New("envelope: not sealed to exactly one hybrid recipient")
	ErrSender    = errors.New("envelope: sender refused")
	ErrRecipient = errors.New("envelope: made for someone else")
	ErrTime      = errors.New("envelope: outside its time")
	ErrPolicy    = errors.New("envelope: sender may not send this")
)

// Standing is what a root key is to this person.
type Standing uint8

const (
	Stranger Standing = iota
	Knocked           // we knocked at them and wait
	Accepted
	Blocked
	Own // our own root: another of our devices
)

// Contact is what the client knows of a root key.
type Contact struct {
	Standing Standing
	List     *identity.DeviceList // the newest list accepted under its pin, or nil
}

// Contacts looks root keys up. It is asked once per message, after decryption.
type Contacts interface {
	Contact(root identity.PublicKey) (Contact, error)
}

// OpenerConfig is what opening needs to know of its device.
type OpenerConfig struct {
	Root     identity.PublicKey
	Device   identity.DeviceID
	Tag      RouteTag
	Prekeys  interface{ ByHint(Hint) (*Prekey, error) }
	Contacts Contacts
	OwnList  func() *identity.DeviceList // our newest list
	Replay   Replay
	Now      func() time.Time // see [Clock]
	// Horizon is the moment before which the replay store knows nothing: messages created
	// earlier are refused. Zero if the store was never lost.
	Horizon time.Time
	// Rates of opening, before any decryption. Zero: 50 and 4 a second.
	ContactRate, StrangerRate Rate
}

// Opener opens what arrives for one device. It is safe for concurrent use.
type Opener struct {
	redact
	c                   OpenerConfig
	contacts, strangers *bucket
	unlisted            rootBuckets
}

// NewOpener checks that the configuration is whole.
func NewOpener(c OpenerConfig) (*Opener, error) {
	if c.Root.IsZero() || c.Prekeys == nil || c.Contacts == nil || c.OwnList == nil || c.Replay == nil || c.Now == nil {
		return nil, errors.New("envelope: opener needs root, prekeys, contacts, own list, replay store and clock")
	}
	if c.ContactRate == (Rate{}) {
		c.ContactRate = defaultContactRate
	}
	if c.StrangerRate == (Rate{}) {
		c.StrangerRate = defaultStrangerRate
	}
	return &Opener{c: c, contacts: newBucket(c.ContactRate), strangers: newBucket(c.StrangerRate)}, nil
}

// ListState says how the sender's device stands to the list that we have of its identity.
type ListState uint8

const (
	ListUnknown ListState = iota // we have no list: nothing is verified
	ListCurrent                  // listed, and the list has not ended
	ListStale                    // listed, but the list ended within seven days: warn and fetch
	ListNewer                    // the certificate is newer than our list: fetch before showing as verified
	ListEnded                    // listed, but the list ended longer ago: only LIST_UPDATE is opened
)

// Echo says whether the sender knows our newest device list.
type Echo uint8

const (
	EchoNone     Echo = iota // the sender has no list of ours
	EchoCurrent              // it has the newest
	EchoOld                  // it has an older one: send LIST_UPDATE if WantsList says so
	EchoConflict             // it has another one of the same epoch: somebody else holds our root; alarm
	EchoAhead                // it has a later one: ask our own other devices and our home for it
)

// Opened is a message that passed every step.
type Opened struct {
	redact
	Message
	Content  Body     // the parsed Message.Body; nil for TOKEN_UPDATE
	Hash     [32]byte // SHA-256 of the signed message, signature included
	Standing Standing
	List     ListState
	Echo     Echo
	Knock    bool // came without a token: an accepted contact needs a TOKEN_UPDATE
	Late     bool // past its end within the grace: a RING is a missed call, nothing more

	list *identity.DeviceList // the sender's, as List says; nil if unknown
}

// WantsList reports whether the sender may be answered with our device list: never a
// stranger, and never in answer to a LIST_UPDATE. [UpdateLimit] bounds how often.
func (o *Opened) WantsList() bool {
	return o.Echo == EchoOld && (o.Standing == Accepted || o.Standing == Own) && o.Type != pb.Type_TYPE_LIST_UPDATE
}

// FetchList reports whether the sender's device list should be asked for before anything of
// it is shown as verified.
func (o *Opened) FetchList() bool { return o.List != ListCurrent }

// ReplayError says which message came again. Its sender is verified: a NOTE of an accepted
// contact is acknowledged again, everything else is forgotten.
type ReplayError struct {
	Sender   identity.PublicKey
	Device   identity.DeviceID
	ID       MessageID
	Type     pb.Type
	Standing Standing
}

func (*ReplayError) Error() string { return ErrReplay.Error() }
func (*ReplayError) Unwrap() error { return ErrReplay }

// Open opens a payload that arrived with the given hint and knock flag, in the order of
// docs/spec/envelope.md, "Opening". Every error means: drop it, count it, say nothing. Only
// step 10 changes state, and for a stranger that is one entry in the shared pool.
func (o *Opener) Open(payload []byte, hint Hint, knock bool) (*Opened, error) {
	// 1. Size.
	if !Bucket(len(payload)) || knock && len(payload) != KnockSize {
		return nil, ErrSize
	}
	// Strangers are bounded before they cost a decryption, and apart, so that they cannot
	// use up what contacts need.
	now := o.c.Now()
	limit := o.contacts
	if knock {
		limit = o.strangers
	}
	if !limit.take(now) {
		return nil, ErrRate
	}
	// 2, 3, 4.
	prekey, err := o.c.Prekeys.ByHint(hint)
	if err != nil {
		return nil, err
	}
	signed, err := openSealed(payload, prekey.identity)
	if err != nil {
		return nil, err
	}
	opened, err := o.openSigned(signed, prekey.id, o.c.Tag, now)
	if err != nil {
		return nil, err
	}
	if err := opened.vouched(); err != nil {
		return nil, err
	}
	// 10, 11, 12.
	if err := o.admit(opened, knock, now); err != nil {
		return nil, err
	}
	return opened, nil
}

// openSealed is steps 2 to 4. The result is signature and message, not yet looked at.
func openSealed(payload []byte, identities ...age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(payload), identities...)
	if err != nil {
		return nil, ErrDecrypt
	}
	plain := bytes.NewBuffer(make([]byte, 0, len(payload)))
	if _, err := io.Copy(plain, r); err != nil {
		return nil, ErrDecrypt
	}
	if len(payload)-plain.Len() != ageOverhead {
		return nil, ErrOverhead
	}
	return Unpad(plain.Bytes())
}

// openSigned is steps 5 to 9, which sealed messages and ring answers share. The prekey id is
// zero for a ring answer.
func (o *Opener) openSigned(signed []byte, prekey PrekeyID, tag RouteTag, now time.Time) (*Opened, error) {
	// 5. Canonical form.
	if len(signed) <= identity.SignatureSize || len(signed) > MaxSigned {
		return nil, fmt.Errorf("%w: message of %d bytes", ErrMalformed, len(signed))
	}
	sig, msg := signed[:identity.SignatureSize], signed[identity.SignatureSize:]
	m, certBytes, err := parseInner(msg)
	if err != nil {
		return nil, err
	}
	// 6. Who.
	if _, err := identity.CheckKey(m.SenderRoot[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	cert, err := identity.ParseDeviceCert(certBytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	if cert.Root != m.SenderRoot {
		return nil, fmt.Errorf("%w: certificate of another root", ErrSender)
	}
	if err := cert.ValidAt(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	m.SenderCert = cert
	opened := &Opened{Message: *m, Hash: sha256.Sum256(signed)}
	if err := o.place(opened, now); err != nil {
		return nil, err
	}
	// 7. Signature.
	if err := identity.VerifySignature(cert.Device, identity.ContextInner, msg, sig); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	// 8. For us, by this prekey, under this tag.
	if m.RecipientRoot != o.c.Root || m.RecipientDevice != o.c.Device || m.PrekeyID != prekey || m.RouteTag != tag {
		return nil, ErrRecipient
	}
	// 9. Time.
	if err := m.checkTimes(now); err != nil {
		return nil, err
	}
	if m.Created.Before(o.c.Horizon) {
		return nil, fmt.Errorf("%w: before the replay store's horizon", ErrTime)
	}
	opened.Late = now.After(m.Expires)
	opened.Echo = o.echo(m)
	return opened, nil
}

// place finds what the sender is to us and holds its certificate against our list of it.
func (o *Opener) place(opened *Opened, now time.Time) error {
	c := Contact{Standing: Own, List: o.c.OwnList()}
	if opened.SenderRoot != o.c.Root {
		var err error
		if c, err = o.c.Contacts.Contact(opened.SenderRoot); err != nil {
			return fmt.Errorf("look up sender: %w", err)
		}
		if c.Standing == Own {
			return fmt.Errorf("%w: another root marked as own", ErrSender)
		}
	}
	opened.Standing, opened.list = c.Standing, c.List
	if c.List == nil {
		if c.Standing == Own {
			return fmt.Errorf("%w: no own list", ErrSender)
		}
		opened.List = ListUnknown
		return nil
	}
	current, err := c.List.Admit(opened.SenderCert, now)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSender, err)
	}
	if !current {
		opened.List = ListNewer
		return nil
	}
	stale, err := c.List.Fresh(now)
	switch {
	case errors.Is(err, identity.ErrStale):
		opened.List = ListEnded
	case err != nil:
		return fmt.Errorf("%w: %w", ErrSender, err)
	case stale:
		opened.List = ListStale
	default:
		opened.List = ListCurrent
	}
	return nil
}

// vouched holds a sealed message to what its sender's list still says: an own device is one
// that our list names, and under a list that ended more than seven days ago nobody speaks, or
// a node could hide a revocation for as long as the certificate lives. The next list comes
// through either way, because it proves itself. A ring answer has rules of its own.
func (o *Opened) vouched() error {
	switch {
	case o.Type == pb.Type_TYPE_LIST_UPDATE:
		return nil
	case o.List == ListEnded:
		return fmt.Errorf("%w: %w", ErrSender, identity.ErrStale)
	case o.Standing == Own && o.List == ListNewer:
		return fmt.Errorf("%w: %w", ErrSender, identity.ErrNotListed)
	}
	return nil
}

func (o *Opener) echo(m *Message) Echo {
	own := o.c.OwnList()
	switch {
	case m.BelievedEpoch == 0 || own == nil:
		return EchoNone
	case m.BelievedEpoch < own.Epoch:
		return EchoOld
	case m.BelievedEpoch > own.Epoch:
		return EchoAhead
	case m.BelievedHash == own.HashPrefix():
		return EchoCurrent
	}
	return EchoConflict
}

// admit is steps 10 to 12.
func (o *Opener) admit(opened *Opened, knock bool, now time.Time) error {
	opened.Knock = knock
	// 10. Replay, written before anything acts. Only a device that a list names has a cap
	// of its own: a root key signs as many others as it likes. Those of people we know have a
	// little room beside the pool, because strangers can fill that.
	listed := opened.List != ListUnknown && opened.List != ListNewer
	stranger := opened.Standing == Stranger || opened.Standing == Blocked ||
		!listed && !o.unlisted.take(opened.SenderRoot, now)
	dev := opened.SenderCert.DeviceID()
	dup, err := o.c.Replay.Seen(dev, opened.ID, opened.Expires.Add(replaySlack), stranger)
	if err != nil {
		return fmt.Errorf("record message: %w", err)
	}
	if dup {
		return &ReplayError{Sender: opened.SenderRoot, Device: dev, ID: opened.ID, Type: opened.Type, Standing: opened.Standing}
	}
	// 11. What this sender may send.
	if !maySend(opened.Standing, opened.Type) {
		return ErrPolicy
	}
	// 12. Body.
	content, err := ParseBody(opened.Type, opened.Body)
	if err != nil {
		return err
	}
	opened.Content = content
	return opened.checkGrant()
}

// maySend is the table of docs/spec/envelope.md, "Who may send what". Ring answers are not in
// it: they come in a form of their own.
func maySend(s Standing, t pb.Type) bool {
	switch t {
	case pb.Type_TYPE_KNOCK:
		return s == Stranger || s == Knocked || s == Accepted
	case pb.Type_TYPE_KNOCK_ACCEPT:
		return s == Knocked || s == Accepted
	case pb.Type_TYPE_NOTE, pb.Type_TYPE_READ, pb.Type_TYPE_RING, pb.Type_TYPE_CANCEL,
		pb.Type_TYPE_LIST_UPDATE, pb.Type_TYPE_TOKEN_UPDATE:
		return s == Accepted || s == Own
	case pb.Type_TYPE_COMPARED:
		return s == Accepted
	case pb.Type_TYPE_CONTACT_SYNC:
		return s == Own
	}
	return false
}

// DropReason is a word for a local counter.
func DropReason(err error) string {
	for _, r := range []struct {
		err  error
		word string
	}{
		{ErrRate, "rate"}, {ErrSize, "size"}, {ErrNoPrekey, "prekey"}, {ErrDecrypt, "decrypt"},
		{ErrOverhead, "recipients"}, {ErrSender, "sender"}, {ErrRecipient, "recipient"},
		{ErrTime, "time"}, {ErrReplayFull, "full"}, {ErrReplay, "replay"}, {ErrPolicy, "policy"},
		{ErrNoSession, "session"}, {ErrClosed, "session"},
	} {
		if errors.Is(err, r.err) {
			return r.word
		}
	}
	return "malformed"
}

// UpdateInterval is how often one device is sent our device list at most.
const UpdateInterval = time.Hour

// maxUpdateDevices bounds what UpdateLimit remembers. Only accepted contacts get that far.
const maxUpdateDevices = 4096

// UpdateLimit remembers to which devices LIST_UPDATE was sent within the hour.
type UpdateLimit struct {
	sent map[identity.DeviceID]time.Time
}

// Allow reports whether the device may be sent a LIST_UPDATE now, and counts it. It is not
// safe for concurrent use.
func (u *UpdateLimit) Allow(dev identity.DeviceID, now time.Time) bool {
	if t, ok := u.sent[dev]; ok && now.Sub(t) < UpdateInterval {
		return false
	}
	if u.sent == nil {
		u.sent = make(map[identity.DeviceID]time.Time)
	}
	if len(u.sent) >= maxUpdateDevices {
		for d, t := range u.sent {
			if now.Sub(t) >= UpdateInterval {
				delete(u.sent, d)
			}
		}
		if len(u.sent) >= maxUpdateDevices {
			return false
		}
	}
	u.sent[dev] = now
	return true
}

package keep

import (
	"errors"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

var (
	// ErrNoProfile: the folder holds no client yet.
	ErrNoProfile = errors.New("there is no identity in this folder")
	// ErrExists: Create does not write over a profile.
	ErrExists = errors.New("there is an identity in this folder already")
	// ErrInUse: bbolt allows one process at a time.
	ErrInUse = errors.New("another trunkline command uses this folder")
	// ErrUnavailable: the disk did not take or give something; nothing has changed.
	ErrUnavailable = errors.New("the data folder cannot be written or read")
	// ErrNotFound: no such contact, note, home, transfer or document.
	ErrNotFound = errors.New("not found")
	// ErrNoRoot: the root key is only on paper (cold).
	ErrNoRoot = errors.New("the root key is not kept here: enter the phrase")
	// ErrPassphrase: wrong, or missing, for a wrapped root seed.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrWorkFactor: the wrapped seed asks for more scrypt work than is sane to do.
	ErrWorkFactor = errors.New("the wrapped root seed asks for too much work to open")
	// ErrReplayFull: too many messages of one sender are still in their time; refused, none
	// is forgotten early.
	ErrReplayFull = envelope.ErrReplayFull
	// ErrKnocksFull: too many strangers wait for an answer.
	ErrKnocksFull = errors.New("too many knocks are waiting")
	// ErrRollback: a list or document older than one that was seen.
	ErrRollback = errors.New("older than one that was seen before")
	// ErrConflict: two lists or documents of one epoch.
	ErrConflict = errors.New("another one of the same epoch was seen before")
)

// Custody says where the root seed is.
type Custody uint8

const (
	CustodyCold       Custody = iota // on paper only
	CustodyPlain                     // in a file that only this user may read
	CustodyPassphrase                // in an age file under a passphrase (scrypt)
)

func (c Custody) String() string {
	switch c {
	case CustodyPlain:
		return "plain"
	case CustodyPassphrase:
		return "passphrase"
	}
	return "cold"
}

// Profile is who this folder belongs to.
type Profile struct {
	Root    identity.PublicKey
	Device  identity.PublicKey
	Custody Custody
	Created time.Time
}

// Home is one of the own nodes and the mailbox there.
type Home struct {
	PeerID        identity.PeerID
	Domain        string
	URL           string // of the client link
	Tag           envelope.RouteTag
	MailboxSecret [32]byte // tokens are derived from it, see Token
	TokenEpoch    uint64   // current, 1 and up
	Grace         bool     // the previous token is still taken: the last rotation was a scheduled one
	After         uint64   // highest stored id that was processed and acknowledged
	Registered    time.Time
}

// ContactState says how far two people have come.
type ContactState uint8

const (
	ContactKnown      ContactState = iota // written down, nothing sent
	ContactPendingOut                     // we knocked
	ContactPendingIn                      // it knocked
	ContactAccepted
	ContactBlocked
)

func (s ContactState) String() string {
	switch s {
	case ContactKnown:
		return "known"
	case ContactPendingOut:
		return "pending-out"
	case ContactPendingIn:
		return "pending-in"
	case ContactAccepted:
		return "accepted"
	case ContactBlocked:
		return "blocked"
	}
	return "unknown"
}

// Grant is leave to write to one device of a contact without knocking.
type Grant struct {
	Device     identity.DeviceID
	PeerID     identity.PeerID
	Domain     string
	Tag        envelope.RouteTag
	Token      envelope.Token
	TokenEpoch uint64
}

// Contact is what is known of another identity.
type Contact struct {
	Root    identity.PublicKey
	Domain  string
	Home    identity.PeerID // zero if unknown
	Petname string          // ours
	Name    string          // what it calls itself; never a proof
	State   ContactState
	Text    string // its knock, where it knocked

	Verified bool // the safety number was compared
	Changed  bool // devices changed over a gap since it was last looked at

	Pin      identity.Pin // zero epoch: no list seen yet
	List     []byte       // the signed list that the pin is about
	Evidence [][]byte     // a conflicting list of the pin's epoch, kept as proof

	Grants []Grant // received, one per device
	// Given is the epoch of our delivery token that the contact has from us, by own home
	// domain: a lower one than the home's means a TOKEN_UPDATE is due.
	Given map[string]uint64
	// Told is when we last sent a LIST_UPDATE to a device: at most one in an hour.
	Told map[identity.DeviceID]time.Time

	Added time.Time
}

// Knock is a stranger who waits for an answer.
type Knock struct {
	Root     identity.PublicKey
	Device   identity.DeviceID
	Message  envelope.MessageID
	Name     string
	Text     string
	Domain   string
	Home     identity.PeerID
	Received time.Time
	Grant    *Grant // leave to answer that the knock carried; nil if none
}

// NoteState is how far a note has come. Incoming notes are Delivered, then Read.
type NoteState uint8

const (
	NoteQueued    NoteState = iota + 1 // on this disk only
	NoteAccepted                       // the own node has it
	NoteStored                         // in the recipient's mailbox
	NoteDelivered                      // a device has fetched it
	NoteRead                           // the recipient said so, sealed
	NoteExpired
	NoteRefused // Code says why
)

func (s NoteState) String() string {
	switch s {
	case NoteQueued:
		return "queued"
	case NoteAccepted:
		return "accepted"
	case NoteStored:
		return "stored"
	case NoteDelivered:
		return "delivered"
	case NoteRead:
		return "read"
	case NoteExpired:
		return "expired"
	case NoteRefused:
		return "refused"
	}
	return "unknown"
}

// Note is one line of history.
type Note struct {
	Seq     uint64 // place in the history with its contact; set by PutNote
	ID      envelope.MessageID
	Contact identity.PublicKey
	Out     bool // we wrote it
	Text    string
	ReplyTo envelope.MessageID
	Created time.Time
	Expires time.Time
	State   NoteState
	Code    string
	Acked   bool // incoming: the sealed Read has been sent
}

// Fate of a submitted envelope. The first two are still open.
type Fate uint8

const (
	FateSubmitted Fate = iota + 1 // handed to the link, no word yet
	FateAccepted                  // the own node has it
	FateStored                    // waits in the recipient's mailbox
	FateDelivered
	FateExpired
	FateRefused
	FateLost // its time is over and nobody knows what became of it
)

func (f Fate) String() string {
	switch f {
	case FateSubmitted:
		return "submitted"
	case FateAccepted:
		return "accepted"
	case FateStored:
		return "stored"
	case FateDelivered:
		return "delivered"
	case FateExpired:
		return "expired"
	case FateRefused:
		return "refused"
	case FateLost:
		return "lost"
	}
	return "unknown"
}

// Final says that nothing more can become of it.
func (f Fate) Final() bool { return f >= FateDelivered }

// Submitted is an envelope in the outbound ledger.
type Submitted struct {
	ID      envelope.ID
	Message envelope.MessageID // zero where it carries no message, for example a session frame
	Contact identity.PublicKey
	Device  identity.DeviceID // recipient
	Dest    identity.PeerID
	TTL     envelope.TTL
	// Envelope is the exact bytes: a retry sends them again. They are forgotten once the fate
	// is final.
	Envelope []byte
	At       time.Time
	Deadline time.Time // when its ttl class is over
	Fate     Fate
	Code     string // with FateRefused
}

// Totals of the outbound ledger since the profile was made.
// Sent = Delivered + StoredPending + Expired + Refused + Lost + Open.
type Totals struct {
	Sent          uint64
	Delivered     uint64
	StoredPending uint64
	Expired       uint64
	Refused       uint64
	Lost          uint64
	Open          uint64 // no word yet, and its time is not over
}

// Final is what stands at the end of a run: what is still open has to be called lost, and
// Sent is the sum of the other five.
func (t Totals) Final() Totals {
	t.Lost += t.Open
	t.Open = 0
	return t
}

// FileID names a file transfer.
type FileID [16]byte

// TransferState of a file.
type TransferState uint8

const (
	TransferOffered TransferState = iota + 1
	TransferRunning
	TransferDone
	TransferFailed // Reason says why
	TransferDeclined
)

func (s TransferState) String() string {
	switch s {
	case TransferOffered:
		return "offered"
	case TransferRunning:
		return "running"
	case TransferDone:
		return "done"
	case TransferFailed:
		return "failed"
	case TransferDeclined:
		return "declined"
	}
	return "unknown"
}

// Transfer is a file on its way, in either direction.
type Transfer struct {
	ID       FileID
	Contact  identity.PublicKey
	Out      bool
	State    TransferState
	Reason   string
	Name     string // cleaned
	Size     int64
	Manifest []byte // as it was sent or received; opaque here
	Path     string // out: the file that is read; in: where it goes in the end
	Partial  string // in: the file that grows
	Secret   []byte // the file key, where the protocol has one
	ModTime  time.Time
	Units    uint32 // how many there are
	Done     []byte // bitmap of units, least significant bit first
	Started  time.Time
	Updated  time.Time
}

// Has says whether a unit is done.
func (t Transfer) Has(unit uint32) bool {
	return unit < t.Units && int(unit/8) < len(t.Done) && t.Done[unit/8]&(1<<(unit%8)) != 0
}

// Prekey is one prekey with its secret, in the form package envelope gives it.
type Prekey struct {
	ID      [16]byte
	Created time.Time
	Secret  []byte
}

// Document is something signed by others that only ever goes forward: a domain document, a
// node descriptor.
type Document struct {
	Kind  string // "domain", "descriptor"
	Name  string // the domain, the peer id
	Epoch uint64 // of a descriptor: its not before
	Hash  [32]byte
	Bytes []byte
	Seen  time.Time
}

// Room is a room that this device has made, or runs together with whoever did: what its link
// says, and what else is needed to be its owner or a moderator again.
type Room struct {
	Base    string // of its node
	ID      [32]byte
	Secret  [32]byte // of its link
	Owner   bool
	Steward [32]byte // seed of the key that runs it at the node; zero: not ours
	Card    []byte   // signed
	Expires time.Time
	Seen    time.Time // when this device was last in it, or made it
}

// Secrets are not printed, whatever verb or handler prints what holds them.

func (Home) Format(s fmt.State, _ rune)       { redact(s) }
func (Grant) Format(s fmt.State, _ rune)      { redact(s) }
func (Contact) Format(s fmt.State, _ rune)    { redact(s) }
func (Note) Format(s fmt.State, _ rune)       { redact(s) }
func (Knock) Format(s fmt.State, _ rune)      { redact(s) }
func (Prekey) Format(s fmt.State, _ rune)     { redact(s) }
func (Transfer) Format(s fmt.State, _ rune)   { redact(s) }
func (Room) Format(s fmt.State, _ rune)       { redact(s) }
func (NewProfile) Format(s fmt.State, _ rune) { redact(s) }

func redact(s fmt.State) { _, _ = s.Write([]byte("[redacted]")) } // fmt.State never fails

// Package wire reads and writes the frames that two nodes speak to each other on
// /trunkline/federation/1.0.0 (docs/spec/federation.md). Start with Reader.Next for what
// comes in and Append for what goes out.
//
// It promises: a frame is refused by its length before a byte of it is kept, memory grows
// with the bytes that arrived and never with the length that was announced, and a value has
// exactly one encoding. It imports no network library, so that its decoders can be fuzzed.
//
// The schema is federation/pb/federation.proto. The code here is written by hand because a
// batch is the hot path of a node: it is read and written without an allocation.
package wire

import "errors"

// Protocol is the libp2p protocol id. Version is the only entry of Hello.versions today.
const (
	Protocol = "/trunkline/federation/1.0.0"
	Version  = 1
)

// Limits of frames and of what stands in them, in bytes unless said otherwise.
const (
	MaxFirst    = 8192    // a frame before Welcome, and the first frame of any stream
	MaxControl  = 32768   // a later frame of a control stream: an Answer of 16,384 is the largest
	MaxData     = 1 << 20 // a frame of a data stream
	MaxAckFrame = 65536   // a frame of a data stream's way back
	MaxEnvelope = 65792   // canonical Envelope: 65,536 of payload and 256 for all else
	MaxBatch    = 256     // envelopes in a Batch
	MaxRuns     = 1024    // outcome runs in an Ack
	MaxDocument = 6144    // signed DomainDocument
	MaxCode     = 32      // a code: a-z and _
	MaxProbe    = 1280    // canonical Envelope with a payload of 1,024
	QueryBox    = 560     // sealed Query
	AnswerBox   = 4096    // sealed Answer, small
	LookupBox   = 16384   // sealed Answer to a lookup

	maxDescriptor = 512
	maxVersions   = 8

	// A window smaller than these could not carry the largest envelope; a larger one is a
	// promise nobody should make to a stranger.
	MinWindowFrames = 1
	MinWindowBytes  = 131072
	MaxWindowFrames = 65536
	MaxWindowBytes  = 1 << 30
)

// Codes that a Refuse, an Outcome or an Answer carries. A remote party gets a code and
// nothing else; the rule behind it is for the local administrator (protocol.md 20.3.P).
const (
	CodeVersion       = "version"        // no common version
	CodeBadHello      = "bad_hello"      // a field is missing, wrong or out of its limits
	CodeWrongPeer     = "wrong_peer"     // from or to is not the peer id that libp2p proved
	CodeReplay        = "replay"         // the nonce was used before
	CodeBadDocument   = "bad_document"   // not a domain document, or not validly signed
	CodeNotListed     = "not_listed"     // the document does not name this peer
	CodeBadDescriptor = "bad_descriptor" // the node descriptor is not this peer's or not valid now
	CodePolicy        = "policy"         // the administrator does not want this
	CodeUnproven      = "unproven"       // nothing ties the domain key to the domain
	CodeExpired       = "expired"        // the document's time is over
	CodeEpoch         = "epoch"          // an older document than one already seen
	CodeEquivocation  = "equivocation"   // another document of the same epoch was seen
	CodeDuplicate     = "duplicate"      // both sides dialled; the other connection stays
	CodeDraining      = "draining"       // shutting down
	CodeBusy          = "busy"           // too many handshakes or peers at once
	CodeRate          = "rate"           // too much; retry later
	CodeInternal      = "internal"       // not your fault
	CodeUnavailable   = "unavailable"    // cannot take it now, for no fault of the sender
)

var (
	// ErrTooLarge: the announced length is above the limit. Nothing was allocated for it.
	ErrTooLarge = errors.New("frame is too large")
	// ErrMalformed: the bytes are not the one encoding of an allowed frame.
	ErrMalformed = errors.New("malformed frame")
)

// Kind is the field number of a frame's content in the schema.
type Kind uint8

// The kinds of frames.
const (
	KindHello   Kind = 1
	KindWelcome Kind = 2
	KindRefuse  Kind = 3
	KindBatch   Kind = 4
	KindAck     Kind = 5
	KindPing    Kind = 6
	KindPong    Kind = 7
	KindQuery   Kind = 8
	KindAnswer  Kind = 9
	KindDrain   Kind = 10
	KindBack    Kind = 11
	KindEcho    Kind = 12
	KindOpen    Kind = 13
)

// Frame is one frame of any kind. Only the fields of its kind mean something. Its byte
// slices point into the buffer it was read from and are good until the next read.
type Frame struct {
	Kind Kind

	Hello   Hello
	Welcome Welcome

	Code    string // Refuse, Answer
	Millis  uint64 // Refuse: retry after; Drain: back after
	ID      uint64 // Ping, Pong, Query, Answer, Echo
	Box     []byte // Query, Answer; Echo: the envelope
	Reply   bool   // Echo
	Session []byte // Open: 16

	First     uint64   // Batch
	Envelopes [][]byte // Batch

	Ack Ack
}

// Hello is the first frame of each side on a control stream.
type Hello struct {
	Versions     []uint32
	Document     []byte // signed DomainDocument
	Nonce        []byte // 32
	From, To     []byte // 38
	WindowFrames uint32
	WindowBytes  uint64
	Descriptor   []byte // signed NodeDescriptor
	ProbeKey     []byte // 32
}

// Welcome says yes to a Hello.
type Welcome struct {
	Version      uint32
	Session      []byte // 16
	CreditFrames uint32
	CreditBytes  uint64
	Nonce        []byte // 32: of the Hello that is answered
}

// Ack reports how envelopes ended, in the order of their sequence numbers.
type Ack struct {
	Through      uint64
	Outcomes     []Outcome
	CreditFrames uint32
	CreditBytes  uint64
}

// Outcome is a run of Count envelopes that ended alike. Fate is trunkline.envelope.v1.Fate.
type Outcome struct {
	Fate  uint32
	Code  string
	Count uint32
}

// CheckCode says whether s may stand on the wire as a code.
func CheckCode(s string) bool {
	if s == "" || len(s) > MaxCode {
		return false
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && c != '_' {
			return false
		}
	}
	return true
}

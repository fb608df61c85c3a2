package rtc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Role is a side's role in the sealed session that the call belongs to, whoever offers SDP.
type Role uint8

const (
	Initiator Role = iota // sent the RING
	Responder             // accepted it
)

// Direction says what of one medium this side wants. The zero value leaves the medium out.
type Direction uint8

const (
	Inactive Direction = iota
	SendReceive
	SendOnly
	ReceiveOnly
)

// ICEServer is one STUN or TURN server with its short-lived credentials.
type ICEServer struct {
	URLs       []string
	Username   string
	Credential string
}

// String keeps credentials out of logs.
func (ICEServer) String() string { return "[redacted]" }

// GoString keeps credentials out of %#v.
func (ICEServer) GoString() string { return "[redacted]" }

// Clock is the time that a Peer lives by. Tests give their own.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f once after d, unless stop is called first.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Binding makes and checks the channel binding (docs/spec/session.md, section 7): an HMAC over role and both
// certificates' fingerprints under the session's channel-binding key. envelope.Session is one.
type Binding interface {
	// Binding returns the MAC that this side sends.
	Binding(own, peer [32]byte) ([32]byte, error)
	// CheckBinding reports whether mac is the one that the other side must have sent. A
	// reflected MAC (the one that this side sent) must not pass.
	CheckBinding(mac []byte, own, peer [32]byte) error
}

// Opener opens the frames of one other member of a room. sframe.GroupReceiver is one.
type Opener interface {
	// Open appends the frame to dst. Only a frame of that member and of the slot opens. The order
	// is higher for a frame that was sealed later, whatever way it came.
	Open(dst []byte, slot sframe.Slot, c sframe.Codec, sealed []byte) (frame []byte, order uint64, err error)
}

// Config is everything a Peer needs. Callbacks are called one at a time, in order, from the
// Peer's own goroutine, except OnAudio and OnVideo, which have a goroutine each. A callback
// must not wait for the Peer to end; calling Close from it is fine.
type Config struct {
	Role Role

	ICEServers []ICEServer
	// RelayOnly hides this side's addresses: only relayed candidates are gathered, direct
	// candidates of the other side are not used, and no description names a local address.
	RelayOnly bool

	Audio Direction
	Video Direction
	// Screen is that of the screens; with the other side's, its sound is received.
	Screen Direction
	// VideoCodec is what this side sends, VP8 (zero value) or VP9; both are received.
	VideoCodec sframe.Codec

	// SendKey and ReceiveKey are the SFrame base keys of the two directions
	// (envelope.Session's MediaKeys).
	SendKey, ReceiveKey [32]byte
	// Group, if set, takes the place of both keys: media is sealed by a room's sender and goes out
	// through SendSealed, and what comes is opened with the keys of its sender.
	Group Opener
	// CallCode makes the six digits that both people compare; nil: none are made.
	CallCode *envelope.CallCode
	Binding  Binding

	// OnLocalCandidate gets each candidate line and at last an empty one: no more come for
	// this generation.
	OnLocalCandidate func(Candidate)
	OnState          func(State)
	// OnBound is called once: the certificate is the signed one, both binding MACs were
	// right, and media and files may flow.
	OnBound func()
	// OnCallCode gets the six digits that both people compare.
	OnCallCode func(code string)
	// OnRoute is called when the selected path changed.
	OnRoute func(Route)
	// OnMediaStart and OnMediaEnd tell what the other side announced.
	OnMediaStart func(MediaStart)
	OnMediaEnd   func(MediaEnd)
	// OnFileControl and OnFileData get the file protocol's messages (client/transfer's
	// HandleControl and HandleData). OnFileData may block, that is back-pressure; it has a
	// goroutine of its own.
	OnFileControl func([]byte)
	OnFileData    func([]byte)
	// OnSending, OnReaction and OnPointer are what the other side shows beside its media.
	OnSending  func(Sending)
	OnReaction func(Reaction)
	OnPointer  func(Pointer)
	// OnNote gets what the other side writes where no node is between the two.
	OnNote func(Note)
	// OnFresh is called when the other side has not opened what came in a slot: a call of Restart
	// is due, and again while [Peer.Renewing]. nil: the request ends the Peer.
	OnFresh func()
	// OnBye is called when the other side says goodbye; the Peer ends after it.
	OnBye func()

	// OnAudio and OnVideo get decrypted frames in order. The frame belongs to the callee.
	OnAudio func(Frame)
	OnVideo func(Frame)
	// OnScreen gets those of the other side's screen and of its sound; each of the two has a
	// goroutine of its own.
	OnScreen func(Frame)
	// OnKeyframeRequest asks for a key frame of the video that this side sends.
	OnKeyframeRequest func()

	// IncludeLoopback gathers 127.0.0.1 as well: for tests and demonstrations on one machine.
	IncludeLoopback bool
	// InterfaceFilter, if set, keeps the named network interfaces only.
	InterfaceFilter func(name string) bool
	// IPFilter, if set, keeps the local addresses it returns true for.
	IPFilter func(net.IP) bool

	Logger *slog.Logger // nil: nothing is logged
	Clock  Clock        // nil: the machine's
}

// Candidate is one trickled line. Line is empty at the end of candidates.
type Candidate struct {
	Line       string // "candidate:…", without "a="
	Generation uint32 // ICE generation it belongs to, 0 first
}

// Description is an offer or an answer and what the session's message signs beside it.
type Description struct {
	SDP         []byte
	Fingerprint [32]byte // SHA-256 of the sender's DTLS certificate
	Ufrag       string
	Setup       sdp.Setup
	Generation  uint32 // 0, and one more with each ICE restart
}

// State is where a Peer is.
type State uint8

const (
	StateNew          State = iota
	StateConnecting         // ICE and DTLS at work
	StateBound              // channel binding verified both ways: content may flow
	StateDisconnected       // no answer on the path at the moment
	StateFailed             // ICE gave up; Restart may help
	StateClosed
)

func (s State) String() string {
	switch s {
	case StateNew:
		return "new"
	case StateConnecting:
		return "connecting"
	case StateBound:
		return "bound"
	case StateDisconnected:
		return "disconnected"
	case StateFailed:
		return "failed"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Frame is one encoded audio or video frame.
type Frame struct {
	Slot      sframe.Slot
	Codec     sframe.Codec
	Timestamp uint32 // RTP clock: 48,000 for Opus, 90,000 for video
	Key       bool   // video: can be decoded alone
	Order     uint64 // in a room: its place among the frames that its sender sealed for the slot
	Data      []byte
}

// MediaStart announces what a side is about to send.
type MediaStart struct {
	Audio, Video bool
	VideoCodec   sframe.Codec
}

// Sending is what a side sends at the moment, as it says.
type Sending struct {
	Microphone, Camera, Screen, ScreenAudio bool
	Hand                                    bool // it is raised
}

// Reaction is one of a few signs; people's own text goes into notes.
type Reaction uint8

// The signs that there are.
const (
	ReactionYes Reaction = iota + 1
	ReactionNo
	ReactionApplause
	ReactionHeart
	ReactionLaugh
	ReactionSurprise
)

// Pointer is a place on a shared screen, in 1/65,535 of its width and height.
type Pointer struct {
	Own  bool // on the screen that its sender shares; else on the one that its receiver shares
	Here bool // false: it has gone
	X, Y uint16
}

// Note is what one side writes to the other within a call.
type Note struct {
	ID   [16]byte
	Text string
}

// MediaEnd says how many frames a side sent in all.
type MediaEnd struct {
	AudioFrames, VideoFrames uint64
}

// Route is the way that the packets take (docs/spec/media.md, section 5): "lan", "direct", "relay/udp",
// "relay/tcp", "relay/tls"; empty while there is none.
type Route struct {
	Path   string // of the pair: a relay on this side, else one on the other, else lan or direct
	Local  string // this side's end: "lan" or "direct" where it has no relay of its own
	Remote string // the other side's end, as it says; empty until it said so
}

// Stats counts frames, never who or what.
type Stats struct {
	AudioSent, AudioReceived uint64
	VideoSent, VideoReceived uint64
	// ScreenReceived counts frames of the screen and of its sound.
	ScreenReceived uint64
	// SFrameFailed counts received frames that did not open: plain, forged, repeated.
	SFrameFailed uint64
	// Duplicates counts frames of a room that had come another way already.
	Duplicates uint64
	// FramesLost counts frames given up because packets never came.
	FramesLost uint64
	// KeyframesAsked counts the key frames this side asked for.
	KeyframesAsked uint64
	// CandidatesRefused counts remote candidates not used: direct ones in RelayOnly, bad ones.
	CandidatesRefused uint64
	// Audio and video bytes of sealed frames.
	BytesSent, BytesReceived uint64
}

// Errors that callers branch on.
var (
	// ErrClosed: the Peer has ended.
	ErrClosed = errors.New("rtc: peer is closed")
	// ErrAborted: this side ended it with Abort.
	ErrAborted = errors.New("rtc: ended without a goodbye")
	// ErrNotBound: content before channel binding.
	ErrNotBound = errors.New("rtc: channel binding is not verified yet")
	// ErrFingerprint: a certificate is not the signed one. The call must not go on.
	ErrFingerprint = errors.New("rtc: certificate is not the one that was signed")
	// ErrBinding: the channel-binding message was missing, late, wrong or reflected, or
	// something else came before it.
	ErrBinding = errors.New("rtc: channel binding failed")
	// ErrCallCode: the other side opened its call code commitment with another nonce, or took a
	// step of the exchange twice or out of order.
	ErrCallCode = errors.New("rtc: call code commitment was not kept")
	// ErrControl: a malformed or misplaced message on the control channel.
	ErrControl = errors.New("rtc: bad control message")
	// ErrNotOfferer: only the side that made the first offer restarts, so that two restart
	// offers never cross (the WebRTC library cannot take an offer back). The other side's ICE
	// sees the same broken path and waits for the offer.
	ErrNotOfferer = errors.New("rtc: only the side that offered first restarts")
	// ErrNotSending: this medium is not part of the call or not negotiated.
	ErrNotSending = errors.New("rtc: medium is not negotiated for sending")
)

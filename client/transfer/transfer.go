// Package transfer moves files between the two ends of a session: sealed in chunks, taken up
// again after either side was killed, shown under their name only when every byte was right.
//
// Call New, run the Engine beside the call, and feed HandleControl and HandleData with what the
// other side sends. It never overwrites a file, never writes outside the folder it was given,
// and never holds more than a unit (1 MiB) of a file in memory, but for 32 bytes of hash for
// each unit of a file that is sent.
//
// docs/spec/media.md, "Files", has the bytes.
package transfer

import (
	"context"
	"errors"
	"log/slog"
)

// Channel is the two ordered, reliable message streams of a session. rtc.Peer is one.
type Channel interface {
	// SendControl sends a small message (at most 8,192 bytes) that the other side's
	// HandleControl gets.
	SendControl(ctx context.Context, msg []byte) error
	// SendData sends a chunk (at most 65,535 bytes) that the other side's HandleData gets.
	// It blocks while too much is waiting to be sent.
	SendData(ctx context.Context, msg []byte) error
}

// State keeps what a receiver needs to go on after it was killed: small records by key. The
// caller scopes it to one contact, so that no contact can touch another's transfers. Save must
// be durable when it returns.
type State interface {
	Load(key [16]byte) (record []byte, found bool, err error)
	Save(key [16]byte, record []byte) error
	Delete(key [16]byte) error
}

// Config is what an Engine needs.
type Config struct {
	// Initiator says whether this side began the session; each direction has its own keys.
	Initiator bool
	// FileKey is the session's export "file".
	FileKey [32]byte
	Channel Channel

	// Dir is the folder that received files are put in. Empty: everything offered is refused.
	Dir   string
	State State
	// Accept is asked about each offered file, one at a time, from Run's goroutine; nil
	// refuses all. It must return when ctx ends. It is also asked about a file that will be
	// resumed (Offer.Resume), and not about one that is here already, whole.
	Accept func(ctx context.Context, o Offer) bool
	// Progress is told after each unit (1 MiB) that came and is safe on the disk, and after
	// each chunk (57 KiB) that was sent. While a sender waits for the answer to its offer it
	// is told the same again every few seconds, as long as the other side is alive. Send's
	// progress is told from Send's goroutine, that of incoming files from Run's.
	Progress func(Progress)
	// Received is told how each incoming file ended that Accept had agreed to. A file that
	// the end of the session interrupts has not ended: it goes on in another session.
	Received func(Received)

	MaxSize int64        // largest file taken or sent; 0: 64 GiB
	Logger  *slog.Logger // nil: nothing is logged
}

// FileID names one file between two people: it stays the same when a transfer is taken up
// again, in another session too.
type FileID [16]byte

// Offer is a file that the other side wants to send. Name is cleaned already.
type Offer struct {
	ID     FileID
	Name   string
	Size   int64
	Resume int64 // bytes that are here already
}

// Progress is how far a transfer is.
type Progress struct {
	ID       FileID
	Name     string
	Incoming bool
	Done     int64 // bytes, those of an earlier attempt included
	Size     int64
	Resumed  int64 // bytes that an earlier attempt had brought

	// Checked counts bytes that were read and hashed before anything is sent: Send's pass over
	// a big file, or a receiver's over what it has. Done does not move meanwhile.
	Checked int64
}

// Received is how an incoming file ended. Err is nil when it lies complete at Path. Name is
// the offered name, cleaned; at Path it may have got a number.
type Received struct {
	ID      FileID
	Name    string
	Path    string
	Size    int64
	SHA256  [32]byte // of the whole content
	Resumed int64
	Err     error
}

// Sent is a file that the other side has, whole and checked.
type Sent struct {
	ID      FileID
	Size    int64
	SHA256  [32]byte
	Resumed int64 // bytes that were there already
}

// Errors that callers branch on.
var (
	ErrRefused  = errors.New("transfer: the other side refused the file")
	ErrCanceled = errors.New("transfer: the other side canceled")
	ErrChanged  = errors.New("transfer: the file changed while it was sent")
	ErrCorrupt  = errors.New("transfer: data is not what was promised")
	ErrTooLarge = errors.New("transfer: file is too large")
	ErrPeerDisk = errors.New("transfer: the other side could not write the file")
	ErrProtocol = errors.New("transfer: bad message")
	ErrBusy     = errors.New("transfer: the other side is taking another file")
	// ErrClosed: the session ended first. Sending again in another one goes on from there.
	ErrClosed = errors.New("transfer: the session ended")
)

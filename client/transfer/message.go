package transfer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Limits of the control messages (docs/spec/files.md, section 2).
const (
	maxControl = 8192
	maxName    = 1024 // bytes of an offered name
)

// manifest is a checked offer.
type manifest struct {
	id      FileID
	attempt attemptID
	size    int64
	root    [hashSize]byte
	name    string // as offered
}

// maxSize is what the arithmetic and a sender's table of unit hashes are made for: 1 TiB.
const maxSize = 1 << 40

// parseControl reads one control message and checks what every message has: exactly one kind,
// and the attempt id of 16 bytes.
func parseControl(msg []byte) (*pb.Message, attemptID, error) {
	var m pb.Message
	if err := canon.Unmarshal(msg, maxControl, &m); err != nil {
		return nil, attemptID{}, fmt.Errorf("%w: control message: %w", ErrProtocol, err)
	}
	var id []byte
	switch k := m.GetKind().(type) {
	case *pb.Message_Manifest:
		id = k.Manifest.GetAttemptId()
	case *pb.Message_Accept:
		id = k.Accept.GetAttemptId()
	case *pb.Message_Refuse:
		id = k.Refuse.GetAttemptId()
	case *pb.Message_Done:
		id = k.Done.GetAttemptId()
	case *pb.Message_Cancel:
		id = k.Cancel.GetAttemptId()
	case *pb.Message_Wait:
		id = k.Wait.GetAttemptId()
	case *pb.Message_Kept:
		id = k.Kept.GetAttemptId()
	}
	if len(id) != len(attemptID{}) {
		return nil, attemptID{}, fmt.Errorf("%w: control message without an attempt", ErrProtocol)
	}
	return &m, attemptID(id), nil
}

func parseManifest(m *pb.Manifest) (manifest, error) {
	bad := func(what string) (manifest, error) {
		return manifest{}, fmt.Errorf("%w: manifest: %s", ErrProtocol, what)
	}
	switch {
	case len(m.GetFileId()) != 16:
		return bad("file id")
	case m.GetSize() > maxSize:
		return bad("size")
	case m.GetPadded() != uint64(padme(int64(m.GetSize()))):
		return bad("padded size")
	case len(m.GetName()) == 0 || len(m.GetName()) > maxName || !utf8.ValidString(m.GetName()):
		return bad("name")
	case len(m.GetRoot()) != hashSize:
		return bad("root")
	}
	f := manifest{
		id: FileID(m.GetFileId()), attempt: attemptID(m.GetAttemptId()),
		size: int64(m.GetSize()), root: [hashSize]byte(m.GetRoot()), name: m.GetName(),
	}
	if f.id != fileID(f.name, f.size, f.root) {
		return bad("file id is not that of the file")
	}
	return f, nil
}

func (f manifest) marshal() ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Manifest{Manifest: &pb.Manifest{
		FileId: f.id[:], AttemptId: f.attempt[:], Size: uint64(f.size), Padded: uint64(padme(f.size)),
		Name: f.name, Root: f.root[:],
	}}})
}

// offeredName is the name a sender offers: its own idea of it, within the limits of the wire.
// What it may look like on the other side's disk is for the other side to say (CleanName).
func offeredName(name string) string {
	name = strings.ToValidUTF8(name, "\uFFFD")
	if len(name) > maxName {
		name = cutText(name, maxName)
	}
	if name == "" {
		return defaultName
	}
	return name
}

func acceptMessage(a attemptID, unit int64) ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Accept{Accept: &pb.Accept{AttemptId: a[:], Unit: uint64(unit)}}})
}

func refuseMessage(a attemptID, r pb.Reason) ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Refuse{Refuse: &pb.Refuse{AttemptId: a[:], Reason: r}}})
}

func doneMessage(a attemptID) ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Done{Done: &pb.Done{AttemptId: a[:]}}})
}

func cancelMessage(a attemptID, r pb.Reason) ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Cancel{Cancel: &pb.Cancel{AttemptId: a[:], Reason: r}}})
}

func waitMessage(a attemptID) ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Wait{Wait: &pb.Wait{AttemptId: a[:]}}})
}

func keptMessage(a attemptID, units int64) ([]byte, error) {
	return canon.Marshal(&pb.Message{Kind: &pb.Message_Kept{Kept: &pb.Kept{AttemptId: a[:], Unit: uint64(units)}}})
}

// errPaused says that the other side gave this attempt up and will come again.
var errPaused = errors.New("transfer: the other side interrupted the transfer")

// reasonError is what a reason given by the other side means here. A sender reads Refuse and
// Cancel of its receiver, a receiver Cancel of its sender; a reason that is not known is as
// good as "stopped".
func reasonError(r pb.Reason) error {
	switch r {
	case pb.Reason_REASON_REFUSED:
		return ErrRefused
	case pb.Reason_REASON_TOO_LARGE:
		return ErrTooLarge
	case pb.Reason_REASON_BUSY:
		return ErrBusy
	case pb.Reason_REASON_DISK:
		return ErrPeerDisk
	case pb.Reason_REASON_CORRUPT:
		return ErrCorrupt
	case pb.Reason_REASON_CHANGED:
		return ErrChanged
	case pb.Reason_REASON_PAUSED:
		return errPaused
	}
	return ErrCanceled
}

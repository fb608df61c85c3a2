package rtc

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
)

// The call code lets two people who never compared keys find out whether anyone sits between
// them: six digits, shown on both sides, spoken aloud. The initiator commits to its nonce
// before it sees the responder's, so nobody in the middle can search for a nonce that makes two
// codes equal: one guess in a million, not a million guesses.

const labelCallCode = "trunkline/v1/call-code\x00"

// codeState belongs to the Peer's goroutine.
type codeState struct {
	own    [32]byte
	commit [32]byte // responder: what the initiator committed to
	step   codeStep
}

type codeStep uint8

const (
	codeNone      codeStep = iota
	codeCommitted          // initiator sent, or responder received, the commitment
	codeShown              // the code is known
)

// startCallCode sends the initiator's commitment.
func (p *Peer) startCallCode() {
	if p.cfg.Role != Initiator || p.cfg.CodeKey == [32]byte{} {
		return
	}
	rand.Read(p.call.own[:])
	hash := sha256.Sum256(p.call.own[:])
	p.call.step = codeCommitted
	p.tell(&pb.Control{Kind: &pb.Control_CodeCommit{CodeCommit: &pb.CodeCommit{Hash: hash[:]}}})
}

// codeCommit is the responder's turn: it remembers the commitment and sends its own nonce.
func (p *Peer) codeCommit(hash []byte) error {
	if p.cfg.Role != Responder || p.call.step != codeNone || len(hash) != 32 {
		return fmt.Errorf("%w: call code", ErrControl)
	}
	if p.cfg.CodeKey == [32]byte{} {
		return nil // this side shows none
	}
	copy(p.call.commit[:], hash)
	rand.Read(p.call.own[:])
	p.call.step = codeCommitted
	p.tell(&pb.Control{Kind: &pb.Control_CodeNonce{CodeNonce: &pb.CodeNonce{Nonce: p.call.own[:]}}})
	return nil
}

// codeNonce is the initiator's turn: it opens its commitment.
func (p *Peer) codeNonce(nonce []byte) error {
	if p.cfg.Role != Initiator || p.call.step != codeCommitted || len(nonce) != 32 {
		return fmt.Errorf("%w: call code", ErrControl)
	}
	p.tell(&pb.Control{Kind: &pb.Control_CodeReveal{CodeReveal: &pb.CodeReveal{Nonce: p.call.own[:]}}})
	return p.showCode(p.call.own[:], nonce)
}

// codeReveal is the responder's: the opened nonce must be the one that was committed to.
func (p *Peer) codeReveal(nonce []byte) error {
	if p.cfg.Role != Responder || p.call.step != codeCommitted || len(nonce) != 32 {
		return fmt.Errorf("%w: call code", ErrControl)
	}
	hash := sha256.Sum256(nonce)
	if subtle.ConstantTimeCompare(hash[:], p.call.commit[:]) != 1 {
		return ErrCallCode
	}
	return p.showCode(nonce, p.call.own[:])
}

func (p *Peer) showCode(initiator, responder []byte) error {
	code, err := callCode(p.cfg.CodeKey, initiator, responder)
	if err != nil {
		return err
	}
	p.call.step = codeShown
	if p.cfg.OnCallCode != nil {
		p.cfg.OnCallCode(code)
	}
	return nil
}

// callCode is the first 8 bytes of HKDF-SHA256(sas key, info label || initiator's nonce ||
// responder's nonce) as a big-endian number modulo 1,000,000.
func callCode(key [32]byte, initiator, responder []byte) (string, error) {
	b, err := hkdf.Key(sha256.New, key[:], nil, labelCallCode+string(initiator)+string(responder), 8)
	if err != nil {
		return "", fmt.Errorf("rtc: call code: %w", err)
	}
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(b)%1_000_000), nil
}

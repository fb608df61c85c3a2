package envelope

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// The call code lets two people who have never compared anything read six digits to each
// other. The initiator commits to its nonce before it sees the other, so neither side, and
// nobody between them, can search for a nonce that gives wanted digits: one try in a
// million, once per session. Each side sends, over the bound control channel:
//
//	initiator  commitment 32 = SHA-256(nonceA 32)
//	responder  nonceB 32
//	initiator  nonceA 32
//
//	code = first 8 bytes of HKDF-SHA256(sas key, no salt,
//	       "trunkline/v1/call-code\0" | nonceA | nonceB), big endian, mod 1,000,000

// ErrCallCode says that the opened nonce does not match the commitment, or that a step came
// twice or out of order. Abort and alarm: somebody is between the two.
var ErrCallCode = errors.New("envelope: call code does not match its commitment")

// CallCode is one run of the exchange. It is not safe for concurrent use.
type CallCode struct {
	redact
	sas    [32]byte
	role   Role
	stage  int
	own    [32]byte
	commit [32]byte
}

// NewCallCode begins the exchange of a session. A session runs it once: a second run gives an
// attacker a second try, so a client that aborted makes a new session.
func NewCallCode(s *Session) (*CallCode, error) {
	sas, err := s.Export(LabelSAS)
	if err != nil {
		return nil, err
	}
	return CallCodeOf(s.Role, sas), nil
}

// CallCodeOf is NewCallCode for one who holds the session's exported key "sas".
func CallCodeOf(role Role, sas [32]byte) *CallCode {
	c := &CallCode{sas: sas, role: role}
	_, _ = rand.Read(c.own[:])
	return c
}

// advance makes every step happen once, in order and on the right side. A run that failed
// stays failed.
func (c *CallCode) advance(role Role, from int) error {
	if c.role != role || c.stage != from {
		c.stage = -1
		return ErrCallCode
	}
	c.stage++
	return nil
}

// Commit is the initiator's first message.
func (c *CallCode) Commit() ([]byte, error) {
	if err := c.advance(Initiator, 0); err != nil {
		return nil, err
	}
	sum := sasCommitment(c.own[:])
	return sum[:], nil
}

// Answer takes the commitment and returns the responder's nonce.
func (c *CallCode) Answer(commitment []byte) ([]byte, error) {
	if err := c.advance(Responder, 0); err != nil {
		return nil, err
	}
	if len(commitment) != 32 {
		c.stage = -1
		return nil, ErrCallCode
	}
	c.commit = [32]byte(commitment)
	return c.own[:], nil
}

// Reveal takes the responder's nonce and returns the initiator's, and the code to show.
func (c *CallCode) Reveal(nonce []byte) (own []byte, code string, err error) {
	if err := c.advance(Initiator, 1); err != nil {
		return nil, "", err
	}
	if len(nonce) != 32 {
		c.stage = -1
		return nil, "", ErrCallCode
	}
	return c.own[:], sasCode(c.sas, c.own, [32]byte(nonce)), nil
}

// Finish takes the initiator's nonce and returns the code to show.
func (c *CallCode) Finish(nonce []byte) (code string, err error) {
	if err := c.advance(Responder, 1); err != nil {
		return "", err
	}
	sum := sasCommitment(nonce)
	if len(nonce) != 32 || subtle.ConstantTimeCompare(sum[:], c.commit[:]) != 1 {
		c.stage = -1
		return "", ErrCallCode
	}
	return sasCode(c.sas, [32]byte(nonce), c.own), nil
}

// sasCommitment needs no context string of its own: what it hashes is 32 random bytes that
// nothing else in the protocol hashes, and it is compared here only.
func sasCommitment(nonce []byte) [32]byte { return sha256.Sum256(nonce) }

func sasCode(sas, a, b [32]byte) string {
	var out [8]byte
	expandSalt(out[:], sas[:], nil, labelCallCode+string(a[:])+string(b[:]))
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(out[:])%1_000_000)
}

package envelope

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// A query travels like a hop: the asking client's home node sees the destination node and
// a constant size. Both sizes below are all that anyone on the way can see.
//
//	query   encapsulation 32 | length 4, Query, zeros to 512 | AEAD tag 16
//	answer  salt 32          | length 4, Answer, zeros       | AEAD tag 16
const (
	QuerySize        = x25519Size + queryPlain + aeadTag // 560
	AnswerSize       = 4096                              // every operation but LOOKUP
	LookupAnswerSize = 16384
	queryPlain       = 512
	answerSalt       = 32

	// MaxName bounds the argument of LOOKUP_NAME.
	MaxName = 64
)

// Query is an opened query, for the node that answers it.
type Query struct {
	redact
	Operation   pb.Operation
	Argument    []byte
	responseKey [32]byte
	hash        [32]byte
}

// PendingQuery is what the asking client keeps until the answer comes.
type PendingQuery struct {
	redact
	operation   pb.Operation
	responseKey [32]byte
	hash        [32]byte
}

// queryAAD has a fixed width: version 1 | destination 38.
func queryAAD(dest identity.PeerID) []byte {
	return append([]byte{version}, dest[:]...)
}

// SealQuery seals a question to a node's routing key. Argument must fit the operation:
// LOOKUP a root key, LOOKUP_NAME a name, OUTCOME an envelope id, DESCRIPTOR nothing.
func SealQuery(routingKey [32]byte, dest identity.PeerID, op pb.Operation, argument []byte) (box []byte, pending *PendingQuery, err error) {
	if err := checkArgument(op, argument); err != nil {
		return nil, nil, err
	}
	p := &PendingQuery{operation: op}
	_, _ = rand.Read(p.responseKey[:])
	msg, err := canon.Marshal(&pb.Query{Operation: op, ResponseKey: p.responseKey[:], Argument: argument})
	if err != nil {
		return nil, nil, fmt.Errorf("seal query: %w", err)
	}
	var plain [queryPlain]byte
	if err := Pad(plain[:], msg); err != nil {
		return nil, nil, fmt.Errorf("seal query: %w", err)
	}
	kem, kdf, aead := suiteX25519()
	pub, err := kem.NewPublicKey(routingKey[:])
	if err != nil {
		return nil, nil, fmt.Errorf("seal query: %w", err)
	}
	enc, s, err := hpke.NewSender(pub, kdf, aead, []byte(identity.ContextQuery))
	if err != nil {
		return nil, nil, fmt.Errorf("seal query: %w", err)
	}
	ct, err := s.Seal(queryAAD(dest), plain[:])
	if err != nil {
		return nil, nil, fmt.Errorf("seal query: %w", err)
	}
	box = append(enc, ct...)
	p.hash = sha256.Sum256(box)
	return box, p, nil
}

// OpenQuery opens a query that was addressed to self.
func (k *RoutingKey) OpenQuery(box []byte, self identity.PeerID) (*Query, error) {
	if len(box) != QuerySize {
		return nil, ErrSize
	}
	_, kdf, aead := suiteX25519()
	r, err := hpke.NewRecipient(box[:x25519Size], k.priv, kdf, aead, []byte(identity.ContextQuery))
	if err != nil {
		return nil, ErrDecrypt
	}
	plain, err := r.Open(queryAAD(self), box[x25519Size:])
	if err != nil {
		return nil, ErrDecrypt
	}
	q, err := parseQuery(plain)
	if err != nil {
		return nil, err
	}
	q.hash = sha256.Sum256(box)
	return q, nil
}

func parseQuery(plain []byte) (*Query, error) {
	msg, err := Unpad(plain)
	if err != nil {
		return nil, err
	}
	var m pb.Query
	if err := canon.Unmarshal(msg, queryPlain, &m); err != nil {
		return nil, fmt.Errorf("parse query: %w", err)
	}
	if len(m.ResponseKey) != 32 {
		return nil, fmt.Errorf("%w: response key of %d bytes", ErrMalformed, len(m.ResponseKey))
	}
	if err := checkArgument(m.Operation, m.Argument); err != nil {
		return nil, err
	}
	return &Query{Operation: m.Operation, Argument: m.Argument, responseKey: [32]byte(m.ResponseKey)}, nil
}

func checkArgument(op pb.Operation, argument []byte) error {
	var ok bool
	switch op {
	case pb.Operation_OPERATION_LOOKUP:
		_, err := identity.CheckKey(argument)
		ok = err == nil
	case pb.Operation_OPERATION_LOOKUP_NAME:
		ok = len(argument) > 0 && len(argument) <= MaxName
	case pb.Operation_OPERATION_DESCRIPTOR:
		ok = len(argument) == 0
	case pb.Operation_OPERATION_OUTCOME:
		ok = len(argument) == len(ID{})
	}
	if !ok {
		return fmt.Errorf("%w: operation or argument", ErrMalformed)
	}
	return nil
}

func answerSize(op pb.Operation) int {
	if op == pb.Operation_OPERATION_LOOKUP {
		return LookupAnswerSize
	}
	return AnswerSize
}

// MaxAnswer is how many bytes the marshalled Answer to q may have.
func (q *Query) MaxAnswer() int { return answerSize(q.Operation) - answerSalt - aeadTag - 4 }

// SealAnswer seals the one answer to q. It returns [ErrTooLarge] if a does not fit; a node
// then leaves bundles out. A query is answered once: a second answer needs a second salt,
// which SealAnswer draws.
func (q *Query) SealAnswer(a *pb.Answer) ([]byte, error) {
	var salt [answerSalt]byte
	_, _ = rand.Read(salt[:])
	return sealAnswer(q.responseKey, q.hash, salt, answerSize(q.Operation), a)
}

func sealAnswer(responseKey, hash [32]byte, salt [answerSalt]byte, size int, a *pb.Answer) ([]byte, error) {
	if err := checkAnswer(a); err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	msg, err := canon.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	aead, err := answerAEAD(responseKey, salt[:])
	if err != nil {
		return nil, fmt.Errorf("seal answer: %w", err)
	}
	box := make([]byte, size)
	copy(box, salt[:])
	plain := box[answerSalt : size-aeadTag]
	if err := Pad(plain, msg); err != nil {
		return nil, err
	}
	var nonce [chacha20poly1305.NonceSize]byte
	aead.Seal(plain[:0], nonce[:], plain, hash[:])
	return box, nil
}

// answerAEAD is keyed freshly for each answer by the salt, which is why the nonce may be
// zero.
func answerAEAD(responseKey [32]byte, salt []byte) (aead interface {
	Seal(dst, nonce, plaintext, additionalData []byte) []byte
	Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error)
}, err error) {
	key, err := hkdf.Key(sha256.New, responseKey[:], salt, identity.ContextAnswer, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	return chacha20poly1305.New(key)
}

// OpenAnswer opens the answer to p. What it carries is still only what the answering node
// chose to say: the caller verifies every signed object in it.
func (p *PendingQuery) OpenAnswer(box []byte) (*pb.Answer, error) {
	if len(box) != answerSize(p.operation) {
		return nil, ErrSize
	}
	aead, err := answerAEAD(p.responseKey, box[:answerSalt])
	if err != nil {
		return nil, fmt.Errorf("open answer: %w", err)
	}
	var nonce [chacha20poly1305.NonceSize]byte
	plain, err := aead.Open(nil, nonce[:], box[answerSalt:], p.hash[:])
	if err != nil {
		return nil, ErrDecrypt
	}
	return parseAnswer(plain)
}

func parseAnswer(plain []byte) (*pb.Answer, error) {
	msg, err := Unpad(plain)
	if err != nil {
		return nil, err
	}
	a := new(pb.Answer)
	if err := canon.Unmarshal(msg, LookupAnswerSize, a); err != nil {
		return nil, fmt.Errorf("parse answer: %w", err)
	}
	if err := checkAnswer(a); err != nil {
		return nil, err
	}
	return a, nil
}

// Limits of signed objects in an answer (docs/spec/identity.md and envelope.md).
const (
	maxList       = 4096
	maxBundle     = 2048
	maxDescriptor = 512
	maxDevices    = 8
	maxLogProof   = 1024
)

func checkAnswer(a *pb.Answer) error {
	ok := a.Status >= pb.AnswerStatus_ANSWER_FOUND && a.Status <= pb.AnswerStatus_ANSWER_UNSUPPORTED &&
		len(a.List) <= maxList && len(a.Bundles) <= maxDevices &&
		len(a.Descriptor_) <= maxDescriptor && len(a.LogProof) <= maxLogProof &&
		a.Fate >= pb.Fate_FATE_UNSPECIFIED && a.Fate <= pb.Fate_FATE_REFUSED
	for _, b := range a.Bundles {
		ok = ok && len(b) > identity.SignatureSize && len(b) <= maxBundle
	}
	if !ok {
		return fmt.Errorf("%w: answer out of its limits", ErrMalformed)
	}
	return nil
}

package link

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// A pass is the word of somebody's own node at the node of a room: whoever holds this key is one of
// mine (docs/spec/rooms.md, section 3). It names no person, and no room.
//
//	signature 64 | version 1 | node 38 | room's node 38 | key 32 | expires 8, big endian, Unix seconds
//
// The signature is the own node's host key's, which its peer id holds, in the context
// "trunkline/v1/room-pass\0". Who shows a pass signs the join with its key: in the context
// "trunkline/v1/room-holder\0", over what the gate's signature covers.
const (
	PassSize    = identity.SignatureSize + passBody
	passBody    = 1 + 2*sizePeerID + 32 + 8
	passVersion = 1

	// PassLife is how long a pass is good, and passAhead what clocks may differ by.
	PassLife  = 5 * time.Minute
	passAhead = 5 * time.Minute
)

// SignPass makes the pass of a key.
func SignPass(host ed25519.PrivateKey, own, at identity.PeerID, key identity.PublicKey, now time.Time) []byte {
	b := make([]byte, 0, passBody)
	b = append(b, passVersion)
	b = append(b, own[:]...)
	b = append(b, at[:]...)
	b = append(b, key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(now.Add(PassLife).Unix()))
	return identity.SignObject(host, identity.ContextRoomPass, b)
}

// OpenPass checks a pass for the node at, and says whose word it is for which key. ErrHandshake: it
// is none, or not for this node or this time.
func OpenPass(b []byte, at identity.PeerID, now time.Time) (own identity.PeerID, key identity.PublicKey, err error) {
	refused := fmt.Errorf("%w: pass", ErrHandshake)
	if len(b) != PassSize || b[identity.SignatureSize] != passVersion {
		return own, key, refused
	}
	body := b[identity.SignatureSize:]
	if own, err = identity.PeerIDFromBytes(body[1 : 1+sizePeerID]); err != nil {
		return own, key, refused
	}
	if identity.VerifySignature(own.Key(), identity.ContextRoomPass, body, b[:identity.SignatureSize]) != nil {
		return own, key, refused
	}
	rest := body[1+sizePeerID:]
	if identity.PeerID(rest[:sizePeerID]) != at {
		return own, key, refused
	}
	if key, err = identity.CheckKey(rest[sizePeerID : sizePeerID+32]); err != nil {
		return own, key, refused
	}
	seconds := binary.BigEndian.Uint64(rest[sizePeerID+32:])
	if seconds <= uint64(now.Unix()) || seconds > uint64(now.Add(PassLife+passAhead).Unix()) {
		return own, key, refused
	}
	return own, key, nil
}

// SignHolder makes the signature of who shows a pass.
func SignHolder(key ed25519.PrivateKey, c *pb.Challenge, room [32]byte, join [16]byte) []byte {
	return identity.SignObject(key, identity.ContextRoomHolder, roomMessage(c, room, join[:]))[:identity.SignatureSize]
}

// VerifyHolder is what the node checks of it.
func VerifyHolder(key identity.PublicKey, c *pb.Challenge, room [32]byte, join [16]byte, signature []byte) bool {
	return identity.VerifySignature(key, identity.ContextRoomHolder, roomMessage(c, room, join[:]), signature) == nil
}

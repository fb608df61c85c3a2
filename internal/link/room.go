package link

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// A room's gate opens for whoever can sign with the key that the room's link holds, over the
// challenge of this very link: a signature that was seen on another link, at another node or
// for another room is of no use (docs/spec/rooms.md, section 4).
//
//	context || node 38 || room 32 || nonce of the challenge 32 || what 16 or 32
//
// For the gate, and for a steward at the gate, what is the join id; for a command its SHA-256.
// The contexts are "trunkline/v1/gate\0" and "trunkline/v1/steward\0".
func roomMessage(c *pb.Challenge, room [32]byte, what []byte) []byte {
	m := make([]byte, 0, sizePeerID+32+32+len(what))
	m = append(m, c.Node...)
	m = append(m, room[:]...)
	m = append(m, c.Nonce...)
	return append(m, what...)
}

// SignGate makes the gate's signature of one join.
func SignGate(gate ed25519.PrivateKey, c *pb.Challenge, room [32]byte, join [16]byte) []byte {
	return identity.SignObject(gate, identity.ContextGate, roomMessage(c, room, join[:]))[:identity.SignatureSize]
}

// VerifyGate is what the node checks of it.
func VerifyGate(gate identity.PublicKey, c *pb.Challenge, room [32]byte, join [16]byte, signature []byte) bool {
	return identity.VerifySignature(gate, identity.ContextGate, roomMessage(c, room, join[:]), signature) == nil
}

// SignSteward makes the signature of a steward who joins.
func SignSteward(steward ed25519.PrivateKey, c *pb.Challenge, room [32]byte, join [16]byte) []byte {
	return identity.SignObject(steward, identity.ContextSteward, roomMessage(c, room, join[:]))[:identity.SignatureSize]
}

// VerifySteward is what the node checks of it.
func VerifySteward(steward identity.PublicKey, c *pb.Challenge, room [32]byte, join [16]byte, signature []byte) bool {
	return identity.VerifySignature(steward, identity.ContextSteward, roomMessage(c, room, join[:]), signature) == nil
}

// SignCommand makes a steward's command for a room.
func SignCommand(steward ed25519.PrivateKey, c *pb.Challenge, room [32]byte, command *pb.RoomCommand) (*pb.RoomControl, error) {
	b, err := marshal(command, commandShape)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	signature := identity.SignObject(steward, identity.ContextSteward, roomMessage(c, room, sum[:]))[:identity.SignatureSize]
	return &pb.RoomControl{Room: room[:], Command: b, Signature: signature}, nil
}

// OpenCommand checks a command's signature and reads it. ErrHandshake: it is not the steward's.
func OpenCommand(steward identity.PublicKey, c *pb.Challenge, control *pb.RoomControl) (*pb.RoomCommand, error) {
	if len(control.Room) != 32 || len(control.Signature) != identity.SignatureSize {
		return nil, errShape
	}
	sum := sha256.Sum256(control.Command)
	if identity.VerifySignature(steward, identity.ContextSteward, roomMessage(c, [32]byte(control.Room), sum[:]), control.Signature) != nil {
		return nil, ErrHandshake
	}
	return ParseCommand(control.Command)
}

// ParseCommand reads a command.
func ParseCommand(b []byte) (*pb.RoomCommand, error) {
	if len(b) > maxRoomCommand {
		return nil, errTooLarge
	}
	if err := commandShape.check(b); err != nil {
		return nil, err
	}
	if kindsFrom(b, 1) != 1 {
		return nil, errShape
	}
	c := new(pb.RoomCommand)
	if err := proto.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("room command: %w", errShape)
	}
	return c, nil
}

// RoomPayload reports whether a payload between members has one of the sizes that there are.
func RoomPayload(size int) bool { return size == 1024 || size == 4096 || size == 8192 || size == 16384 }

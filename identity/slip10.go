package identity

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"errors"
)

// SLIP-0010 for ed25519, where only hardened steps exist.

const hardened = 1 << 31

var errNotHardened = errors.New("ed25519 derivation has hardened steps only")

type slip10Node struct {
	redacted
	key   [32]byte
	chain [32]byte
}

func slip10Master(seed []byte) slip10Node {
	return slip10Split([]byte("ed25519 seed"), seed)
}

// child derives step index, which must carry the hardened bit.
func (n slip10Node) child(index uint32) (slip10Node, error) {
	if index < hardened {
		return slip10Node{}, errNotHardened
	}
	data := make([]byte, 0, 37)
	data = append(data, 0)
	data = append(data, n.key[:]...)
	data = binary.BigEndian.AppendUint32(data, index)
	return slip10Split(n.chain[:], data), nil
}

func slip10Split(key, data []byte) slip10Node {
	mac := hmac.New(sha512.New, key)
	mac.Write(data)
	sum := mac.Sum(nil)
	return slip10Node{key: [32]byte(sum[:32]), chain: [32]byte(sum[32:])}
}

func slip10Derive(seed []byte, path ...uint32) (slip10Node, error) {
	n := slip10Master(seed)
	for _, index := range path {
		var err error
		if n, err = n.child(index); err != nil {
			return slip10Node{}, err
		}
	}
	return n, nil
}

package wire

import (
	"bytes"
	"slices"
	"time"
)

// CheckHello looks at what can be judged without a signature: versions, both peer ids and
// the sizes. self and remote are the peer ids that the connection proved. It returns "" or
// the code of the refusal.
func CheckHello(h *Hello, self, remote [38]byte) string {
	switch {
	case !slices.Contains(h.Versions, Version):
		return CodeVersion
	case !bytes.Equal(h.From, remote[:]) || !bytes.Equal(h.To, self[:]):
		return CodeWrongPeer
	case h.Nonce == nil || h.Document == nil || h.Descriptor == nil || h.ProbeKey == nil:
		return CodeBadHello
	case h.WindowFrames < MinWindowFrames || h.WindowBytes < MinWindowBytes:
		return CodeBadHello
	}
	return ""
}

// CheckWelcome says whether w answers the Hello that carried nonce, within the window that
// the other side offered in its own Hello. session is nil where w brings it.
func CheckWelcome(w *Welcome, nonce, session []byte, offered *Hello) bool {
	return w.Version == Version && bytes.Equal(w.Nonce, nonce) &&
		(session == nil || bytes.Equal(w.Session, session)) &&
		w.CreditFrames <= offered.WindowFrames && w.CreditBytes <= offered.WindowBytes
}

// Nonces remembers the nonces of Hellos. The connection below already proves both sides, so
// a repeated nonce is never an accident: it is a Hello that somebody kept. Two generations
// rotate by age and by size, so a flood cannot grow it and an old nonce leaves by itself.
// It is not safe for use by several goroutines.
type Nonces struct {
	current, former map[nonceKey]struct{}
	turned          time.Time
}

type nonceKey struct {
	peer  [38]byte
	nonce [32]byte
}

const (
	nonceAge = 10 * time.Minute
	nonceMax = 4096
)

// Fresh says whether this peer uses nonce for the first time, and remembers it.
func (n *Nonces) Fresh(now time.Time, peer [38]byte, nonce []byte) bool {
	if n.current == nil || len(n.current) >= nonceMax || now.Sub(n.turned) > nonceAge {
		n.former, n.current, n.turned = n.current, make(map[nonceKey]struct{}), now
	}
	key := nonceKey{peer: peer, nonce: [32]byte(nonce)}
	_, a := n.current[key]
	_, b := n.former[key]
	if a || b {
		return false
	}
	n.current[key] = struct{}{}
	return true
}

// Clone returns a Hello that does not share memory with the buffer it was read from.
func (h *Hello) Clone() Hello {
	c := *h
	c.Versions = slices.Clone(h.Versions)
	for _, b := range []*[]byte{&c.Document, &c.Nonce, &c.From, &c.To, &c.Descriptor, &c.ProbeKey} {
		*b = bytes.Clone(*b)
	}
	return c
}

package identity

import (
	"crypto/sha256"
	"sync"
)

// recent is a bounded set without per-entry bookkeeping. It holds two generations: when the
// younger is full it becomes the elder and the elder is dropped.
type recent struct {
	most int // entries of a generation, some 40 bytes each

	mu    sync.Mutex // guards young, old
	young map[[32]byte]struct{}
	old   map[[32]byte]struct{}
}

func (c *recent) has(k [32]byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.young[k]; ok {
		return true
	}
	if _, ok := c.old[k]; ok {
		c.addLocked(k) // one in use survives the change of generations
		return true
	}
	return false
}

func (c *recent) add(k [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(k)
}

func (c *recent) addLocked(k [32]byte) {
	if len(c.young) >= c.most {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[[32]byte]struct{}, 64)
	}
	c.young[k] = struct{}{}
}

// goodObjects remembers signed objects whose keys and signature passed. A device shows its
// certificate with every link, and its list each time it comes back: that are four point
// multiplications for the same answer as before. What has to do with the time is checked each
// time. As goodKeys, it changes no answer and is bounded.
var goodObjects = recent{most: 16384}

// objectHash names a signed object of one kind, signature and all.
func objectHash(context string, signed []byte) (sum [32]byte) {
	h := sha256.New()
	h.Write([]byte(context))
	h.Write(signed)
	h.Sum(sum[:0])
	return sum
}

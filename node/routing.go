package node

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
)

// routingRotation is when the next routing key takes over: a day before the descriptor of
// the present one ends, so that nobody who asks is handed one that is about to.
const routingRotation = 7 * 24 * time.Hour

const blobRouting = "routing-keys"

// routing keeps the keys that hops and queries are sealed to. Secrets live in the store's
// Blobs, because what is deleted there cannot be read from what is left on the disk: a
// stolen disk opens no hop that is older than the keys on it.
type routing struct {
	blobs   store.Blobs
	hostKey ed25519.PrivateKey
	domain  string
	now     func() time.Time

	keys atomic.Pointer[routingKeys] // newest first, never empty after open

	mu sync.Mutex // orders rotations
}

type routingKeys struct {
	descriptor []byte // signed, of the newest key
	list       []routingKey
}

type routingKey struct {
	key      *envelope.RoutingKey
	notAfter time.Time
}

// storedRoutingKey is one key in the blob.
type storedRoutingKey struct {
	Seed       []byte `json:"seed"`
	Descriptor []byte `json:"descriptor"`
}

func openRouting(ctx context.Context, blobs store.Blobs, hostKey ed25519.PrivateKey, domain string, now func() time.Time) (*routing, error) {
	r := &routing{blobs: blobs, hostKey: hostKey, domain: domain, now: now}
	stored, err := r.load(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.adopt(stored); err != nil {
		return nil, err
	}
	_, err = r.rotate(ctx)
	return r, err
}

func (r *routing) load(ctx context.Context) ([]storedRoutingKey, error) {
	data, err := r.blobs.Get(ctx, blobRouting)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("routing keys: %w", err)
	}
	var stored []storedRoutingKey
	if err := json.Unmarshal(data, &stored); err != nil {
		// The decoder's error quotes what it read; these are keys.
		return nil, errors.New("routing keys: damaged")
	}
	return stored, nil
}

// adopt makes stored keys the ones in use.
func (r *routing) adopt(stored []storedRoutingKey) error {
	next := new(routingKeys)
	for i, s := range stored {
		if len(s.Seed) != 32 {
			return errors.New("routing keys: damaged")
		}
		k, err := envelope.RoutingKeyFromSeed([32]byte(s.Seed))
		if err != nil {
			return fmt.Errorf("routing keys: %w", err)
		}
		d, err := identity.ParseDescriptor(s.Descriptor)
		if err != nil {
			return fmt.Errorf("routing keys: %w", err)
		}
		if i == 0 {
			next.descriptor = s.Descriptor
		}
		next.list = append(next.list, routingKey{key: k, notAfter: d.NotAfter})
	}
	r.keys.Store(next)
	return nil
}

// rotate makes a new key when the newest is a week old or speaks for another domain, and
// drops those whose descriptor ended 48 hours ago. Nothing happens otherwise.
func (r *routing) rotate(ctx context.Context) (changed bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	stored, err := r.load(ctx)
	if err != nil {
		return false, err
	}
	now := r.now()
	kept := stored[:0:0]
	fresh := false
	for i, s := range stored {
		d, err := identity.ParseDescriptor(s.Descriptor)
		if err != nil {
			return false, fmt.Errorf("routing keys: %w", err)
		}
		if now.After(d.NotAfter.Add(identity.RoutingKeyKept)) {
			changed = true
			continue
		}
		if i == 0 && d.Domain == r.domain && now.Before(d.NotBefore.Add(routingRotation)) {
			fresh = true
		}
		kept = append(kept, s)
	}
	if !fresh {
		k, err := envelope.GenerateRoutingKey()
		if err != nil {
			return false, err
		}
		d, err := identity.SignDescriptor(r.hostKey, identity.NodeDescriptor{
			Domain:     r.domain,
			RoutingKey: k.Public(),
			NotBefore:  now,
			NotAfter:   now.Add(identity.DescriptorLifetime),
		})
		if err != nil {
			return false, err
		}
		seed := k.Seed()
		kept = append([]storedRoutingKey{{Seed: seed[:], Descriptor: d.Bytes()}}, kept...)
		changed = true
	}
	if !changed {
		return false, nil
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return false, err
	}
	// Durable before anybody can seal to it: a descriptor whose secret is lost in a crash
	// loses every envelope sealed to it.
	if err := r.blobs.Put(ctx, blobRouting, data); err != nil {
		return false, fmt.Errorf("routing keys: %w", err)
	}
	return true, r.adopt(kept)
}

// descriptor is the signed descriptor of the newest key.
func (r *routing) descriptor() []byte { return r.keys.Load().descriptor }

var errNoRoutingKey = errors.New("not sealed to a key of this node")

// openHop tries the newest key first: the others matter for two days after a rotation.
func (r *routing) openHop(e *envelope.Envelope, self identity.PeerID, payload [32]byte) (envelope.Hop, error) {
	for _, k := range r.keys.Load().list {
		hop, err := k.key.OpenHopWith(e, self, payload)
		if err == nil {
			return hop, nil
		}
		if !errors.Is(err, envelope.ErrDecrypt) {
			return envelope.Hop{}, err
		}
	}
	return envelope.Hop{}, errNoRoutingKey
}

// openQuery is openHop for a query.
func (r *routing) openQuery(box []byte, self identity.PeerID) (*envelope.Query, error) {
	for _, k := range r.keys.Load().list {
		q, err := k.key.OpenQuery(box, self)
		if err == nil {
			return q, nil
		}
		if !errors.Is(err, envelope.ErrDecrypt) {
			return nil, err
		}
	}
	return nil, errNoRoutingKey
}

package bolt

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

const (
	maxNote   = 200
	maxUses   = 100_000
	maxToken  = 64
	tokenSize = 16
)

// invitationKey is what the file keeps of a token: whoever reads the file cannot register
// with it. A token has 128 random bits, so a plain hash is enough.
func invitationKey(token string) []byte {
	h := sha256.Sum256([]byte("trunkline store invitation\x00" + token))
	return h[:]
}

func invitationID(k []byte) string { return hex.EncodeToString(k[:8]) }

// Create implements store.Invitations.
func (d *DB) Create(ctx context.Context, uses int, expires time.Time, note string) (string, store.Invitation, error) {
	if uses < 1 {
		uses = 1
	}
	if uses > maxUses || len(note) > maxNote {
		return "", store.Invitation{}, fmt.Errorf("create invitation: at most %d uses and a note of %d bytes", maxUses, maxNote)
	}
	var raw [tokenSize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", store.Invitation{}, err
	}
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	k := invitationKey(token)
	inv := store.Invitation{Note: note, Created: d.now(), Expires: expires, Uses: uses}
	err := d.do(ctx, 256, func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketInvites).Put(k, encodeInvitation(inv))
	})
	if err != nil {
		return "", store.Invitation{}, err
	}
	inv.ID = invitationID(k)
	return token, inv, nil
}

// List implements store.Invitations.
func (d *DB) List(context.Context) ([]store.Invitation, error) {
	var out []store.Invitation
	err := d.view(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketInvites).ForEach(func(k, v []byte) error {
			inv, err := decodeInvitation(v)
			if err != nil || len(k) != sha256.Size {
				return fmt.Errorf("invitation: %w", kv.ErrValue)
			}
			inv.ID = invitationID(k)
			out = append(out, inv)
			return nil
		})
	})
	slices.SortFunc(out, func(a, b store.Invitation) int {
		if c := a.Created.Compare(b.Created); c != 0 {
			return c
		}
		return bytes.Compare([]byte(a.ID), []byte(b.ID))
	})
	return out, err
}

// Revoke implements store.Invitations.
func (d *DB) Revoke(ctx context.Context, id string) error {
	if len(id) > maxToken {
		return store.ErrNotFound
	}
	found := false
	err := d.do(ctx, 256, func(tx *bbolt.Tx) error {
		found = false
		invites, redeemed := tx.Bucket(bucketInvites), tx.Bucket(bucketRedeemed)
		k := invitationKey(id)
		if invites.Get(k) == nil {
			prefix, err := hex.DecodeString(id)
			if err != nil || len(prefix) != 8 {
				return kv.NoChange
			}
			at, _ := invites.Cursor().Seek(prefix)
			if !bytes.HasPrefix(at, prefix) {
				return kv.NoChange
			}
			k = bytes.Clone(at)
		}
		found = true
		var gone [][]byte
		c := redeemed.Cursor()
		for r, _ := c.Seek(k); bytes.HasPrefix(r, k); r, _ = c.Next() {
			gone = append(gone, bytes.Clone(r))
		}
		for _, r := range gone {
			if err := redeemed.Delete(r); err != nil {
				return err
			}
		}
		return invites.Delete(k)
	})
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return err
}

// Redeem implements store.Invitations.
func (d *DB) Redeem(ctx context.Context, token string, root identity.PublicKey) (store.Invitation, error) {
	if len(token) > maxToken {
		return store.Invitation{}, store.ErrInvitation
	}
	k := invitationKey(token)
	who := sha256.Sum256(key([]byte("trunkline store redeemed\x00"), k, root[:]))
	mark := key(k, who[:16])
	var inv store.Invitation
	var refused error
	err := d.do(ctx, 256, func(tx *bbolt.Tx) error {
		refused = nil
		v := tx.Bucket(bucketInvites).Get(k)
		if v == nil {
			refused = store.ErrInvitation
			return kv.NoChange
		}
		var err error
		if inv, err = decodeInvitation(v); err != nil {
			return err
		}
		again := tx.Bucket(bucketRedeemed).Get(mark) != nil
		over := !inv.Expires.IsZero() && !inv.Expires.After(d.now())
		switch {
		case over, inv.Uses < 1 && !again:
			refused = store.ErrInvitation
			return kv.NoChange
		case again:
			return kv.NoChange
		}
		inv.Uses--
		inv.Used++
		if err := tx.Bucket(bucketRedeemed).Put(mark, []byte{1}); err != nil {
			return err
		}
		return tx.Bucket(bucketInvites).Put(k, encodeInvitation(inv))
	})
	if err = errors.Join(err, refused); err != nil {
		return store.Invitation{}, err
	}
	inv.ID = invitationID(k)
	return inv, nil
}

package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// DomainPin is what a verifier remembers of a domain. A zero Epoch with a Key is a key
// that the policy pins before any document was seen; a zero Key is a domain of which
// nothing is known, whose key the caller must prove in another way.
type DomainPin struct {
	Domain string
	Key    PublicKey
	Epoch  uint64
	Hash   [32]byte
}

// Pin returns the pin to store after d was accepted.
func (d *DomainDocument) Pin() DomainPin {
	return DomainPin{Domain: d.Domain, Key: d.Key, Epoch: d.Epoch, Hash: d.hash}
}

// Check decides whether d may be used now and may replace what p remembers. A change of
// the key is accepted only where the document carries a handover signed by the pinned key;
// otherwise it is ErrKeyChanged, and only the administrator's word helps. The other errors
// are ErrOtherIdentity, ErrRollback, ErrEquivocation (alarm), ErrExpired and
// ErrNotYetValid. A document has no grace.
func (p DomainPin) Check(d *DomainDocument, now time.Time) (Verdict, error) {
	v, err := p.check(d, now)
	if err != nil {
		return Verdict{}, fmt.Errorf("domain document: %w", err)
	}
	return v, nil
}

func (p DomainPin) check(d *DomainDocument, now time.Time) (Verdict, error) {
	v := Verdict{Change: ChangeFirst}
	if d.Domain != p.Domain {
		return v, ErrOtherIdentity
	}
	if !p.Key.IsZero() && p.Key != d.Key {
		if !d.handedOverFrom(p.Key, p.Epoch) {
			return v, ErrKeyChanged
		}
		v.KeyChanged = true
	}
	if p.Epoch > 0 {
		var err error
		if v.Change, err = succession(p.Epoch, p.Hash, d.Epoch, d.hash, d.Previous); err != nil {
			return v, err
		}
	}
	return v, within(now, d.Issued, d.Expires)
}

// handedOverFrom reports whether an unbroken chain of handovers leads from the pinned key
// to the document's, and began after the pinned document: an old key that handed over
// before the pinned epoch had nothing more to say when that document was signed.
func (d *DomainDocument) handedOverFrom(key PublicKey, pinned uint64) bool {
	// readHandovers checked that the handovers form one chain that ends in d.Key.
	return slices.ContainsFunc(d.Handovers, func(h *Handover) bool {
		return h.Old == key && h.Epoch > pinned
	})
}

// Handover is the old domain key's word that a new key takes its place. It travels in the
// documents of the new key: whoever pinned the old key can follow, and whoever pinned
// nothing sees a document signed by its own key.
type Handover struct {
	Domain   string
	Old, New PublicKey
	Epoch    uint64 // first document epoch of the new key

	signed []byte
}

// SignHandover signs a handover with the old domain key.
func SignHandover(oldKey ed25519.PrivateKey, domain string, newKey PublicKey, epoch uint64) (*Handover, error) {
	old := publicOf(oldKey)
	msg, err := canon.Marshal(&pb.DomainHandover{
		Version: 1,
		Domain:  domain,
		OldKey:  old[:],
		NewKey:  newKey[:],
		Epoch:   epoch,
	})
	if err != nil {
		return nil, fmt.Errorf("domain handover: %w", err)
	}
	return ParseHandover(SignObject(oldKey, ContextHandover, msg))
}

// ParseHandover reads a signed handover and checks form, keys, and the signature under the
// old key inside.
func ParseHandover(signed []byte) (*Handover, error) {
	h, err := parseHandover(signed)
	if err != nil {
		return nil, fmt.Errorf("domain handover: %w", err)
	}
	return h, nil
}

func parseHandover(signed []byte) (*Handover, error) {
	sig, msg, err := splitObject(signed, MaxHandover)
	if err != nil {
		return nil, err
	}
	var m pb.DomainHandover
	if err := canon.Unmarshal(msg, MaxHandover, &m); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("version %d is not known here", m.Version)
	}
	h := &Handover{Domain: m.Domain, Epoch: m.Epoch, signed: slices.Clone(signed)}
	if err := CheckDomain(m.Domain); err != nil {
		return nil, err
	}
	if h.Old, err = CheckKey(m.OldKey); err != nil {
		return nil, fmt.Errorf("old key: %w", err)
	}
	if h.New, err = CheckKey(m.NewKey); err != nil {
		return nil, fmt.Errorf("new key: %w", err)
	}
	if h.Old == h.New {
		return nil, errors.New("the new key is the old one")
	}
	if err := checkEpoch(m.Epoch); err != nil {
		return nil, err
	}
	if m.Epoch < 2 {
		return nil, errors.New("epoch 1 has no key before it")
	}
	if err := VerifySignature(h.Old, ContextHandover, msg, sig); err != nil {
		return nil, err
	}
	return h, nil
}

// Bytes returns a copy of the signed handover.
func (h *Handover) Bytes() []byte { return slices.Clone(h.signed) }

func (d *DomainDocument) readHandovers(signed [][]byte) error {
	if len(signed) > maxHandovers {
		return fmt.Errorf("it has %d handovers, at most %d", len(signed), maxHandovers)
	}
	for i, b := range signed {
		h, err := ParseHandover(b)
		if err != nil {
			return err
		}
		if h.Domain != d.Domain || h.Epoch > d.Epoch {
			return errors.New("a handover is of another domain or a later epoch")
		}
		if i > 0 {
			if before := d.Handovers[i-1]; before.New != h.Old || before.Epoch >= h.Epoch {
				return errors.New("its handovers are no chain")
			}
		}
		d.Handovers = append(d.Handovers, h)
	}
	if n := len(signed); n > 0 && d.Handovers[n-1].New != d.Key {
		return errors.New("its handovers do not lead to its key")
	}
	return nil
}

package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/trunkline-net/trunkline/identity/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

const (
	maxNodes       = 16
	maxAddresses   = 8
	maxMultiaddr   = 256
	maxContact     = 256
	maxServices    = 8
	maxServiceName = 32
	maxHandovers   = 4
)

// DomainDocument says which nodes speak for a domain, signed by the domain's key, which
// may be kept offline. It comes from ParseDomain or SignDomain and is not changed
// afterwards. That the key belongs to the domain is not in it: DomainPin.Check, a key
// pinned by policy, or the domain's web server say so.
type DomainDocument struct {
	Domain          string
	Key             PublicKey
	Epoch           uint64   // 1 and up; never goes back
	Previous        [32]byte // hash of the document before; zero at epoch 1
	Issued, Expires time.Time
	Nodes           []DomainNode // 1 to 16
	DirectoryKey    PublicKey    // signs name bindings; zero if there is none
	Contact         string       // for other administrators
	Services        []string     // "signal", "turn", "sfu"
	Handovers       []*Handover  // oldest first; the last one is to Key

	signed []byte
	hash   [32]byte
}

// DomainNode is one node of a domain.
type DomainNode struct {
	PeerID    PeerID
	Addresses []string // multiaddresses without /p2p
}

// SignDomain signs d with the domain key. d.Key may be zero or must be that key's.
func SignDomain(domainKey ed25519.PrivateKey, d DomainDocument) (*DomainDocument, error) {
	key := publicOf(domainKey)
	if !d.Key.IsZero() && d.Key != key {
		return nil, fmt.Errorf("domain document: %w", ErrOtherIdentity)
	}
	m := &pb.DomainDocument{
		Version:      1,
		Domain:       d.Domain,
		DomainKey:    key[:],
		Epoch:        d.Epoch,
		Previous:     orAbsent(d.Previous),
		Issued:       unix(d.Issued),
		Expires:      unix(d.Expires),
		DirectoryKey: orAbsent(d.DirectoryKey),
		Contact:      d.Contact,
		Services:     d.Services,
	}
	for i := range d.Nodes {
		m.Nodes = append(m.Nodes, &pb.DomainNode{PeerId: d.Nodes[i].PeerID[:], Addresses: d.Nodes[i].Addresses})
	}
	for _, h := range d.Handovers {
		m.Handovers = append(m.Handovers, h.signed)
	}
	msg, err := canon.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("domain document: %w", err)
	}
	return ParseDomain(SignObject(domainKey, ContextDomain, msg))
}

// ParseDomain reads a signed document and checks everything but the clock and the history:
// form, keys, handovers, and the signature under the key inside.
func ParseDomain(signed []byte) (*DomainDocument, error) {
	d, err := parseDomain(signed)
	if err != nil {
		return nil, fmt.Errorf("domain document: %w", err)
	}
	return d, nil
}

func parseDomain(signed []byte) (*DomainDocument, error) {
	sig, msg, err := splitObject(signed, MaxDomain)
	if err != nil {
		return nil, err
	}
	var m pb.DomainDocument
	if err := canon.Unmarshal(msg, MaxDomain, &m); err != nil {
		return nil, err
	}
	if m.Version != 1 {
		return nil, fmt.Errorf("version %d is not known here", m.Version)
	}
	d := &DomainDocument{
		Domain:   m.Domain,
		Epoch:    m.Epoch,
		Contact:  m.Contact,
		Services: m.Services,
		signed:   slices.Clone(signed),
		hash:     sha256.Sum256(signed),
	}
	if d.Key, err = CheckKey(m.DomainKey); err != nil {
		return nil, err
	}
	if err := VerifySignature(d.Key, ContextDomain, msg, sig); err != nil {
		return nil, err
	}
	if err := CheckDomain(m.Domain); err != nil {
		return nil, err
	}
	if err := checkEpoch(m.Epoch); err != nil {
		return nil, err
	}
	if d.Previous, err = checkPrevious(m.Epoch, m.Previous); err != nil {
		return nil, err
	}
	if d.Issued, d.Expires, err = span(m.Issued, m.Expires, DomainLifetime); err != nil {
		return nil, err
	}
	if err := d.readNodes(m.Nodes); err != nil {
		return nil, err
	}
	if len(m.DirectoryKey) > 0 {
		if d.DirectoryKey, err = CheckKey(m.DirectoryKey); err != nil {
			return nil, fmt.Errorf("directory key: %w", err)
		}
	}
	if err := checkWords(m.Contact, m.Services); err != nil {
		return nil, err
	}
	if err := d.readHandovers(m.Handovers); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *DomainDocument) readNodes(nodes []*pb.DomainNode) error {
	if len(nodes) == 0 || len(nodes) > maxNodes {
		return fmt.Errorf("it has %d nodes: 1 to %d", len(nodes), maxNodes)
	}
	for _, n := range nodes {
		id, err := PeerIDFromBytes(n.PeerId)
		if err != nil {
			return err
		}
		if d.HasNode(id) {
			return errors.New("it has a node twice")
		}
		if len(n.Addresses) > maxAddresses {
			return fmt.Errorf("a node has %d addresses, at most %d", len(n.Addresses), maxAddresses)
		}
		for _, a := range n.Addresses {
			if err := checkMultiaddr(a); err != nil {
				return err
			}
		}
		d.Nodes = append(d.Nodes, DomainNode{PeerID: id, Addresses: n.Addresses})
	}
	return nil
}

// checkMultiaddr checks the form only; the network layer parses and judges the address.
// The peer id stands beside it, so that there is one place to look for it.
func checkMultiaddr(a string) error {
	if len(a) > maxMultiaddr || !strings.HasPrefix(a, "/") {
		return errors.New("an address is no multiaddress")
	}
	for i := range len(a) {
		if a[i] <= ' ' || a[i] > '~' {
			return errors.New("an address is no multiaddress")
		}
	}
	for part := range strings.SplitSeq(a, "/") {
		if part == "p2p" || part == "ipfs" {
			return errors.New("an address names a peer id")
		}
	}
	return nil
}

// checkWords: both are shown to administrators, so nothing in them may steer a terminal or
// reorder text.
func checkWords(contact string, services []string) error {
	if len(contact) > maxContact {
		return fmt.Errorf("its contact has %d bytes, at most %d", len(contact), maxContact)
	}
	for _, r := range contact {
		if !unicode.IsPrint(r) {
			return errors.New("its contact has a character that does not print")
		}
	}
	if len(services) > maxServices {
		return fmt.Errorf("it has %d services, at most %d", len(services), maxServices)
	}
	for i, s := range services {
		if s == "" || len(s) > maxServiceName || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return errors.New("the name of a service is malformed")
		}
		if slices.Contains(services[:i], s) {
			return errors.New("it has a service twice")
		}
	}
	return nil
}

// Bytes returns a copy of the signed document.
func (d *DomainDocument) Bytes() []byte { return slices.Clone(d.signed) }

// Hash returns the SHA-256 of the signed document, signature included.
func (d *DomainDocument) Hash() [32]byte { return d.hash }

// HasNode reports whether the node speaks for the domain.
func (d *DomainDocument) HasNode(id PeerID) bool {
	return slices.ContainsFunc(d.Nodes, func(n DomainNode) bool { return n.PeerID == id })
}

// ValidAt returns ErrNotYetValid or ErrExpired when now is outside the document's time.
func (d *DomainDocument) ValidAt(now time.Time) error {
	if err := within(now, d.Issued, d.Expires); err != nil {
		return fmt.Errorf("domain document: %w", err)
	}
	return nil
}

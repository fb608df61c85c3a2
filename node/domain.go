package node

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// documentRenewal is how old a document gets before its key, where it is at hand, signs
// the next: well inside its 35 days, so that a partner who fetches once a week never sees
// one near its end.
const documentRenewal = 14 * 24 * time.Hour

// documents keeps the own domain document: which nodes speak for the domain, and where.
type documents struct {
	folder  *folder
	now     func() time.Time
	current atomic.Pointer[identity.DomainDocument]

	mu sync.Mutex // orders renewals
}

// openDocuments reads the newest document, if there is one for this domain and key.
func openDocuments(f *folder, now func() time.Time) (*documents, error) {
	d := &documents{folder: f, now: now}
	data, err := readLimited(f.path(fileDocument), identity.MaxDomain)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return nil, fmt.Errorf("domain document: %w", err)
	}
	doc, err := identity.ParseDomain(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(fileDocument), err)
	}
	if doc.Domain != f.cfg.Domain {
		return nil, fmt.Errorf("%s is for %s and this node is configured for %s; a node does not change its domain: use another data folder",
			f.path(fileDocument), doc.Domain, f.cfg.Domain)
	}
	if f.domainKey != nil && !bytes.Equal(doc.Key.Bytes(), f.domainKey.Public().(ed25519.PublicKey)) {
		return nil, fmt.Errorf("%s was signed by another key than %s; put the right key there, or take it away to go on with the document",
			f.path(fileDocument), f.path(fileDomainKey))
	}
	d.current.Store(doc)
	return d, nil
}

// bytes is the document to show, or nil before the first.
func (d *documents) bytes() []byte {
	if doc := d.current.Load(); doc != nil {
		return doc.Bytes()
	}
	return nil
}

// renew signs the next document if the addresses changed or the present one is old. It is
// on disk before anybody sees it: an epoch that was shown never goes back.
func (d *documents) renew(addresses []string) (renewed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	old := d.current.Load()
	node := identity.DomainNode{PeerID: d.folder.self, Addresses: addresses}
	if old != nil && now.Before(old.Issued.Add(documentRenewal)) && sameNode(old, node) {
		return false, nil
	}
	if d.folder.domainKey == nil {
		if old != nil && now.Before(old.Expires) {
			return false, nil // kept elsewhere on purpose; its owner brings the next document
		}
		return false, fmt.Errorf("the domain document has ended and %s is not here to sign the next", fileDomainKey)
	}
	next := identity.DomainDocument{
		Domain:   d.folder.cfg.Domain,
		Epoch:    1,
		Issued:   now,
		Expires:  now.Add(identity.DomainLifetime),
		Nodes:    []identity.DomainNode{node},
		Services: []string{"signal", "turn"},
	}
	if old != nil {
		next.Epoch, next.Previous = old.Epoch+1, old.Hash()
		next.Contact, next.DirectoryKey, next.Handovers = old.Contact, old.DirectoryKey, old.Handovers
		// Other nodes of the domain, if an administrator put any into the document.
		for _, n := range old.Nodes {
			if n.PeerID != node.PeerID {
				next.Nodes = append(next.Nodes, n)
			}
		}
	}
	doc, err := identity.SignDomain(d.folder.domainKey, next)
	if err != nil {
		return false, err
	}
	if err := writeFile(d.folder.path(fileDocument), doc.Bytes()); err != nil {
		return false, fmt.Errorf("domain document: %w", err)
	}
	d.current.Store(doc)
	return true, nil
}

// names says whether the document tells these addresses for this node.
func (d *documents) names(addresses []string) bool {
	doc := d.current.Load()
	return doc != nil && sameNode(doc, identity.DomainNode{PeerID: d.folder.self, Addresses: addresses})
}

func sameNode(doc *identity.DomainDocument, node identity.DomainNode) bool {
	for _, n := range doc.Nodes {
		if n.PeerID == node.PeerID {
			// Whatever the order: a partner tries all of them.
			return slices.Equal(slices.Sorted(slices.Values(n.Addresses)), slices.Sorted(slices.Values(node.Addresses)))
		}
	}
	return false
}

// documentAddresses are the multiaddresses that the document names: without /p2p, at most
// eight, specific ones first.
func documentAddresses(addrs []string) []string {
	var out []string
	for _, a := range addrs {
		if i := strings.Index(a, "/p2p/"); i >= 0 {
			a = a[:i]
		}
		if !slices.Contains(out, a) && a != "" {
			out = append(out, a)
		}
	}
	return out[:min(len(out), 8)]
}

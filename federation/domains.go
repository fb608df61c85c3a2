package federation

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/federation/proof"
	"github.com/trunkline-net/trunkline/federation/wire"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

const (
	// maxDomains bounds what a wildcard entry in the policy can make this node remember.
	maxDomains = 4096
	// maxFetches at once; more wait in line, and a Hello that waits too long fails by itself.
	maxFetches = 4
	// A failed fetch is not repeated sooner, so that strangers cannot turn this node's
	// curiosity on somebody's web server.
	fetchPause = 30 * time.Second
)

// domains is what this node knows of other domains: the newest believed document of each,
// and which domain a peer speaks for.
type domains struct {
	cfg     *Config
	fetcher proof.Fetcher
	slots   chan struct{} // one for each fetch under way

	pinning sync.Mutex // held over judging and storing; taken before mu

	mu     sync.Mutex // guards all below
	docs   map[string]*identity.DomainDocument
	byPeer map[identity.PeerID][]string // domains whose document names the peer
	failed map[string]failure

	changed chan struct{} // signalled when a document is new
}

type failure struct {
	err   error
	until time.Time
}

func newDomains(cfg *Config) *domains {
	return &domains{
		cfg:     cfg,
		fetcher: proof.Fetcher{RootCAs: cfg.RootCAs, Dial: cfg.fetchDial},
		slots:   make(chan struct{}, maxFetches),
		docs:    make(map[string]*identity.DomainDocument),
		byPeer:  make(map[identity.PeerID][]string),
		failed:  make(map[string]failure),
		changed: make(chan struct{}, 1),
	}
}

// load reads the pins. A pin that does not parse is an error: going on without it would make
// the domain a first contact again, and epochs could go back.
func (d *domains) load() error {
	if d.cfg.Pins == nil {
		return nil
	}
	saved, err := d.cfg.Pins.Load()
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, signed := range saved {
		doc, err := proof.Parse(signed)
		if err != nil {
			return err
		}
		if doc.Domain != name {
			return errors.New("the pin of a domain holds another domain's document")
		}
		d.setLocked(doc)
	}
	return nil
}

func (d *domains) setLocked(doc *identity.DomainDocument) {
	if old := d.docs[doc.Domain]; old != nil {
		for _, n := range old.Nodes {
			names := slices.DeleteFunc(d.byPeer[n.PeerID], func(s string) bool { return s == doc.Domain })
			if len(names) == 0 {
				delete(d.byPeer, n.PeerID)
			} else {
				d.byPeer[n.PeerID] = names
			}
		}
	}
	d.docs[doc.Domain] = doc
	for _, n := range doc.Nodes {
		d.byPeer[n.PeerID] = append(d.byPeer[n.PeerID], doc.Domain)
	}
	signal(d.changed)
}

func (d *domains) get(name string) *identity.DomainDocument {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.docs[name]
}

func (d *domains) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]string, 0, len(d.docs))
	for name := range d.docs {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// domainOf says which domain a peer speaks for. Anybody can write anybody's peer id into a
// document, so where several name it, the domain that the administrator trusts most counts;
// what the peer itself says in its Hello decides in the end.
func (d *domains) domainOf(peer identity.PeerID) (string, bool) {
	d.mu.Lock()
	names := d.byPeer[peer]
	if len(names) > 1 {
		names = slices.Clone(names)
	}
	d.mu.Unlock()
	switch len(names) {
	case 0:
		return "", false
	case 1:
		return names[0], true
	}
	return slices.MinFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(d.level(a)), rank(d.level(b))), cmp.Compare(a, b))
	}), true
}

func (d *domains) level(name string) policy.Level {
	p, _ := d.cfg.DomainPolicy(name)
	return p.Level
}

func rank(l policy.Level) int {
	switch l {
	case policy.Internal:
		return 0
	case policy.Partner:
		return 1
	case policy.Public:
		return 2
	}
	return 3
}

func (d *domains) known(name string) proof.Known {
	p, _ := d.cfg.DomainPolicy(name)
	return proof.Known{Domain: name, Policy: p.Key, Pinned: d.get(name)}
}

// accept judges a document that a peer sent, proves its key where nothing is known yet, and
// pins it. The error carries a code for the other side (proof.Code).
func (d *domains) accept(ctx context.Context, doc *identity.DomainDocument) error {
	proven, err := d.pin(doc, false)
	if err != nil || proven {
		return err
	}
	if _, err := d.fetch(ctx, doc.Domain); err != nil {
		return err
	}
	// The web server's copy is pinned now. It may be this one, lag behind it or be ahead of it;
	// in each case it says whose key counts.
	if proven, err = d.pin(doc, false); err == nil && !proven {
		err = &proof.Error{Code: wire.CodeUnproven, Err: errors.New("the published document did not prove this one")}
	}
	return err
}

// current returns a believed and unexpired document, from memory if it is no older than age,
// else from where the domain publishes it. A document that is at hand is better than none
// when the publisher does not answer.
func (d *domains) current(ctx context.Context, name string, refresh bool) (*identity.DomainDocument, error) {
	known := d.known(name)
	if known.Pinned != nil {
		if _, err := known.Judge(known.Pinned, d.cfg.Now()); err != nil {
			known.Pinned = nil
		} else if !refresh {
			return known.Pinned, nil
		}
	}
	doc, err := d.fetch(ctx, name)
	if err != nil && known.Pinned != nil {
		return known.Pinned, nil
	}
	return doc, err
}

// place says where a domain's document is published.
func (d *domains) place(name string) proof.Place {
	p, _ := d.cfg.DomainPolicy(name)
	if source, ok := d.cfg.Sources[name]; ok {
		return proof.Place{URL: source, Configured: true, KeyKnown: p.HasKey()}
	}
	return proof.DefaultPlace(name, p.HasKey())
}

// fetch gets, judges and pins what a domain publishes. What is found at its own place proves
// a key of which nothing was known.
func (d *domains) fetch(ctx context.Context, name string) (*identity.DomainDocument, error) {
	now := time.Now()
	d.mu.Lock()
	last, ok := d.failed[name]
	d.mu.Unlock()
	if ok && now.Before(last.until) {
		return nil, last.err
	}
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	doc, err := d.fetchNow(ctx, name)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		delete(d.failed, name)
		return doc, nil
	}
	if ctx.Err() == nil { // a caller who gave up says nothing about the place
		if len(d.failed) >= maxDomains {
			clear(d.failed)
		}
		pause, place := fetchPause, d.place(name)
		switch {
		case place.IsFile(): // the administrator puts it there, and expects to be heard at once
			pause = 0
		case place.Configured: // not a stranger's choice
			pause = time.Second
		}
		d.failed[name] = failure{err: err, until: time.Now().Add(pause)}
	}
	return nil, err
}

func (d *domains) fetchNow(ctx context.Context, name string) (*identity.DomainDocument, error) {
	place := d.place(name)
	b, err := d.fetcher.Document(ctx, place)
	if err != nil {
		return nil, &proof.Error{Code: wire.CodeUnproven, Err: err}
	}
	doc, err := proof.Parse(b)
	if err != nil {
		return nil, err
	}
	if doc.Domain != name {
		return nil, &proof.Error{Code: wire.CodeBadDocument, Err: identity.ErrOtherIdentity}
	}
	proven, err := d.pin(doc, place.Proves())
	if err == nil && !proven {
		err = &proof.Error{Code: wire.CodeUnproven, Err: proof.ErrPlain}
	}
	return doc, err
}

// pin judges a document and stores it when it is believed, on disk first: a pin that a crash
// forgets is no pin. It says whether the document is believed; byPlace is that it was found
// where it proves itself. Judging and storing are one step, also on disk, because two
// documents judged against the same pin could both win.
func (d *domains) pin(doc *identity.DomainDocument, byPlace bool) (proven bool, err error) {
	d.pinning.Lock()
	defer d.pinning.Unlock()
	known := d.known(doc.Domain)
	verdict, err := known.Judge(doc, d.cfg.Now())
	switch {
	case err != nil:
		return false, err
	case verdict == proof.Same:
		return true, nil
	case verdict == proof.NeedsProof && !byPlace:
		return false, nil
	}
	d.mu.Lock()
	full := known.Pinned == nil && len(d.docs) >= maxDomains
	d.mu.Unlock()
	if full {
		return false, &proof.Error{Code: wire.CodeBusy, Err: errors.New("too many domains are known already")}
	}
	if d.cfg.Pins != nil {
		if err := d.cfg.Pins.Save(doc.Domain, doc.Bytes()); err != nil {
			return false, &proof.Error{Code: wire.CodeInternal, Err: err}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLocked(doc)
	return true, nil
}

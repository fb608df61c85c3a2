package federation

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation/proof"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// testNode is a node around a Federation: keys, documents, a policy file, and in-memory
// stores that outlive a restart.
type testNode struct {
	t         testing.TB
	domain    string
	hostKey   ed25519.PrivateKey
	domainKey ed25519.PrivateKey
	routing   *envelope.RoutingKey
	policy    policy.Current
	outbox    *memoryOutbox
	pins      *memoryPins
	cfg       Config // changed by a test before start

	mu        sync.Mutex
	epoch     uint64
	addrs     []string
	handover  []*identity.Handover
	lifetime  time.Duration // of its document
	delivered map[envelope.ID]int
	order     []envelope.ID
	sources   []Source
	arrived   chan struct{} // one for each delivery
	deliver   func(e *envelope.Envelope) Outcome
	answer    func(box []byte) ([]byte, string)

	*Federation
	stop func() error
}

func seed(text string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(text))
	return ed25519.NewKeyFromSeed(sum[:])
}

func newTestNode(t testing.TB, domain, policyText string) *testNode {
	t.Helper()
	routing, err := envelope.GenerateRoutingKey()
	if err != nil {
		t.Fatal(err)
	}
	n := &testNode{
		t: t, domain: domain, hostKey: seed("host " + domain), domainKey: seed("domain " + domain), routing: routing,
		outbox: newMemoryOutbox(), pins: &memoryPins{docs: make(map[string][]byte)}, epoch: 1, lifetime: 30 * 24 * time.Hour,
		delivered: make(map[envelope.ID]int), arrived: make(chan struct{}, 1<<16),
		deliver: func(*envelope.Envelope) Outcome { return Outcome{Fate: envelopepb.Fate_FATE_DELIVERED} },
	}
	n.setPolicy(policyText)
	n.cfg = Config{
		HostKey: n.hostKey, Domain: domain, Listen: []string{"127.0.0.1:0"},
		Document: n.document, Descriptor: n.descriptor,
		Decide: n.policy.Decide, DomainPolicy: n.policy.Domain,
		Deliverer: n, Answerer: n, Outbox: n.outbox, Pins: n.pins,
		Sources: make(map[string]string),
	}
	if os.Getenv("FEDERATION_TEST_LOG") != "" {
		n.cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", domain)
	}
	return n
}

func (n *testNode) setPolicy(text string) {
	n.t.Helper()
	if err := n.policy.Reload("policy.toml", []byte(text)); err != nil {
		n.t.Fatal(err)
	}
}

func (n *testNode) id() identity.PeerID {
	key, err := identity.CheckKey(n.hostKey.Public().(ed25519.PublicKey))
	if err != nil {
		n.t.Fatal(err)
	}
	return key.PeerID()
}

func (n *testNode) document() []byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	if n.addrs == nil && n.Federation != nil {
		n.addrs = n.Addrs()
	}
	if n.addrs == nil { // not before it listens: one epoch has one document
		return nil
	}
	d := identity.DomainDocument{
		Domain: n.domain, Epoch: n.epoch, Issued: now.Truncate(24 * time.Hour), Expires: now.Truncate(24 * time.Hour).Add(n.lifetime),
		Nodes: []identity.DomainNode{{PeerID: n.id(), Addresses: n.addrs}}, Handovers: n.handover,
	}
	if n.epoch > 1 {
		d.Previous = sha256.Sum256([]byte{byte(n.epoch)})
	}
	doc, err := identity.SignDomain(n.domainKey, d)
	if err != nil {
		n.t.Error(err)
		return nil
	}
	return doc.Bytes()
}

func (n *testNode) descriptor() []byte {
	day := time.Now().Truncate(24 * time.Hour)
	d, err := identity.SignDescriptor(n.hostKey, identity.NodeDescriptor{
		Domain: n.domain, RoutingKey: n.routing.Public(), NotBefore: day, NotAfter: day.Add(7 * 24 * time.Hour)})
	if err != nil {
		n.t.Error(err)
		return nil
	}
	return d.Bytes()
}

// start runs the node; it is stopped at the end of the test, or by stop.
func (n *testNode) start() {
	n.t.Helper()
	f, err := New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.Federation = f
	if n.cfg.Transports == nil { // port 0: another one each time
		n.addrs = nil
	}
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	select {
	case <-f.Ready():
	case err := <-ended:
		n.t.Fatal(err)
	}
	n.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	n.t.Cleanup(func() {
		if err := n.stop(); err != nil {
			n.t.Errorf("%s: Run: %v", n.domain, err)
		}
	})
}

// knows gives the node another one's document, as if it had pinned it before.
func (n *testNode) knows(others ...*testNode) {
	n.t.Helper()
	for _, o := range others {
		doc, err := proof.Parse(o.document())
		if err != nil {
			n.t.Fatal(err)
		}
		if _, err := n.Federation.domains.pin(doc, true); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *testNode) Deliver(_ context.Context, from Source, e *envelope.Envelope) Outcome {
	n.mu.Lock()
	deliver := n.deliver
	n.mu.Unlock()
	o := deliver(e)
	n.mu.Lock()
	n.delivered[e.ID()]++
	n.order = append(n.order, e.ID())
	n.sources = append(n.sources, from)
	n.mu.Unlock()
	n.arrived <- struct{}{}
	return o
}

func (n *testNode) Answer(_ context.Context, _ Source, box []byte) ([]byte, string) {
	if n.answer == nil {
		return nil, "unavailable"
	}
	return n.answer(box)
}

// envelopeTo makes an envelope as a client would. Each is different.
func envelopeTo(t testing.TB, n *testNode, ttl envelope.TTL, size int) *envelope.Envelope {
	t.Helper()
	payload := make([]byte, size)
	rand.Read(payload)
	e, err := envelope.NewEnvelope(n.routing.Public(), n.id(), ttl, envelope.Hop{Tag: envelope.NewRouteTag()}, payload)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// outcomes collects what Send reports.
type outcomes struct {
	mu  sync.Mutex
	got map[envelope.ID][]Outcome
	c   chan struct{}
}

func newOutcomes() *outcomes {
	return &outcomes{got: make(map[envelope.ID][]Outcome), c: make(chan struct{}, 1<<16)}
}

func (o *outcomes) of(id envelope.ID) Waiter {
	return WaiterFunc(func(out Outcome) {
		o.mu.Lock()
		o.got[id] = append(o.got[id], out)
		o.mu.Unlock()
		o.c <- struct{}{}
	})
}

// all is what has been reported so far.
func (o *outcomes) all() map[envelope.ID][]Outcome {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.got)
}

// each fails the test unless every envelope has exactly one outcome, and it is this one.
func (o *outcomes) each(t testing.TB, ids []envelope.ID, want Outcome) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, id := range ids {
		if got := o.got[id]; len(got) != 1 || got[0] != want {
			t.Fatalf("envelope %d of %d: outcomes %v, want one %v", i, len(ids), got, want)
		}
	}
}

func await(t testing.TB, what string, c <-chan struct{}, n int) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for i := range n {
		select {
		case <-c:
		case <-timeout:
			t.Fatalf("%s: %d of %d came", what, i, n)
		}
	}
}

// eventually waits until the condition holds. It looks again when time passes, virtual or real.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func (n *testNode) stateOf(other *testNode) PeerStatus {
	for _, p := range n.Peers() {
		if p.Peer == other.id() {
			return p
		}
	}
	return PeerStatus{}
}

func connected(t testing.TB, a, b *testNode) {
	t.Helper()
	eventually(t, a.domain+" and "+b.domain+" have a link", func() bool {
		return a.stateOf(b).State == StateConnected && b.stateOf(a).State == StateConnected
	})
}

// partnerOf is a policy in which the named domains are partners with everything.
func partnerOf(domains ...string) string {
	var b strings.Builder
	b.WriteString("version = 1\n")
	for _, d := range domains {
		fmt.Fprintf(&b, "[[domain]]\nname = %q\nlevel = \"partner\"\n", d)
	}
	b.WriteString("[[rule]]\nname = \"partners\"\nlevel = \"partner\"\ndirection = \"both\"\nactions = [\"federate\", \"signal\", \"knock\", \"store\", \"query\"]\n")
	return b.String()
}

// pinnedPartner is the same for one domain with its key.
func pinnedPartner(n *testNode) string {
	key := n.domainKey.Public().(ed25519.PublicKey)
	return strings.Replace(partnerOf(n.domain), "level = \"partner\"\n[[rule]]", fmt.Sprintf("level = \"partner\"\nkey = %q\n[[rule]]", "ed25519:"+b64(key)), 1)
}

// web serves the node's document over TLS and tells others where, by domain name.
func web(t testing.TB, nodes ...*testNode) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, n := range nodes {
			if r.Host == n.domain && r.URL.Path == proof.WellKnown {
				w.Write(n.document())
				return
			}
		}
		http.NotFound(w, r)
	}))
	var names []string
	for _, n := range nodes {
		names = append(names, n.domain)
	}
	cert, roots := certificate(t, names)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	for _, n := range nodes {
		n.cfg.RootCAs = roots
		n.cfg.fetchDial = func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
		}
	}
}

func certificate(t testing.TB, names []string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, pub, priv)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, roots
}

// memoryOutbox is an Outbox that outlives a Federation.
type memoryOutbox struct {
	mu    sync.Mutex
	seq   uint64
	byDst map[identity.PeerID][]Queued
	limit int
	fail  error
	stuck error // what Done says
}

func (m *memoryOutbox) breakDone(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stuck = err
}

func newMemoryOutbox() *memoryOutbox {
	return &memoryOutbox{byDst: make(map[identity.PeerID][]Queued), limit: 1 << 20}
}

func (m *memoryOutbox) Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (uint64, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return 0, false, m.fail
	}
	for _, q := range m.byDst[dest] {
		if q.ID == id && id != (envelope.ID{}) {
			return q.Seq, true, nil
		}
	}
	if len(m.byDst[dest]) >= m.limit {
		return 0, false, ErrQueueFull
	}
	m.seq++
	m.byDst[dest] = append(m.byDst[dest], Queued{Seq: m.seq, Envelope: slices.Clone(e), ID: id, Expires: expires})
	return m.seq, false, nil
}

func (m *memoryOutbox) Next(dest identity.PeerID, after uint64, max int) ([]Queued, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Queued
	for _, q := range m.byDst[dest] {
		if q.Seq > after && len(out) < max {
			out = append(out, q)
		}
	}
	return out, nil
}

func (m *memoryOutbox) Done(dest identity.PeerID, seqs []uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stuck != nil {
		return m.stuck
	}
	m.byDst[dest] = slices.DeleteFunc(m.byDst[dest], func(q Queued) bool { return slices.Contains(seqs, q.Seq) })
	if len(m.byDst[dest]) == 0 {
		delete(m.byDst, dest)
	}
	return nil
}

func (m *memoryOutbox) Destinations() ([]identity.PeerID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []identity.PeerID
	for d := range m.byDst {
		out = append(out, d)
	}
	return out, nil
}

func (m *memoryOutbox) Usage(dest identity.PeerID) (int, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var bytes int64
	for _, q := range m.byDst[dest] {
		bytes += int64(len(q.Envelope))
	}
	return len(m.byDst[dest]), bytes, nil
}

func (m *memoryOutbox) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, q := range m.byDst {
		n += len(q)
	}
	return n
}

type memoryPins struct {
	mu   sync.Mutex
	docs map[string][]byte
}

func (m *memoryPins) Load() (map[string][]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string][]byte)
	for k, v := range m.docs {
		out[k] = v
	}
	return out, nil
}

func (m *memoryPins) Save(domain string, doc []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs[domain] = slices.Clone(doc)
	return nil
}

// only makes a node listen on one transport.
func only(kind string) func(*testNode) {
	return func(n *testNode) {
		n.cfg.Listen = map[string][]string{
			"tcp":  {"/ip4/127.0.0.1/tcp/0"},
			"quic": {"/ip4/127.0.0.1/udp/0/quic-v1"},
		}[kind]
	}
}

// libp2pID is the node's libp2p peer id.
func (n *testNode) libp2pID() peer.ID {
	id := n.id()
	return peer.ID(id[:])
}

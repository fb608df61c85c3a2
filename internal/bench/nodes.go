package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clients "github.com/trunkline-net/trunkline/client/bench"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/node"
)

// exchange is one node as the benchmark runs it.
type exchange struct {
	*child.Process
	b           *bench
	name        string // of its folder and log
	domain, dir string
	key         string // domain key as policy.toml writes it
	home        identity.Home
	http        string // host:port
	federation  string // host:port
	admin       *node.Admin
}

type readyLine struct {
	Ready      bool     `json:"ready"`
	HTTP       string   `json:"http"`
	Federation []string `json:"federation"`
}

// newExchange makes the data folder and the keys; the node does not run yet.
func (b *bench) newExchange(domain string) (*exchange, error) {
	b.nodes++
	name := fmt.Sprintf("%d-%s", b.nodes, domain)
	cfg := node.DefaultConfig()
	cfg.Domain, cfg.Data = domain, filepath.Join(b.root, name)
	made, err := node.Init(cfg)
	if err != nil {
		return nil, err
	}
	peer, err := identity.ParsePeerID(made.PeerID)
	if err != nil {
		return nil, err
	}
	return &exchange{b: b, name: name, domain: domain, dir: cfg.Data, key: made.DomainKey,
		home: identity.Home{PeerID: peer, Domain: domain}}, nil
}

const openPolicy = `version = 1

[register]
mode = "open"
`

// partnerPolicy has limits as a partner's has, so that the buckets are asked; they are wider
// than any machine.
const partnerPolicy = `
[[domain]]
name  = %q
level = "partner"
key   = %q

[[rule]]
name      = "partners call"
level     = "partner"
direction = "both"
actions   = ["federate", "signal", "knock", "store", "query"]
limit     = { per_second = 10000000, bytes_per_second = "64GiB", concurrent = 100000 }
`

// configure writes node.toml and policy.toml.
func (e *exchange) configure(partner *exchange) error {
	config, policy := fmt.Sprintf(`domain = %q

[http]
listen = "127.0.0.1:0"

[federation]
listen = ["127.0.0.1:0"]

[turn]
listen      = "127.0.0.1:0"
external_ip = "127.0.0.1"

[sfu]
listen = "127.0.0.1:0"

[metrics]
listen = "127.0.0.1:0"
`, e.domain), openPolicy
	if partner != nil {
		config += fmt.Sprintf("\n[[federation.peer]]\ndomain   = %q\ndocument = %q\n", partner.domain, e.documentOf(partner))
		policy += fmt.Sprintf(partnerPolicy, partner.domain, partner.key)
	}
	if err := os.WriteFile(filepath.Join(e.dir, "node.toml"), []byte(config), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.dir, "policy.toml"), []byte(policy), 0o600)
}

func (e *exchange) documentOf(p *exchange) string {
	return filepath.Join(e.dir, p.domain+".document")
}

// run starts the node's process and waits until it is ready.
func (e *exchange) run(ctx context.Context, flags ...string) error {
	p, err := e.b.start(e.name, append([]string{"serve", "--data", e.dir, "--json"}, flags...)...)
	if err != nil {
		return err
	}
	e.Process = p
	var ready readyLine
	if err := readLine(ctx, p, &ready); err != nil {
		return err
	}
	if !ready.Ready || len(ready.Federation) == 0 {
		return fmt.Errorf("%s did not say that it is ready", e.domain)
	}
	e.http = strings.TrimPrefix(ready.HTTP, "http://")
	for _, a := range ready.Federation {
		// /ip4/127.0.0.1/tcp/PORT; the UDP port is the same or another.
		if words := strings.Split(a, "/"); len(words) == 5 && words[3] == "tcp" {
			e.federation = words[2] + ":" + words[4]
		}
	}
	if e.admin != nil {
		e.admin.Close()
	}
	e.admin, err = node.Dial(e.dir)
	return err
}

// oneNode starts a node without partners.
func (b *bench) oneNode(ctx context.Context) (*exchange, error) {
	e, err := b.newExchange("initech.example")
	if err != nil {
		return nil, err
	}
	return e, errors.Join(e.configure(nil), e.run(ctx))
}

// twoNodes starts two that name each other as partners, and waits until they are linked.
func (b *bench) twoNodes(ctx context.Context) (acme, globex *exchange, err error) {
	if acme, err = b.newExchange("acme.example"); err != nil {
		return nil, nil, err
	}
	if globex, err = b.newExchange("globex.example"); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(acme.configure(globex), globex.configure(acme)); err != nil {
		return nil, nil, err
	}
	if err := acme.run(ctx); err != nil {
		return nil, nil, err
	}
	if err := globex.run(ctx); err != nil {
		return nil, nil, err
	}
	if err := errors.Join(acme.learn(ctx, globex), globex.learn(ctx, acme)); err != nil {
		return nil, nil, err
	}
	return acme, globex, errors.Join(acme.linked(ctx), globex.linked(ctx))
}

// learn gives the node the partner's signed domain document, as two administrators who met
// would exchange it.
func (e *exchange) learn(ctx context.Context, partner *exchange) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+partner.http+"/.well-known/trunkline/domain", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	document, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the domain document of %s: %s", partner.domain, resp.Status)
	}
	if err := os.WriteFile(e.documentOf(partner), document, 0o600); err != nil {
		return err
	}
	_, err = e.admin.ReloadPolicy(ctx) // which reads the documents anew
	return err
}

const linkTime = time.Minute

// linked waits until the node has a link to its partner.
func (e *exchange) linked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linkTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := "it knows no partner yet"
	for {
		peers, err := e.admin.Peers(ctx)
		if err != nil {
			return fmt.Errorf("ask %s for its partners (%s): %w", e.domain, last, err)
		}
		for _, p := range peers.Peers {
			if p.State == "connected" {
				return nil
			}
			last = fmt.Sprintf("its link is %s, why: %q", p.State, p.Why)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s did not link up with its partner (%s): %w", e.domain, last, ctx.Err())
		}
	}
}

// joining is how many links are being made at once.
const joining = 32

// people makes identities at the node.
func (e *exchange) people(n int) ([]*clients.Person, error) {
	out := make([]*clients.Person, n)
	return out, inParallel(n, func(i int) (err error) {
		out[i], err = clients.NewPerson(e.home, time.Now())
		return err
	})
}

// join connects people and registers them, for the first time or again.
func (e *exchange) join(ctx context.Context, people []*clients.Person, first bool) ([]*clients.Client, error) {
	out := make([]*clients.Client, len(people))
	return out, inParallel(len(people), func(i int) error {
		c, err := clients.Dial(ctx, e.http, people[i])
		if err != nil {
			return fmt.Errorf("connect a client: %w", err)
		}
		out[i] = c
		if first {
			if err := c.Publish(); err != nil {
				return err
			}
		}
		return c.Register()
	})
}

// newClients are people that have registered at the node.
func (e *exchange) newClients(ctx context.Context, n int) ([]*clients.Client, error) {
	people, err := e.people(n)
	if err != nil {
		return nil, err
	}
	return e.join(ctx, people, true)
}

// inParallel does n things, some at once, and returns the first errors.
func inParallel(n int, do func(int) error) error {
	var mu sync.Mutex // guards next, failed
	var next int
	var failed error
	var all sync.WaitGroup
	for range min(joining, n) {
		all.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				over := i >= n || failed != nil
				mu.Unlock()
				if over {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}

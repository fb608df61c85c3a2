package demo

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/trunkline-net/trunkline/internal/child"
)

// exchange is one organisation's node as the demo runs it.
type exchange struct {
	*process
	domain, dir string
	tap         *tap   // on the way to its clients; nil: there is none
	key         string // domain key as policy.toml writes it
	peerID      string
	marker      string // handed to the node on purpose: the search's control
	metrics     string
	http        string
	invite      string // for one person
}

type initResult struct {
	Domain    string `json:"domain"`
	DomainKey string `json:"domain_key"`
	PeerID    string `json:"peer_id"`
}

type readyResult struct {
	Ready   bool   `json:"ready"`
	Domain  string `json:"domain"`
	PeerID  string `json:"peer_id"`
	HTTP    string `json:"http"`
	Metrics string `json:"metrics"`
	Invite  string `json:"invite"`
}

// newTappedExchange makes one whose traffic with clients is written down.
func (d *demo) newTappedExchange(ctx context.Context, domain string) (*exchange, error) {
	e, err := d.newExchange(ctx, domain)
	if err != nil {
		return nil, err
	}
	if e.tap, err = newTap(ctx); err != nil {
		return nil, err
	}
	d.taps = append(d.taps, e.tap)
	return e, nil
}

// newExchange makes the data folder and the keys; the node does not run yet.
func (d *demo) newExchange(ctx context.Context, domain string) (*exchange, error) {
	e := &exchange{domain: domain, dir: d.folder(domain), marker: randomText("control")}
	var made initResult
	if err := child.Run(ctx, d.binary, &made, "init", "--data", e.dir, "--domain", domain, "--json"); err != nil {
		return nil, err
	}
	e.key, e.peerID = made.DomainKey, made.PeerID
	return e, nil
}

// configure writes node.toml and policy.toml. The relay may reach loopback peers because
// this file says so: the default would refuse every one of them.
func (e *exchange) configure(policy string, partners ...*exchange) error {
	var b strings.Builder
	log, public := "info", ""
	if e.tap != nil {
		log, public = "debug", fmt.Sprintf("public_url = \"http://%s\"\n", e.tap.addr())
	}
	fmt.Fprintf(&b, `domain = %q

[http]
listen = "127.0.0.1:0"
tls    = "off"
%s

[federation]
listen = ["127.0.0.1:0"]

[turn]
listen      = "127.0.0.1:0"
external_ip = "127.0.0.1"
allow_peers = ["127.0.0.1/32:1024-65535"]

[sfu]
listen = "127.0.0.1:0"

[metrics]
listen = "127.0.0.1:0"

[log]
level  = %q
format = "json"
`, e.domain, public, log)
	for _, p := range partners {
		fmt.Fprintf(&b, "\n[[federation.peer]]\ndomain   = %q\ndocument = %q\n", p.domain, e.documentOf(p))
	}
	if err := os.WriteFile(filepath.Join(e.dir, "node.toml"), []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.dir, "policy.toml"), []byte(policy), 0o600)
}

// documentOf is the file from which this node reads the partner's signed domain document,
// as two administrators who met would have exchanged it.
func (e *exchange) documentOf(p *exchange) string {
	return filepath.Join(e.dir, p.domain+".document")
}

// partnerPolicy trusts a partner with what calls take, and with more actions than that.
func partnerPolicy(partner *exchange, more ...string) string {
	actions := append([]string{"federate", "signal", "knock", "store", "query", "turn"}, more...)
	return fmt.Sprintf(`version = 1

[register]
mode = "invitation"

[[domain]]
name  = %q
level = "partner"
key   = %q

[[rule]]
name      = "partners call and relay"
level     = "partner"
direction = "both"
actions   = ["%s"]
limit     = { per_second = 500, bytes_per_second = "8MiB", concurrent = 500 }

[[test]]
domain    = "initech.example"
action    = "federate"
direction = "in"
expect    = "deny"
`, partner.domain, partner.key, strings.Join(actions, `", "`))
}

func (d *demo) startExchange(ctx context.Context, e *exchange) error {
	c, err := child.Start(e.domain, d.binary, d.logs, "serve", "--data", e.dir, "--json")
	if err != nil {
		return err
	}
	p := &process{Process: c}
	e.process = p
	d.children = append(d.children, p)
	var ready readyResult
	line := make(chan error, 1)
	go func() { line <- p.ReadLine(&ready) }()
	select {
	case err = <-line:
	case <-ctx.Done():
		p.Kill()   // ends the read
		_ = <-line // its error is that of the kill
		err = fmt.Errorf("%s did not become ready: %w", e.domain, ctx.Err())
	}
	if err != nil {
		return err
	}
	if !ready.Ready || ready.Domain != e.domain {
		return fmt.Errorf("%s did not say that it is ready", e.domain)
	}
	e.peerID, e.http, e.metrics, e.invite = ready.PeerID, ready.HTTP, ready.Metrics, ready.Invite
	if e.tap != nil {
		e.tap.forward(strings.TrimPrefix(ready.HTTP, "http://"))
	}
	return nil
}

// fetch reads one of the node's own pages.
func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", req.URL.Path, resp.Status)
	}
	return body, nil
}

// introduce gives each node the other's signed domain document.
func introduce(ctx context.Context, to, about *exchange) error {
	document, err := fetch(ctx, about.http+"/.well-known/trunkline/domain")
	if err != nil {
		return err
	}
	return os.WriteFile(to.documentOf(about), document, 0o600)
}

type invitation struct {
	URL string `json:"url"`
}

func (d *demo) invite(ctx context.Context, e *exchange, note string) (string, error) {
	var made invitation
	err := child.Run(ctx, d.binary, &made, "invite", "create", "--data", e.dir, "--note", note, "--json")
	return made.URL, err
}

type peersResult struct {
	Refusals []RefusalReport `json:"refusals"`
}

// refusalOf asks the node's administrator command why it refused a domain.
func (d *demo) refusalOf(ctx context.Context, e *exchange, domain string) (RefusalReport, error) {
	var got peersResult
	if err := child.Run(ctx, d.binary, &got, "peers", "--data", e.dir, "--json"); err != nil {
		return RefusalReport{}, err
	}
	for _, r := range got.Refusals {
		if r.Domain == domain {
			return r, nil
		}
	}
	return RefusalReport{}, fmt.Errorf("%s has no record of refusing %s", e.domain, domain)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/node"
)

func newServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Runs a node until it is told to stop. Without any flag it makes a data folder, keys
and a policy that trusts no other domain and gives mailboxes by invitation, listens on
this machine alone, and says what it made and how to go on.

The configuration is the node.toml in the data folder, or the one of --config. Every
key is a flag here and an environment variable (http.listen: TRUNKLINE_HTTP_LISTEN);
a flag wins over the environment, and the environment over the file.

SIGTERM or Ctrl-C drains: clients are sent away kindly and what is on its way is
finished; a second one ends at once. SIGHUP takes in a changed policy and certificate;
if one has an error the old ones stay in force and the log says where it is.

With --json it prints one line when it is ready and then logs on standard error:
  {"ready":true,"domain":…,"peer_id":…,"http":…,"federation":[…],"turn":…,
   "metrics":…,"invite":…,"setup":…,"domain_key":…,"data":…,"created":[…],
   "authority":null|{"file":…,"url":…,"fingerprint":…,"not_after":…}}
"authority" is what to install where the node is to be trusted, with http.tls = "local".
"invite" is for one person and one day; a new start takes an unused one back. "setup"
will be the address of the administrator's page and is empty until there is one.`,
		Example: `  trunkline serve
  trunkline serve --data /var/lib/trunkline
  trunkline serve --data /tmp/acme --domain acme.example --http-listen 127.0.0.1:0 --json
  kill -HUP $(pidof trunkline)`,
		Args: cobra.NoArgs,
	}
	flags := addNodeFlags(cmd)
	cmd.Flags().StringVar(&flags.config, "config", "", "configuration file (default: node.toml in the data folder, if there is one)")
	completeWith(cmd, "http-tls", "off", "files", "local", "acme")
	completeWith(cmd, "log-format", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), flags) }
	return cmd
}

// readyLine is what serve --json prints. Every key is always there.
type readyLine struct {
	Ready      bool     `json:"ready"`
	Domain     string   `json:"domain"`
	PeerID     string   `json:"peer_id"`
	HTTP       string   `json:"http"`
	Federation []string `json:"federation"`
	TURN       string   `json:"turn"`
	Metrics    string   `json:"metrics"`
	Invite     string   `json:"invite"`
	Setup      string   `json:"setup"`
	DomainKey  string   `json:"domain_key"` // for the policies of partners; empty when it is kept elsewhere
	Data       string   `json:"data"`
	Created    []string `json:"created"` // files that were not there before
	// Authority is null unless the node has one of its own.
	Authority *node.Authority `json:"authority"`
}

func (a *app) serve(ctx context.Context, flags *nodeFlags) error {
	cfg, file, err := flags.load(a)
	if err != nil {
		return err
	}
	if err := checkPolicy(cfg); err != nil {
		return err
	}
	if running, err := node.Dial(cfg.Data); err == nil {
		running.Close()
		return failed(nil, "a node runs with the data folder "+cfg.Data+" already", "stop it first, or name another folder with --data DIR")
	}
	// Asked for before the node exists: until then a SIGHUP would end the process.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	n, err := node.New(cfg, nodeLogger(a.err, cfg.Log))
	if err != nil {
		return serveError(cfg, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
	case err := <-ended:
		return serveError(cfg, err)
	}
	if err := a.printReady(ctx, n, cfg, file); err != nil {
		n.Shutdown()
		return errors.Join(err, <-ended)
	}
	stopping := ctx.Done()
	for {
		select {
		case <-hangup:
			// Reload logs what came of it.
			if err := n.Reload(); err == nil {
				a.hint("Reloaded the policy.")
			}
		case <-stopping:
			stopping = nil
			a.hint("Stopping: what is on its way is finished first. Once more ends at once.")
		case err := <-ended:
			return serveError(cfg, err)
		}
	}
}

func nodeLogger(w io.Writer, cfg node.LogConfig) *slog.Logger {
	var level slog.Level
	// Config.Check has read it before; an unknown one would mean info.
	_ = level.UnmarshalText([]byte(cfg.Level))
	options := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

func (a *app) printReady(ctx context.Context, n *node.Node, cfg node.Config, file string) error {
	facts, made := n.Facts(), n.Made()
	line := readyLine{
		Ready: facts.Ready, Domain: facts.Domain, PeerID: facts.PeerID, HTTP: facts.HTTP, Federation: facts.Federation,
		TURN: facts.TURN, Metrics: facts.Metrics, Invite: facts.Invite, Setup: facts.Setup,
		DomainKey: made.DomainKey, Data: made.Data, Created: made.Created, Authority: facts.Authority,
	}
	if line.Federation == nil {
		line.Federation = []string{}
	}
	if line.Created == nil {
		line.Created = []string{}
	}
	here := ""
	if !a.json && !a.quiet {
		var err error
		if here, err = n.InviteHere(ctx); err != nil {
			return fmt.Errorf("make an invitation for this computer: %w", err)
		}
	}
	return a.result(line, func(w io.Writer) { a.tellReady(w, line, here, made.Policy, cfg, file) })
}

// tellReady is for the person who started the node: what there is now, and what to do next.
func (a *app) tellReady(w io.Writer, l readyLine, here, policyFile string, cfg node.Config, file string) {
	if len(l.Created) > 0 {
		fmt.Fprintf(w, "Made in %s:\n", oneLine(l.Data))
		about := map[string]string{
			"host.key":    "this node's key; back it up",
			"domain.key":  "the key of the domain; back it up, partners trust it",
			"ca.crt":      "the authority of its certificates; devices that trust it open the app without a warning",
			"policy.toml": "whom this node trusts: nobody yet, mailboxes by invitation",
		}
		var rows [][]string
		for _, path := range l.Created {
			name := filepath.Base(path)
			if about[name] != "" {
				rows = append(rows, []string{"  " + name, about[name]})
			}
		}
		table(w, rows...)
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s is up.\n", oneLine(l.Domain))
	configured := "none: defaults, this machine only (trunkline init writes one)"
	if file != "" {
		configured = file
		if path, err := filepath.Abs(file); err == nil {
			configured = path
		}
	}
	rows := [][]string{
		{"  clients", l.HTTP},
		{"  other nodes", strings.Join(l.Federation, " ")},
		{"  relay", l.TURN},
		{"  metrics", l.Metrics},
		{"  peer id", l.PeerID},
		{"  domain key", l.DomainKey},
		{"  configuration", configured},
		{"  policy", policyFile},
	}
	if l.Metrics == "" {
		rows[3][1] = "off"
	}
	if l.DomainKey == "" {
		rows[5][1] = "kept elsewhere"
	}
	table(w, rows...)
	if a.quiet {
		return
	}
	if ca := l.Authority; ca != nil {
		a.tellAuthority(w, ca)
	}
	client := ""
	if a.data != "" {
		client = " --data " + shellQuote(filepath.Join(filepath.Dir(filepath.Clean(cfg.Data)), "alice"))
	}
	next := "Next"
	if here != "" {
		fmt.Fprintf(w, "\nOpen this in a browser, and for a first call the link that it shows in a second window:\n  %s\n", here)
		next = "Or"
	}
	fmt.Fprintf(w, "\n%s, in another terminal:\n  trunkline id new%s\n", next, client)
	switch {
	case l.Invite != "":
		fmt.Fprintf(w, "  trunkline register%s %s\n", client, shellQuote(l.Invite))
		if strings.Contains(l.Invite, "#") {
			fmt.Fprintf(w, "That invitation is for one person and one day. More of them:\n  trunkline invite create%s\n", a.dataFlag())
		}
	default:
		fmt.Fprintf(w, "The policy decides who may register here: see [register] in it.\n")
	}
	fmt.Fprintf(w, "Connect with another organisation: see docs/TWO-NODES.md, and\n  trunkline peers%s\n", a.dataFlag())
	fmt.Fprintf(w, "Stop with Ctrl-C.\n")
}

// tellAuthority says how a device comes to trust a node whose authority nobody knows.
func (a *app) tellAuthority(w io.Writer, ca *node.Authority) {
	fmt.Fprintf(w, `
This node has a certificate authority of its own, for its own names and private addresses.
Install its certificate where the node is to be trusted, and compare the fingerprint:
  %s
  %s   (or copy %s)
  Debian, Ubuntu   copy it to /usr/local/share/ca-certificates/ and run update-ca-certificates
  Fedora           trust anchor --store FILE
  macOS            open it in Keychain Access and set Always Trust
  Windows          certutil -addstore Root FILE
  Firefox          Settings, Certificates, Authorities, Import
  iPhone           open the address, install the profile, then General, About, Certificate Trust Settings
  Android          Security, Encryption and credentials, Install a certificate, CA certificate
  trunkline        trunkline register --ca FILE INVITE
`, ca.Fingerprint, ca.URL, ca.File)
}

// serveError says what to do when a node does not start or ends by itself.
func serveError(cfg node.Config, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRINUSE):
		return failed(nil, "an address is taken already: "+firstLine(err), "name another one, for example --http-listen 127.0.0.1:0 (port 0 picks one); trunkline doctor says which are free")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return &exitError{code: exitUsage, what: "this machine does not have that address: " + firstLine(err), do: "listen on an address of this machine, or on 0.0.0.0", err: err}
	case errors.Is(err, os.ErrPermission):
		return failed(nil, "not permitted: "+firstLine(err), "check who owns the data folder, and listen on ports from 1024 up unless the system allows lower ones")
	}
	return failed(err, "the node with the data folder "+cfg.Data+" does not run", "correct that and start it again; trunkline doctor checks what is around it")
}

func firstLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}

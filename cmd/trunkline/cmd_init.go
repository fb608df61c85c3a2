package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/node"
	"github.com/trunkline-net/trunkline/policy"
)

func newInitCommand(a *app) *cobra.Command {
	var domain string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Prepare a node for your domain",
		Long: `Makes a data folder with the keys of a node, a node.toml that explains every key, and
a policy.toml that trusts no other domain yet. It starts nothing and never writes over
what is there. On a terminal it asks for what was not given.

Every flag becomes a line of node.toml. The domain key that it prints is what partners
write into their policy; it is not secret. The folder is: back it up.`,
		Example: `  trunkline init
  trunkline init --data /var/lib/trunkline --domain acme.example
  trunkline init --data acme --domain acme.example --http-listen 127.0.0.1:7510 --json`,
		Args: cobra.NoArgs,
	}
	flags := addNodeFlags(cmd, "policy", "domain")
	cmd.Flags().StringVar(&domain, "domain", "", "the organisation's DNS name, like acme.example (domain)")
	cmd.RunE = func(*cobra.Command, []string) error {
		dir, domain, err := a.askInit(domain)
		if err != nil {
			return err
		}
		given := flags.given(a)
		given["data"], given["domain"] = dir, domain
		return a.init(dir, given)
	}
	return cmd
}

// askInit completes what the flags left open, by asking on a terminal.
func (a *app) askInit(domain string) (dir, checked string, err error) {
	dir, err = a.nodeData()
	if err != nil {
		return "", "", err
	}
	ask := domain == "" && a.inTerminal && !a.json
	if ask {
		lines := bufio.NewScanner(io.LimitReader(a.in, 64<<10))
		question := func(text, otherwise string) string {
			fmt.Fprint(a.err, text)
			if lines.Scan() && strings.TrimSpace(lines.Text()) != "" {
				return strings.TrimSpace(lines.Text())
			}
			return otherwise
		}
		domain = question("Domain of your organisation, like acme.example: ", "")
		if a.data == "" && domain != "" {
			dir = question(fmt.Sprintf("Data folder [%s]: ", dir), dir)
		}
	}
	if domain == "" {
		return "", "", usageError("the node needs a domain", "name it with --domain, like acme.example")
	}
	if err := identity.CheckDomain(domain); err != nil {
		return "", "", usageError(fmt.Sprintf("%q is not a domain name: %v", domain, err), "write it like acme.example, in lower case")
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", "", failed(err, "cannot find the data folder", "name it with --data DIR")
	}
	return dir, domain, nil
}

// madeNode is what init --json prints.
type madeNode struct {
	Domain    string `json:"domain"`
	PeerID    string `json:"peer_id"`
	DomainKey string `json:"domain_key"` // as a partner's policy.toml writes it
	Data      string `json:"data"`
	Config    string `json:"config"`
	Policy    string `json:"policy"`
}

func (a *app) init(dir string, given map[string]string) error {
	// The environment is not asked: what stands in it today should not end up in a file.
	cfg, err := node.LoadConfig("", nil, given)
	if err != nil {
		return configError(err)
	}
	made := madeNode{Domain: cfg.Domain, Data: dir, Config: filepath.Join(dir, nodeToml), Policy: filepath.Join(dir, "policy.toml")}
	for _, name := range []string{nodeToml, "policy.toml", "host.key", "domain.key", "domain.document", "node.db"} {
		_, err := os.Lstat(filepath.Join(dir, name))
		if err == nil {
			return failed(nil, "there is a node in "+dir+" already: "+name, "name another folder with --data DIR, or go on with trunkline serve --data "+shellQuote(dir))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return &exitError{code: exitUsage, what: withCause("cannot use the data folder", err), do: "name a folder that can be written with --data DIR", err: err}
		}
	}
	text := nodeTomlText(cfg)
	// What was written must be read back as what was meant: an odd path, for example.
	if back, err := node.ParseConfig(nodeToml, []byte(text)); err != nil || !reflect.DeepEqual(normalised(back), normalised(cfg)) {
		return &exitError{code: exitUsage, what: withCause("a value cannot be written into node.toml", err), do: "use no control characters in paths and addresses", err: err}
	}
	var undo []string
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		undo = append(undo, dir)
	}
	fail := func(err error) error {
		for i := len(undo) - 1; i >= 0; i-- {
			// Best effort: an error was met already, and that one is what is told.
			os.Remove(undo[i]) //nolint:errcheck
		}
		return failed(err, "cannot prepare the data folder "+dir, "name a folder that can be written with --data DIR")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	for _, file := range []struct {
		path string
		text []byte
	}{{made.Config, []byte(text)}, {made.Policy, policy.Template()}} {
		if err := writeNew(file.path, file.text); err != nil {
			return fail(err)
		}
		undo = append(undo, file.path)
	}
	keys, err := node.Init(cfg)
	if err != nil {
		return fail(err)
	}
	made.PeerID, made.DomainKey = keys.PeerID, keys.DomainKey
	return a.result(made, func(w io.Writer) {
		fmt.Fprintf(w, "%s is ready to start.\n", oneLine(made.Domain))
		table(w,
			[]string{"  configuration", made.Config},
			[]string{"  policy", made.Policy},
			[]string{"  peer id", made.PeerID},
			[]string{"  domain key", made.DomainKey},
		)
		a.hint("\nPartners write the domain key into their policy.toml. Look at both files, then:\n  trunkline serve --data %s", shellQuote(dir))
	})
}

// normalised makes empty and missing lists the same.
func normalised(c node.Config) node.Config {
	for _, list := range []*[]string{&c.HTTP.Origins, &c.Federation.Listen, &c.Federation.Announce, &c.TURN.AllowPeers} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(c.Federation.Peers) == 0 {
		c.Federation.Peers = nil
	}
	return c
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

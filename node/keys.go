package node

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Key is one key of node.toml: also an environment variable and a flag.
type Key struct {
	// Name is the dotted name in the file, such as "http.listen".
	Name string
	// Help is one line for people.
	Help string

	get      func(*Config) string
	put      func(*Config, string) error
	flagOnly bool
}

// Flag is the key's name on the command line: "http-listen".
func (k Key) Flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(k.Name)
}

// Env is the key's environment variable: "TRUNKLINE_HTTP_LISTEN".
func (k Key) Env() string {
	return "TRUNKLINE_" + strings.ToUpper(strings.ReplaceAll(k.Name, ".", "_"))
}

// Value is what c says, as text. Lists are separated by commas.
func (k Key) Value(c *Config) string { return k.get(c) }

func (k Key) set(c *Config, v string) error { return k.put(c, v) }

func textKey(name, help string, field func(*Config) *string) Key {
	return Key{
		Name: name, Help: help,
		get: func(c *Config) string { return *field(c) },
		put: func(c *Config, v string) error { *field(c) = v; return nil },
	}
}

func listKey(name, help string, field func(*Config) *[]string) Key {
	return Key{
		Name: name, Help: help,
		get: func(c *Config) string { return strings.Join(*field(c), ",") },
		put: func(c *Config, v string) error {
			*field(c) = nil
			for s := range strings.SplitSeq(v, ",") {
				if s = strings.TrimSpace(s); s != "" {
					*field(c) = append(*field(c), s)
				}
			}
			return nil
		},
	}
}

// Keys returns every key that has an environment variable and a flag, in the file's order.
func Keys() []Key {
	return []Key{
		textKey("domain", "the organisation's DNS name", func(c *Config) *string { return &c.Domain }),
		textKey("data", "folder that holds everything this node keeps", func(c *Config) *string { return &c.Data }),
		policyKey(),
		textKey("http.listen", "address of the app, the link and .well-known", func(c *Config) *string { return &c.HTTP.Listen }),
		textKey("http.public_url", "what people and partners dial", func(c *Config) *string { return &c.HTTP.PublicURL }),
		textKey("http.tls", "off (loopback only), files, local or acme", func(c *Config) *string { return &c.HTTP.TLS }),
		textKey("http.cert_file", "certificate chain in PEM, for tls files", func(c *Config) *string { return &c.HTTP.CertFile }),
		textKey("http.key_file", "private key in PEM, for tls files", func(c *Config) *string { return &c.HTTP.KeyFile }),
		listKey("http.origins", "other origins that may open the link", func(c *Config) *[]string { return &c.HTTP.Origins }),
		listKey("federation.listen", "TCP and UDP addresses for other nodes", func(c *Config) *[]string { return &c.Federation.Listen }),
		listKey("federation.announce", "addresses that the domain document says", func(c *Config) *[]string { return &c.Federation.Announce }),
		peersKey(),
		textKey("turn.listen", "UDP and TCP address of the relay", func(c *Config) *string { return &c.TURN.Listen }),
		textKey("turn.external_ip", "address the relay is seen at, or auto", func(c *Config) *string { return &c.TURN.ExternalIP }),
		textKey("turn.relay_ports", "range of ports for relayed media", func(c *Config) *string { return &c.TURN.RelayPorts }),
		listKey("turn.allow_peers", "peer ranges that are allowed although not public", func(c *Config) *[]string { return &c.TURN.AllowPeers }),
		textKey("sfu.listen", "UDP and TCP address for the media of large rooms; empty: none", func(c *Config) *string { return &c.SFU.Listen }),
		{
			Name: "mailbox.max_envelopes", Help: "envelopes one mailbox holds",
			get: func(c *Config) string { return strconv.Itoa(c.Mailbox.MaxEnvelopes) },
			put: func(c *Config, v string) error {
				n, err := strconv.Atoi(v)
				if err != nil {
					return fmt.Errorf("%q is not a number", v)
				}
				c.Mailbox.MaxEnvelopes = n
				return nil
			},
		},
		{
			Name: "mailbox.max_bytes", Help: "bytes one mailbox holds, such as 4MiB",
			get: func(c *Config) string { return c.Mailbox.MaxBytes.String() },
			put: func(c *Config, v string) error { return c.Mailbox.MaxBytes.UnmarshalText([]byte(v)) },
		},
		textKey("metrics.listen", "address of /metrics; empty for none", func(c *Config) *string { return &c.Metrics.Listen }),
		textKey("log.level", "debug, info, warn or error", func(c *Config) *string { return &c.Log.Level }),
		textKey("log.format", "text or json", func(c *Config) *string { return &c.Log.Format }),
	}
}

func policyKey() Key {
	k := textKey("policy", "policy file; policy.toml in the data folder unless set", func(c *Config) *string { return &c.PolicyFile })
	k.flagOnly = true
	return k
}

// peersKey writes [[federation.peer]] as "domain=document,domain=document".
func peersKey() Key {
	return Key{
		Name: "federation.peer", Help: "where partners' domain documents are, domain=URL or file, separated by commas",
		flagOnly: true,
		get: func(c *Config) string {
			var all []string
			for _, p := range c.Federation.Peers {
				all = append(all, p.Domain+"="+p.Document)
			}
			return strings.Join(all, ",")
		},
		put: func(c *Config, v string) error {
			c.Federation.Peers = nil
			for s := range strings.SplitSeq(v, ",") {
				if s = strings.TrimSpace(s); s == "" {
					continue
				}
				domain, document, ok := strings.Cut(s, "=")
				if !ok {
					return fmt.Errorf("%q is not domain=document", s)
				}
				c.Federation.Peers = append(c.Federation.Peers, PeerConfig{Domain: domain, Document: document})
			}
			return nil
		},
	}
}

func findKey(name string) (Key, bool) {
	for _, k := range Keys() {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

var errUnknownEnv = errors.New("no configuration key")

// fromEnvironment applies TRUNKLINE_… variables. A misspelt one of a table is an error, as
// in the file: a node that silently ignores TRUNKLINE_HTTP_LISTN listens where nobody meant
// it to. Variables outside the tables may belong to other commands and are left alone.
func (c *Config) fromEnvironment(environ []string) error {
	sorted := append([]string(nil), environ...)
	sort.Strings(sorted)
	byEnv := map[string]Key{}
	for _, k := range Keys() {
		byEnv[k.Env()] = k
	}
	for _, entry := range sorted {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "TRUNKLINE_") {
			continue
		}
		k, ok := byEnv[name]
		if !ok {
			if !ofTable(name) {
				continue
			}
			return fmt.Errorf("environment variable %s: %w of that name", name, errUnknownEnv)
		}
		if err := k.set(c, value); err != nil {
			return fmt.Errorf("environment variable %s: %w", name, err)
		}
	}
	return nil
}

// ofTable reports whether a variable is named like a key of one of node.toml's tables.
func ofTable(env string) bool {
	for _, k := range Keys() {
		if table, _, ok := strings.Cut(k.Name, "."); ok && strings.HasPrefix(env, "TRUNKLINE_"+strings.ToUpper(table)+"_") {
			return true
		}
	}
	return false
}

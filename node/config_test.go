package node

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheWholeOfNodeTomlIsRead(t *testing.T) {
	c, err := ParseConfig("node.toml", []byte(`
domain = "acme.example"
data   = "/var/lib/trunkline"
[http]
listen     = "0.0.0.0:443"
public_url = "https://acme.example"
tls        = "files"
cert_file  = "/etc/cert.pem"
key_file   = "/etc/key.pem"
origins    = ["https://app.example"]
[federation]
listen   = ["0.0.0.0:7421"]
announce = ["acme.example:7421"]
[[federation.peer]]
domain   = "globex.example"
document = "http://127.0.0.1:7520/.well-known/trunkline/domain"
[turn]
listen      = "0.0.0.0:3478"
external_ip = "192.0.2.1"
relay_ports = "50000-50100"
allow_peers = ["10.1.0.0/16", "127.0.0.1/32:49152-65535"]
[sfu]
listen = "0.0.0.0:7422"
[mailbox]
max_envelopes = 64
max_bytes     = "8MiB"
[metrics]
listen = ""
[log]
level  = "debug"
format = "json"
`))
	if err != nil {
		t.Fatal(err)
	}
	low, high, err := c.TURN.Ports()
	if err != nil || low != 50000 || high != 50100 {
		t.Errorf("relay ports %d-%d: %v", low, high, err)
	}
	if c.Mailbox.MaxBytes != 8<<20 || c.Mailbox.MaxBytes.String() != "8MiB" || c.Metrics.Listen != "" || len(c.Federation.Peers) != 1 {
		t.Errorf("read as %+v", c)
	}
}

func TestAMistakeInNodeTomlIsNamedWithItsLine(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"an unknown key":             {"domain = \"acme.example\"\ncolour = 1\n", `node.toml:2: unknown key "colour"`},
		"one in a table":             {"[http]\nlisten = \"127.0.0.1:1\"\nlistn = 1\n", `node.toml:3: unknown key "http.listn"; allowed here: listen, public_url, tls`},
		"an unknown table":           {"[htpp]\nlisten = 1\n", `node.toml:1: unknown key "htpp"`},
		"one in a peer":              {"[[federation.peer]]\ndomian = \"x\"\n", `node.toml:2: unknown key "federation.peer.domian"; allowed here: domain, document`},
		"a wrong type":               {"[mailbox]\nmax_envelopes = \"many\"\n", "node.toml:2"},
		"no TOML":                    {"domain = \n", "node.toml:1"},
		"the same key twice":         {"domain = \"a.example\"\ndomain = \"b.example\"\n", "node.toml:2"},
		"a size that is none":        {"[mailbox]\nmax_bytes = \"4 apples\"\n", "node.toml:2"},
		"TLS off to the world":       {"[http]\nlisten = \"0.0.0.0:80\"\n", "loopback only"},
		"acme":                       {"[http]\ntls = \"acme\"\n", `comes with a later version; use "files"`},
		"files without files":        {"[http]\ntls = \"files\"\n", "needs http.cert_file"},
		"another word for TLS":       {"[http]\ntls = \"on\"\n", "is not one of off, files, local, acme"},
		"a domain of no form":        {"domain = \"Acme.Example\"\n", "domain:"},
		"a port that is none":        {"[http]\nlisten = \"127.0.0.1:99999\"\n", "http.listen:"},
		"a listener by name":         {"[turn]\nlisten = \"acme.example:3478\"\n", "turn.listen:"},
		"ports in the wrong order":   {"[turn]\nrelay_ports = \"60000-50000\"\n", "turn.relay_ports:"},
		"a rule that is none":        {"[turn]\nallow_peers = [\"everybody\"]\n", "turn.allow_peers:"},
		"an address that is none":    {"[turn]\nexternal_ip = \"here\"\n", "turn.external_ip:"},
		"a public URL with a path":   {"[http]\npublic_url = \"https://acme.example/app\"\n", "http.public_url:"},
		"an origin that is none":     {"[http]\norigins = [\"acme.example\"]\n", "http.origins:"},
		"a peer twice":               {"[[federation.peer]]\ndomain = \"a.example\"\ndocument = \"x\"\n[[federation.peer]]\ndomain = \"a.example\"\ndocument = \"y\"\n", "stands twice"},
		"a peer without a document":  {"[[federation.peer]]\ndomain = \"a.example\"\n", "has no document"},
		"nowhere to federate":        {"[federation]\nlisten = []\n", "federation.listen:"},
		"an announcement of no form": {"[federation]\nannounce = [\"acme.example\"]\n", "federation.announce:"},
		"a tiny mailbox":             {"[mailbox]\nmax_envelopes = 3\n", "mailbox.max_envelopes:"},
		"a small mailbox":            {"[mailbox]\nmax_bytes = \"1KiB\"\n", "mailbox.max_bytes:"},
		"a log level":                {"[log]\nlevel = \"loud\"\n", "log.level:"},
		"a log format":               {"[log]\nformat = \"xml\"\n", "log.format:"},
		"an empty data folder":       {"data = \"\"\n", "data:"},
	} {
		_, err := ParseConfig("node.toml", []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFlagWinsOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "node.toml")
	text := "domain = \"file.example\"\n[http]\nlisten = \"127.0.0.1:1001\"\n[log]\nlevel = \"warn\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"TRUNKLINE_HTTP_LISTEN=127.0.0.1:1002", "TRUNKLINE_LOG_LEVEL=error", "TRUNKLINE_SOMETHING_ELSE=1", "HOME=/"}
	c, err := LoadConfig(file, env, map[string]string{"http.listen": "127.0.0.1:1003"})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTP.Listen != "127.0.0.1:1003" || c.Log.Level != "error" || c.Domain != "file.example" {
		t.Errorf("read as %s, %s, %s", c.HTTP.Listen, c.Log.Level, c.Domain)
	}
	for name, call := range map[string]func() (Config, error){
		"a misspelt variable": func() (Config, error) { return LoadConfig("", []string{"TRUNKLINE_HTTP_LISTN=x"}, nil) },
		"a wrong variable":    func() (Config, error) { return LoadConfig("", []string{"TRUNKLINE_MAILBOX_MAX_ENVELOPES=x"}, nil) },
		"an unknown flag":     func() (Config, error) { return LoadConfig("", nil, map[string]string{"http.colour": "x"}) },
		"a missing file":      func() (Config, error) { return LoadConfig(file+".not", nil, nil) },
	} {
		if _, err := call(); err == nil {
			t.Errorf("%s is no error", name)
		}
	}
}

func TestEveryKeyCanBeSaidInThreeWays(t *testing.T) {
	values := map[string]string{
		"domain": "key.example", "data": "/tmp/key", "policy": "/tmp/p.toml", "http.listen": "127.0.0.1:9", "http.public_url": "https://key.example",
		"http.tls": "files", "http.cert_file": "a", "http.key_file": "b", "http.origins": "https://a.example,https://b.example",
		"federation.listen": "127.0.0.1:8,127.0.0.2:8", "federation.announce": "key.example:1", "federation.peer": "a.example=/tmp/a,b.example=https://b/x",
		"turn.listen": "127.0.0.1:7", "turn.external_ip": "192.0.2.9", "turn.relay_ports": "2000-3000", "turn.allow_peers": "10.0.0.0/8",
		"sfu.listen": "127.0.0.1:6", "mailbox.max_envelopes": "77", "mailbox.max_bytes": "2MiB", "metrics.listen": "127.0.0.1:5",
		"log.level": "debug", "log.format": "json",
	}
	seen := map[string]bool{}
	for _, k := range Keys() {
		v, ok := values[k.Name]
		if !ok {
			t.Errorf("the test does not know %s", k.Name)
			continue
		}
		if seen[k.Env()] || seen[k.Flag()] || k.Help == "" {
			t.Errorf("%s: %s, %s, %q", k.Name, k.Env(), k.Flag(), k.Help)
		}
		seen[k.Env()], seen[k.Flag()] = true, true
		var byEnv, byFlag Config
		if err := byEnv.fromEnvironment([]string{k.Env() + "=" + v}); err != nil {
			t.Errorf("%s: %v", k.Env(), err)
		}
		if err := k.set(&byFlag, v); err != nil {
			t.Errorf("%s: %v", k.Flag(), err)
		}
		if k.Value(&byEnv) != v || k.Value(&byFlag) != v {
			t.Errorf("%s is read as %q and %q", k.Name, k.Value(&byEnv), k.Value(&byFlag))
		}
	}
	if len(values) != len(Keys()) {
		t.Errorf("%d values for %d keys", len(values), len(Keys()))
	}
}

func TestTheDefaultIsLoopbackOnly(t *testing.T) {
	c := DefaultConfig()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	for _, a := range append([]string{c.HTTP.Listen, c.TURN.Listen, c.SFU.Listen, c.Metrics.Listen}, c.Federation.Listen...) {
		if !loopbackListen(a) {
			t.Errorf("%s is open to the network", a)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte("domain = \"acme.example\"\n[http]\nlisten = \"127.0.0.1:1\"\n"))
	f.Add([]byte("[[federation.peer]]\ndomain = \"a.example\"\ndocument = \"x\"\n"))
	f.Add([]byte("[mailbox]\nmax_bytes = \"9223372036854775807GiB\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("node.toml", data)
		if err == nil && c.Check() != nil {
			t.Error("what was read does not check")
		}
	})
}

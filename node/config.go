package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/media/turn"
)

// Config is node.toml. Start from DefaultConfig: zero fields of a Config made by hand mean
// "off" or "empty", not "default".
type Config struct {
	// Domain is the organisation's DNS name; it stands in every address behind the @.
	Domain string `toml:"domain"`
	// Data is the folder that holds everything this node keeps. It is made if missing, for
	// its owner only.
	Data string `toml:"data"`

	HTTP       HTTPConfig       `toml:"http"`
	Federation FederationConfig `toml:"federation"`
	TURN       TURNConfig       `toml:"turn"`
	SFU        SFUConfig        `toml:"sfu"`
	Mailbox    MailboxConfig    `toml:"mailbox"`
	Metrics    MetricsConfig    `toml:"metrics"`
	Log        LogConfig        `toml:"log"`

	// PolicyFile is where the trust policy stands: policy.toml in Data unless set.
	PolicyFile string `toml:"-"`
	// Version is the program's version, for `status` and logs.
	Version string `toml:"-"`
}

// HTTPConfig is the listener of the app, the link and .well-known.
type HTTPConfig struct {
	Listen string `toml:"listen"`
	// PublicURL is what people and partners dial; derived from Listen when empty.
	PublicURL string `toml:"public_url"`
	// TLS is off (loopback only), files, local or acme.
	TLS      string `toml:"tls"`
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// Origins may open /v1/link beside the own one.
	Origins []string `toml:"origins"`
}

// FederationConfig is how other nodes reach this one and how it finds them.
type FederationConfig struct {
	Listen []string `toml:"listen"`
	// Announce is what the domain document says; what was bound when empty.
	Announce []string     `toml:"announce"`
	Peers    []PeerConfig `toml:"peer"`
}

// PeerConfig says where a partner's signed domain document is found, when not at
// https://DOMAIN/.well-known/trunkline/domain.
type PeerConfig struct {
	Domain   string `toml:"domain"`
	Document string `toml:"document"`
}

// TURNConfig is the relay.
type TURNConfig struct {
	Listen     string `toml:"listen"`
	ExternalIP string `toml:"external_ip"`
	RelayPorts string `toml:"relay_ports"`
	// AllowPeers opens ranges that are not public; everything not public is denied otherwise.
	AllowPeers []string `toml:"allow_peers"`
}

// SFUConfig is the listener of the media forwarder, for rooms that outgrow their mesh; empty: none.
type SFUConfig struct {
	Listen string `toml:"listen"`
}

// MailboxConfig is the quota of one mailbox.
type MailboxConfig struct {
	MaxEnvelopes int      `toml:"max_envelopes"`
	MaxBytes     ByteSize `toml:"max_bytes"`
}

// MetricsConfig is the listener of /metrics; empty means none.
type MetricsConfig struct {
	Listen string `toml:"listen"`
}

// LogConfig is what is logged and how.
type LogConfig struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// ByteSize is a number of bytes, written "4MiB", "64KiB", "1GiB" or as a plain number.
type ByteSize int64

// UnmarshalText reads a size.
func (s *ByteSize) UnmarshalText(text []byte) error {
	t := string(text)
	unit := int64(1)
	for suffix, u := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(t, suffix); ok {
			t, unit = rest, u
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(t), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("size %q is not a number of bytes such as 4MiB", text)
	}
	*s = ByteSize(n * unit)
	return nil
}

// MarshalText writes the size in the largest unit that divides it.
func (s ByteSize) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s ByteSize) String() string {
	for _, u := range []struct {
		name string
		size ByteSize
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// DefaultDomain is the domain of a node that was given none: a name that means this
// machine everywhere (RFC 6761), so that nothing it hands out points anywhere else.
const DefaultDomain = "trunkline.localhost"

// DefaultConfig is what `serve` uses without any configuration: loopback only.
func DefaultConfig() Config {
	return Config{
		Domain: DefaultDomain,
		Data:   DefaultData(),
		HTTP:   HTTPConfig{Listen: "127.0.0.1:7420", TLS: "off"},
		// Without a configuration nothing is open to the network.
		Federation: FederationConfig{Listen: []string{"127.0.0.1:7421"}},
		TURN:       TURNConfig{Listen: "127.0.0.1:3478", ExternalIP: "auto", RelayPorts: "49152-65535"},
		SFU:        SFUConfig{Listen: "127.0.0.1:7422"},
		Mailbox:    MailboxConfig{MaxEnvelopes: 128, MaxBytes: 4 << 20},
		Metrics:    MetricsConfig{Listen: "127.0.0.1:7423"},
		Log:        LogConfig{Level: "info", Format: "text"},
	}
}

// DefaultData is $XDG_DATA_HOME/trunkline/node, or ~/.local/share/trunkline/node.
func DefaultData() string {
	if d := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "trunkline", "node")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join("trunkline", "node")
	}
	return filepath.Join(home, ".local", "share", "trunkline", "node")
}

// maxConfig is far above any real node.toml; a wrong file is refused before it is parsed.
const maxConfig = 1 << 20

// LoadConfig reads file (skipped when empty), then the environment, then flags, each
// winning over the one before, and checks the whole. environ is os.Environ(); flags are
// named by key, such as "http.listen". What it returns is ready for New.
func LoadConfig(file string, environ []string, flags map[string]string) (Config, error) {
	c := DefaultConfig()
	if file != "" {
		data, err := readLimited(file, maxConfig)
		if err != nil {
			return Config{}, fmt.Errorf("read configuration: %w", err)
		}
		if err := parseConfig(file, data, &c); err != nil {
			return Config{}, err
		}
	}
	if err := c.fromEnvironment(environ); err != nil {
		return Config{}, err
	}
	names := make([]string, 0, len(flags))
	for name := range flags {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		k, ok := findKey(name)
		if !ok {
			return Config{}, fmt.Errorf("no configuration key %q", name)
		}
		if err := k.set(&c, flags[name]); err != nil {
			return Config{}, fmt.Errorf("--%s: %w", k.Flag(), err)
		}
	}
	return c, c.Check()
}

// ParseConfig reads the text of a node.toml over the defaults and checks it.
func ParseConfig(name string, data []byte) (Config, error) {
	c := DefaultConfig()
	if len(data) > maxConfig {
		return Config{}, fmt.Errorf("%s: larger than %d bytes", name, maxConfig)
	}
	if err := parseConfig(name, data, &c); err != nil {
		return Config{}, err
	}
	return c, c.Check()
}

func parseConfig(name string, data []byte, c *Config) error {
	d := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	err := d.Decode(c)
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) && len(strict.Errors) > 0 {
		row, _ := strict.Errors[0].Position()
		key := strings.Join(strict.Errors[0].Key(), ".")
		return fmt.Errorf("%s:%d: unknown key %q; allowed here: %s", name, row, key, allowedBeside(key))
	}
	var decode *toml.DecodeError
	if errors.As(err, &decode) {
		row, _ := decode.Position()
		return fmt.Errorf("%s:%d: %s", name, row, strings.TrimPrefix(decode.Error(), "toml: "))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// allowedBeside lists the keys of the table that the unknown key stands in.
func allowedBeside(key string) string {
	if strings.HasPrefix(key, "federation.peer.") {
		return "domain, document"
	}
	table := ""
	if i := strings.LastIndexByte(key, '.'); i >= 0 {
		table = key[:i+1]
	}
	var names []string
	for _, k := range Keys() {
		rest, ok := strings.CutPrefix(k.Name, table)
		if !ok || k.flagOnly {
			continue
		}
		if i := strings.IndexByte(rest, '.'); i >= 0 {
			if rest = "[" + rest[:i] + "]"; table != "" {
				continue
			}
		}
		if len(names) == 0 || names[len(names)-1] != rest {
			names = append(names, rest)
		}
	}
	if len(names) == 0 {
		return "nothing; the tables are [http], [federation], [turn], [sfu], [mailbox], [metrics], [log]"
	}
	if table == "federation." {
		names = append(names, "[[peer]]")
	}
	return strings.Join(names, ", ")
}

// Check says what is wrong with a configuration, in the words of the file.
func (c *Config) Check() error {
	if err := identity.CheckDomain(c.Domain); err != nil {
		return fmt.Errorf("domain: %w", err)
	}
	if c.Data == "" {
		return errors.New("data: no folder given")
	}
	for _, f := range []func() error{c.checkHTTP, c.checkFederation, c.checkTURN, c.checkRest} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkHTTP() error {
	if err := checkListen(c.HTTP.Listen); err != nil {
		return fmt.Errorf("http.listen: %w", err)
	}
	switch c.HTTP.TLS {
	case "off":
		if !loopbackListen(c.HTTP.Listen) {
			return fmt.Errorf("http.tls: \"off\" is for loopback only and http.listen is %q; set tls = \"files\" with cert_file and key_file, or tls = \"local\"", c.HTTP.Listen)
		}
	case "files":
		if c.HTTP.CertFile == "" || c.HTTP.KeyFile == "" {
			return errors.New("http.tls: \"files\" needs http.cert_file and http.key_file")
		}
	case "local":
	case "acme":
		return fmt.Errorf("http.tls: %q comes with a later version; use \"files\" with cert_file and key_file, \"local\" in a network of your own, or \"off\" on loopback", c.HTTP.TLS)
	default:
		return fmt.Errorf("http.tls: %q is not one of off, files, local, acme", c.HTTP.TLS)
	}
	if c.HTTP.PublicURL != "" {
		if err := checkOrigin(c.HTTP.PublicURL); err != nil {
			return fmt.Errorf("http.public_url: %w", err)
		}
	}
	for _, o := range c.HTTP.Origins {
		if err := checkOrigin(o); err != nil {
			return fmt.Errorf("http.origins: %w", err)
		}
	}
	return nil
}

func (c *Config) checkFederation() error {
	if len(c.Federation.Listen) == 0 {
		return errors.New("federation.listen: at least one address is needed")
	}
	for _, a := range c.Federation.Listen {
		if err := checkListen(a); err != nil {
			return fmt.Errorf("federation.listen: %w", err)
		}
	}
	for _, a := range c.Federation.Announce {
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || !portNumber(port) {
			return fmt.Errorf("federation.announce: %q is not host:port", a)
		}
	}
	seen := map[string]bool{}
	for _, p := range c.Federation.Peers {
		if err := identity.CheckDomain(p.Domain); err != nil {
			return fmt.Errorf("federation.peer: domain: %w", err)
		}
		if p.Document == "" {
			return fmt.Errorf("federation.peer: %s has no document", p.Domain)
		}
		if seen[p.Domain] {
			return fmt.Errorf("federation.peer: %s stands twice", p.Domain)
		}
		seen[p.Domain] = true
	}
	return nil
}

func (c *Config) checkTURN() error {
	if err := checkListen(c.TURN.Listen); err != nil {
		return fmt.Errorf("turn.listen: %w", err)
	}
	if ip := c.TURN.ExternalIP; ip != "auto" && ip != "" {
		if _, err := netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("turn.external_ip: %q is neither an address nor \"auto\"", ip)
		}
	}
	if _, _, err := c.TURN.Ports(); err != nil {
		return fmt.Errorf("turn.relay_ports: %w", err)
	}
	_, err := c.TURN.peerRules()
	return err
}

func (t TURNConfig) peerRules() ([]turn.PeerRule, error) {
	var rules []turn.PeerRule
	for _, s := range t.AllowPeers {
		r, err := turn.ParsePeerRule(s)
		if err != nil {
			return nil, fmt.Errorf("turn.allow_peers: %w", err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// Ports is the range of relay_ports.
func (t TURNConfig) Ports() (low, high uint16, err error) {
	a, b, ok := strings.Cut(t.RelayPorts, "-")
	l, err1 := strconv.ParseUint(strings.TrimSpace(a), 10, 16)
	h, err2 := strconv.ParseUint(strings.TrimSpace(b), 10, 16)
	if !ok || err1 != nil || err2 != nil || l < 1024 || l > h {
		return 0, 0, fmt.Errorf("%q is not a range of ports such as 49152-65535, from 1024 up", t.RelayPorts)
	}
	return uint16(l), uint16(h), nil
}

func (c *Config) checkRest() error {
	if c.SFU.Listen != "" {
		if err := checkListen(c.SFU.Listen); err != nil {
			return fmt.Errorf("sfu.listen: %w", err)
		}
	}
	if c.Metrics.Listen != "" {
		if err := checkListen(c.Metrics.Listen); err != nil {
			return fmt.Errorf("metrics.listen: %w", err)
		}
	}
	// Below 32 the room that is kept free for rings and the cap per source stop meaning
	// anything; above a million a box is a disk.
	if c.Mailbox.MaxEnvelopes < 32 || c.Mailbox.MaxEnvelopes > 1<<20 {
		return fmt.Errorf("mailbox.max_envelopes: %d is not between 32 and %d", c.Mailbox.MaxEnvelopes, 1<<20)
	}
	if c.Mailbox.MaxBytes < 128<<10 {
		return fmt.Errorf("mailbox.max_bytes: %s is less than 128KiB, two of the largest envelopes", c.Mailbox.MaxBytes)
	}
	switch c.Log.Level {
	case "debug", "info", "warn", "error":
	default:
		return fmt.Errorf("log.level: %q is not one of debug, info, warn, error", c.Log.Level)
	}
	switch c.Log.Format {
	case "text", "json":
	default:
		return fmt.Errorf("log.format: %q is not one of text, json", c.Log.Format)
	}
	return nil
}

func checkListen(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil || !portNumber(port) {
		return fmt.Errorf("%q is not host:port", a)
	}
	if host != "" && host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q: listen on an address, not on a name", a)
		}
	}
	return nil
}

func portNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

func loopbackListen(a string) bool {
	host, _, err := net.SplitHostPort(a)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

func checkOrigin(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an origin such as https://acme.example", s)
	}
	return nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("larger than %d bytes", limit)}
	}
	return os.ReadFile(path)
}

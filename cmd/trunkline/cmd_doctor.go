package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/node"
	"github.com/trunkline-net/trunkline/policy"
)

func newDoctorCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything around a node",
		Long: `Checks what a node needs: its configuration and policy, the rights on its data folder,
the clock, the limits of the system, and its ports: that they are free while the node is
stopped, and that clients' door and the relay answer while it runs. Each line that is
not good says what to do. It changes nothing.

It takes the flags of serve, to check them before they count. Ends with 1 if something
has to be mended before the node can work.`,
		Example: "  trunkline doctor\n  trunkline doctor --data /var/lib/trunkline --json",
		Args:    cobra.NoArgs,
	}
	flags := addNodeFlags(cmd)
	cmd.Flags().StringVar(&flags.config, "config", "", "configuration file (default: node.toml in the data folder, if there is one)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context(), flags) }
	return cmd
}

// finding is one line of the doctor.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, warning, problem, skipped
	What  string `json:"what"`
	Do    string `json:"do,omitempty"`
}

type examination struct {
	a        *app
	findings []finding
}

func (e *examination) good(check, format string, args ...any) {
	e.findings = append(e.findings, finding{Check: check, State: "ok", What: fmt.Sprintf(format, args...)})
}

func (e *examination) skip(check, what string) {
	e.findings = append(e.findings, finding{Check: check, State: "skipped", What: what})
}

func (e *examination) warn(check, what, do string) {
	e.findings = append(e.findings, finding{Check: check, State: "warning", What: what, Do: do})
}

func (e *examination) bad(check, what, do string) {
	e.findings = append(e.findings, finding{Check: check, State: "problem", What: what, Do: do})
}

func (a *app) doctor(ctx context.Context, flags *nodeFlags) error {
	e := &examination{a: a}
	cfg, file, err := flags.load(a)
	if err != nil {
		x := a.classify(err)
		e.bad("configuration", x.what, x.do)
	} else {
		e.configuration(cfg, file)
		e.policy(cfg)
		e.folder(cfg.Data)
		e.clock(cfg)
		e.limits()
		e.ports(ctx, cfg)
	}
	problems := 0
	for _, f := range e.findings {
		if f.State == "problem" {
			problems++
		}
	}
	if err := a.result(struct {
		OK     bool      `json:"ok"`
		Checks []finding `json:"checks"`
	}{problems == 0, e.findings}, e.print); err != nil {
		return err
	}
	if problems > 0 {
		return failed(nil, count(problems, "problem")+" to mend before the node can work", "do what the lines above say and run it again")
	}
	return nil
}

func (e *examination) print(w io.Writer) {
	colours := map[string]string{"ok": "32", "warning": "33", "problem": "31", "skipped": "2"}
	for _, f := range e.findings {
		mark := fmt.Sprintf("%-8s", f.State)
		if e.a.color(e.a.outTerminal) {
			mark = "\x1b[" + colours[f.State] + "m" + mark + "\x1b[0m"
		}
		fmt.Fprintf(w, "%s %-14s %s\n", mark, f.Check, oneLine(f.What))
		if f.Do != "" {
			fmt.Fprintf(w, "%23s %s\n", "", oneLine(f.Do))
		}
	}
}

func (e *examination) configuration(cfg node.Config, file string) {
	if file == "" {
		e.good("configuration", "none: the defaults, for this machine only")
	} else {
		e.good("configuration", "%s is well formed", file)
	}
	if cfg.Domain == node.DefaultDomain {
		e.warn("domain", cfg.Domain+" means this machine; nobody else can federate with it", "for your organisation: trunkline init --domain DOMAIN, in another data folder")
	} else {
		e.good("domain", "%s", cfg.Domain)
	}
}

func (e *examination) policy(cfg node.Config) {
	name := policyOf(cfg)
	if err := checkPolicy(cfg); err != nil {
		x := e.a.classify(err)
		e.bad("policy", x.what, x.do)
		return
	}
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		e.good("policy", "none yet: serve writes one that trusts nobody")
		return
	}
	if err != nil {
		e.bad("policy", err.Error(), "check the permissions of the file")
		return
	}
	p, err := policy.Parse(name, data)
	if err != nil {
		e.bad("policy", firstLine(err), "correct the file; trunkline policy check says more")
		return
	}
	e.good("policy", "%s: %s, %s, %s passed", name, count(len(p.Domains()), "domain"), count(p.Rules(), "rule"), count(p.Tests(), "test"))
	for _, w := range p.Warnings() {
		e.warn("policy", w, "look at that line")
	}
}

// minFree is room for a store that works: it grows by what waits, and compacts into a copy.
const minFree = 1 << 30

func (e *examination) folder(dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.skip("data folder", dir+" is not there yet; serve and init make it")
		return
	case err != nil:
		e.bad("data folder", err.Error(), "check the path and its permissions")
		return
	case !info.IsDir():
		e.bad("data folder", dir+" is not a folder", "name another one with --data DIR")
		return
	}
	if uid, known := ownerOf(info); known && uid != os.Getuid() && os.Getuid() != 0 {
		e.bad("data folder", dir+" belongs to another user", "run this and the node as the user that owns it")
		return
	}
	e.rights(dir, info)
	if free, known := freeSpace(dir); known && free < minFree {
		e.warn("disk", "only "+bytesText(int64(free))+" are free", "make room: a full disk stops the node from taking anything")
	} else if known {
		e.good("disk", "%s free", bytesText(int64(min(free, 1<<62))))
	}
}

// rights: nobody else on the machine may read keys and mailboxes.
func (e *examination) rights(dir string, info fs.FileInfo) {
	var open []string
	if info.Mode().Perm()&0o077 != 0 {
		open = append(open, dir)
	}
	for _, name := range []string{"host.key", "domain.key", "node.db", "node.db.keys", "admin.sock"} {
		path := filepath.Join(dir, name)
		if one, err := os.Lstat(path); err == nil && one.Mode().Perm()&0o077 != 0 {
			open = append(open, path)
		}
	}
	if len(open) == 0 {
		e.good("data folder", "%s is for its owner only", dir)
		return
	}
	for _, path := range open {
		e.bad("data folder", path+" can be opened by others", "chmod go-rwx "+shellQuote(path))
	}
}

func (e *examination) clock(cfg node.Config) {
	now := e.a.now()
	// The newest thing that is known to have happened here: the document of the domain, or
	// the making of this program.
	past := time.Time{}
	if t, err := time.Parse(time.RFC3339, version().Time); err == nil {
		past = t
	}
	if info, err := os.Stat(filepath.Join(cfg.Data, "domain.document")); err == nil && info.ModTime().After(past) {
		past = info.ModTime()
	}
	const slack = 2 * time.Minute
	if now.Before(past.Add(-slack)) {
		e.bad("clock", fmt.Sprintf("it says %s, but %s is known to be past", now.UTC().Format(time.DateTime), past.UTC().Format(time.DateTime)), "set the clock: certificates and notes end by it")
		return
	}
	switch synchronised, known := clockSynchronised(); {
	case !known:
		e.skip("clock", "it says "+now.UTC().Format(time.DateTime)+" UTC; whether something keeps it right was not checked on this system")
	case !synchronised:
		e.warn("clock", "it says "+now.UTC().Format(time.DateTime)+" UTC, and nothing keeps it right", "run a time service, for example chrony or systemd-timesyncd; two minutes off and others refuse what is signed here")
	default:
		e.good("clock", "%s UTC, kept right by a time service", now.UTC().Format(time.DateTime))
	}
}

const (
	goodFiles = 65536
	// goodUDP is what the QUIC library asks for.
	goodUDP = 7_500_000
)

func (e *examination) limits() {
	switch files, known := filesLimit(); {
	case !known:
		e.skip("open files", "not checked on this system")
	case files < goodFiles:
		e.warn("open files", fmt.Sprintf("at most %d, and each client and call needs some", files), "raise it for the node: LimitNOFILE=1048576 in its systemd unit, or ulimit -n")
	default:
		e.good("open files", "up to %d", files)
	}
	switch size, known := udpBuffer(); {
	case !known:
		e.skip("UDP buffers", "not checked on this system")
	case size < goodUDP:
		e.warn("UDP buffers", "at most "+bytesText(size)+": calls and QUIC lose packets under load", "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000, and in /etc/sysctl.d to keep it")
	default:
		e.good("UDP buffers", "up to %s", bytesText(size))
	}
}

func (e *examination) ports(ctx context.Context, cfg node.Config) {
	admin, err := node.Dial(cfg.Data)
	if err == nil {
		defer admin.Close()
		status, err := admin.Status(ctx)
		if err != nil {
			e.bad("node", "it runs but does not answer: "+firstLine(err), "look into its log")
			return
		}
		e.running(ctx, status)
		return
	}
	if !errors.Is(err, node.ErrNotRunning) {
		e.bad("node", firstLine(err), "run this as the user that runs the node")
		return
	}
	e.good("node", "it does not run; its ports are tried")
	for _, p := range []struct {
		key, address string
		udp          bool
	}{
		{"http-listen", cfg.HTTP.Listen, false},
		{"metrics-listen", cfg.Metrics.Listen, false},
		{"turn-listen", cfg.TURN.Listen, true},
		{"sfu-listen", cfg.SFU.Listen, true},
	} {
		if p.address != "" {
			e.bindable(ctx, p.key, p.address, p.udp)
		}
	}
	for _, address := range cfg.Federation.Listen {
		e.bindable(ctx, "federation-listen", address, true)
	}
}

// bindable tries a port, over TCP and where the node needs it also over UDP.
func (e *examination) bindable(ctx context.Context, key, address string, udp bool) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err == nil {
		err = l.Close()
	}
	if err == nil && udp {
		var c net.PacketConn
		if c, err = lc.ListenPacket(ctx, "udp", address); err == nil {
			err = c.Close()
		}
	}
	name := "port"
	switch {
	case err == nil:
		e.good(name, "%s is free (--%s)", address, key)
	case errors.Is(err, fs.ErrPermission):
		e.bad(name, address+" needs rights that this user does not have (--"+key+")", "use a port from 1024 up, or allow it: setcap cap_net_bind_service=+ep on the program")
	default:
		e.bad(name, firstLine(err)+" (--"+key+")", "stop what uses it, or choose another with --"+key)
	}
}

// doorPatience is for one answer of a node on this machine.
const doorPatience = 3 * time.Second

// running looks at a node from outside, as clients do.
func (e *examination) running(ctx context.Context, s node.Status) {
	e.good("node", "%s runs since %s, %s", s.Domain, s.Started.Local().Format("2006-01-02 15:04"), count(s.Links, "link"))
	if left := s.Document.Expires.Sub(e.a.now()); left < 7*24*time.Hour {
		e.warn("domain key", "the domain document ends at "+s.Document.Expires.UTC().Format(time.DateTime), "put domain.key back into the data folder, so that the node can sign the next one")
	} else {
		e.good("domain key", "the domain document is good until %s", s.Document.Expires.UTC().Format(time.DateOnly))
	}
	ctx, cancel := context.WithTimeout(ctx, 3*doorPatience)
	defer cancel()
	if u, err := url.Parse(s.HTTP); err == nil {
		c, err := (&net.Dialer{Timeout: doorPatience}).DialContext(ctx, "tcp", reachable(u.Host))
		if err == nil {
			err = c.Close()
		}
		if err != nil {
			e.bad("clients", firstLine(err), "see that nothing on this machine blocks the port")
		} else {
			e.good("clients", "%s takes connections", s.HTTP)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		if err := stunBinding(ctx, network, reachable(s.TURN)); err != nil {
			e.bad("relay", "it does not answer over "+network+": "+firstLine(err), "see that nothing on this machine blocks "+network+" on "+s.TURN)
		} else {
			e.good("relay", "%s answers over %s", s.TURN, network)
		}
	}
}

// reachable is an address that can be dialled for one that is listened on.
func reachable(address string) string {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsUnspecified() {
		return address
	}
	if at.Addr().Is4() {
		return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), at.Port()).String()
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), at.Port()).String()
}

// stunBinding asks a relay the one question that it answers to strangers (RFC 8489, Binding):
// 2 bytes type, 2 length, 4 cookie, 12 transaction id, no attributes.
func stunBinding(ctx context.Context, network, address string) error {
	c, err := (&net.Dialer{Timeout: doorPatience}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer c.Close()
	request := binary.BigEndian.AppendUint16(nil, 0x0001)
	request = binary.BigEndian.AppendUint16(request, 0)
	request = binary.BigEndian.AppendUint32(request, 0x2112A442)
	id := make([]byte, 12)
	rand.Read(id)
	request = append(request, id...)
	if err := c.SetDeadline(time.Now().Add(doorPatience)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	answer := make([]byte, 20)
	if network == "udp" { // a datagram is read whole
		answer = make([]byte, 512)
		n, err := c.Read(answer)
		if err != nil {
			return err
		}
		answer = answer[:n]
	} else if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if len(answer) < 20 || binary.BigEndian.Uint16(answer) != 0x0101 || string(answer[8:20]) != string(id) {
		return errors.New("what answers is not a relay")
	}
	return nil
}

// Package turn is a TURN relay (RFC 8656) that is safe to put on the open internet.
//
// New validates the configuration and binds the sockets; Run serves until its context ends; Mint hands out
// credentials for one call.
//
// Three layers stand behind one another. The guard reads every datagram and frame, authenticates, and gives every
// negative answer itself. pion/turn stands behind it as the control plane: it sees requests that the guard has
// written anew, under invented client addresses and user names, and keeps allocations and their lifetimes.
// Permissions, channels and relaying are ours: what leaves through a relay socket was checked against the peer rules.
//
// The package never logs a user name, a peer or a client address, never relays to an address that peers.go does
// not allow, and never sends a stranger more than it received, beyond a small fixed allowance (limit.go).
package turn

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"
)

// Config says what to serve. The zero value of a field is a good default; Listen and Realm are required.
type Config struct {
	Listen string // host:port, for UDP and TCP; port 0 picks one for both
	Realm  string // the node's domain; at most 127 bytes

	// ExternalIP is the address relayed addresses are advertised with. Zero: the listen address if it is a specific
	// one, else the first global unicast address of an interface (see ResolveExternalIP).
	ExternalIP  netip.Addr
	ExternalIP6 netip.Addr // for IPv6 allocations where ExternalIP is IPv4; zero: they are answered with 440

	PortMin, PortMax uint16 // relay ports; zero: 49152-65535

	AllowPeers []PeerRule                   // what the default denial of non-public peers is opened for
	DenyPorts  []uint16                     // peer ports that are never relayed to; nil: a list of amplifying services
	NAT64      []netip.Prefix               // the local network's own NAT64 prefixes
	OwnAddrs   func() []netip.AddrPort      // the node's other listeners; asked again at every reload and tick
	Interfaces func() ([]netip.Addr, error) // this machine's addresses; nil: asked of the system

	Quotas       Quotas
	StrictExpiry bool // refuse also a Refresh once the credential's expiry has passed

	Logger *slog.Logger     // nil: silent
	Clock  func() time.Time // nil: time.Now

	// Set by tests only: sockets and pion's timers run on the real clock.
	strangerTime, leastLifetime time.Duration
}

// Quotas bound what one party can take. Zero: the default in brackets.
type Quotas struct {
	PerHandle int // allocations of one minted handle [8]
	PerOwner  int // allocations of one owner [32]
	PerPrefix int // allocations from one IPv4 address or IPv6 /64 [128]
	Total     int // allocations of this relay [8192]

	StartsPerSecond float64 // new allocations of one owner, after a first burst of twice PerOwner [2]

	GrantsPerOwner int // minted and not yet released handles of one owner [64]
	Grants         int // of all owners [65536]

	Permissions    int     // peer addresses per allocation [32]
	Channels       int     // channels per allocation [32]
	NewPeersPerSec float64 // refill of new permissions per allocation, after the first burst of Permissions [5]

	PacketsPerSecond float64 // per allocation and direction [10000]
	BytesPerSecond   int64   // per allocation and direction [16 MiB]

	Connections          int // TCP connections in all [4096]
	ConnectionsPerPrefix int // from one IPv4 address or IPv6 /64 [256]
	Unauthenticated      int // TCP connections that have no allocation yet [1024]
	UnauthenticatedPer   int // the same from one prefix [32]
}

func (q Quotas) withDefaults() Quotas {
	def := func(n *int, value int) {
		if *n <= 0 {
			*n = value
		}
	}
	def(&q.PerHandle, 8)
	def(&q.PerOwner, 32)
	def(&q.PerPrefix, 128)
	def(&q.Total, 8192)
	def(&q.GrantsPerOwner, 64)
	def(&q.Grants, 65536)
	def(&q.Permissions, 32)
	def(&q.Channels, 32)
	def(&q.Connections, 4096)
	def(&q.ConnectionsPerPrefix, 256)
	def(&q.Unauthenticated, 1024)
	def(&q.UnauthenticatedPer, 32)
	if q.StartsPerSecond <= 0 {
		q.StartsPerSecond = 2
	}
	if q.NewPeersPerSec <= 0 {
		q.NewPeersPerSec = 5
	}
	if q.PacketsPerSecond <= 0 {
		q.PacketsPerSecond = 10000
	}
	if q.BytesPerSecond <= 0 {
		q.BytesPerSecond = 16 << 20
	}
	return q
}

func (q Quotas) startBurst() float64 { return max(2*float64(q.PerOwner), q.StartsPerSecond) }

// Requests of one allocation; an ICE agent with thirty candidates sends some sixty at once, and then a few a minute.
const (
	requestRate  = 20 // per second
	requestBurst = 256
)

const (
	defaultPortMin = 49152
	defaultPortMax = 65535
	maxRealm       = 127 // RFC 8489 section 14.9 in characters; ours are single bytes
)

// ErrBusy says that no more credentials can be minted for this owner or in all; the caller answers "quota".
var ErrBusy = errors.New("too many TURN credentials outstanding")

func (c Config) validate() error {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("turn listen address %q: want host:port", c.Listen)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("turn listen address %q: the host must be an IP address", c.Listen)
		}
	}
	if len(c.Realm) == 0 || len(c.Realm) > maxRealm {
		return fmt.Errorf("turn realm: want 1 to %d characters", maxRealm)
	}
	for i := range len(c.Realm) {
		if b := c.Realm[i]; b <= ' ' || b > '~' || b == '"' || b == '\\' || b == ':' {
			return errors.New("turn realm: only visible ASCII without quotes, backslash and colon")
		}
	}
	if c.PortMin > c.PortMax {
		return fmt.Errorf("turn relay ports %d-%d: the first is above the last", c.PortMin, c.PortMax)
	}
	if c.PortMin == 0 && c.PortMax != 0 {
		return errors.New("turn relay ports: the first may not be 0")
	}
	for _, rule := range c.AllowPeers {
		if err := rule.check(); err != nil {
			return err
		}
	}
	for _, p := range c.NAT64 {
		switch {
		case !p.Addr().Is6() || p != p.Masked():
			return fmt.Errorf("turn NAT64 prefix %s: want an IPv6 prefix", p)
		case p.Bits() != 32 && p.Bits() != 40 && p.Bits() != 48 && p.Bits() != 56 && p.Bits() != 64 && p.Bits() != 96:
			return fmt.Errorf("turn NAT64 prefix %s: RFC 6052 knows 32, 40, 48, 56, 64 and 96 bits", p)
		}
	}
	if c.ExternalIP6.IsValid() && !c.ExternalIP6.Is6() {
		return fmt.Errorf("turn external IPv6 address %s is not IPv6", c.ExternalIP6)
	}
	return nil
}

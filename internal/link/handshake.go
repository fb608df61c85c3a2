package link

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// Version of the link protocol, in Challenge.version.
const Version = 1

var (
	// ErrHost means that the node speaks for another domain than the one that was dialled:
	// it may be passing on somebody else's challenge.
	ErrHost = errors.New("the node speaks for another host than the one dialled")
	// ErrHandshake means that a half of the handshake is malformed or not properly signed.
	ErrHandshake = errors.New("link handshake does not verify")
)

// NewChallenge makes the node's first frame. descriptor is the node's current signed
// descriptor, which carries the key that hops and queries are sealed to.
func NewChallenge(hostKey ed25519.PrivateKey, node identity.PeerID, domain string, descriptor []byte, now time.Time) *pb.Challenge {
	c := &pb.Challenge{
		Version:     Version,
		Node:        node[:],
		Domain:      domain,
		Nonce:       make([]byte, 32),
		TimeMs:      uint64(now.UnixMilli()),
		Descriptor_: descriptor,
	}
	rand.Read(c.Nonce)
	c.Signature = ed25519.Sign(hostKey, append([]byte(identity.ContextChallenge), challengeMessage(c)...))
	return c
}

// challengeMessage is what the host key signs, behind the domain string:
//
//	node 38 | nonce 32 | time 8, big endian, milliseconds | SHA-256(descriptor) 32 | domain
//
// The domain stands last because it alone has no fixed length.
func challengeMessage(c *pb.Challenge) []byte {
	descriptor := sha256.Sum256(c.Descriptor_)
	m := make([]byte, 0, sizePeerID+32+8+32+len(c.Domain))
	m = append(m, c.Node...)
	m = append(m, c.Nonce...)
	m = binary.BigEndian.AppendUint64(m, c.TimeMs)
	m = append(m, descriptor[:]...)
	return append(m, c.Domain...)
}

// Node is what a verified challenge says.
type Node struct {
	PeerID     identity.PeerID
	Domain     string
	Time       time.Time
	Descriptor *identity.NodeDescriptor
}

// VerifyChallenge checks that the node named in c made it, and that its descriptor is its
// own. It does not say whether that node is the right one: see CheckHost, and compare
// PeerID with the one that is pinned.
func VerifyChallenge(c *pb.Challenge) (*Node, error) {
	if c == nil || c.Version != Version || len(c.Nonce) != 32 || len(c.Signature) != 64 {
		return nil, ErrHandshake
	}
	peer, err := identity.PeerIDFromBytes(c.Node)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if err := identity.CheckDomain(c.Domain); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if err := identity.VerifySignature(peer.Key(), identity.ContextChallenge, challengeMessage(c), c.Signature); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	d, err := identity.ParseDescriptor(c.Descriptor_)
	if err != nil {
		return nil, fmt.Errorf("%w: descriptor: %w", ErrHandshake, err)
	}
	if d.PeerID != peer || d.Domain != c.Domain {
		return nil, fmt.Errorf("%w: the descriptor is another node's", ErrHandshake)
	}
	return &Node{PeerID: peer, Domain: c.Domain, Time: time.UnixMilli(int64(c.TimeMs)), Descriptor: d}, nil
}

// CheckHost tells a client whether a node that speaks for domain may answer at the host
// that was dialled: the domain itself or a name below it. A loopback address stands for
// whatever runs there, because nobody else can answer at it. Any other address or name
// needs the person's word; the caller then compares the node's peer id with a pin.
func CheckHost(domain, dialled string) error {
	host := Hostname(dialled)
	if host == domain || strings.HasSuffix(host, "."+domain) || Loopback(host) {
		return nil
	}
	return fmt.Errorf("%w: dialled %q, answered %q", ErrHost, host, domain)
}

// Hostname returns the host of "host" or "host:port", in lower case, without brackets.
func Hostname(hostport string) string {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// Loopback reports whether a host name means this machine.
func Loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// linkMessage is what a device signs, behind the domain string:
//
//	SHA-256(Challenge as received) 32 | host dialled
//
// A challenge passed on by another node is of no use to it: the host differs.
func linkMessage(c *pb.Challenge, host string) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	return append(sum[:], host...), nil
}

// Authenticate makes a device's answer to a challenge. host is what was dialled, host or
// host:port. With a nil device it makes the answer of a link without a device, which says
// only where it wanted to go.
func Authenticate(c *pb.Challenge, host string, device *identity.Device, cert *identity.DeviceCert) (*pb.Authenticate, error) {
	if device == nil {
		return &pb.Authenticate{Host: host}, nil
	}
	m, err := linkMessage(c, host)
	if err != nil {
		return nil, fmt.Errorf("answer the challenge: %w", err)
	}
	return &pb.Authenticate{Cert: cert.Bytes(), Signature: device.Sign(identity.ContextLink, m), Host: host}, nil
}

// VerifyAuthenticate checks a client's answer to c. The certificate is nil for a link
// without a device. The caller decides which hosts are its own, and whether the device is
// in the newest list of its root.
func VerifyAuthenticate(c *pb.Challenge, a *pb.Authenticate, now time.Time) (*identity.DeviceCert, error) {
	if len(a.Cert) == 0 {
		if len(a.Signature) != 0 {
			return nil, ErrHandshake
		}
		return nil, nil
	}
	cert, err := identity.ParseDeviceCert(a.Cert)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	if err := cert.ValidAt(now); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	m, err := linkMessage(c, a.Host)
	if err != nil {
		return nil, err
	}
	if err := identity.VerifySignature(cert.Device, identity.ContextLink, m, a.Signature); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
	}
	return cert, nil
}

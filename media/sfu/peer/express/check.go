package express

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pion/stun/v4"
)

// The kinds of datagrams by their first byte (RFC 7983).
const (
	firstDTLS = 20
	lastDTLS  = 63
	firstRTP  = 128
	lastRTP   = 191
)

// checkMost is the longest STUN message that is read. A client's check has a user name, a priority, a role, and a digest.
const checkMost = 548

// attributes of checks that are understood although they may not be ignored (RFC 8489, 14; RFC 8445, 16.1).
var understood = map[stun.AttrType]bool{
	stun.AttrUsername: true, stun.AttrMessageIntegrity: true, stun.AttrPriority: true, stun.AttrUseCandidate: true,
	stun.AttrMessageIntegritySHA256: true, stun.AttrXORMappedAddress: true, stun.AttrMappedAddress: true, stun.AttrErrorCode: true,
}

// checker reads STUN for one goroutine.
type checker struct{ m stun.Message }

// check takes one STUN message that came on a path, and returns whose it is; nil: nobody's, and nobody is answered.
// Answers are shorter than what they answer, and go only to who knows a password.
func (c *checker) check(p *Port, b []byte, from *path) *Transport {
	t := c.authentic(p, b, from)
	if t == nil {
		p.badChecks.Add(1)
		return nil
	}
	t.alive()
	return t
}

func (c *checker) authentic(p *Port, b []byte, from *path) *Transport {
	if len(b) > checkMost {
		return nil
	}
	m := &c.m
	m.Raw = append(m.Raw[:0], b...)
	if m.Decode() != nil || stun.Fingerprint.Check(m) != nil {
		return nil
	}
	switch m.Type {
	case stun.BindingRequest:
		name, err := m.Get(stun.AttrUsername)
		if err != nil {
			return nil
		}
		local, remote, _ := strings.Cut(string(name), ":")
		p.mu.RLock()
		t := p.users[local]
		p.mu.RUnlock()
		if t == nil || !t.request(m, local, remote, from) {
			return nil
		}
		return t
	case stun.BindingSuccess:
		p.mu.RLock()
		t := p.addrs[from.addr]
		p.mu.RUnlock()
		if t == nil || from.tcp != nil || !t.confirmed(m, from.addr) {
			return nil
		}
		return t
	}
	return nil
}

// credentials are those of one ICE session: ours, and the client's.
type credentials struct{ ufrag, pwd, farUfrag, farPwd string }

func newCredentials(farUfrag, farPwd string) credentials {
	return credentials{rand.Text()[:12], rand.Text(), farUfrag, farPwd}
}

// probe is a check of our own to an address that a client wants to move to.
type probe struct {
	id [stun.TransactionIDSize]byte
	to netip.AddrPort
	at time.Time
}

const (
	addrsMost = 8                     // of one client: more than its interfaces, and less than a scan
	probeTime = 50 * time.Millisecond // between two checks of ours
)

// request takes a check of the client, and answers it. It reports whether it is authentic.
func (t *Transport) request(m *stun.Message, local, remote string, from *path) bool {
	answer, ask, ok := t.judge(m, local, remote, from)
	t.port.send(from, answer)
	t.port.send(from, ask)
	return ok
}

// judge finds what to send for a check of the client: its answer, and a check of our own.
func (t *Transport) judge(m *stun.Message, local, remote string, from *path) (answer, ask []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.IndexFunc(t.sessions, func(c credentials) bool { return c.ufrag == local && c.farUfrag == remote })
	if at < 0 || t.ended {
		return nil, nil, false
	}
	c := t.sessions[at]
	sealed := stun.NewShortTermIntegrity(c.pwd)
	if sealed.Check(m) != nil {
		return nil, nil, false
	}
	if code := refused(m); code != 0 {
		return build(m.TransactionID, stun.BindingError, code, sealed), nil, true
	}
	ip := from.addr.Addr().Unmap()
	answer = build(m.TransactionID, stun.BindingSuccess, &stun.XORMappedAddress{IP: ip.AsSlice(), Port: int(from.addr.Port())}, sealed)
	if from.tcp == nil {
		t.reachedLocked(from.addr)
	}
	switch now := t.path.Load(); {
	case now == nil:
		t.path.Store(from)
	case !m.Contains(stun.AttrUseCandidate) || now.same(from):
	case from.tcp != nil:
		t.path.Store(from) // whoever has a connection can be reached by it
	default:
		// A check that somebody recorded and sends again from elsewhere is authentic too. Media moves only to who
		// answers a check of ours.
		ask = t.probeLocked(&c, from.addr)
	}
	if at > 0 {
		// A restart has come through: what was before it is over.
		t.port.forget(t, []string{t.sessions[0].ufrag}, nil)
		t.sessions = t.sessions[at:]
	}
	return answer, ask, true
}

// refused is the error that a check is answered with; 0: none.
func refused(m *stun.Message) stun.ErrorCode {
	for _, a := range m.Attributes {
		if a.Type.Required() && !understood[a.Type] {
			return stun.CodeUnknownAttribute
		}
	}
	if m.Contains(stun.AttrICEControlled) {
		return stun.CodeRoleConflict // a lite agent never controls
	}
	return 0
}

// reachedLocked remembers an address that a check came from; the oldest one is forgotten first.
func (t *Transport) reachedLocked(addr netip.AddrPort) {
	for _, a := range t.addrs {
		if a == addr {
			t.port.at(addr, t) // somebody else may have had it meanwhile
			return
		}
	}
	if len(t.addrs) == addrsMost {
		i := 0
		if now := t.path.Load(); now != nil && now.tcp == nil && now.addr == t.addrs[0] {
			i = 1
		}
		t.port.forget(t, nil, t.addrs[i:i+1])
		t.addrs = append(t.addrs[:i], t.addrs[i+1:]...)
	}
	t.addrs = append(t.addrs, addr)
	t.port.at(addr, t)
}

func (t *Transport) probeLocked(c *credentials, to netip.AddrPort) []byte {
	now := time.Now()
	if now.Sub(t.probe.at) < probeTime {
		return nil // the client asks again
	}
	if t.probe.to != to {
		t.probe.id = stun.NewTransactionID()
	}
	t.probe.to, t.probe.at = to, now
	return build(t.probe.id, stun.BindingRequest, stun.NewUsername(c.farUfrag+":"+c.ufrag),
		attribute{stun.AttrICEControlled, t.tie[:]}, attribute{stun.AttrPriority, []byte{0x7e, 0xff, 0xff, 0xff}}, stun.NewShortTermIntegrity(c.farPwd))
}

// confirmed takes an answer to a check of ours.
func (t *Transport) confirmed(m *stun.Message, from netip.AddrPort) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || t.probe.to != from || t.probe.id != m.TransactionID {
		return false
	}
	for i := range t.sessions {
		if stun.NewShortTermIntegrity(t.sessions[i].farPwd).Check(m) == nil {
			t.probe = probe{}
			t.path.Store(&path{addr: from})
			return true
		}
	}
	return false
}

type attribute struct {
	kind  stun.AttrType
	value []byte
}

func (a attribute) AddTo(m *stun.Message) error {
	m.Add(a.kind, a.value)
	return nil
}

// build makes a message; nil, which is not sent, if an address were neither of IPv4 nor of IPv6.
func build(id [stun.TransactionIDSize]byte, kind stun.MessageType, with ...stun.Setter) []byte {
	m, err := stun.Build(append(append([]stun.Setter{stun.NewTransactionIDSetter(id), kind}, with...), stun.Fingerprint)...)
	if err != nil {
		return nil
	}
	return m.Raw
}

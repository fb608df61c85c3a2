package turn

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ports hands out relay ports. They are unpredictable, so that nobody can send to the next allocation in advance,
// and a freed one rests before another client gets it, because its former peers may still be sending.
type ports struct {
	min, max uint16
	rest     time.Duration

	mu      sync.Mutex // guards what follows
	taken   map[uint16]bool
	resting map[uint16]time.Time // freed at
}

const (
	portRest    = time.Minute
	randomTries = 32
)

var errNoPort = errors.New("no relay port is free")

func newPorts(lo, hi uint16) *ports {
	return &ports{min: lo, max: hi, rest: portRest, taken: map[uint16]bool{}, resting: map[uint16]time.Time{}}
}

// pick takes a port that try accepts; try binds it. With even only even ports are looked at.
func (p *ports) pick(even bool, now time.Time, try func(port uint16) error) (uint16, error) {
	size := uint32(p.max) - uint32(p.min) + 1
	start := random32() % size
	refused := 0
	// The first attempts jump at random; then every port is looked at once, from a random one on.
	for i := range randomTries + size {
		at := (start + i) % size
		if i < randomTries {
			at = random32() % size
		}
		port := p.min + uint16(at)
		if (even && port%2 != 0) || !p.take(port, now) {
			continue
		}
		err := try(port)
		if err == nil {
			return port, nil
		}
		p.giveBack(port)
		// In use by another program, mostly. When a good many sockets fail it is not the port's fault.
		if refused++; refused >= 64 {
			return 0, err
		}
	}
	return 0, errNoPort
}

func (p *ports) take(port uint16, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, rests := p.resting[port]; rests {
		if now.Sub(at) < p.rest {
			return false
		}
		delete(p.resting, port)
	}
	if p.taken[port] {
		return false
	}
	p.taken[port] = true
	return true
}

func (p *ports) giveBack(port uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
}

// free lets a port that was in use rest.
func (p *ports) free(port uint16, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, port)
	p.resting[port] = now
}

func random32() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

// openRelay binds a relay socket and says under which address it is advertised. bind is the local address: the
// advertised one where this machine has it, else (behind a 1:1 NAT) the wildcard.
func (s *Server) openRelay(six, even bool, now time.Time) (*net.UDPConn, netip.AddrPort, error) {
	advertised, bind, network := s.external4, s.bind4, "udp4"
	if six {
		advertised, bind, network = s.external6, s.bind6, "udp6"
	}
	var socket *net.UDPConn
	port, err := s.ports.pick(even, now, func(port uint16) (err error) {
		socket, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(bind, port)))
		return err
	})
	if err != nil {
		return nil, netip.AddrPort{}, err
	}
	// Room for a key frame that arrives while this process does not run. The system may grant less, or refuse, which
	// is no reason to refuse the call.
	_ = socket.SetReadBuffer(1 << 20)
	return socket, netip.AddrPortFrom(advertised, port), nil
}

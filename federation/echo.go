package federation

import (
	"bytes"
	"crypto/rand"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation/wire"
)

const (
	echoEvery = 15 * time.Second
	echoTime  = 10 * time.Second
)

// probeTag names the probe's mailbox inside a canary's hop. It is no secret: the hop is
// sealed to a key that only the probe holds.
var probeTag = envelope.RouteTag{'t', 'r', 'u', 'n', 'k', 'l', 'i', 'n', 'e', ' ', 'p', 'r', 'o', 'b', 'e', 0}

// echo measures the way of an envelope and back. The probe lives here, with a key of its own
// that is made at start and told in Hello: the canary is sealed like any envelope, waits in
// both sides' delivery queues behind real ones, and is opened by the peer's probe. It shows
// a stuck delivery that a ping would not.
type echo struct {
	key [32]byte // the peer's probe

	mu     sync.Mutex // guards all below
	last   uint64
	sent   []byte // the canary that is out; nil: none
	sentAt time.Time
}

func (s *session) echoLoop() error {
	tick := time.NewTicker(echoEvery)
	defer tick.Stop()
	for {
		if err := s.sendEcho(); err != nil {
			return err
		}
		timeout := time.NewTimer(echoTime)
		select {
		case <-s.ctx.Done():
			timeout.Stop()
			return nil
		case <-timeout.C:
			s.missed()
		}
		select {
		case <-s.ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *session) sendEcho() error {
	payload := make([]byte, 1024)
	rand.Read(payload)
	e, err := envelope.NewEnvelope(s.echo.key, s.l.peer, envelope.Live, envelope.Hop{Tag: probeTag}, payload)
	if err != nil {
		return err
	}
	raw := e.Marshal()
	s.echo.mu.Lock()
	if s.echo.sent != nil { // it is late and may still be in the peer's queue: one at a time
		s.echo.mu.Unlock()
		return nil
	}
	s.echo.last++
	s.echo.sent, s.echo.sentAt = raw, time.Now()
	id := s.echo.last
	s.echo.mu.Unlock()
	select {
	case s.out.echoes <- wire.Append(nil, &wire.Frame{Kind: wire.KindEcho, ID: id, Box: raw}):
	case <-s.ctx.Done():
	}
	return nil
}

func (s *session) missed() {
	s.echo.mu.Lock()
	out := s.echo.sent != nil
	s.echo.mu.Unlock()
	if out {
		s.l.mu.Lock()
		s.l.echoMissed++
		s.l.mu.Unlock()
	}
}

// returned takes the canary back. Any other bytes are not our canary, and the peer lies
// about its health or its probe is broken: both end the link.
func (e *echo) returned(s *session, id uint64, raw []byte) error {
	e.mu.Lock()
	if e.sent == nil || id != e.last || !bytes.Equal(raw, e.sent) {
		e.mu.Unlock()
		return errProtocol("an echo of something else")
	}
	rtt := time.Since(e.sentAt)
	e.sent = nil
	e.mu.Unlock()
	s.l.mu.Lock()
	s.l.echoRTT, s.l.echoMissed = rtt, 0
	s.l.mu.Unlock()
	return nil
}

// reflect is the peer's canary at our probe: opened, looked at, and sent back as it came.
func (s *session) reflect(id uint64, raw []byte) {
	e, err := envelope.Parse(raw)
	if err == nil {
		var hop envelope.Hop
		if hop, err = s.f.probe.OpenHop(e, s.f.self); err == nil && hop.Tag != probeTag {
			err = errProtocol("not for the probe")
		}
	}
	if err != nil {
		s.end(errProtocol("a canary that does not open"))
		return
	}
	select {
	case s.out.echoes <- wire.Append(nil, &wire.Frame{Kind: wire.KindEcho, ID: id, Box: raw, Reply: true}):
	case <-s.ctx.Done():
	}
}

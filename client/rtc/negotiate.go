package rtc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/sdp"
)

// maxEarly bounds the remote candidates that came before their description.
const maxEarly = 64

// negotiation is what is known of both sides' descriptions. Its lock is held across calls into
// the library, which calls back only through the Peer's queue.
type negotiation struct {
	mu sync.Mutex // guards all below; serialises descriptions

	offerer    bool // this side made the first offer
	begun      bool // a description was made or taken
	generation uint32
	ufrags     map[string]uint32 // own ICE user names and their generation

	offer  *Description // own, while no answer has come
	taken  *Description // the other side's newest
	answer *Description // own, to taken if that was an offer

	peer    [32]byte // the other side's fingerprint
	hasPeer bool
	early   []Candidate

	due      []*sending // get a fresh section with the next offer
	renewing bool       // one was asked for, and no answer to an offer with it has come
}

// CreateOffer makes the first offer. Candidates follow through OnLocalCandidate.
func (p *Peer) CreateOffer(ctx context.Context) (Description, error) {
	if err := p.await(ctx); err != nil {
		return Description{}, err
	}
	n := &p.neg
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.begun {
		return Description{}, errors.New("rtc: the first description was made already")
	}
	n.begun, n.offerer = true, true
	return p.offerLocked(nil)
}

// Restart makes an offer of a new ICE generation under the same certificate: after a change of
// network, or when State says disconnected or failed. servers, if any, replace the old ones
// (TURN credentials are short-lived). While an offer is unanswered the same one is returned, so
// that it can be sent again. Only the side that made the first offer restarts: ErrNotOfferer.
func (p *Peer) Restart(ctx context.Context, servers []ICEServer) (Description, error) {
	if err := p.await(ctx); err != nil {
		return Description{}, err
	}
	if servers != nil {
		if err := p.gathered(ctx); err != nil {
			return Description{}, err
		}
	}
	n := &p.neg
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.offerer {
		return Description{}, ErrNotOfferer
	}
	if n.offer != nil {
		return *n.offer, nil
	}
	if servers != nil {
		if err := p.setServers(servers); err != nil {
			return Description{}, err
		}
	}
	if err := p.renewDueLocked(); err != nil {
		return Description{}, err
	}
	n.generation++
	d, err := p.offerLocked(&webrtc.OfferOptions{ICERestart: true})
	if err != nil {
		n.generation--
	}
	return d, err
}

// SetServers replaces the ICE servers for the next generation: for the answering side, before
// it takes a restart offer.
func (p *Peer) SetServers(ctx context.Context, servers []ICEServer) error {
	if err := p.await(ctx); err != nil {
		return err
	}
	if err := p.gathered(ctx); err != nil {
		return err
	}
	p.neg.mu.Lock()
	defer p.neg.mu.Unlock()
	return p.setServers(servers)
}

// gathered waits until no candidates are being gathered: the library reads its servers while
// it gathers, without a lock, so they must not change then. A server that does not answer
// holds this up for relaySilence.
func (p *Peer) gathered(ctx context.Context) error {
	if p.pc.ICEGatheringState() != webrtc.ICEGatheringStateGathering {
		return nil
	}
	select {
	case <-webrtc.GatheringCompletePromise(p.pc):
		return nil
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Peer) setServers(servers []ICEServer) error {
	if err := p.pc.SetConfiguration(webrtc.Configuration{
		ICEServers: iceServers(servers), ICETransportPolicy: p.cfg.policy(),
	}); err != nil {
		return fmt.Errorf("rtc: ICE servers: %w", err)
	}
	p.network.use(servers)
	return nil
}

func (p *Peer) offerLocked(options *webrtc.OfferOptions) (Description, error) {
	offer, err := p.pc.CreateOffer(options)
	if err != nil {
		return Description{}, fmt.Errorf("rtc: create offer: %w", err)
	}
	d, err := p.describeLocked(offer.SDP)
	if err != nil {
		return Description{}, err
	}
	if err := p.pc.SetLocalDescription(offer); err != nil {
		return Description{}, fmt.Errorf("rtc: set offer: %w", err)
	}
	p.neg.offer = &d
	return d, nil
}

// describeLocked makes of an own SDP what the session signs, and remembers its user name.
func (p *Peer) describeLocked(text string) (Description, error) {
	clean, err := sdp.Clean([]byte(text), p.cfg.RelayOnly)
	if err != nil {
		return Description{}, err
	}
	own, err := sdp.Parse(clean)
	if err != nil {
		return Description{}, err
	}
	if own.Fingerprint != p.fingerprint {
		return Description{}, ErrFingerprint
	}
	n := &p.neg
	if n.ufrags == nil {
		n.ufrags = make(map[string]uint32)
	}
	n.ufrags[own.Ufrag] = n.generation
	return Description{SDP: clean, Fingerprint: own.Fingerprint, Ufrag: own.Ufrag, Setup: own.Setup, Generation: n.generation}, nil
}

// AcceptOffer takes the other side's offer, the first one or a restart, and returns the answer.
// An offer that comes again gives the same answer again. ErrFingerprint: the offer's
// certificate is not the signed one, or changed in a restart; the call must end.
func (p *Peer) AcceptOffer(ctx context.Context, d Description) (Description, error) {
	if err := p.await(ctx); err != nil {
		return Description{}, err
	}
	n := &p.neg
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.offerer {
		return Description{}, fmt.Errorf("%w: it does not answer either", ErrNotOfferer)
	}
	if n.answer != nil && n.taken.Generation == d.Generation && bytes.Equal(n.taken.SDP, d.SDP) {
		return *n.answer, nil
	}
	if want := n.generation + 1; n.begun && d.Generation != want || !n.begun && d.Generation != 0 {
		return Description{}, fmt.Errorf("rtc: offer of generation %d is out of turn", d.Generation)
	}
	if err := p.takeLocked(d, webrtc.SDPTypeOffer); err != nil {
		return Description{}, err
	}
	n.begun, n.generation = true, d.Generation
	answer, err := p.pc.CreateAnswer(nil)
	if err != nil {
		return Description{}, fmt.Errorf("rtc: create answer: %w", err)
	}
	own, err := p.describeLocked(answer.SDP)
	if err != nil {
		return Description{}, err
	}
	if err := p.pc.SetLocalDescription(answer); err != nil {
		return Description{}, fmt.Errorf("rtc: set answer: %w", err)
	}
	n.answer = &own
	p.addEarlyLocked()
	return own, nil
}

// AcceptAnswer takes the answer to the offer that is open. A repeated one is ignored.
func (p *Peer) AcceptAnswer(ctx context.Context, d Description) error {
	if err := p.await(ctx); err != nil {
		return err
	}
	n := &p.neg
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.offer == nil {
		if n.taken != nil && n.taken.Generation == d.Generation && bytes.Equal(n.taken.SDP, d.SDP) {
			return nil
		}
		return errors.New("rtc: answer without an offer")
	}
	if d.Generation != n.generation {
		return fmt.Errorf("rtc: answer of generation %d is out of turn", d.Generation)
	}
	if err := p.takeLocked(d, webrtc.SDPTypeAnswer); err != nil {
		return err
	}
	n.offer = nil
	n.renewing = len(n.due) > 0
	p.addEarlyLocked()
	return nil
}

// takeLocked checks a remote description (tests 52 and 53) and gives it to the library.
func (p *Peer) takeLocked(d Description, kind webrtc.SDPType) error {
	n := &p.neg
	got, err := sdp.Check(d.SDP, d.Fingerprint, d.Ufrag, d.Setup)
	if err != nil {
		if errors.Is(err, sdp.ErrFingerprint) {
			return fmt.Errorf("%w: %w", ErrFingerprint, err)
		}
		return err
	}
	if kind == webrtc.SDPTypeAnswer && got.Setup == sdp.SetupActpass {
		return fmt.Errorf("%w: an answer must choose its role", sdp.ErrSyntax)
	}
	// ICE restart keeps the certificate; a changed one needs a new session.
	if n.hasPeer && subtle.ConstantTimeCompare(n.peer[:], got.Fingerprint[:]) != 1 {
		return fmt.Errorf("%w: it changed in the call", ErrFingerprint)
	}
	if got.Fingerprint == p.fingerprint {
		return fmt.Errorf("%w: it is this side's own", ErrFingerprint)
	}
	clean, err := sdp.Clean(d.SDP, p.cfg.RelayOnly)
	if err != nil {
		return err
	}
	if kind == webrtc.SDPTypeOffer && n.begun {
		if err := p.renewOfferedLocked(clean); err != nil {
			return err
		}
	}
	n.peer, n.hasPeer = got.Fingerprint, true
	if err := p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: string(clean)}); err != nil {
		return fmt.Errorf("rtc: set remote description: %w", err)
	}
	taken := d
	n.taken = &taken
	return nil
}

// AddCandidate takes one remote candidate line; an empty one is the end of candidates. Lines of
// an older generation are ignored, of a newer one kept until its description comes. A line that
// cannot be used is counted in Stats and is no error: one bad address must not end a call.
func (p *Peer) AddCandidate(ctx context.Context, c Candidate) error {
	if err := p.await(ctx); err != nil {
		return err
	}
	n := &p.neg
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.taken == nil || c.Generation > n.taken.Generation {
		if len(n.early) >= maxEarly {
			p.counts.candidatesRefused.Add(1)
			return nil
		}
		n.early = append(n.early, c)
		return nil
	}
	p.addCandidateLocked(c)
	return nil
}

func (p *Peer) addEarlyLocked() {
	n := &p.neg
	early := n.early
	n.early = nil
	for _, c := range early {
		if c.Generation > n.taken.Generation {
			n.early = append(n.early, c)
			continue
		}
		p.addCandidateLocked(c)
	}
}

func (p *Peer) addCandidateLocked(c Candidate) {
	if c.Generation < p.neg.taken.Generation || c.Line == "" {
		return // the library needs no end of candidates
	}
	parsed, err := sdp.ParseCandidate(c.Line)
	switch {
	case err != nil:
	case p.cfg.RelayOnly && parsed.Type != sdp.Relay:
		// Whoever hides its address talks to relays only (docs/spec/media.md, section 1).
		err = sdp.ErrCandidate
	default:
		err = p.pc.AddICECandidate(webrtc.ICECandidateInit{Candidate: parsed.String()})
	}
	if err != nil {
		p.counts.candidatesRefused.Add(1)
	}
}

// localCandidate is called by the library for each gathered candidate, and with nil at the end.
func (p *Peer) localCandidate(c *webrtc.ICECandidate) {
	if c == nil {
		p.post(func() {
			p.neg.mu.Lock()
			g := p.neg.generation
			p.neg.mu.Unlock()
			p.giveCandidate(Candidate{Generation: g})
		})
		return
	}
	line := c.ToJSON().Candidate
	p.post(func() {
		parsed, err := sdp.ParseCandidate(line)
		if err != nil {
			p.log.Info("an own candidate was not usable", "type", c.Typ.String())
			return
		}
		if p.cfg.RelayOnly {
			if parsed.Type != sdp.Relay {
				return
			}
			parsed = parsed.Hidden()
		}
		g, ok := p.generationOf(parsed)
		if ok {
			p.giveCandidate(Candidate{Line: parsed.String(), Generation: g})
		}
	})
}

// generationOf looks the candidate's user name up. The lock is free once the description that
// made it is complete, so a candidate never comes before its generation is known.
func (p *Peer) generationOf(c sdp.Candidate) (uint32, bool) {
	p.neg.mu.Lock()
	defer p.neg.mu.Unlock()
	for i := 0; i+1 < len(c.Extensions); i += 2 {
		if c.Extensions[i] == "ufrag" {
			g, ok := p.neg.ufrags[c.Extensions[i+1]]
			return g, ok && g == p.neg.generation
		}
	}
	return p.neg.generation, true
}

func (p *Peer) giveCandidate(c Candidate) {
	if p.cfg.OnLocalCandidate != nil {
		p.cfg.OnLocalCandidate(c)
	}
}

// checkCertificate compares the certificate that DTLS really used with the signed fingerprint.
// The library compares with the description; this does not rely on it (test 54).
func (p *Peer) checkCertificate() error {
	sum := sha256.Sum256(p.pc.SCTP().Transport().GetRemoteCertificate())
	want, ok := p.peerFingerprint()
	if !ok || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
		return ErrFingerprint
	}
	return nil
}

func (p *Peer) peerFingerprint() ([32]byte, bool) {
	p.neg.mu.Lock()
	defer p.neg.mu.Unlock()
	return p.neg.peer, p.neg.hasPeer
}

package rtc

import (
	"fmt"

	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// Fresh sections (docs/spec/media.md, section 3): a browser may have let frames past what opens
// them. Then the slot goes on in another section of the description, once in a call. The key and
// its counter stay those of the slot, so that no counter is used twice. This side never asks: it
// opens every frame itself.

// peerFresh takes the other side's request; Restart follows it.
func (p *Peer) peerFresh(slot uint32) error {
	n := &p.neg
	n.mu.Lock()
	s := map[sframe.Slot]*sending{sframe.Microphone: p.audio, sframe.Camera: p.video, sframe.Screen: p.screen}[sframe.Slot(slot)]
	taken := n.offerer && p.cfg.OnFresh != nil && slot <= uint32(sframe.ScreenAudio) && s != nil && !s.anew
	if taken {
		s.anew = true
		n.due = append(n.due, s)
		n.renewing = true
	}
	n.mu.Unlock()
	if !taken {
		return fmt.Errorf("%w: a fresh section out of turn", ErrControl)
	}
	p.cfg.OnFresh()
	return nil
}

// Renewing reports whether a fresh section was asked for and is not agreed on.
func (p *Peer) Renewing() bool {
	p.neg.mu.Lock()
	defer p.neg.mu.Unlock()
	return p.neg.renewing
}

// addSending makes the section that a medium is sent in. The negotiation's lock is held, or
// nobody else knows of the connection.
func (p *Peer) addSending(s *sending) error {
	t, err := p.pc.AddTransceiverFromTrack(s, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	if err != nil {
		return fmt.Errorf("rtc: %v: %w", s.codec, err)
	}
	s.section = t
	p.begin(func() { p.rtcpLoop(t.Sender()) })
	return nil
}

// part stops a medium until its next section is negotiated.
func (s *sending) part() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parted = true
}

// renewDueLocked makes the sections that the next offer is to have.
func (p *Peer) renewDueLocked() error {
	n := &p.neg
	for len(n.due) > 0 {
		s := n.due[0]
		s.part()
		if err := p.pc.RemoveTrack(s.section.Sender()); err != nil {
			return fmt.Errorf("rtc: leave a section: %w", err)
		}
		if err := p.addSending(s); err != nil {
			return err
		}
		n.due = n.due[1:]
	}
	return nil
}

// renewOfferedLocked prepares this side's part of the fresh sections of a later offer that it is
// to send in. The library stops those that are left, and finds the new ones by their order.
func (p *Peer) renewOfferedLocked(offer []byte) error {
	parsed, err := (&webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}).Unmarshal()
	if err != nil {
		return fmt.Errorf("rtc: offer: %w", err)
	}
	known, left := map[string]bool{}, map[string]bool{}
	for _, t := range p.pc.GetTransceivers() {
		known[t.Mid()] = true
	}
	for _, m := range parsed.MediaDescriptions {
		mid, _ := m.Attribute("mid")
		if _, inactive := m.Attribute("inactive"); inactive {
			left[mid] = true
		}
	}
	for _, m := range parsed.MediaDescriptions {
		mid, _ := m.Attribute("mid")
		if _, wanted := m.Attribute("recvonly"); !wanted || known[mid] {
			continue
		}
		for _, s := range []*sending{p.audio, p.video, p.screen} {
			if s == nil || s.anew || s.Kind().String() != m.MediaName.Media || !left[s.section.Mid()] {
				continue
			}
			s.part()
			s.anew = true
			if err := p.addSending(s); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

package rtc

import (
	"errors"
	"fmt"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/envelope"
)

// The call code of envelope.CallCode over the control channel: the initiator commits as soon
// as the channel is bound, the responder sends its nonce, the initiator opens its own.

// startCallCode sends the initiator's commitment.
func (p *Peer) startCallCode() {
	if p.cfg.Role != Initiator || p.cfg.CallCode == nil {
		return
	}
	hash, err := p.cfg.CallCode.Commit()
	if err != nil {
		p.end(codeError(err))
		return
	}
	p.tell(&pb.Control{Kind: &pb.Control_CodeCommit{CodeCommit: &pb.CodeCommit{Hash: hash}}})
}

// codeCommit is the responder's turn: it remembers the commitment and sends its own nonce.
func (p *Peer) codeCommit(hash []byte) error {
	if p.cfg.Role != Responder {
		return fmt.Errorf("%w: call code", ErrControl)
	}
	if p.cfg.CallCode == nil {
		return nil // this side shows none
	}
	nonce, err := p.cfg.CallCode.Answer(hash)
	if err != nil {
		return codeError(err)
	}
	p.tell(&pb.Control{Kind: &pb.Control_CodeNonce{CodeNonce: &pb.CodeNonce{Nonce: nonce}}})
	return nil
}

// codeNonce is the initiator's turn: it opens its commitment.
func (p *Peer) codeNonce(nonce []byte) error {
	if p.cfg.Role != Initiator || p.cfg.CallCode == nil {
		return fmt.Errorf("%w: call code", ErrControl)
	}
	own, code, err := p.cfg.CallCode.Reveal(nonce)
	if err != nil {
		return codeError(err)
	}
	p.tell(&pb.Control{Kind: &pb.Control_CodeReveal{CodeReveal: &pb.CodeReveal{Nonce: own}}})
	p.showCode(code)
	return nil
}

// codeReveal is the responder's: the opened nonce must be the one that was committed to.
func (p *Peer) codeReveal(nonce []byte) error {
	if p.cfg.Role != Responder || p.cfg.CallCode == nil {
		return fmt.Errorf("%w: call code", ErrControl)
	}
	code, err := p.cfg.CallCode.Finish(nonce)
	if err != nil {
		return codeError(err)
	}
	p.showCode(code)
	return nil
}

// codeError tells a broken commitment, which is an alarm, from a misplaced message.
func codeError(err error) error {
	if errors.Is(err, envelope.ErrCallCode) {
		return fmt.Errorf("%w: %w", ErrCallCode, err)
	}
	return err
}

func (p *Peer) showCode(code string) {
	if p.cfg.OnCallCode != nil {
		p.cfg.OnCallCode(code)
	}
}

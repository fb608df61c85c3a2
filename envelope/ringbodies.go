package envelope

import (
	"fmt"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// ReplyAddress is where answers and frames of one call go.
type ReplyAddress struct {
	redact
	Home   identity.Home
	Tag    RouteTag
	Token  Token
	Handle Handle // of the ring answer; zero in an ACCEPT
}

func (r *ReplyAddress) proto(withHandle bool) *pb.ReplyAddress {
	m := &pb.ReplyAddress{PeerId: r.Home.PeerID[:], Domain: r.Home.Domain, RouteTag: r.Tag[:], Token: r.Token[:]}
	if withHandle {
		m.Handle = r.Handle[:]
	}
	return m
}

func replyFrom(m *pb.ReplyAddress, withHandle bool) (ReplyAddress, error) {
	home, err := homeFrom(m.GetPeerId(), m.GetDomain())
	if err != nil {
		return ReplyAddress{}, err
	}
	want := 0
	if withHandle {
		want = 8
	}
	if len(m.RouteTag) != 16 || len(m.Token) != 16 || len(m.Handle) != want {
		return ReplyAddress{}, fmt.Errorf("%w: reply address", ErrMalformed)
	}
	r := ReplyAddress{Home: home, Tag: RouteTag(m.RouteTag), Token: Token(m.Token)}
	if withHandle {
		r.Handle = Handle(m.Handle)
	}
	// Frames are of the live class, which needs a token.
	if r.Token.IsZero() {
		return ReplyAddress{}, fmt.Errorf("%w: reply address without token", ErrMalformed)
	}
	return r, nil
}

// RingBody asks a device to answer a call. It holds no address of the caller's network.
type RingBody struct {
	redact
	Ephemeral []byte // 1216: an X-Wing key made for this device and this ring
	Media     pb.Media
	Reply     ReplyAddress
	Collapse  CollapseKey // that of the hop, repeated by the CANCEL
}

func (*RingBody) Type() pb.Type { return pb.Type_TYPE_RING }

func (r *RingBody) Marshal() ([]byte, error) {
	return marshalBody(&pb.Ring{Ephemeral: r.Ephemeral, Media: r.Media, Reply: r.Reply.proto(true), CollapseKey: r.Collapse[:]})
}

// ParseRing reads the body of a RING and checks the ephemeral key.
func ParseRing(b []byte) (*RingBody, error) {
	var m pb.Ring
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	if m.Media < pb.Media_MEDIA_UNSPECIFIED || m.Media > pb.Media_MEDIA_VIDEO {
		return nil, fmt.Errorf("%w: media %d", ErrMalformed, m.Media)
	}
	if m.Reply == nil || len(m.CollapseKey) != 16 {
		return nil, fmt.Errorf("%w: ring", ErrMalformed)
	}
	reply, err := replyFrom(m.Reply, true)
	if err != nil {
		return nil, err
	}
	if err := CheckXWing(m.Ephemeral); err != nil {
		return nil, err
	}
	return &RingBody{Ephemeral: m.Ephemeral, Media: m.Media, Reply: reply, Collapse: CollapseKey(m.CollapseKey)}, nil
}

// RingAnswer is the body of ACCEPT, DECLINE and BUSY.
type RingAnswer struct {
	redact
	Kind     pb.Type // TYPE_ACCEPT, TYPE_DECLINE or TYPE_BUSY
	RingHash [32]byte
	EncHash  [32]byte
	Reply    ReplyAddress // ACCEPT: where the session's frames go
	Reason   pb.Reason    // DECLINE and BUSY
}

func (a *RingAnswer) Type() pb.Type { return a.Kind }

func (a *RingAnswer) Marshal() ([]byte, error) {
	m := &pb.RingAnswer{RingHash: a.RingHash[:], EncHash: a.EncHash[:], Reason: a.Reason}
	if a.Kind == pb.Type_TYPE_ACCEPT {
		m.Reply = a.Reply.proto(false)
	}
	if err := checkAnswerReason(a.Kind, a.Reason); err != nil {
		return nil, err
	}
	return marshalBody(m)
}

func checkAnswerReason(kind pb.Type, r pb.Reason) error {
	var ok bool
	switch kind {
	case pb.Type_TYPE_ACCEPT:
		ok = r == pb.Reason_REASON_UNSPECIFIED
	case pb.Type_TYPE_DECLINE, pb.Type_TYPE_BUSY:
		ok = knownReason(r)
	}
	if !ok {
		return fmt.Errorf("%w: reason %d", ErrMalformed, r)
	}
	return nil
}

// knownReason is for what is said of a ring. An alarm needs a session, which a ring has not.
func knownReason(r pb.Reason) bool {
	return r >= pb.Reason_REASON_ENDED && r <= pb.Reason_REASON_FAILED
}

// ParseRingAnswer reads the body of an ACCEPT, DECLINE or BUSY.
func ParseRingAnswer(kind pb.Type, b []byte) (*RingAnswer, error) {
	var m pb.RingAnswer
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	if len(m.RingHash) != 32 || len(m.EncHash) != 32 {
		return nil, fmt.Errorf("%w: ring answer", ErrMalformed)
	}
	if err := checkAnswerReason(kind, m.Reason); err != nil {
		return nil, err
	}
	a := &RingAnswer{Kind: kind, RingHash: [32]byte(m.RingHash), EncHash: [32]byte(m.EncHash), Reason: m.Reason}
	if (kind == pb.Type_TYPE_ACCEPT) != (m.Reply != nil) {
		return nil, fmt.Errorf("%w: ring answer", ErrMalformed)
	}
	if m.Reply != nil {
		reply, err := replyFrom(m.Reply, false)
		if err != nil {
			return nil, err
		}
		a.Reply = reply
	}
	return a, nil
}

// Cancel ends a ring at a device that has not won it.
type Cancel struct {
	redact
	RingHash [32]byte
	Reason   pb.Reason
}

func (*Cancel) Type() pb.Type { return pb.Type_TYPE_CANCEL }

func (c *Cancel) Marshal() ([]byte, error) {
	if !knownReason(c.Reason) {
		return nil, fmt.Errorf("%w: reason %d", ErrMalformed, c.Reason)
	}
	return marshalBody(&pb.Cancel{RingHash: c.RingHash[:], Reason: c.Reason})
}

// ParseCancel reads the body of a CANCEL.
func ParseCancel(b []byte) (*Cancel, error) {
	var m pb.Cancel
	if err := parseBody(b, &m); err != nil {
		return nil, err
	}
	if len(m.RingHash) != 32 || !knownReason(m.Reason) {
		return nil, fmt.Errorf("%w: cancel", ErrMalformed)
	}
	return &Cancel{RingHash: [32]byte(m.RingHash), Reason: m.Reason}, nil
}

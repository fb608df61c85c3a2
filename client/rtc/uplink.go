package rtc

import (
	"encoding/binary"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/media/sfu/congestion"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// numberURI names the header extension in descriptions.
const numberURI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"

// uplinkMost is more than is ever sent to one member.
const uplinkMost = 100_000_000

// uplink measures what the path to another member of a room takes of what is sent there: each
// packet has a number for the whole connection, and the other side tells when each one came.
type uplink struct {
	clock Clock

	mu sync.Mutex // guards the rest
	e  *congestion.Estimator
}

func newUplink(c Clock) *uplink { return &uplink{clock: c, e: congestion.New(uplinkMost)} }

// number gives a packet that is sent now its number.
func (u *uplink) number(h *rtp.Header, id uint8, payload int) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], u.e.Next())
	if err := h.SetExtension(id, b[:]); err != nil {
		return err
	}
	u.e.Sent(h.MarshalSize()+payload, u.clock.Now())
	return nil
}

// report takes what the other side says: compound RTCP.
func (u *uplink) report(b []byte) {
	c := wire.NewCompound(b)
	for q, ok := c.Next(); ok; q, ok = c.Next() {
		if q.Type != wire.TypeTransport || q.Format != wire.FormatTWCC {
			continue
		}
		if _, fci, ok := q.Feedback(); ok {
			u.mu.Lock()
			// Feedback that ends too early counts as far as it goes.
			_ = u.e.Feedback(fci, u.clock.Now())
			u.mu.Unlock()
		}
	}
}

func (u *uplink) state(now time.Time) (takes, sent int64, told bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.e.Estimate(), u.e.Sending(now), u.e.Told()
}

// full says that more is sent than the path is estimated to take.
func (u *uplink) full(now time.Time) bool {
	takes, sent, told := u.state(now)
	return told && takes < sent
}

// Uplink is what the path takes as estimated and what was to be sent over it in the last half
// second, both in bit/s. False: the other side does not tell, or nothing was sent yet.
func (p *Peer) Uplink() (takes, sent int64, told bool) {
	if p.uplink == nil {
		return 0, 0, false
	}
	return p.uplink.state(p.clock.Now())
}

// numberOf is the header extension of the packets' numbers; 0: it was not agreed on.
func numberOf(c webrtc.TrackLocalContext) uint8 {
	for _, e := range c.HeaderExtensions() {
		if e.URI == numberURI {
			return uint8(e.ID)
		}
	}
	return 0
}

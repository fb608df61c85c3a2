package rtc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/pion/sctp"
	"github.com/pion/webrtc/v4"
)

// How much may wait in a channel before a sender has to wait itself, and when it may go on.
const (
	highWater = 1 << 20
	lowWater  = 256 << 10
)

// outlet lets messages into a data channel one after the other. Of two that are sent at the same moment the library may
// put the later one on the wire first, with the number that comes second, and not every SCTP sorts that out again: a
// receiver then waits for ever.
type outlet struct {
	mu   sync.Mutex
	into interface{ Send(msg []byte) error }
}

func (o *outlet) send(msg []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.into.Send(msg)
}

// channel is a negotiated data channel with back-pressure for the sender.
type channel struct {
	dc   *webrtc.DataChannel
	out  outlet
	turn chan struct{} // one token: whoever holds it may send
	low  chan struct{} // signalled when little waits
	open chan struct{} // of the file channel: closed when it may be used, which can be after the control channel has bound
	gone chan struct{} // closed when the channel is
}

func (p *Peer) openChannel(label string, id uint16) (*channel, error) {
	negotiated, ordered := true, true
	dc, err := p.pc.CreateDataChannel(label, &webrtc.DataChannelInit{ID: &id, Negotiated: &negotiated, Ordered: &ordered})
	if err != nil {
		return nil, fmt.Errorf("rtc: channel %s: %w", label, err)
	}
	c := &channel{dc: dc, out: outlet{into: dc}, turn: make(chan struct{}, 1), low: make(chan struct{}, 1), open: make(chan struct{}), gone: make(chan struct{})}
	dc.OnClose(func() { // called once; neither channel may close while the call lasts
		close(c.gone)
		p.post(func() { p.end(nil) })
	})
	dc.SetBufferedAmountLowThreshold(lowWater)
	dc.OnBufferedAmountLow(func() {
		select {
		case c.low <- struct{}{}:
		default: // a signal waits already
		}
	})
	return c, nil
}

// send waits for room and for its turn. Messages of one goroutine keep their order.
func (p *Peer) send(ctx context.Context, c *channel, msg []byte) error {
	select {
	case c.turn <- struct{}{}:
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-c.turn }()
	for c.dc.BufferedAmount() > highWater {
		select {
		case <-c.low:
		case <-p.closing:
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := c.out.send(msg)
	if left(err) {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("rtc: send: %w", err)
	}
	return nil
}

// left reports whether err says that the other side has left: the channel is closed, or, for a moment before it is, its
// stream or the whole association under it.
func left(err error) bool {
	return errors.Is(err, io.ErrClosedPipe) || errors.Is(err, sctp.ErrStreamClosed) || errors.Is(err, sctp.ErrPayloadDataStateNotExist)
}

// SendData sends one chunk of the file protocol, at most 65,535 bytes. It blocks while too
// much waits to be sent.
func (p *Peer) SendData(ctx context.Context, msg []byte) error {
	if len(msg) == 0 || len(msg) > maxMessage {
		return fmt.Errorf("rtc: file message of %d bytes", len(msg))
	}
	if err := p.boundAndOpen(); err != nil {
		return err
	}
	select {
	case <-p.file.open:
	case <-p.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.send(ctx, p.file, msg)
}

// watchFile hands the other side's chunks on. They can only have been sent after our Ready, so
// one that comes before we verified the other side is a breach.
func (p *Peer) watchFile() {
	p.file.dc.OnOpen(func() { close(p.file.open) })
	p.file.dc.OnMessage(func(m webrtc.DataChannelMessage) {
		if !p.binding.verified.Load() {
			p.end(fmt.Errorf("%w: file data came first", ErrBinding))
			return
		}
		if m.IsString || len(m.Data) == 0 {
			p.end(fmt.Errorf("%w: file channel", ErrControl))
			return
		}
		select {
		case <-p.bound:
		case <-p.closing:
			return
		}
		if p.cfg.OnFileData != nil {
			p.cfg.OnFileData(m.Data)
		}
	})
}

package rtc

import (
	"fmt"
	"sync"

	"github.com/pion/interceptor"
	"github.com/pion/interceptor/pkg/nack"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// What is lost is asked for each 100 ms until it comes, and sent again each time. On a line that takes less than it is
// sent, that alone fills it ten times over: everything is lost, is asked for all the longer, and whatever shares the
// line, as the link to the node, comes to a stand. So what is sent again has a budget.

const (
	// againPart of what is sent may be sent again: it mends a path that loses a third of all packets.
	againPart = 0.5
	// againFull is the part while the path is known to take less than it is sent: there, what is sent again takes the place
	// of something else. It mends what a bad radio loses, which looks alike.
	againFull = 0.15
	// againMost is what there may be of it at once, bytes: 100 ms of a good picture that were lost in one piece.
	againMost = 32 << 10
	// againFirst is there before anything was sent.
	againFirst = 8 << 10
	// askMost is how often, each 100 ms, a packet is asked for: twice as long as its frame is waited for.
	askMost = 20
)

// configureAgain has what was lost sent again, either way. full says that the path takes less than it is sent; nil: it is
// not known.
func configureAgain(engine *webrtc.MediaEngine, registry *interceptor.Registry, full func() bool) error {
	// The first one is the next to the network: it sees what the one that answers requests sends.
	registry.Add(againFactory{full})
	if err := webrtc.ConfigureNackWithOptions(engine, registry, []nack.GeneratorOption{nack.GeneratorMaxNacksPerPacket(askMost)}); err != nil {
		return fmt.Errorf("rtc: interceptors: %w", err)
	}
	return nil
}

type againFactory struct{ full func() bool }

// NewInterceptor implements interceptor.Factory.
func (f againFactory) NewInterceptor(string) (interceptor.Interceptor, error) {
	return &againLimit{full: f.full}, nil
}

// againLimit drops what is sent again beyond its budget.
type againLimit struct {
	interceptor.NoOp
	full func() bool
}

// BindLocalStream implements interceptor.Interceptor.
func (l *againLimit) BindLocalStream(info *interceptor.StreamInfo, next interceptor.RTPWriter) interceptor.RTPWriter {
	b := &againBudget{full: l.full, have: againFirst}
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, a interceptor.Attributes) (int, error) {
		size := h.MarshalSize() + len(payload)
		if !b.take(h.SSRC != info.SSRC, h.SequenceNumber, size) {
			return size, nil
		}
		return next.Write(h, payload, a)
	})
}

// againBudget is one stream's.
type againBudget struct {
	full func() bool // nil: it is not known

	mu     sync.Mutex // guards the rest
	began  bool
	newest uint16
	have   int // bytes
}

// take says whether a packet may go. The first time always; what goes out on the repair stream was sent before.
func (b *againBudget) take(repair bool, seq uint16, size int) bool {
	part := againPart
	if b.full != nil && b.full() {
		part = againFull
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !repair && (!b.began || int16(seq-b.newest) > 0) {
		b.began, b.newest = true, seq
		b.have = min(b.have+int(part*float64(size)), againMost)
		return true
	}
	if b.have < size {
		return false
	}
	b.have -= size
	return true
}

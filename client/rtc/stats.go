package rtc

import "sync/atomic"

// counters are the Peer's; all are added to from several goroutines.
type counters struct {
	audioReceived, videoReceived atomic.Uint64
	screenReceived               atomic.Uint64
	sframeFailed, framesLost     atomic.Uint64
	keyframesAsked               atomic.Uint64
	candidatesRefused            atomic.Uint64
	bytesSent, bytesReceived     atomic.Uint64
}

// Stats returns the counts so far.
func (p *Peer) Stats() Stats {
	c := &p.counts
	s := Stats{
		AudioReceived:     c.audioReceived.Load(),
		VideoReceived:     c.videoReceived.Load(),
		ScreenReceived:    c.screenReceived.Load(),
		SFrameFailed:      c.sframeFailed.Load(),
		FramesLost:        c.framesLost.Load(),
		KeyframesAsked:    c.keyframesAsked.Load(),
		CandidatesRefused: c.candidatesRefused.Load(),
		BytesSent:         c.bytesSent.Load(),
		BytesReceived:     c.bytesReceived.Load(),
	}
	if p.audio != nil {
		s.AudioSent = p.audio.frames.Load()
	}
	if p.video != nil {
		s.VideoSent = p.video.frames.Load()
	}
	return s
}

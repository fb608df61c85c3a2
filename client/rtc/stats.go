package rtc

import "sync/atomic"

// counters are the Peer's; all are added to from several goroutines.
type counters struct {
	audioReceived, videoReceived atomic.Uint64
	screenReceived               atomic.Uint64
	sframeFailed, framesLost     atomic.Uint64
	duplicates                   atomic.Uint64
	keyframesAsked               atomic.Uint64
	candidatesRefused            atomic.Uint64
	bytesSent, bytesReceived     atomic.Uint64
}

// Plus adds the counts of another connection.
func (s Stats) Plus(o Stats) Stats {
	return Stats{
		AudioSent: s.AudioSent + o.AudioSent, AudioReceived: s.AudioReceived + o.AudioReceived,
		VideoSent: s.VideoSent + o.VideoSent, VideoReceived: s.VideoReceived + o.VideoReceived,
		ScreenReceived: s.ScreenReceived + o.ScreenReceived, SFrameFailed: s.SFrameFailed + o.SFrameFailed,
		Duplicates: s.Duplicates + o.Duplicates, FramesLost: s.FramesLost + o.FramesLost,
		KeyframesAsked: s.KeyframesAsked + o.KeyframesAsked, CandidatesRefused: s.CandidatesRefused + o.CandidatesRefused,
		BytesSent: s.BytesSent + o.BytesSent, BytesReceived: s.BytesReceived + o.BytesReceived,
	}
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
		Duplicates:        c.duplicates.Load(),
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

package rtc

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"github.com/trunkline-net/trunkline/client/rtc/assemble"
	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// sealedFrames gives what comes in sections that the Peer has no reader for, as it came.
func sealedFrames(p *Peer) <-chan []byte {
	out := make(chan []byte, 64)
	p.pc.OnTrack(func(track *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		if _, read := p.slots[receiver]; read {
			p.incomingTrack(track, receiver)
			return
		}
		codec, _ := codecOf(track.Codec().MimeType)
		frames := assemble.New(videoDelay)
		go func() {
			buf := make([]byte, receiveSize)
			for {
				n, _, err := track.Read(buf)
				if err != nil {
					return
				}
				packet := &rtp.Packet{}
				if err := packet.Unmarshal(bytes.Clone(buf[:n])); err != nil {
					continue
				}
				if piece, ok := unwrap(codec, packet); ok {
					for _, f := range frames.Push(piece, time.Now()) {
						out <- f.Data
					}
				}
			}
		}()
	})
	return out
}

// counterOf reads the counter of an SFrame header (RFC 9605, 4.3).
func counterOf(header []byte) (n uint64) {
	config, rest := header[0], header[1:]
	if config&0x80 != 0 {
		rest = rest[config>>4&7+1:]
	}
	if config&8 == 0 {
		return uint64(config & 7)
	}
	for _, b := range rest[:config&7+1] {
		n = n<<8 | uint64(b)
	}
	return n
}

// again carries an offer of the next generation, as a fresh section needs it.
func again(t *testing.T, offerer, answerer *side) {
	t.Helper()
	ctx := context.Background()
	offer, err := offerer.Restart(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := answerer.AcceptOffer(ctx, offer)
	if err != nil {
		t.Fatal(err)
	}
	if err := offerer.AcceptAnswer(ctx, answer); err != nil {
		t.Fatal(err)
	}
}

// Whoever's frames were not opened once goes on in a fresh section, with the counter where it was.
func TestFreshSectionGoesOnWithTheSameCounter(t *testing.T) {
	for name, c := range map[string]struct {
		role Role // of the side that sends
		// ask makes the other side want a fresh section for the camera.
		ask func(t *testing.T, sender, receiver *side, asked <-chan struct{})
	}{
		"the side that offers sends": {Initiator, func(t *testing.T, sender, receiver *side, asked <-chan struct{}) {
			if err := receiver.say(context.Background(), &pb.Control{Kind: &pb.Control_Fresh{Fresh: &pb.Fresh{Slot: uint32(sframe.Camera)}}}); err != nil {
				t.Fatal(err)
			}
			wait(t, asked, "request for a fresh section")
			if !sender.Renewing() {
				t.Error("nothing is due")
			}
			again(t, sender, receiver)
		}},
		"the side that answers sends": {Responder, func(t *testing.T, sender, receiver *side, _ <-chan struct{}) {
			for _, tr := range receiver.pc.GetTransceivers() {
				if tr.Kind() == webrtc.RTPCodecTypeVideo && tr.Direction() == webrtc.RTPTransceiverDirectionRecvonly && receiver.slots[tr.Receiver()] == sframe.Camera {
					if err := tr.Stop(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if _, err := receiver.pc.AddTransceiverFromKind(webrtc.RTPCodecTypeVideo, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}); err != nil {
				t.Fatal(err)
			}
			again(t, receiver, sender)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			a, b := testConfig(Initiator), testConfig(Responder)
			a.OnFresh = func() { asked <- struct{}{} }
			alice, bob := connect(t, a, b)
			sender, receiver := alice, bob
			key := keyI2R
			if c.role == Responder {
				sender, receiver, key = bob, alice, keyR2I
			}
			for n := range 3 {
				if err := sender.SendVideo([]byte{0, byte(n), 0, 0, 0, 0, 0, 0, 0, 0, 0}, 33*time.Millisecond); err != nil {
					t.Fatal(err)
				}
			}
			receiver.frames(0, 3)
			fresh := sealedFrames(receiver.Peer)
			c.ask(t, sender, receiver, asked)
			if sender.Renewing() {
				t.Error("it is due after it was agreed on")
			}

			open := sframe.NewReceiver()
			if err := open.AddKey(sframe.KID(uint32(c.role), sframe.Camera, 0), key); err != nil {
				t.Fatal(err)
			}
			// A frame leaves once the section is there; before that there is silence, and no error.
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			late := time.After(testTime)
			content := []byte{0, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}
			for sealed := []byte(nil); sealed == nil; {
				if err := sender.SendVideo(content, 33*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				select {
				case sealed = <-fresh:
				case <-tick.C:
					continue
				case <-late:
					t.Fatal("nothing came in the fresh section")
				}
				frame, _, err := open.Open(nil, sframe.VP8, sealed)
				if err != nil || !bytes.Equal(frame, content) {
					t.Fatalf("the first frame is %x, %v", frame, err)
				}
				if n := counterOf(sealed[10:]); n < 3 {
					t.Errorf("counter %d was used before", n)
				}
			}
			// Of the other slot nothing has changed.
			if err := sender.SendAudio([]byte("sound"), 20*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			receiver.frames(1, 3)
			if err := receiver.say(context.Background(), &pb.Control{Kind: &pb.Control_Fresh{Fresh: &pb.Fresh{Slot: uint32(sframe.Camera)}}}); err != nil {
				t.Fatal(err)
			}
			if err := sender.result(); !errors.Is(err, ErrControl) {
				t.Errorf("a second request ended it with %v", err)
			}
			if err := receiver.result(); err != nil {
				t.Error(err)
			}
			noGoroutines(t)
		})
	}
}

// A request that is out of turn ends the call, and asks for nothing.
func TestFreshSectionOutOfTurn(t *testing.T) {
	ready := func() *Peer {
		p := &Peer{audio: &sending{}, cfg: Config{OnFresh: func() { t.Error("asked for") }}}
		p.neg.offerer = true
		return p
	}
	for name, c := range map[string]struct {
		slot   uint32
		change func(*Peer)
	}{
		"to the side that answers":           {0, func(p *Peer) { p.neg.offerer = false }},
		"of a slot that nothing is sent in":  {1, func(*Peer) {}},
		"of the screen's sound":              {3, func(*Peer) {}},
		"of no slot":                         {4, func(*Peer) {}},
		"of a slot beyond the number's byte": {256, func(*Peer) {}},
		"a second time":                      {0, func(p *Peer) { p.audio.anew = true }},
		"between members of a room":          {0, func(p *Peer) { p.cfg.OnFresh = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			p := ready()
			c.change(p)
			err := p.dispatch(&pb.Control{Kind: &pb.Control_Fresh{Fresh: &pb.Fresh{Slot: c.slot}}})
			if !errors.Is(err, ErrControl) || p.Renewing() || len(p.neg.due) > 0 {
				t.Errorf("taken: %v", err)
			}
		})
	}
}

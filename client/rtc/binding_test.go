package rtc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/client/rtc/pb"
	"github.com/trunkline-net/trunkline/client/sdp"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/internal/canon"
)

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := canon.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// attacked connects Alice with a Bob whose hands are the test's: mallory is called on Bob's
// goroutine before any description, and it says what Alice's Run must end with.
func attacked(t *testing.T, a, b Config, mallory func(bob *side), want ...error) (alice *side) {
	t.Helper()
	alice, bob := pairUp(t, a, b)
	if err := bob.await(context.Background()); err != nil {
		t.Fatal(err)
	}
	set := make(chan struct{})
	bob.post(func() { mallory(bob); close(set) })
	wait(t, set, "attack to be prepared")
	exchange(t, alice, bob)
	err := alice.result()
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("Alice's call ended with %v, want %v", err, want)
	}
	if a.Clock == nil && strings.Contains(fmt.Sprint(err), "none within") {
		t.Errorf("the attack never came: %v", err)
	}
	select {
	case <-alice.bound:
		t.Error("Alice's call was bound")
	default:
	}
	bob.Close()
	wait(t, bob.done, "Bob's end")
	if a, v := alice.Stats().AudioReceived, alice.Stats().VideoReceived; a+v != 0 {
		t.Errorf("Alice was handed %d frames", a+v)
	}
	noGoroutines(t)
	return alice
}

// Test 52 and 53 where they are used: the description is refused before the library sees it.
func Test14_52_53_DescriptionWithAnotherFingerprint(t *testing.T) {
	alice, bob := pairUp(t, testConfig(Initiator), testConfig(Responder))
	ctx := context.Background()
	offer, err := alice.CreateOffer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	line := "a=fingerprint:" + sdp.FormatFingerprint(offer.Fingerprint)
	other := "a=fingerprint:" + sdp.FormatFingerprint([32]byte{9})
	if !strings.Contains(string(offer.SDP), line) {
		t.Fatalf("offer without its fingerprint:\n%s", offer.SDP)
	}
	for name, change := range map[string]func(d *Description){
		"signed field differs":  func(d *Description) { d.Fingerprint[0] ^= 1 },
		"line differs":          func(d *Description) { d.SDP = bytes.Replace(d.SDP, []byte(line), []byte(other), 1) },
		"a second line differs": func(d *Description) { d.SDP = append(bytes.Clone(d.SDP), other+"\r\n"...) },
		"a sha-1 line":          func(d *Description) { d.SDP = append(bytes.Clone(d.SDP), "a=fingerprint:sha-1 00:11\r\n"...) },
		"none":                  func(d *Description) { d.SDP = bytes.Replace(d.SDP, []byte(line+"\r\n"), nil, 1) },
		"Bob's own": func(d *Description) {
			d.Fingerprint = bob.Fingerprint()
			d.SDP = bytes.Replace(d.SDP, []byte(line), []byte("a=fingerprint:"+sdp.FormatFingerprint(d.Fingerprint)), 1)
		},
	} {
		bad := offer
		change(&bad)
		if _, err := bob.AcceptOffer(ctx, bad); !errors.Is(err, ErrFingerprint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if bob.pc.RemoteDescription() != nil {
		t.Error("the library was given a refused description")
	}
	// The true one still works.
	if _, err := bob.AcceptOffer(ctx, offer); err != nil {
		t.Error(err)
	}
	alice.Close()
	bob.Close()
	if err := errors.Join(alice.result(), bob.result()); err != nil {
		t.Error(err)
	}
}

// Test 54: the DTLS peer presents another certificate than the signed one.
func Test14_54_AnotherCertificate(t *testing.T) {
	for name, tune := range map[string]func(*webrtc.SettingEngine){
		"the library notices": nil,
		"only we notice":      func(s *webrtc.SettingEngine) { s.DisableCertificateFingerprintVerification(true) },
	} {
		t.Run(name, func(t *testing.T) {
			var alice, bob *side
			a, b := testConfig(Initiator), testConfig(Responder)
			trickle(&a, func() *side { return bob })
			trickle(&b, func() *side { return alice })
			alice, bob = newSide(t, a), newSide(t, b)
			alice.tune = tune
			alice.run()
			bob.run()
			ctx := context.Background()
			offer, err := alice.CreateOffer(ctx)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := bob.AcceptOffer(ctx, offer)
			if err != nil {
				t.Fatal(err)
			}
			// The signed answer names a certificate that Mallory, who answers, does not have.
			signed := [32]byte{42}
			answer.SDP = bytes.ReplaceAll(answer.SDP, []byte(sdp.FormatFingerprint(answer.Fingerprint)), []byte(sdp.FormatFingerprint(signed)))
			answer.Fingerprint = signed
			if err := alice.AcceptAnswer(ctx, answer); err != nil {
				t.Fatal(err)
			}
			if err := alice.result(); !errors.Is(err, ErrFingerprint) {
				t.Errorf("Alice's call ended with %v", err)
			}
			select {
			case <-alice.bound:
				t.Error("Alice's call was bound")
			default:
			}
			bob.Close()
			wait(t, bob.done, "Bob's end")
			noGoroutines(t)
		})
	}
}

// acceptsAll is a Binding that verifies whatever comes.
type acceptsAll struct{ testBinding }

func (acceptsAll) CheckBinding([]byte, [32]byte, [32]byte) error { return nil }

// lies sends a wrong MAC but checks the other's rightly.
type lies struct{ testBinding }

func (l lies) Binding(own, peer [32]byte) ([32]byte, error) {
	mac := l.mac(l.role, own, peer)
	mac[31] ^= 1
	return mac, nil
}

// Test 55: the channel-binding message is missing, late, wrong, or reflected.
func Test14_55_Binding(t *testing.T) {
	t.Run("missing or late", func(t *testing.T) {
		a := testConfig(Initiator)
		clock := newTestClock()
		a.Clock = clock
		go func() {
			<-clock.set // the limit began: DTLS is up
			clock.advance(bindingTime - 1)
			clock.advance(1)
		}()
		attacked(t, a, testConfig(Responder), func(bob *side) { bob.binding.opened = true }, ErrBinding)
	})
	t.Run("within the limit", func(t *testing.T) {
		a := testConfig(Initiator)
		clock := newTestClock()
		a.Clock = clock
		b := testConfig(Responder)
		alice, bob := pairUp(t, a, b)
		if err := bob.await(context.Background()); err != nil {
			t.Fatal(err)
		}
		// Bob does nothing, not even trickle, until Alice has waited nearly too long.
		late := make(chan struct{})
		bob.post(func() { <-late })
		exchange(t, alice, bob)
		wait(t, clock.set, "the limit's beginning")
		clock.advance(bindingTime - 1)
		close(late)
		wait(t, alice.Peer.bound, "binding at the last moment")
		clock.advance(time.Hour)
		if err := alice.SendAudio([]byte("x"), time.Millisecond); err != nil {
			t.Errorf("after the limit of a bound call: %v", err)
		}
		wait(t, bob.Peer.bound, "binding at Bob's")
		// Bob ends it: Alice's goodbye would wait for her own clock.
		bob.Close()
		if err := errors.Join(alice.result(), bob.result()); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		b := testConfig(Responder)
		b.Binding = lies{testBinding{role: Responder}}
		attacked(t, testConfig(Initiator), b, func(*side) {}, ErrBinding)
	})
	t.Run("of another session", func(t *testing.T) {
		b := testConfig(Responder)
		b.Binding = acceptsAll{testBinding{role: Responder, key: 1}}
		attacked(t, testConfig(Initiator), b, func(*side) {}, ErrBinding)
	})
	t.Run("of the wrong role", func(t *testing.T) {
		b := testConfig(Responder)
		b.Binding = acceptsAll{testBinding{role: Initiator}}
		attacked(t, testConfig(Initiator), b, func(*side) {}, ErrBinding)
	})
	t.Run("reflected", func(t *testing.T) {
		a := testConfig(Initiator)
		a.Binding = acceptsAll{testBinding{role: Initiator}} // even a careless session is covered
		attacked(t, a, testConfig(Responder), func(bob *side) {
			bob.binding.opened = true
			bob.control.dc.OnMessage(func(m webrtc.DataChannelMessage) {
				send(t, bob.control, m.Data)
			})
		}, ErrBinding)
	})
	for name, mac := range map[string][]byte{"empty": nil, "short": make([]byte, 31), "long": make([]byte, 33)} {
		t.Run(name, func(t *testing.T) {
			attacked(t, testConfig(Initiator), testConfig(Responder),
				sendsFirst(t, encode(t, &pb.Control{Kind: &pb.Control_Binding{Binding: &pb.Binding{Mac: mac}}})), ErrBinding)
		})
	}
}

// sendsFirst makes Bob send b as the first thing on the control channel.
func sendsFirst(t *testing.T, b []byte) func(*side) {
	return func(bob *side) {
		bob.binding.opened = true
		bob.control.dc.OnOpen(func() {
			send(t, bob.control, b)
		})
	}
}

// send sends as an attacker does. Alice may hang up before Send has returned: whether the
// attack arrived shows in how her call ends.
func send(t *testing.T, c *channel, b []byte) {
	if err := c.dc.Send(b); err != nil && !left(err) {
		t.Error(err)
	}
}

// Test 56: something else on the control channel, or anything on the file channel, before the
// binding.
func Test14_56_DataBeforeBinding(t *testing.T) {
	for name, b := range map[string][]byte{
		"ready":        encode(t, &pb.Control{Kind: &pb.Control_Ready{Ready: &pb.Ready{}}}),
		"media end":    encode(t, &pb.Control{Kind: &pb.Control_MediaEnd{MediaEnd: &pb.MediaEnd{AudioFrames: 1}}}),
		"file message": encode(t, &pb.Control{Kind: &pb.Control_File{File: &pb.File{Message: []byte("x")}}}),
		"goodbye":      encode(t, &pb.Control{Kind: &pb.Control_Bye{Bye: &pb.Bye{}}}),
		"call code":    encode(t, &pb.Control{Kind: &pb.Control_CodeCommit{CodeCommit: &pb.CodeCommit{Hash: make([]byte, 32)}}}),
		"garbage":      []byte("hello"),
	} {
		t.Run(name, func(t *testing.T) {
			attacked(t, testConfig(Initiator), testConfig(Responder), sendsFirst(t, b), ErrBinding)
		})
	}
	t.Run("text", func(t *testing.T) {
		attacked(t, testConfig(Initiator), testConfig(Responder), func(bob *side) {
			bob.binding.opened = true
			bob.control.dc.OnOpen(func() {
				if err := bob.control.dc.SendText("hello"); err != nil && !left(err) {
					t.Error(err)
				}
			})
		}, ErrBinding)
	})
	t.Run("file data", func(t *testing.T) {
		attacked(t, testConfig(Initiator), testConfig(Responder), func(bob *side) {
			bob.binding.opened = true
			bob.file.dc.OnOpen(func() {
				send(t, bob.file, []byte("chunk"))
			})
		}, ErrBinding)
	})
	t.Run("after the binding, instead of the confirmation", func(t *testing.T) {
		attacked(t, testConfig(Initiator), testConfig(Responder), func(bob *side) {
			bob.control.dc.OnMessage(func(webrtc.DataChannelMessage) {
				send(t, bob.control, encode(t, &pb.Control{Kind: &pb.Control_MediaStart{MediaStart: &pb.MediaStart{Audio: 1}}}))
			})
		}, ErrBinding)
	})
	t.Run("a channel of its own", func(t *testing.T) {
		attacked(t, testConfig(Initiator), testConfig(Responder), func(bob *side) {
			bob.binding.opened = true
			if _, err := bob.pc.CreateDataChannel("more", nil); err != nil {
				t.Error(err)
			}
		}, ErrControl, ErrBinding) // which of two offences is seen first is the network's choice
	})
}

// Messages that have no place in a bound call end it.
func TestControlMessagesOutOfPlace(t *testing.T) {
	for name, b := range map[string][]byte{
		"second binding":        encode(t, &pb.Control{Kind: &pb.Control_Binding{Binding: &pb.Binding{Mac: make([]byte, 32)}}}),
		"second ready":          encode(t, &pb.Control{Kind: &pb.Control_Ready{Ready: &pb.Ready{}}}),
		"empty":                 {},
		"unknown field":         {0x7a, 0},
		"not canonical":         {0x12, 0, 0x12, 0},
		"too long":              encode(t, &pb.Control{Kind: &pb.Control_File{File: &pb.File{Message: make([]byte, maxControl)}}}),
		"long file message":     encode(t, &pb.Control{Kind: &pb.Control_File{File: &pb.File{Message: make([]byte, maxFileControl+1)}}}),
		"empty file message":    encode(t, &pb.Control{Kind: &pb.Control_File{File: &pb.File{}}}),
		"leg of nowhere":        encode(t, &pb.Control{Kind: &pb.Control_Leg{Leg: &pb.Leg{Kind: 99}}}),
		"video as audio":        encode(t, &pb.Control{Kind: &pb.Control_MediaStart{MediaStart: &pb.MediaStart{Audio: pb.Codec_CODEC_VP8}}}),
		"audio as video":        encode(t, &pb.Control{Kind: &pb.Control_MediaStart{MediaStart: &pb.MediaStart{Video: pb.Codec_CODEC_OPUS}}}),
		"responder's code turn": encode(t, &pb.Control{Kind: &pb.Control_CodeCommit{CodeCommit: &pb.CodeCommit{Hash: make([]byte, 32)}}}),
		"second nonce":          encode(t, &pb.Control{Kind: &pb.Control_CodeNonce{CodeNonce: &pb.CodeNonce{Nonce: make([]byte, 32)}}}),
		"reveal to the opener":  encode(t, &pb.Control{Kind: &pb.Control_CodeReveal{CodeReveal: &pb.CodeReveal{Nonce: make([]byte, 32)}}}),
	} {
		t.Run(name, func(t *testing.T) {
			alice, bob := connect(t, testConfig(Initiator), testConfig(Responder))
			wait(t, alice.code, "call code")
			if err := bob.control.dc.Send(b); err != nil {
				t.Fatal(err)
			}
			if err := alice.result(); !errors.Is(err, ErrControl) && !errors.Is(err, ErrCallCode) {
				t.Errorf("ended with %v", err)
			}
			wait(t, bob.done, "Bob's end")
		})
	}
}

// Test 58: the call code's commitment is opened with another nonce.
func Test14_58_CallCodeCommitmentBroken(t *testing.T) {
	a := testConfig(Initiator)
	a.CallCode = nil // Mallory plays the initiator's part by hand
	alice, bob := connect(t, a, testConfig(Responder))
	alice.post(func() {
		committed := sha256.Sum256([]byte("the nonce before it saw Bob's"))
		alice.cfg.CallCode = envelope.CallCodeOf(envelope.Initiator, keyCode)
		if _, err := alice.cfg.CallCode.Commit(); err != nil {
			t.Error(err)
		}
		alice.tell(&pb.Control{Kind: &pb.Control_CodeCommit{CodeCommit: &pb.CodeCommit{Hash: committed[:]}}})
	})
	if err := bob.result(); !errors.Is(err, ErrCallCode) {
		t.Errorf("Bob's call ended with %v", err)
	}
	select {
	case c := <-bob.code:
		t.Errorf("Bob was shown %s", c)
	default:
	}
	wait(t, alice.done, "Alice's end")
}

// Whatever comes on the control channel is handled or ends the call; it never panics.
func FuzzControlMessage(f *testing.F) {
	for _, m := range []*pb.Control{
		{Kind: &pb.Control_Binding{Binding: &pb.Binding{Mac: make([]byte, 32)}}},
		{Kind: &pb.Control_Ready{Ready: &pb.Ready{}}},
		{Kind: &pb.Control_Leg{Leg: &pb.Leg{Kind: 1}}},
		{Kind: &pb.Control_MediaStart{MediaStart: &pb.MediaStart{Audio: 1, Video: 2}}},
		{Kind: &pb.Control_CodeCommit{CodeCommit: &pb.CodeCommit{Hash: make([]byte, 32)}}},
		{Kind: &pb.Control_CodeReveal{CodeReveal: &pb.CodeReveal{Nonce: make([]byte, 32)}}},
	} {
		b, err := canon.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false, true, true)
	}
	f.Add([]byte("garbage"), true, false, false)
	cfg := testConfig(Responder)
	p, err := New(cfg)
	if err != nil {
		f.Fatal(err)
	}
	if err := p.build(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := p.pc.GracefulClose(); err != nil {
			f.Error(err)
		}
		p.loops.Wait()
	})
	f.Fuzz(func(t *testing.T, b []byte, text, verified, ready bool) {
		p.binding.opened = true
		p.binding.verified.Store(verified)
		p.binding.ready = verified && ready
		p.cfg.CallCode = envelope.CallCodeOf(envelope.Responder, keyCode)
		if !p.binding.ready {
			// The gate opens once in a Peer's life.
			if !verified || canon.Unmarshal(b, maxControl, &pb.Control{}) == nil {
				return
			}
		}
		if err := p.controlMessage(webrtc.DataChannelMessage{Data: b, IsString: text}); err == nil && text {
			t.Fatal("text was taken")
		}
	})
}

package client_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/leak"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/media/sframe"
	"github.com/trunkline-net/trunkline/node"
)

// A node in a process of its own, whose memory can be searched for what only its rooms' members
// know.

// serveChild serves a folder until SIGTERM, and says where.
func serveChild(dir string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := exchangeConfig("acme.example", dir)
	if err != nil {
		return err
	}
	n, err := node.New(cfg, nil)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	select {
	case <-n.Ready():
		facts, err := json.Marshal(n.Facts())
		if err != nil {
			return err
		}
		fmt.Println("ready", string(facts))
	case err := <-ended:
		return err
	}
	return <-ended
}

// planted is a clip whose frames nobody has seen before: behind the first bytes, which say what
// kind of frame it is, each is mixed with bytes drawn for this test.
type planted struct {
	audio, video [][]byte
}

const plantedHead = 10

func plant(t *testing.T) *planted {
	t.Helper()
	p := new(planted)
	s := aClip(t)
	for into, next := range map[*[][]byte]func() ([]byte, time.Duration, error){&p.audio: s.NextAudio, &p.video: s.NextVideo} {
		for {
			frame, _, err := next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(frame) > plantedHead {
				_, _ = rand.Read(frame[plantedHead:]) // never fails on supported systems
			}
			*into = append(*into, frame)
		}
	}
	return p
}

// source plays it again and again, so slowly that thirty people can on one machine.
func (p *planted) source(pictures bool) *client.Source {
	line := func(frames [][]byte, d time.Duration) func() ([]byte, time.Duration, error) {
		at := 0
		return func() ([]byte, time.Duration, error) {
			at++
			return frames[(at-1)%len(frames)], d, nil
		}
	}
	s := &client.Source{NextAudio: line(p.audio, 400*time.Millisecond), VideoCodec: sframe.VP8}
	if pictures {
		s.NextVideo = line(p.video, 500*time.Millisecond)
	}
	return s
}

// needles are pieces of its frames, each short enough to lie in one packet whole.
func (p *planted) needles() (out []leak.Needle) {
	const size, most = 32, 64
	for name, frames := range map[string][][]byte{"sound": p.audio, "a picture": p.video} {
		n := 0
		for i, f := range frames {
			if len(f) < plantedHead+2*size || n == most {
				continue
			}
			n++
			out = append(out, leak.Needle{Name: fmt.Sprintf("%s, frame %d", name, i), Forms: [][]byte{f[plantedHead+8 : plantedHead+8+size]}})
		}
	}
	return out
}

// opened counts the frames of another one's slot that opened.
func (in *inRoom) opened(other *inRoom, slot sframe.Slot) (mesh, sfu uint64) {
	for _, m := range in.Members() {
		if m.Index != other.Index() {
			continue
		}
		for _, f := range m.Frames {
			if f.Slot == slot {
				return f.Mesh, f.SFU
			}
		}
	}
	return 0, 0
}

// crowdWait is far more than it takes until all of them hear each other.
const crowdWait = 4 * time.Minute

// TestThirtyPeopleMeetAndTheNodeHearsNothing is the whole journey of a room over real sockets: two
// talk in a mesh, it grows to thirty (full) and goes over the node, one is sent away, most leave, and the
// rest come back to the mesh; all the time each hears whoever is there, and nothing of what is
// said is in the node's memory. The same search finds what a client sends without SFrame.
func TestThirtyPeopleMeetAndTheNodeHearsNothing(t *testing.T) {
	if !leak.MemorySearched {
		t.Log("the memory of another process cannot be read on this system; it is not searched")
	}
	acme := startChild(t, "serve", filepath.Join(t.TempDir(), "acme"))
	var facts node.Facts
	if err := json.Unmarshal([]byte(acme.line(t, "ready", func(string) bool { return true })), &facts); err != nil {
		t.Fatal(err)
	}
	clock := newClock()
	secret := plant(t)
	alice := newHumanAt(t, "alice", facts.HTTP, func(h *human) { h.now = clock.Now })
	info := newRoom(t, alice, client.RoomSettings{MeshMost: 3})
	options := func(i int) client.RoomOptions {
		return client.RoomOptions{Media: client.Video, Source: secret.source(i < 4)}
	}
	come := func(i int) *inRoom {
		name := fmt.Sprintf("guest %d", i)
		o := options(i)
		o.Name = name
		r, err := client.JoinRoomAsGuest(within(t), client.Config{Loopback: true, Logger: logger(t, name), Now: clock.Now}, info.Link.Text(), o)
		if err != nil {
			t.Fatalf("%s joins: %v", name, err)
		}
		return follow(t, name, r)
	}
	all := []*inRoom{goIn(t, alice, info.Link.Text(), options(0))}
	for i := 1; i < 3; i++ {
		all = append(all, come(i))
	}
	hearsMore(t, all, sframe.Microphone, true, func(mesh, _ uint64) uint64 { return mesh })
	hearsMore(t, all, sframe.Camera, true, func(mesh, _ uint64) uint64 { return mesh })

	over := func(_, sfu uint64) uint64 { return sfu }
	for i := len(all); i < 6; i++ {
		all = append(all, come(i))
	}
	hearsMore(t, all, sframe.Microphone, true, over)
	for _, in := range all {
		hearsMore(t, []*inRoom{in, all[0], all[1], all[2], all[3]}, sframe.Camera, false, over)
	}
	for i := len(all); i < full; i++ {
		all = append(all, come(i))
	}
	for _, in := range all {
		heard(t, in, func(e client.RoomTopology) bool { return e.SFU })
	}
	// Whether pictures go to thirty as well is the machine's to say: sound goes before them.
	hearsMore(t, all, sframe.Microphone, true, over)
	for _, in := range all {
		for _, m := range in.Members() {
			if !strings.HasPrefix(m.Route.Path, "sfu/") {
				t.Errorf("%s gets %s over %q", in.name, m.Name, m.Route.Path)
			}
		}
		if in.was(func(e client.RoomEvent) bool { _, rekeyed := e.(client.RoomRekeyed); return rekeyed }) {
			t.Errorf("%s drew another key though nobody had gone", in.name)
		}
	}
	if leak.MemorySearched {
		leak.NewHunt(t, secret.needles()...).Memory("the node's memory, with thirty who talk", acme.cmd.Process.Pid, leak.Secret("the room's id", info.Link.Room[:]))
	}

	// One is sent away. What it has of the others stays as it is, and they go on under new keys.
	gone := all[full-1]
	index := gone.Index()
	if err := all[0].Remove(within(t), index); err != nil {
		t.Fatal(err)
	}
	gone.isOver(t, link.CodeRemoved)
	all = all[:full-1]
	for _, in := range all {
		heard(t, in, func(e client.MemberWent) bool { return e.Index == index && e.Code == link.CodeRemoved })
		heard(t, in, always[client.RoomRekeyed])
		heard(t, in, always[client.RoomLinkReplaced])
	}
	if n := len(gone.Members()); n != 0 {
		t.Errorf("who was sent away still has %d members", n)
	}
	hearsMore(t, all, sframe.Microphone, true, over)

	// The control: at the same node, a client that does not seal what it sends.
	if leak.MemorySearched {
		open := plant(t)
		stop := sendsInClear(t, newRoom(t, alice, client.RoomSettings{}).Link, open.video)
		found := (&planted{video: open.video}).needles()
		waitFor(t, "what was not sealed, in the node's memory", func() bool {
			s, err := leak.New(found)
			if err != nil || s.Memory("the node", acme.cmd.Process.Pid) != nil {
				t.Fatal("the node's memory was not searched")
			}
			return len(s.Found()) > len(found)/4
		})
		stop()
	}

	// Most of them leave.
	for _, in := range all[2:] {
		if err := in.Leave(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	all = all[:2]
	for _, in := range all {
		waitFor(t, in.name+" is with one other", func() bool { return len(in.Members()) == 1 })
	}
	hearsMore(t, all, sframe.Microphone, true, over)
	clock.move(20 * time.Second)
	for _, in := range all {
		heard(t, in, func(e client.RoomTopology) bool { return !e.SFU })
	}
	hearsMore(t, all, sframe.Microphone, true, func(mesh, _ uint64) uint64 { return mesh })
	// Where many come or go at once a few frames may be sealed under a key that is not there yet, or
	// any more; not where nobody does.
	failed := []uint64{all[0].Members()[0].Stats.SFrameFailed, all[1].Members()[0].Stats.SFrameFailed}
	hearsMore(t, all, sframe.Camera, true, func(mesh, _ uint64) uint64 { return mesh })
	for i, in := range all {
		if m := in.Members()[0]; m.Stats.SFrameFailed != failed[i] || strings.HasPrefix(m.Route.Path, "sfu/") {
			t.Errorf("%s: %d frames did not open, route %q", in.name, m.Stats.SFrameFailed-failed[i], m.Route.Path)
		}
	}
}

// hearsMore waits until each gets more of each other's slot, or the first one of each other's.
func hearsMore(t *testing.T, all []*inRoom, slot sframe.Slot, everybody bool, way func(mesh, sfu uint64) uint64) {
	t.Helper()
	type ear struct{ in, of *inRoom }
	before := map[ear]uint64{}
	for i, in := range all {
		if i > 0 && !everybody {
			break
		}
		for _, of := range all {
			if in != of {
				before[ear{in, of}] = way(in.opened(of, slot))
			}
		}
	}
	late := time.After(crowdWait)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		for e, n := range before {
			if way(e.in.opened(e.of, slot)) > n {
				delete(before, e)
			}
		}
		if len(before) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			var some []string
			for e := range before {
				word := " of "
				if !slices.ContainsFunc(e.in.Members(), func(m client.RoomMember) bool { return m.Index == e.of.Index() }) {
					word = ", which does not know, of "
				}
				some = append(some, e.in.name+word+e.of.name)
			}
			slices.Sort(some)
			t.Fatalf("%d do not get more of the %v: %s", len(some), slot, strings.Join(some[:min(len(some), 20)], ", "))
		}
	}
}

// sendsInClear is a client with SFrame switched off: it sends frames over the node's SFU as they
// are, until it is stopped.
func sendsInClear(t *testing.T, l room.Link, frames [][]byte) (stop func()) {
	t.Helper()
	in := guest(t, "who does not seal", l.Text(), client.RoomOptions{Media: client.DataOnly})
	var s webrtc.SettingEngine
	s.SetIncludeLoopbackCandidate(true)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() }) // closed already, unless the test failed
	track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8}, "picture", "clear")
	if err == nil {
		_, err = pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	}
	if err != nil {
		t.Fatal(err)
	}
	connectLeg(t, in, pc)
	end := make(chan struct{})
	var sending sync.WaitGroup
	sending.Go(func() {
		tick := time.NewTicker(40 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
			case <-end:
				return
			}
			if err := track.WriteSample(media.Sample{Data: frames[i%len(frames)], Duration: 40 * time.Millisecond}); err != nil {
				t.Errorf("a frame was not sent in clear: %v", err)
				return
			}
		}
	})
	return func() {
		close(end)
		sending.Wait()
		if err := errors.Join(pc.Close(), in.Leave(within(t))); err != nil {
			t.Error(err)
		}
	}
}

// connectLeg offers the SFU a connection of the test's own in the seat of a room, and waits until it is there.
func connectLeg(t *testing.T, in *inRoom, pc *webrtc.PeerConnection) {
	t.Helper()
	connected := make(chan struct{})
	var once sync.Once
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err == nil {
		err = pc.SetLocalDescription(offer)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer, err := in.OfferLeg(within(t), offer.SDP)
	if err == nil {
		err = pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer})
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-connected:
	case <-within(t).Done():
		t.Fatal("a connection of the test's own to the SFU did not come about")
	}
}

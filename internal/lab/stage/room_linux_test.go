package stage

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/trunkline-net/trunkline/internal/demo/clip"
	"github.com/trunkline-net/trunkline/internal/lab"
)

// TestAThinUplinkTakesTheRoomToTheSFU: three send sound and pictures to each other. The line of one carries one copy of
// what it sends and not two; everybody is told so, and hears and sees both others over the node.
// It is not parallel: three who talk for minutes would be load for the tests of who gets a direct way.
func TestAThinUplinkTakesTheRoomToTheSFU(t *testing.T) {
	s := New(t)
	node := s.Node("acme.example", lab.OnlyIPv4)
	s.Federate()
	alice := s.Person("alice", node)
	var made struct{ Link string }
	s.Object(node.Host, &made, "room", "create", "--data", alice.Dir)
	sound, picture := s.path("clip.ogg"), s.path("clip.ivf")
	s.must(os.WriteFile(sound, clip.Ogg, 0o600))
	s.must(os.WriteFile(picture, clip.IVF, 0o600))

	thin := s.Host("thin", lab.OverWire, lab.OnlyIPv4)
	// One copy is some 310 kbit/s.
	thin.Wire().Set(lab.Out, lab.Quality{Rate: 450_000 / 8, Queue: 16 << 10})
	type way struct {
		SFU          bool
		Cause, Need  string
		Member, With int
	}
	var all []*Running
	var index struct{ Index int }
	for i, at := range []*lab.Host{s.Public("one.example", lab.OnlyIPv4), s.Public("two.example", lab.OnlyIPv4), thin} {
		r := s.Start(at, "room", "join", made.Link, "--guest", "--audio", sound, "--video", picture, "--loop", "--seconds", "240", "--counts", "--data", s.path(fmt.Sprint("guest", i)))
		s.must(r.Event("in", &index))
		all = append(all, r)
	}
	for _, r := range all {
		var w way
		for !w.SFU || w.Need != "uplink" {
			s.must(r.Event("topology", &w))
		}
		if w.Cause != "uplink" || w.Member != index.Index {
			t.Errorf("somebody is told %+v, of number %d", w, index.Index)
		}
	}
	for _, r := range all {
		s.hears(r, 4) // sound and pictures of two others
	}
	for _, r := range all {
		s.must(r.Stop())
	}
}

// hears waits until so many streams of others come over the node.
func (s *Stage) hears(r *Running, streams int) {
	s.t.Helper()
	var counts struct {
		Members []struct {
			Frames []struct {
				Slot      string
				Mesh, SFU uint64
			}
		}
	}
	over := func() (n int) {
		for _, m := range counts.Members {
			for _, f := range m.Frames {
				if f.SFU > 20 {
					n++
				}
			}
		}
		return n
	}
	for seconds := 0; over() < streams; seconds++ {
		if seconds > 90 {
			s.t.Fatalf("%d streams do not come over the node: %+v", streams, counts)
		}
		s.must(r.Event("counts", &counts))
	}
}

// TestMediaOverTheSFUTakesTCPOnlyWithoutUDP: of two in a room whose media goes over the node, the one behind a firewall
// without UDP sends and gets it over TCP, and the other one opens no connection for it.
func TestMediaOverTheSFUTakesTCPOnlyWithoutUDP(t *testing.T) {
	t.Parallel()
	s := New(t)
	node := s.Node("acme.example")
	s.Federate()
	alice := s.Person("alice", node)
	var made struct{ Link string }
	s.Object(node.Host, &made, "room", "create", "--topology", "sfu", "--data", alice.Dir)
	sound := s.path("clip.ogg")
	s.must(os.WriteFile(sound, clip.Ogg, 0o600))
	hosts := []*lab.Host{s.Lab.Host("free"), s.Behind(lab.UDPBlocked).Host("firewalled")}
	var members []*Running
	var captures []*lab.Capture
	for i, at := range hosts {
		captures = append(captures, at.Capture())
		members = append(members, s.Start(at, "room", "join", made.Link, "--guest", "--audio", sound, "--loop", "--seconds", "240", "--counts", "--data", s.path(fmt.Sprint("guest", i))))
	}
	for _, m := range members {
		s.hears(m, 1)
	}
	for _, m := range members {
		s.must(m.Stop())
	}
	const sfuPort, tenSounds = 7422, 10 * 50 // bytes of sealed frames, at the least
	for i, c := range captures {
		s.must(c.Stop())
		bytes := map[uint8]int{}
		for _, p := range c.Packets() {
			if p.Src.Port() == sfuPort || p.Dst.Port() == sfuPort {
				bytes[p.Proto] += len(p.Payload)
			}
		}
		udp, tcp := bytes[unix.IPPROTO_UDP], bytes[unix.IPPROTO_TCP]
		switch firewalled := i == 1; {
		case !firewalled && (udp < tenSounds || tcp > 0):
			t.Errorf("from where UDP works %d bytes went over UDP and %d over TCP", udp, tcp)
		case firewalled && tcp < tenSounds:
			t.Errorf("from behind the firewall %d bytes went over TCP", tcp)
		}
	}
}

package stage

import (
	"fmt"
	"os"
	"testing"

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
	for i, r := range all {
		var counts struct {
			Members []struct {
				Index  int
				Route  string
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
		for seconds := 0; over() < 4; seconds++ { // sound and pictures of two others
			if seconds > 90 {
				t.Fatalf("to number %d of three the others do not come over the node: %+v", i+1, counts)
			}
			s.must(r.Event("counts", &counts))
		}
	}
	for _, r := range all {
		s.must(r.Stop())
	}
}

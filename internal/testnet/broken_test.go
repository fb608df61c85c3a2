package testnet

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/node"
)

// Here the nodes are broken on purpose, each in one way, and the checker has to say so. A
// checker that finds nothing in these finds nothing anywhere.

// everybodyWrites lets each person send so many letters of a class to each other person, and
// waits a little.
func everybodyWrites(w *world, ttl envelope.TTL, size, times int) {
	for range times {
		for _, from := range w.people {
			for _, to := range w.people {
				if from != to {
					from.write(to, ttl, size, nil)
				}
			}
		}
		time.Sleep(time.Second)
	}
	time.Sleep(time.Minute)
}

// frames splits what a node writes into its WebSocket messages.
func frames(b []byte) (out [][]byte) {
	for len(b) > 2 {
		size, header := int(b[1]&0x7f), 2
		switch size {
		case 126:
			size, header = int(b[2])<<8|int(b[3]), 4
		case 127:
			size, header = int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9]), 10
		}
		if header+size > len(b) {
			break
		}
		out = append(out, b[:header+size])
		b = b[header+size:]
	}
	if len(b) > 0 {
		out = append(out, b)
	}
	return out
}

// delivery is the Deliver in a message of a node, or nil.
func delivery(frame []byte) *pb.Deliver {
	for _, header := range []int{2, 4, 10} {
		if len(frame) > header && frame[0] == 0x82 {
			if f, err := link.ParseNode(frame[header:]); err == nil {
				return f.GetDeliver()
			}
		}
	}
	return nil
}

// eachDelivery makes a meddler of what becomes of a message that delivers something.
func eachDelivery(change func(c *conn, frame []byte) []byte) func(*conn, []byte) []byte {
	return func(c *conn, b []byte) (out []byte) {
		for _, f := range frames(b) {
			if delivery(f) != nil {
				f = change(c, f)
			}
			out = append(out, f...)
		}
		return out
	}
}

// forgetful is an outbox that says it has what it has not.
type forgetful struct {
	federation.Outbox
	n atomic.Int64
}

func (f *forgetful) Enqueue(dest identity.PeerID, e []byte, id envelope.ID, expires time.Time) (uint64, bool, error) {
	seq, again, err := f.Outbox.Enqueue(dest, e, id, expires)
	if err == nil && f.n.Add(1)%3 == 0 {
		err = f.Outbox.Done(dest, []uint64{seq})
	}
	return seq, again, err
}

// careless says that it has delivered what it has dropped.
type careless struct {
	federation.Deliverer
	fate envelopepb.Fate
}

func (c careless) Deliver(ctx context.Context, from federation.Source, e *envelope.Envelope) federation.Outcome {
	if id := e.ID(); id[0]%4 == 0 {
		return federation.Outcome{Fate: c.fate}
	}
	return c.Deliverer.Deliver(ctx, from, e)
}

// twoFaced takes everything and says of some that it did not.
type twoFaced struct{ federation.Deliverer }

func (d twoFaced) Deliver(ctx context.Context, from federation.Source, e *envelope.Envelope) federation.Outcome {
	id := e.ID()
	out := d.Deliverer.Deliver(ctx, from, e)
	if id[0]%4 == 0 {
		out = federation.Outcome{Fate: envelopepb.Fate_FATE_REFUSED, Code: link.CodeRefused}
	}
	return out
}

func TestTheCheckerSeesABrokenNode(t *testing.T) {
	breakFederation := func(change func(*federation.Config)) func(*world) {
		return func(w *world) {
			w.ground = func(g *node.Ground) { g.Federation = change }
		}
	}
	for name, c := range map[string]struct {
		prepare, play func(*world)
		want          string
	}{
		"nothing is broken": {
			play: func(w *world) { everybodyWrites(w, envelope.Week, 1024, 3) },
		},
		"it acknowledges what its disk does not have yet": {
			play: func(w *world) {
				// Two people of one node: nobody else has what it loses.
				a, b, home := w.people[0], w.people[2], w.people[0].home
				w.streams.cut(b.name, home.name, true)
				w.streams.cut(home.name, b.name, true)
				home.power.mu.Lock()
				home.power.lying, home.power.fuse = true, 1
				home.power.mu.Unlock()
				for range 5 {
					a.write(b, envelope.Week, 1024, nil)
				}
				time.Sleep(3 * time.Second)
				if home.claim() && home.power.cutNow() {
					go home.afterPower("what a lying disk had")
				}
				w.repairs.Wait()
				w.streams.cut(b.name, home.name, false)
				w.streams.cut(home.name, b.name, false)
			},
			want: "its sender knows of 0 ends",
		},
		"it forgets what waits for another node": {
			prepare: breakFederation(func(c *federation.Config) { c.Outbox = &forgetful{Outbox: c.Outbox} }),
			play: func(w *world) {
				w.cutNodes(w.stations[0], w.stations[1], true)
				everybodyWrites(w, envelope.Week, 65536, 6)
				w.cutNodes(w.stations[0], w.stations[1], false)
			},
			want: "expired after",
		},
		"it says stored of what it dropped": {
			prepare: breakFederation(func(c *federation.Config) { c.Deliverer = careless{c.Deliverer, envelopepb.Fate_FATE_STORED} }),
			play:    func(w *world) { everybodyWrites(w, envelope.Week, 1024, 5) },
			want:    "its sender knows of 0 ends",
		},
		"it says delivered of what it dropped": {
			prepare: breakFederation(func(c *federation.Config) { c.Deliverer = careless{c.Deliverer, envelopepb.Fate_FATE_DELIVERED} }),
			play:    func(w *world) { everybodyWrites(w, envelope.Live, 1024, 5) },
			want:    "delivered, says its sender's node, and it never arrived",
		},
		"it refuses what it has taken": {
			prepare: breakFederation(func(c *federation.Config) { c.Deliverer = twoFaced{c.Deliverer} }),
			play:    func(w *world) { everybodyWrites(w, envelope.Week, 1024, 5) },
			want:    "its sender was told that it was refused (refused), and it arrived",
		},
		"it delivers twice": {
			prepare: func(w *world) {
				w.streams.meddle = eachDelivery(func(_ *conn, f []byte) []byte { return append(append([]byte(nil), f...), f...) })
			},
			play: func(w *world) { everybodyWrites(w, envelope.Live, 1024, 1) },
			want: "it arrived twice on line",
		},
		"it delivers to somebody else": {
			prepare: func(w *world) {
				w.streams.meddle = eachDelivery(func(c *conn, f []byte) []byte {
					w.streams.mu.Lock()
					var other *conn
					for o := range w.streams.conns {
						if o.node == c.node && o.client != c.client {
							other = o.other
						}
					}
					w.streams.mu.Unlock()
					if other == nil {
						return f
					}
					_, _ = other.out.write(f) // whoever has gone meanwhile
					return nil
				})
			},
			play: func(w *world) { everybodyWrites(w, envelope.Week, 1024, 1) },
			want: "it was brought to p",
		},
		"it changes what it carries": {
			prepare: func(w *world) {
				w.streams.meddle = eachDelivery(func(_ *conn, f []byte) []byte {
					f = append([]byte(nil), f...)
					f[len(f)/2] ^= 1
					return f
				})
			},
			play: func(w *world) { everybodyWrites(w, envelope.Live, 1024, 1) },
			want: "it arrived as something else",
		},
		"it drops what it should bring": {
			prepare: func(w *world) {
				w.streams.meddle = eachDelivery(func(*conn, []byte) []byte { return nil })
			},
			play: func(w *world) { everybodyWrites(w, envelope.Week, 1024, 1) },
			want: "envelopes wait in mailboxes",
		},
		"a secret crosses the line": {
			play: func(w *world) {
				w.people[0].mark = secretMark
				everybodyWrites(w, envelope.Live, 1024, 1)
			},
			want: "was seen between clients and nodes",
		},
		"a secret lies on a node's disk": {
			play: func(w *world) {
				everybodyWrites(w, envelope.Live, 1024, 1)
				if err := write(w.stations[0].dir+"/notes.txt", secretMark); err != nil {
					w.fail("%v", err)
				}
			},
			want: "secret is on the disk of [node1]",
		},
	} {
		t.Run(name, func(t *testing.T) {
			wrong, w := playOut(t, plan{stations: 2, people: 4}, func(w *world) {
				w.patience = 5 * time.Minute // what is lost is not found by waiting
				if c.prepare != nil {
					c.prepare(w)
				}
			}, c.play)
			switch text := strings.Join(wrong, "\n"); {
			case c.want == "" && text != "":
				t.Errorf("the checker accuses a good node: %s", text)
			case !strings.Contains(text, c.want):
				t.Errorf("want %q among what is wrong: %s\n%s", c.want, text, w.history.tail(40))
			}
		})
	}
}

func TestTheCheckerSeesANoteTwiceAndOneThatIsMissing(t *testing.T) {
	wrong, _ := playOut(t, plan{stations: 2, humans: 2}, nil, func(w *world) {
		a, b := w.humans[0], w.humans[1]
		a.write(t.Context(), b, secretMark+" twice")
		a.write(t.Context(), b, secretMark+" twice")
		a.write(t.Context(), b, secretMark+" once")
		a.mu.Lock()
		a.wrote = append(a.wrote, &note{id: a.wrote[0].id, to: b, text: secretMark + " never"})
		delete(a.tried, secretMark+" once")
		a.mu.Unlock()
	})
	for _, want := range []string{`h2 has 2 times the note " twice"`, `h2 has no note " never"`, "h2 has a note that h1 never wrote"} {
		if text := strings.Join(wrong, "\n"); !strings.Contains(text, want) {
			t.Errorf("want %q among what is wrong: %s", want, text)
		}
	}
}

// TestALostPowerLeavesWhatADiskMayHold looks at tear itself: what it leaves is the file before
// a commit, the file after it, or pages of both, and the page that decides is never new while
// another is old.
func TestALostPowerLeavesWhatADiskMayHold(t *testing.T) {
	r := stream(7, "tear")
	before := make([]byte, 6*page)
	after := make([]byte, 8*page)
	for i := range after {
		after[i] = byte(1 + i/page)
	}
	copy(after[page:2*page], before[page:2*page]) // the other meta page
	seen := map[string]int{}
	for range 400 {
		left, what := tear(before, after, r)
		seen[strings.TrimLeft(what, "0123456789 ")]++
		if len(left) != len(before) && len(left) != len(after) {
			t.Fatalf("%s: %d bytes", what, len(left))
		}
		whole := true
		for at := 2 * page; at < len(after); at += page {
			switch b := append(left, make([]byte, 2*page)...)[at]; b {
			case 0:
				whole = false
			case after[at]:
			default:
				t.Fatalf("%s: byte %d at %d", what, b, at)
			}
		}
		if left[0] != 0 && !whole {
			t.Fatalf("%s: the last page came before the others", what)
		}
		if what == "everything" && string(left) != string(after) || what == "nothing" && string(left) != string(before) {
			t.Fatalf("%s is not that", what)
		}
	}
	if len(seen) < 4 {
		t.Errorf("only %v", seen)
	}
}

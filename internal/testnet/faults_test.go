package testnet

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// misfortune is a fault with its moment.
type misfortune struct {
	at time.Duration
	do func()
}

// drawFaults draws what goes wrong and when, all of it before anything does.
func (w *world) drawFaults() []misfortune {
	r := stream(w.seed, "faults")
	var all []misfortune
	for range w.faults {
		at := time.Duration(r.Int64N(int64(w.length)))
		all = append(all, misfortune{at, w.drawFault(r)})
	}
	return all
}

func (w *world) drawFault(r *rand.Rand) func() {
	a := w.stations[r.IntN(len(w.stations))]
	b := w.stations[(a.i+1+r.IntN(len(w.stations)-1))%len(w.stations)]
	p := w.people[r.IntN(len(w.people))]
	long := time.Duration(500+r.IntN(25_000)) * time.Millisecond
	both := r.IntN(2) == 0
	level := r.Float64()
	commits := 1 + r.IntN(40)
	kinds := 13
	if len(w.humans) == 0 {
		kinds = 11
	}
	switch r.IntN(kinds) {
	case 0, 1: // a bad line between nodes
		m := mood{loss: 0.35 * level * level, double: 0.2 * r.Float64(), jitter: time.Duration(1+r.IntN(400)) * time.Millisecond}
		return func() {
			w.history.fault("bad line", fmt.Sprintf("%s and %s, %.0f%% lost, %.0f%% doubled, up to %v late, for %v", a.name, b.name, 100*m.loss, 100*m.double, m.jitter, long))
			w.packets.setMood(a.name, b.name, m)
			w.packets.setMood(b.name, a.name, m)
			w.after(long, func() {
				w.packets.setMood(a.name, b.name, mood{})
				w.packets.setMood(b.name, a.name, mood{})
			})
		}
	case 2: // a partition between two nodes
		return func() {
			w.history.fault(way("partition", both), fmt.Sprintf("%s to %s for %v", a.name, b.name, long))
			w.packets.cut(a.name, b.name, true)
			if both {
				w.packets.cut(b.name, a.name, true)
			}
			w.after(long, func() {
				w.packets.cut(a.name, b.name, false)
				if both {
					w.packets.cut(b.name, a.name, false)
				}
			})
		}
	case 3: // a node that no other reaches
		return func() {
			w.history.fault("node alone", fmt.Sprintf("%s for %v", a.name, long))
			each := func(on bool) {
				for _, o := range w.stations {
					if o != a {
						w.packets.cut(a.name, o.name, on)
						w.packets.cut(o.name, a.name, on)
					}
				}
			}
			each(true)
			w.after(long, func() { each(false) })
		}
	case 4: // a client's line is cut
		return func() {
			w.history.fault(way("client cut off", both), fmt.Sprintf("%s for %v", p.name, long))
			w.streams.cut(p.name, p.home.name, true)
			if both {
				w.streams.cut(p.home.name, p.name, true)
			}
			w.after(long, func() {
				w.streams.cut(p.name, p.home.name, false)
				if both {
					w.streams.cut(p.home.name, p.name, false)
				}
			})
		}
	case 5: // a connection is reset
		return func() {
			w.history.fault("reset", p.name)
			w.streams.lose(p.name, time.Second)
		}
	case 6, 7: // the power goes during a write
		return func() {
			if a.claim() {
				a.power.arm(commits)
				w.after(30*time.Second, func() {
					// Nothing was written that often: now.
					if a.power.armed() && a.power.cutNow() {
						go a.afterPower("all, it was between two")
					}
				})
			}
		}
	case 8: // the power goes between two writes
		return func() {
			if a.claim() {
				if a.power.cutNow() {
					go a.afterPower("all, it was between two")
				}
			}
		}
	case 9: // an orderly restart
		return func() {
			if !a.claim() {
				return
			}
			go func() {
				defer a.release()
				w.history.fault("restart", a.name)
				if err := a.stop(); err != nil {
					w.fail("%s ends with %v", a.name, err)
				}
				w.pause(long / 4)
				if err := a.start(); err != nil {
					w.fail("after a restart: %v", err)
				}
			}()
		}
	case 10: // a clock that jumps, or a client that stops reading
		if both {
			return func() {
				w.history.fault("slow consumer", fmt.Sprintf("%s for %v", p.name, long))
				p.stopReading(long)
			}
		}
		d := time.Duration(level * float64(5*time.Minute))
		switch r.IntN(4) {
		case 0:
			d = -d / 5
		case 1:
			d *= 20
		}
		return func() {
			w.history.fault("clock jump", fmt.Sprintf("%s by %v", a.name, d.Round(time.Millisecond)))
			a.offset.Add(int64(d))
			if d > 0 {
				a.forward.Add(int64(d))
			}
		}
	case 11:
		h := w.humans[r.IntN(len(w.humans))]
		return func() { h.loseLine(long, both) }
	}
	h := w.humans[r.IntN(len(w.humans))]
	return func() { h.losePower(commits) }
}

func way(name string, both bool) string {
	if both {
		return name
	}
	return name + ", one way"
}

// after ends a fault that lasts; a run does not end before.
func (w *world) after(d time.Duration, end func()) {
	w.repairs.Add(1)
	time.AfterFunc(d, func() {
		defer w.repairs.Done()
		end()
	})
}

package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	clients "github.com/trunkline-net/trunkline/client/bench"
	fedbench "github.com/trunkline-net/trunkline/federation/bench"
	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// pair is a sender and a receiver of frames, each a process of its own.
type pair struct {
	name             string
	sender, receiver *child.Process
	setup            fedbench.Setup

	rates, micros []float64
	counts        clients.Counts
	received      int64
}

// newPair starts the receiver, then the sender, which connects.
func (b *bench) newPair(ctx context.Context, name, kind string, noise bool) (*pair, error) {
	var seed [16]byte
	_, _ = rand.Read(seed[:]) // never fails on supported systems
	p := &pair{name: name, setup: fedbench.Setup{
		Seed: hex.EncodeToString(seed[:]), Document: filepath.Join(b.root, name+".document"), Noise: noise,
	}}
	var ready fedbench.Ready
	var err error
	if p.receiver, err = b.start(name+"-receiver", "bench", "part", kind+"-receiver"); err != nil {
		return nil, err
	}
	if err := ask(ctx, p.receiver, p.setup, &ready); err != nil {
		return nil, err
	}
	p.setup.Address = ready.Address
	if p.sender, err = b.start(name+"-sender", "bench", "part", kind+"-sender"); err != nil {
		return nil, err
	}
	return p, ask(ctx, p.sender, p.setup, &ready)
}

// ask writes a line to a process and reads its answer.
func ask(ctx context.Context, p *child.Process, what, into any) error {
	line, err := json.Marshal(what)
	if err != nil {
		return err
	}
	if _, err := p.In.Write(append(line, '\n')); err != nil {
		return err
	}
	return readLine(ctx, p, into)
}

// measure sends for a while and holds what the receiver has against what was sent.
func (p *pair) measure(ctx context.Context, d time.Duration) (rate, micros float64, err error) {
	var before, after [2]time.Duration
	clock := func(at *[2]time.Duration) error {
		for i, q := range []*child.Process{p.sender, p.receiver} {
			t, err := usage.CPU(q.PID())
			if err != nil {
				return err
			}
			at[i] = t
		}
		return nil
	}
	if err := clock(&before); err != nil {
		return 0, 0, err
	}
	var told, has fedbench.Told
	if err := ask(ctx, p.sender, fedbench.Order{Seconds: d.Seconds()}, &told); err != nil {
		return 0, 0, err
	}
	if err := clock(&after); err != nil {
		return 0, 0, err
	}
	if err := ask(ctx, p.receiver, fedbench.Order{}, &has); err != nil {
		return 0, 0, err
	}
	received := has.Frames - p.received
	p.received = has.Frames
	p.counts.Add(clients.Counts{
		Sent: told.Sent, Delivered: received, Receipts: told.Frames, Refused: told.Refused,
		Lost: max(0, told.Sent-received, told.Sent-told.Frames), Doubled: max(0, received-told.Sent),
	})
	if told.Frames == 0 {
		return 0, 0, fmt.Errorf("no frame came through the %s", p.name)
	}
	cpu := after[0] - before[0] + after[1] - before[1]
	return float64(told.Frames) / told.Seconds, float64(cpu.Microseconds()) / float64(told.Frames), nil
}

// frames measures envelopes over a federation link, with queue, credit, policy, limits, dedupe
// and outcomes, against frames of the same size and window over a bare libp2p stream, which is
// encrypted as the link is, and over one with Noise.
func (b *bench) frames(ctx context.Context) error {
	link, err := b.newPair(ctx, "link", "link", false)
	if err != nil {
		return err
	}
	bare, err := b.newPair(ctx, "stream", "stream", false)
	if err != nil {
		return err
	}
	noise, err := b.newPair(ctx, "stream-noise", "stream", true)
	if err != nil {
		return err
	}
	pairs := []*pair{link, bare, noise}
	for round := range b.o.Rounds + 1 {
		for _, p := range pairs {
			d := b.o.Seconds
			if round == 0 { // does not count
				d = min(d, time.Second)
			}
			rate, micros, err := p.measure(ctx, d)
			if err != nil {
				return err
			}
			if round > 0 {
				p.rates, p.micros = append(p.rates, rate), append(p.micros, micros)
				b.progress("round %d of %d  frames over the %s: %.0f/s, %.2f us", round, b.o.Rounds, p.name, rate, micros)
			}
		}
	}
	b.report.Envelopes.Add(link.counts)
	ratio := median(ratios(link.rates, bare.rates))
	b.report.add(Figure{
		Case: "frames", Name: "link-frames", Value: median(link.rates), Unit: "frames per second", Rounds: link.rates,
		Against: "stream-frames", Ratio: ratio, AtLeast: ">= 0.5x", Aim: ">= 0.8x", Reached: reached(ratio >= 0.5, ratio >= 0.8), Counts: &link.counts,
	})
	for _, p := range []*pair{bare, noise} {
		b.report.add(Figure{Case: "frames", Name: p.name + "-frames", Value: median(p.rates), Unit: "frames per second", Rounds: p.rates})
	}
	b.report.add(Figure{
		Case: "frames", Name: "link-frame-cpu", Value: median(link.micros), Unit: "us CPU per frame, both ends", Rounds: link.micros,
		Against: "stream-frame-cpu", Ratio: median(ratios(link.micros, bare.micros)),
	})
	for _, p := range []*pair{bare, noise} {
		b.report.add(Figure{Case: "frames", Name: p.name + "-frame-cpu", Value: median(p.micros), Unit: "us CPU per frame, both ends", Rounds: p.micros})
	}
	var all []*child.Process
	for _, p := range pairs {
		all = append(all, p.sender, p.receiver)
	}
	return b.stop(all...)
}

// ratios are those of the same rounds.
func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

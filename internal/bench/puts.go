package bench

import (
	"context"
	"errors"
	"fmt"
	"os"

	storebench "github.com/trunkline-net/trunkline/internal/store/bench"
	"github.com/trunkline-net/trunkline/internal/usage"
)

// putCallers are how many write at once.
var putCallers = [...]int{1, 64, 512}

// puts measures durable puts of 1 KiB through the node's store and through bbolt's own Batch,
// in turns, each in a fresh file. Both run in this process: there is no node around them.
func (b *bench) puts(ctx context.Context) error {
	for _, callers := range putCallers {
		var ours, bare, cpu, bareCPU []float64
		for round := range b.o.Rounds {
			o, oc, err := b.putRate(ctx, callers, storebench.Store)
			if err != nil {
				return err
			}
			p, pc, err := b.putRate(ctx, callers, func(dir string) (*storebench.Writer, error) { return storebench.Batch(dir, callers == 1) })
			if err != nil {
				return err
			}
			ours, bare, cpu, bareCPU = append(ours, o), append(bare, p), append(cpu, oc), append(bareCPU, pc)
			b.progress("round %d of %d  puts by %d callers: %.0f/s with %.0f us, bbolt alone %.0f/s with %.0f us", round+1, b.o.Rounds, callers, o, oc, p, pc)
		}
		against := fmt.Sprintf("bbolt-batch-%d", callers)
		if callers == 1 {
			against = "bbolt-update-1"
		}
		f := Figure{
			Case: "puts", Name: fmt.Sprintf("puts-%d", callers), Value: median(ours), Unit: "durable puts of 1 KiB per second",
			Rounds: ours, Against: against, Ratio: median(ratios(ours, bare)),
		}
		if callers == putCallers[len(putCallers)-1] {
			f.AtLeast, f.Aim = ">= 1.5x", ">= 3x"
			f.Reached = reached(f.Ratio >= 1.5, f.Ratio >= 3)
		}
		b.report.add(f)
		b.report.add(Figure{Case: "puts", Name: against, Value: median(bare), Unit: "durable puts of 1 KiB per second", Rounds: bare})
		// What the disk has no part in.
		b.report.add(Figure{
			Case: "puts", Name: fmt.Sprintf("puts-%d-cpu", callers), Value: median(cpu), Unit: "us CPU per put", Rounds: cpu,
			Against: against + "-cpu", Ratio: median(ratios(cpu, bareCPU)),
		})
		b.report.add(Figure{Case: "puts", Name: against + "-cpu", Value: median(bareCPU), Unit: "us CPU per put", Rounds: bareCPU})
	}
	return nil
}

// putRate is one measurement in a folder of its own.
func (b *bench) putRate(ctx context.Context, callers int, open func(dir string) (*storebench.Writer, error)) (perSecond, micros float64, err error) {
	dir, err := os.MkdirTemp(b.root, "puts-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := open(dir)
	if err != nil {
		return 0, 0, err
	}
	before, err := usage.CPU(os.Getpid())
	if err != nil {
		return 0, 0, errors.Join(err, w.Close())
	}
	puts, took, err := w.Run(ctx, callers, b.o.Seconds)
	after, clock := usage.CPU(os.Getpid())
	if err = errors.Join(err, clock, w.Close()); err == nil && puts == 0 {
		err = errors.New("nothing was put")
	}
	return float64(puts) / took.Seconds(), float64((after - before).Microseconds()) / float64(puts), err
}

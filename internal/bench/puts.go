package bench

import (
	"context"
	"errors"
	"fmt"
	"os"

	storebench "github.com/trunkline-net/trunkline/internal/store/bench"
)

// putCallers are how many write at once.
var putCallers = [...]int{1, 64, 512}

// puts measures durable puts of 1 KiB through the node's store and through bbolt's own Batch,
// in turns, each in a fresh file. Both run in this process: there is no node around them.
func (b *bench) puts(ctx context.Context) error {
	for _, callers := range putCallers {
		var ours, bare, ratios []float64
		for round := range b.o.Rounds {
			o, err := b.putRate(ctx, callers, storebench.Store)
			if err != nil {
				return err
			}
			p, err := b.putRate(ctx, callers, func(dir string) (*storebench.Writer, error) { return storebench.Batch(dir, callers == 1) })
			if err != nil {
				return err
			}
			ours, bare, ratios = append(ours, o), append(bare, p), append(ratios, o/p)
			b.progress("round %d of %d  puts by %d callers: %.0f/s, bbolt alone %.0f/s", round+1, b.o.Rounds, callers, o, p)
		}
		against := fmt.Sprintf("bbolt-batch-%d", callers)
		if callers == 1 {
			against = "bbolt-update-1"
		}
		f := Figure{
			Case: "puts", Name: fmt.Sprintf("puts-%d", callers), Value: median(ours), Unit: "durable puts of 1 KiB per second",
			Rounds: ours, Against: against, Ratio: median(ratios),
		}
		if callers == putCallers[len(putCallers)-1] {
			f.AtLeast, f.Aim = ">= 1.5x", ">= 3x"
			f.Reached = reached(f.Ratio >= 1.5, f.Ratio >= 3)
		}
		b.report.add(f)
		b.report.add(Figure{Case: "puts", Name: against, Value: median(bare), Unit: "durable puts of 1 KiB per second", Rounds: bare})
	}
	return nil
}

// putRate is one measurement in a folder of its own.
func (b *bench) putRate(ctx context.Context, callers int, open func(dir string) (*storebench.Writer, error)) (perSecond float64, err error) {
	dir, err := os.MkdirTemp(b.root, "puts-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := open(dir)
	if err != nil {
		return 0, err
	}
	puts, took, err := w.Run(ctx, callers, b.o.Seconds)
	return float64(puts) / took.Seconds(), errors.Join(err, w.Close())
}

package testnet

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

var (
	simSeed    = flag.Uint64("sim.seed", 0, "run this seed alone")
	simRepeat  = flag.Int("sim.repeat", 1, "run the seed of -sim.seed so often")
	simSeconds = flag.Int("sim.seconds", 0, "run one random seed after the other for so long")
	simProcs   = flag.Int("sim.procs", 1, "processors that a run uses; more than one finds more and repeats less")
	simTail    = flag.Int("sim.tail", 60, "lines of the history that are shown of a run that failed")
	simShort   = flag.Bool("sim.short", false, "make the run as small as in an ordinary go test")
	logTo      = flag.String("sim.log", "", "append the nodes' logs to this file")
)

func TestMain(m *testing.M) {
	flag.Parse()
	runtime.GOMAXPROCS(*simProcs)
	os.Exit(m.Run())
}

// folder is a folder in memory where the system has such a thing: what a disk loses is
// simulated, and waiting for a real one would only take time.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "testnet")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// emptyPools makes sure that no run gets from a sync.Pool what the run before has put there: a
// channel or a timer belongs to its bubble of virtual time, and using it in another one is a
// panic. A pool is empty after two collections.
func emptyPools() {
	runtime.GC()
	runtime.GC()
}

// simulate runs one plan in a bubble of virtual time.
func simulate(t *testing.T, p plan) (wrong []string, w *world) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, p.seed)
	dir := folder(t)
	emptyPools()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, p, dir)
		wrong = w.run()
	})
	return wrong, w
}

// hold runs a seed and fails the test for whatever was wrong.
func hold(t *testing.T, p plan) {
	began, seed := time.Now(), p.seed
	wrong, w := simulate(t, p)
	t.Logf("seed %d, %.1f s: %s", seed, time.Since(began).Seconds(), w.report())
	if len(wrong) == 0 {
		return
	}
	t.Errorf("seed %d: %d things are wrong; go test ./internal/testnet -run TestSimulation -sim.seed=%d %s runs it again\n%s",
		seed, len(wrong), seed, p.flags(), strings.Join(wrong[:min(len(wrong), 20)], "\n"))
	for _, l := range w.history.order {
		if strings.Contains(strings.Join(wrong, "\n"), fmt.Sprintf("#%d,", l.n)) {
			t.Logf("the story of #%d:\n%s", l.n, w.history.story(l, *simTail))
			break
		}
	}
	t.Logf("the end of the history:\n%s", w.history.tail(*simTail))
}

func asked(seed uint64) plan {
	if *simShort {
		return planFor(seed).short()
	}
	return planFor(seed)
}

// TestSimulation holds a few seeds that are always the same and one that never is; with
// -sim.seconds as many as there is time for, with -sim.seed one.
func TestSimulation(t *testing.T) {
	switch {
	case *simSeed != 0:
		for i := range *simRepeat {
			t.Run(fmt.Sprint("seed ", *simSeed, " run ", i+1), func(t *testing.T) { hold(t, asked(*simSeed)) })
		}
	case *simSeconds > 0:
		end := time.Now().Add(time.Duration(*simSeconds) * time.Second)
		for n := 0; time.Now().Before(end) && !t.Failed(); n++ {
			seed := rand.Uint64() >> 32
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { hold(t, asked(seed)) })
		}
	default:
		for _, seed := range []uint64{1, 2, rand.Uint64() >> 32} {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { hold(t, planFor(seed).short()) })
		}
	}
}

package main

import "testing"

// The whole benchmark in its smallest form, through the program as its users build it: every case comes to its end and
// every figure is there, whatever the machine makes of the durations.
func TestBenchSFUMeasuresEveryCase(t *testing.T) {
	w := newWorld(t)
	var got struct {
		OK      bool `json:"ok"`
		Figures []struct {
			Name, Unit, Against string
			Value, Ratio        float64
		} `json:"figures"`
	}
	w.object("bench sfu --quick --publishers 1 --subscribers 2 --full 1 --crowd 1,2 --joins 2 --seconds 0.3", &got)
	if !got.OK {
		t.Error("not ok")
	}
	rows := map[string]bool{}
	for _, f := range got.Figures {
		rows[f.Name] = true
		if f.Unit == "" || f.Against != "" && f.Ratio <= 0 {
			t.Errorf("a figure that says nothing: %+v", f)
		}
	}
	for _, name := range []string{
		"forward-1", "forward-1-bare", "forward-1-core", "forward-1-rate", "forward-1-calls", "forward-1-mbit", "forward-1-loss",
		"forward-1-p50", "forward-1-p99", "full-2", "full-2-bare", "subscription", "subscriber", "join-p50", "join-p99",
	} {
		if !rows[name] {
			t.Errorf("no row %s", name)
		}
	}
}

func TestBenchSFUSaysWhatItCannotMeasure(t *testing.T) {
	for args, want := range map[string]string{
		"--only sound":         "there is no case",
		"--publishers 0":       "--publishers",
		"--publishers x":       "--publishers",
		"--crowd 5,4":          "--crowd",
		"--crowd 5":            "a slope needs two",
		"--seconds 0":          "--seconds",
		"--subscribers 100000": "--subscribers",
	} {
		t.Run(args, func(t *testing.T) {
			step{args: "bench sfu " + args, exit: exitUsage, silent: true, err: []string{want}}.run(t, t.TempDir())
		})
	}
}

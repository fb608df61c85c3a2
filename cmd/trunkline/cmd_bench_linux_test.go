package main

import "testing"

// benchResult is what scripts read of bench signaling --json.
type benchResult struct {
	OK        bool           `json:"ok"`
	Envelopes map[string]int `json:"envelopes"`
	Figures   []struct {
		Case, Name, Unit, Against, Reached string
		Value, Ratio                       float64
		Rounds                             []float64
		Counts                             map[string]int
	} `json:"figures"`
}

// The whole benchmark in its smallest form, through the program as its users build it: what it
// counts must add up, whatever the machine makes of the durations.
func TestBenchSignalingCountsWhatItSends(t *testing.T) {
	w := newWorld(t)
	var got benchResult
	w.object("bench signaling --quick --clients 4 --seconds 0.2 --rounds 1 --idle 5,10 --connects 5 --storm 20", &got)
	if !got.OK {
		t.Error("not ok")
	}
	e := got.Envelopes
	if e["sent"] == 0 || e["delivered"] != e["sent"] || e["receipts"] != e["sent"] {
		t.Errorf("the counts do not add up: %v", e)
	}
	for _, wrong := range []string{"lost", "misdelivered", "doubled"} {
		if n, told := e[wrong]; !told || n != 0 {
			t.Errorf("%s: %d, told %v", wrong, n, told)
		}
	}
	sent, rows := 0, map[string]bool{}
	for _, f := range got.Figures {
		rows[f.Name] = true
		// Memory of a few clients may be anything, and nobody has to have been told to wait.
		if f.Value <= 0 && f.Case != "idle" && f.Name != "storm-told-to-wait" || f.Unit == "" {
			t.Errorf("a figure without a value: %+v", f)
		}
		sent += f.Counts["sent"]
	}
	for _, f := range got.Figures {
		if f.Against != "" && (f.Ratio <= 0 || !rows[f.Against]) {
			t.Errorf("%s is compared with %q, ratio %v", f.Name, f.Against, f.Ratio)
		}
	}
	for _, name := range []string{
		"one-node-1024", "one-node-4096", "two-nodes-1024", "two-nodes-4096", "one-node-fresh-hops-1024", "bare-relay-1024", "bare-relay-4096", "one-node-lone-1024", "bare-relay-lone-1024",
		"idle-client", "connect", "first-registration", "storm-registered", "storm-routable",
		"puts-1", "puts-64", "puts-512", "bbolt-update-1", "bbolt-batch-64", "bbolt-batch-512", "link-frames", "stream-frames",
	} {
		if !rows[name] {
			t.Errorf("no row %s", name)
		}
	}
	if sent != e["sent"] {
		t.Errorf("the rows have sent %d envelopes, all together %d", sent, e["sent"])
	}
}

func TestBenchSaysWhatIsWrongWithItsFlags(t *testing.T) {
	for args, want := range map[string]string{
		"--only signal,dance": `there is no case "dance"`,
		"--clients 3":         "no pairs",
		"--rounds 0":          "--rounds is 0",
		"--seconds 0":         "--seconds is 0",
		"--idle 5,x":          "--idle is",
		"--idle 5,5":          "ascending",
		"--idle 5":            "two numbers",
	} {
		t.Run(args, func(t *testing.T) {
			step{args: "bench signaling " + args, exit: exitUsage, silent: true, err: []string{want}}.run(t, t.TempDir())
		})
	}
}

package node

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
)

// labels are all that a metric may carry: words from closed lists, never a name of anybody.
var labels = map[string]bool{
	"way": true, "fate": true, "code": true, "result": true, "origin": true, "action": true, "state": true, "class": true, "reason": true,
}

func TestMetricsKeepToTheConventionsAndNameNobody(t *testing.T) {
	p := startPair(t)
	bob, bobs := join(t, p.globex)
	_, alices := join(t, p.acme)
	until(t, "they have a link", func() bool { return p.state() == federation.StateConnected })
	alices.submit(to(t, p.globex, bob, envelope.Live, payload(1024)))
	alices.submit(to(t, p.globex, bob, envelope.Week, payload(1024)))
	bobs.turn()
	r := p.globex
	families, err := r.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetHelp() == "" || !strings.HasSuffix(f.GetHelp(), ".") && strings.HasPrefix(f.GetName(), "trunkline_") {
			t.Errorf("%s says %q", f.GetName(), f.GetHelp())
		}
		if !strings.HasPrefix(f.GetName(), "trunkline_") {
			continue // of the process and the Go runtime
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !labels[l.GetName()] {
					t.Errorf("%s has a label %q", f.GetName(), l.GetName())
				}
				if v := l.GetValue(); len(v) > 40 || strings.ContainsAny(v, ".:/@") || strings.HasPrefix(v, "tl1") || strings.HasPrefix(v, "12D3") {
					t.Errorf("%s: %s is %q", f.GetName(), l.GetName(), v)
				}
			}
		}
	}
	ours := slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "trunkline_") })
	if len(ours) < 20 {
		t.Errorf("only %d metrics: this looks at nothing", len(ours))
	}
	problems, err := promlint.NewWithMetricFamilies(ours).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	_, text, _ := get1(t, r.Facts().Metrics)
	for _, want := range []string{
		"trunkline_ready 1", `trunkline_federation_peers{state="connected"} 1`, `trunkline_federation_peers{state="refused"} 0`,
		`trunkline_envelopes_total{code="",fate="delivered",way="federation"} 1`, `trunkline_turn_credentials_total{result="minted"} 1`,
		"trunkline_sfu_seats 0", `trunkline_sfu_events_total{class="dropped",reason="rid"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	// Not where clients are.
	rec := httptest.NewRecorder()
	r.handler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if rec.Code != http.StatusNotFound {
		t.Errorf("/metrics on the public listener: %d", rec.Code)
	}
}

func TestACodeOfAnotherNodeMakesNoLabelOfItsOwn(t *testing.T) {
	for code, want := range map[string]string{"": "", link.CodeQuota: link.CodeQuota, "x_12D3KooWsomebody": "other"} {
		if got := knownCode(code); got != want {
			t.Errorf("%q is counted as %q", code, got)
		}
	}
}

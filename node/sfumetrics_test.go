package node

import (
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline-net/trunkline/media/sfu"
)

// A counter that somebody adds to the SFU later is missed here, and not on the day on which it is needed.
func TestEveryCountOfTheSFUIsAMetric(t *testing.T) {
	server, err := sfu.New(sfu.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(forwarded{server})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	lines, names := 0, map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
		lines += len(f.GetMetric())
	}
	if want := reflect.TypeFor[sfu.Stats]().NumField(); lines != want {
		t.Errorf("%d counts are %d metrics", want, lines)
	}
	for _, name := range []string{"trunkline_sfu_rooms", "trunkline_sfu_seats", "trunkline_sfu_busy_ratio", "trunkline_sfu_packets_total", "trunkline_sfu_bytes_total", "trunkline_sfu_events_total"} {
		if !names[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

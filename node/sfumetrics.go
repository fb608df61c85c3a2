package node

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/trunkline-net/trunkline/media/sfu"
)

// forwarded collects what the SFU counts of its rooms taken together. Nothing in it names a room, a seat or an address.
type forwarded struct{ server *sfu.Server }

var (
	descSFURooms   = prometheus.NewDesc("trunkline_sfu_rooms", "Rooms whose media the SFU forwards.", nil, nil)
	descSFUSeats   = prometheus.NewDesc("trunkline_sfu_seats", "Clients with a media leg to the SFU.", nil, nil)
	descSFUBusy    = prometheus.NewDesc("trunkline_sfu_busy_ratio", "Part of the forwarding capacity in use; above 0.6 no room begins, above 0.8 nobody joins.", nil, nil)
	descSFUPackets = prometheus.NewDesc("trunkline_sfu_packets_total", "RTP packets from publishers (in) and to subscribers (out).", []string{"way"}, nil)
	descSFUBytes   = prometheus.NewDesc("trunkline_sfu_bytes_total", "Bytes of these packets.", []string{"way"}, nil)
	descSFUEvents  = prometheus.NewDesc("trunkline_sfu_events_total", "Other counters of the SFU, by class and reason: seats, repair, the port, and what was dropped of whom it came from.",
		[]string{"class", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (f forwarded) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSFURooms, descSFUSeats, descSFUBusy, descSFUPackets, descSFUBytes, descSFUEvents} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (f forwarded) Collect(ch chan<- prometheus.Metric) {
	st := f.server.Stats()
	gauge := func(d *prometheus.Desc, v float64) { ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(descSFURooms, float64(st.Rooms))
	gauge(descSFUSeats, float64(st.Seats))
	gauge(descSFUBusy, st.Busy)
	count(descSFUPackets, st.PacketsIn, "in")
	count(descSFUPackets, st.PacketsOut, "out")
	count(descSFUBytes, st.BytesIn, "in")
	count(descSFUBytes, st.BytesOut, "out")
	for _, e := range []struct {
		class, reason string
		n             uint64
	}{
		{"seat", "joined", st.Joins},
		{"seat", "refused", st.Refused},
		{"seat", "slow", st.Slow},
		{"seat", "strange", st.Strangers},
		{"repair", "repeated", st.Repeated},
		{"repair", "unmet", st.Unmet},
		{"repair", "lost", st.Lost},
		{"repair", "key_frame", st.KeyRequests},
		{"port", "datagrams", st.Datagrams},
		{"port", "calls", st.Calls},
		{"port", "send", st.SendDropped},
		{"port", "unknown", st.Unknown},
		{"port", "check", st.BadChecks},
		{"port", "media", st.BadMedia},
		{"port", "unread", st.Unread},
		{"dropped", "grant", st.OverGrant},
		{"dropped", "queue", st.Queue},
		{"dropped", "source", st.UnknownSource},
		{"dropped", "rid", st.UnknownRID},
		{"dropped", "packet", st.BadPackets},
		{"dropped", "extension", st.BadExtensions},
		{"dropped", "descriptor", st.BadDescriptors},
		{"dropped", "rtcp", st.BadControl},
		{"dropped", "rtcp_flood", st.ControlFlood},
		{"dropped", "nack_flood", st.RepeatFlood},
		{"dropped", "pli_flood", st.KeyFlood},
		{"dropped", "remb", st.REMB},
	} {
		count(descSFUEvents, e.n, e.class, e.reason)
	}
}

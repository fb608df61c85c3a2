package node

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/internal/link"
)

// metrics are the node's counters. No label carries an identity, an address, a tag or a
// pair; the only names are reply codes, classes and partner domains' link states by count.
type metrics struct {
	registry *prometheus.Registry

	framesIn, framesOut prometheus.Counter
	slowLinks           prometheus.Counter
	turnedAway          prometheus.Counter
	handshakes          *prometheus.CounterVec // result
	linkErrors          *prometheus.CounterVec // code
	registrations       *prometheus.CounterVec // result
	deliveries          *prometheus.CounterVec // way, fate, code
	knocks              *prometheus.CounterVec // kept, dropped
	acked, expired      prometheus.Counter
	storeErrors         prometheus.Counter
	queries             *prometheus.CounterVec // origin, result
	policyDenials       *prometheus.CounterVec // action
	policyReloads       *prometheus.CounterVec // result
	turnGrants          *prometheus.CounterVec // result
	routingKeyRotations prometheus.Counter
	roomsMade           *prometheus.CounterVec // result
	roomJoins           *prometheus.CounterVec // result
	roomFrames          prometheus.Counter
	roomLegs            *prometheus.CounterVec // result
	roomPasses          *prometheus.CounterVec // result
	policySeats         *prometheus.CounterVec // what
	swept               prometheus.Counter
	deliveryCounters    [3][4]prometheus.Counter // the usual ones, looked up once
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "trunkline_" + name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vector := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "trunkline_" + name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	m.framesIn = counter("link_frames_in_total", "Frames read from clients.")
	m.framesOut = counter("link_frames_out_total", "Frames written to clients.")
	m.slowLinks = counter("links_slow_total", "Links closed because they did not take what waited for them.")
	m.turnedAway = counter("http_connections_turned_away_total", "Connections closed unread because too many were open that are no link of a member.")
	m.handshakes = vector("link_handshakes_total", "Handshakes by result.", "result")
	m.linkErrors = vector("link_errors_total", "Errors answered on links, by code.", "code")
	m.registrations = vector("registrations_total", "Publish frames by result.", "result")
	m.deliveries = vector("envelopes_total", "Envelopes by way (local, federation: came in, remote: went out), fate and code.", "way", "fate", "code")
	m.knocks = vector("knocks_total", "Knocks that were kept for their mailbox, or dropped.", "result")
	m.acked = counter("mailbox_envelopes_acknowledged_total", "Stored envelopes that devices acknowledged.")
	m.expired = counter("mailbox_envelopes_expired_total", "Stored envelopes whose time ended.")
	m.storeErrors = counter("store_errors_total", "Reads and writes that the store failed.")
	m.queries = vector("queries_total", "Oblivious queries by origin and result.", "origin", "result")
	m.policyDenials = vector("policy_denials_total", "Denials by action.", "action")
	m.policyReloads = vector("policy_reloads_total", "Policy reloads by result.", "result")
	m.turnGrants = vector("turn_credentials_total", "Requests for relay credentials by result.", "result")
	m.routingKeyRotations = counter("routing_key_rotations_total", "New routing keys.")
	m.roomsMade = vector("rooms_made_total", "Requests for a room by result.", "result")
	m.roomJoins = vector("room_joins_total", "Joins of rooms by result.", "result")
	m.roomFrames = counter("room_frames_total", "Frames passed on between members of rooms.")
	m.roomPasses = vector("room_passes_total", "Words that this node was asked for one of its people at the node of a room, by result.", "result")
	m.roomLegs = vector("room_legs_total", "Offers of media legs to the SFU by result.", "result")
	m.policySeats = vector("room_seats_policy_total", "Seats in rooms that a change of the policy ended, or whose leg it gave another limit.", "what")
	m.swept = counter("links_swept_total", "Links closed because they were silent or too slow with a frame.")
	for way := range deliveryWays {
		for fate := range m.deliveryCounters[way] {
			m.deliveryCounters[way][fate] = m.deliveries.WithLabelValues(deliveryWays[way], fateNames[fate+1], "")
		}
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

var deliveryWays = [3]string{"local", "federation", "remote"}

var fateNames = [5]string{"unknown", "delivered", "stored", "expired", "refused"}

func (m *metrics) countDelivery(way string, out federation.Outcome) {
	fate := out.Fate
	if fate < pb.Fate_FATE_DELIVERED || fate > pb.Fate_FATE_REFUSED {
		fate = pb.Fate_FATE_REFUSED
	}
	if out.Code == "" {
		for i := range deliveryWays {
			if deliveryWays[i] == way {
				m.deliveryCounters[i][fate-1].Inc()
				return
			}
		}
	}
	m.deliveries.WithLabelValues(way, fateNames[fate], knownCode(out.Code)).Inc()
}

// knownCode keeps what another node chose to answer from becoming a label of its own.
func knownCode(code string) string {
	if code == "" || link.KnownCode(code) {
		return code
	}
	return "other"
}

// watch registers what is read when /metrics is asked: sizes of what the node holds now,
// and the counters of the federation, the relay and the SFU, which know nothing of Prometheus.
func (n *Node) watch() {
	gauge := func(name, help string, f func() float64) {
		n.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "trunkline_" + name, Help: help}, f))
	}
	gauge("ready", "1 when envelopes are taken, 0 while the node starts or drains.", func() float64 {
		if n.isReady() && !n.draining.Load() {
			return 1
		}
		return 0
	})
	gauge("links", "Open client links.", func() float64 { links, _ := n.hub.count(); return float64(links) })
	gauge("devices", "Devices that have a link.", func() float64 { _, devices := n.hub.count(); return float64(devices) })
	gauge("turn_handles", "Relay handles that are minted and not released.", func() float64 { return float64(n.turnGrants.count()) })
	gauge("rooms", "Rooms that are kept.", func() float64 { rooms, _ := n.rooms.count(); return float64(rooms) })
	gauge("room_seats", "Seats taken in rooms.", func() float64 { _, seats := n.rooms.count(); return float64(seats) })
	n.metrics.registry.MustRegister(&outside{n: n})
	if n.sfu != nil {
		n.metrics.registry.MustRegister(forwarded{n.sfu})
	}
}

// outside collects from the packages that keep plain counters.
type outside struct{ n *Node }

var (
	descPeers = prometheus.NewDesc("trunkline_federation_peers", "Federation links by state.", []string{"state"}, nil)
	descQueue = prometheus.NewDesc("trunkline_federation_queue_envelopes", "Envelopes waiting for other nodes.", nil, nil)
	descBytes = prometheus.NewDesc("trunkline_federation_queue_bytes", "Bytes waiting for other nodes.", nil, nil)
	descRefus = prometheus.NewDesc("trunkline_federation_refusals_total", "Refusals of other nodes here, by code.", []string{"code"}, nil)
	descAlloc = prometheus.NewDesc("trunkline_turn_allocations", "Relay allocations.", nil, nil)
	descConns = prometheus.NewDesc("trunkline_turn_connections", "TCP connections to the relay.", nil, nil)
	descTurn  = prometheus.NewDesc("trunkline_turn_events_total", "Relay counters by class and reason.", []string{"class", "reason"}, nil)
)

// Describe implements prometheus.Collector.
func (o *outside) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPeers, descQueue, descBytes, descRefus, descAlloc, descConns, descTurn} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (o *outside) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	states, queued, bytes := map[federation.State]int{}, 0, int64(0)
	for _, p := range o.n.fed.Peers() {
		states[p.State]++
		queued += p.QueueLen
		bytes += p.QueueBytes
	}
	for _, s := range federation.States() { // those without a link too: a gap is no zero
		gauge(descPeers, float64(states[s]), string(s))
	}
	gauge(descQueue, float64(queued))
	gauge(descBytes, float64(bytes))
	for code, c := range o.n.fed.RefusalCounts() {
		ch <- prometheus.MustNewConstMetric(descRefus, prometheus.CounterValue, float64(c), code)
	}
	st := o.n.turn.Stats()
	gauge(descAlloc, float64(st.Allocations))
	gauge(descConns, float64(st.Connections))
	for name, v := range st.Counters {
		class, reason, _ := strings.Cut(name, "/")
		ch <- prometheus.MustNewConstMetric(descTurn, prometheus.CounterValue, float64(v), class, reason)
	}
	for reason, v := range st.Peers {
		ch <- prometheus.MustNewConstMetric(descTurn, prometheus.CounterValue, float64(v), "peer", reason)
	}
}

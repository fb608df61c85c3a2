package demo

// Report is what the demo found: the object that `trunkline demo --json` prints.
type Report struct {
	OK        bool           `json:"ok"`
	Nodes     []NodeReport   `json:"nodes"`
	Note      NoteReport     `json:"note"`
	Call      CallReport     `json:"call"`
	File      FileReport     `json:"file"`
	Refused   RefusalReport  `json:"refused"`
	Envelopes EnvelopeReport `json:"envelopes"`
	Views     []ViewReport   `json:"node_views"`
	Failed    string         `json:"failed,omitempty"` // the step that did not hold
	Error     string         `json:"error,omitempty"`
	Kept      string         `json:"kept,omitempty"` // the folder of --keep
	TookMS    int64          `json:"took_ms"`
}

// NodeReport names one node of the demo.
type NodeReport struct {
	Domain string `json:"domain"`
	PeerID string `json:"peer_id"`
}

// NoteReport follows the note that is left for an absent person.
type NoteReport struct {
	Stored    bool `json:"stored"`
	Delivered bool `json:"delivered"`
}

// CallReport describes the call; counts are summed over both directions.
type CallReport struct {
	Connected      bool        `json:"connected"`
	SetupMS        int64       `json:"setup_ms"`
	CallerRoute    string      `json:"caller_route"`
	CalleeRoute    string      `json:"callee_route"`
	ChannelBinding bool        `json:"channel_binding"`
	SFrame         bool        `json:"sframe"`
	Audio          AudioReport `json:"audio"`
	Video          VideoReport `json:"video"`
}

// AudioReport counts encoded audio frames.
type AudioReport struct {
	Sent     int `json:"sent"`
	Received int `json:"received"`
}

// VideoReport counts encoded video frames; identical ones have the same SHA-256 on both
// sides.
type VideoReport struct {
	Sent      int `json:"frames_sent"`
	Received  int `json:"frames_received"`
	Identical int `json:"frames_identical"`
}

// FileReport follows the file whose receiver is killed in the middle.
type FileReport struct {
	Bytes   int64 `json:"bytes"`
	Match   bool  `json:"sha256_match"`
	Resumed bool  `json:"resumed"`
}

// RefusalReport is the refusal of the third node as the refusing node's administrator
// sees it.
type RefusalReport struct {
	Domain string `json:"domain"`
	Code   string `json:"code"`
	Rule   string `json:"rule"`
}

// EnvelopeReport sums the ledgers of all participants. Sent is the sum of the others.
type EnvelopeReport struct {
	Sent          uint64 `json:"sent"`
	Delivered     uint64 `json:"delivered"`
	StoredPending uint64 `json:"stored_pending"`
	Expired       uint64 `json:"expired"`
	Refused       uint64 `json:"refused"`
	Lost          uint64 `json:"lost"`
}

func (e *EnvelopeReport) add(o EnvelopeReport) {
	e.Sent += o.Sent
	e.Delivered += o.Delivered
	e.StoredPending += o.StoredPending
	e.Expired += o.Expired
	e.Refused += o.Refused
	e.Lost += o.Lost
}

func (e EnvelopeReport) balanced() bool {
	return e.Sent == e.Delivered+e.StoredPending+e.Expired+e.Refused+e.Lost
}

// ViewReport is what one node saw, and what the search for planted secrets found in it.
type ViewReport struct {
	Domain       string   `json:"domain"`
	Envelopes    int      `json:"envelopes"`
	Sizes        []int    `json:"sizes"`
	Leaks        int      `json:"leaks"`
	PlantedFound int      `json:"planted_found"`
	Searched     []string `json:"searched"`
	Needles      int      `json:"needles"`
	LeakedNames  []string `json:"leaked,omitempty"`
}

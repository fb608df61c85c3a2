package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/bolt"
	"github.com/trunkline-net/trunkline/policy"
)

// The administrator's side: HTTP and JSON over DATA/admin.sock, which only the node's user
// can open. docs/spec/client-link.md, "Admin socket".

// Status is what the node is doing.
type Status struct {
	Facts
	Version  string       `json:"version,omitempty"`
	Started  time.Time    `json:"started"`
	Draining bool         `json:"draining"`
	Data     string       `json:"data"`
	Links    int          `json:"links"`
	Devices  int          `json:"devices"`
	Rooms    int          `json:"rooms"`
	Seats    int          `json:"room_seats"`
	Document DocumentInfo `json:"document"`
	Policy   PolicyInfo   `json:"policy"`
}

// DocumentInfo is about the own domain document.
type DocumentInfo struct {
	Epoch   uint64    `json:"epoch"`
	Expires time.Time `json:"expires"`
	Key     string    `json:"key"` // as a partner's policy.toml writes it
}

// PolicyInfo is about the policy in force.
type PolicyInfo struct {
	File     string   `json:"file"`
	Register string   `json:"register"`
	Domains  int      `json:"domains"`
	Rules    int      `json:"rules"`
	Tests    int      `json:"tests"`
	Warnings []string `json:"warnings,omitempty"`
}

// Peer is one link to another node.
type Peer struct {
	Domain      string     `json:"domain"`
	PeerID      string     `json:"peer_id"`
	State       string     `json:"state"`
	Since       *time.Time `json:"since,omitempty"`
	LastContact *time.Time `json:"last_contact,omitempty"`
	EchoMS      float64    `json:"echo_ms,omitempty"`
	EchoMissed  int        `json:"echo_missed,omitempty"`
	Queue       int        `json:"queue"`
	QueueBytes  int64      `json:"queue_bytes"`
	Why         string     `json:"why,omitempty"`
	RetryAt     *time.Time `json:"retry_at,omitempty"`
}

// Refusal is how often a domain was refused here, and by which rule.
type Refusal struct {
	Domain string    `json:"domain"`
	Code   string    `json:"code"`
	Rule   string    `json:"rule"`
	Count  int       `json:"count"`
	Last   time.Time `json:"last"`
}

// Peers are the links to other nodes, and who was refused one.
type Peers struct {
	Peers    []Peer    `json:"peers"`
	Refusals []Refusal `json:"refusals"`
}

// Invite is an invitation. URL is known only in the moment in which it is made.
type Invite struct {
	ID      string     `json:"id"`
	URL     string     `json:"url,omitempty"`
	Note    string     `json:"note,omitempty"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
	Uses    int        `json:"uses"` // left
	Used    int        `json:"used"`
}

// InviteRequest asks for one. Uses below 1 mean one; no ExpiresSeconds mean a week, a
// negative number means never.
type InviteRequest struct {
	Uses           int    `json:"uses,omitempty"`
	ExpiresSeconds int64  `json:"expires_seconds,omitempty"`
	Note           string `json:"note,omitempty"`
}

// ExplainRequest asks what the policy in force decides.
type ExplainRequest struct {
	Domain    string `json:"domain"`
	Action    string `json:"action"`
	Direction string `json:"direction"`
	User      string `json:"user,omitempty"`
}

// Decision is what `policy explain` prints.
type Decision struct {
	Decision string         `json:"decision"` // allow or deny
	Rule     string         `json:"rule"`
	Level    string         `json:"level"`
	Limits   map[string]any `json:"limits"`
	Reason   string         `json:"reason"`
	Needs    string         `json:"needs,omitempty"`
}

// NewDecision puts a decision into the words of `policy explain`.
func NewDecision(d policy.Decision) Decision {
	out := Decision{Decision: "deny", Rule: d.Rule, Level: d.Level.String(), Limits: map[string]any{}, Reason: d.Reason, Needs: d.Needs}
	if d.Allow {
		out.Decision = "allow"
	}
	if d.Limits.PerSecond != 0 {
		out.Limits["per_second"] = d.Limits.PerSecond
	}
	if d.Limits.BytesPerSecond != 0 {
		out.Limits["bytes_per_second"] = d.Limits.BytesPerSecond
	}
	if d.Limits.Concurrent != 0 {
		out.Limits["concurrent"] = d.Limits.Concurrent
	}
	if d.Limits.Total != 0 {
		out.Limits["total"] = d.Limits.Total
	}
	return out
}

// StoreReport is what checking the store found.
type StoreReport = bolt.Report

// VerifyStore checks the store of a node that is not running, and changes nothing.
func VerifyStore(dataDir string) (StoreReport, error) {
	report, err := bolt.Verify(filepath.Join(dataDir, fileStore))
	if err != nil {
		return report, fmt.Errorf("verify the store: %w", err)
	}
	return report, nil
}

// Views is what this node saw.
func (n *Node) Views() Views {
	v := Views{Domain: n.cfg.Domain, TurnGrant: n.turnGrants.count()}
	v.Links, v.Devices = n.hub.count()
	n.views.fill(&v)
	return v
}

// listenAdmin opens the admin socket. The store's lock is held, so a socket that is still
// there belongs to a node that is gone.
func (n *Node) listenAdmin() (net.Listener, error) {
	path := n.folder.path(fileSocket)
	if n.ground.Listen != nil {
		return n.ground.Listen("unix", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	at, done, err := socketAddress(path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // Run removes it by its real name
	// Between the two calls only the owner gets into the folder, which is 0700.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("admin socket: %w", err), l.Close())
	}
	return l, nil
}

// maxSocketPath is what fits into an address of a unix socket on every system.
const maxSocketPath = 100

// socketAddress is a name for path that is short enough. On Linux a folder that is open has
// one.
func socketAddress(path string) (at string, done func(), err error) {
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path %s is longer than %d bytes; use a data folder with a shorter one", path, maxSocketPath)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	at = "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(path)
	return at, func() { _ = dir.Close() }, nil
}

// maxAdminBody bounds a request on the admin socket.
const maxAdminBody = 64 << 10

func (n *Node) adminHandler() http.Handler {
	mux := http.NewServeMux()
	get := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("GET /admin/v1/"+path, func(w http.ResponseWriter, r *http.Request) { answerAdmin(w, r, f) })
	}
	post := func(path string, f func(*http.Request) (any, error)) {
		mux.HandleFunc("POST /admin/v1/"+path, func(w http.ResponseWriter, r *http.Request) { answerAdmin(w, r, f) })
	}
	get("status", func(*http.Request) (any, error) { return n.Status(), nil })
	get("peers", func(*http.Request) (any, error) { return n.peersNow(), nil })
	get("refusals", func(*http.Request) (any, error) { return n.peersNow().Refusals, nil })
	get("views", func(*http.Request) (any, error) { return n.Views(), nil })
	get("invites", n.adminInvites)
	post("invites", n.adminInvite)
	mux.HandleFunc("DELETE /admin/v1/invites/{id}", func(w http.ResponseWriter, r *http.Request) {
		answerAdmin(w, r, func(r *http.Request) (any, error) {
			err := n.db.Revoke(r.Context(), r.PathValue("id"))
			if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvitation) {
				return nil, &AdminError{Status: http.StatusNotFound, Code: link.CodeInvitationInvalid, Message: "no such invitation"}
			}
			return struct{}{}, err
		})
	})
	post("policy/reload", func(*http.Request) (any, error) {
		if err := n.Reload(); err != nil {
			return nil, &AdminError{Status: http.StatusUnprocessableEntity, Code: "invalid", Message: err.Error()}
		}
		return n.Status().Policy, nil
	})
	post("policy/explain", n.adminExplain)
	post("shutdown", func(*http.Request) (any, error) { n.Shutdown(); return struct{}{}, nil })
	post("store/verify", func(r *http.Request) (any, error) { return n.db.Check(r.Context()) })
	post("memory/collect", func(*http.Request) (any, error) { return collect(), nil })
	post("profile", n.adminProfile)
	return mux
}

func answerAdmin(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
	out, err := f(r)
	status := http.StatusOK
	var refusal *AdminError
	switch {
	case errors.As(err, &refusal):
		status, out = refusal.Status, map[string]any{"error": refusal}
	case err != nil:
		status = http.StatusInternalServerError
		out = map[string]any{"error": &AdminError{Code: link.CodeInternal, Message: err.Error()}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(out) // the other side may be gone
}

// AdminError is a refusal of the admin socket.
type AdminError struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (e *AdminError) Error() string { return e.Message }

func adminBody(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return &AdminError{Status: http.StatusBadRequest, Code: link.CodeBadFrame, Message: "the request's JSON is not as expected"}
	}
	return nil
}

// Status is what the node is doing now.
func (n *Node) Status() Status {
	s := Status{
		Facts: n.Facts(), Version: n.cfg.Version, Started: n.start, Draining: n.draining.Load(), Data: n.folder.dir,
	}
	s.Domain, s.PeerID = n.cfg.Domain, n.self.String()
	// The invitation that was printed at the start is not said again.
	s.Invite = ""
	s.Links, s.Devices = n.hub.count()
	s.Rooms, s.Seats = n.rooms.count()
	if doc := n.documents.current.Load(); doc != nil {
		s.Document = DocumentInfo{Epoch: doc.Epoch, Expires: doc.Expires, Key: KeyText(doc.Key.Ed25519())}
	}
	p := n.policy.Policy()
	mode, _ := p.Register()
	s.Policy = PolicyInfo{
		File: n.folder.policyAt, Register: mode.String(), Domains: len(p.Domains()), Rules: p.Rules(), Tests: p.Tests(), Warnings: p.Warnings(),
	}
	return s
}

func (n *Node) peersNow() Peers {
	out := Peers{Peers: []Peer{}, Refusals: []Refusal{}}
	for _, p := range n.fed.Peers() {
		out.Peers = append(out.Peers, Peer{
			Domain: p.Domain, PeerID: p.Peer.String(), State: string(p.State), Since: orNil(p.Since), LastContact: orNil(p.LastContact),
			EchoMS: float64(p.EchoRTT.Microseconds()) / 1000, EchoMissed: p.EchoMissed,
			Queue: p.QueueLen, QueueBytes: p.QueueBytes, Why: p.Why, RetryAt: orNil(p.RetryAt),
		})
	}
	for _, r := range n.fed.Refusals() {
		out.Refusals = append(out.Refusals, Refusal{Domain: r.Domain, Code: r.Code, Rule: r.Rule, Count: r.Count, Last: r.Last})
	}
	return out
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func inviteOf(i store.Invitation) Invite {
	return Invite{ID: i.ID, Note: i.Note, Created: i.Created, Expires: orNil(i.Expires), Uses: i.Uses, Used: i.Used}
}

func (n *Node) adminInvites(r *http.Request) (any, error) {
	all, err := n.db.List(r.Context())
	if err != nil {
		return nil, err
	}
	out := []Invite{}
	for _, i := range all {
		out = append(out, inviteOf(i))
	}
	return out, nil
}

// maxInviteUses keeps a typing error from opening the door to everybody.
const maxInviteUses = 100_000

func (n *Node) adminInvite(r *http.Request) (any, error) {
	var req InviteRequest
	if err := adminBody(r, &req); err != nil {
		return nil, err
	}
	if req.Uses > maxInviteUses || len(req.Note) > 200 || req.ExpiresSeconds > 10*365*24*3600 {
		return nil, &AdminError{Status: http.StatusBadRequest, Code: link.CodeTooLarge,
			Message: fmt.Sprintf("at most %d uses, ten years and 200 bytes of note", maxInviteUses)}
	}
	expires := n.now().Add(7 * 24 * time.Hour)
	switch {
	case req.ExpiresSeconds < 0:
		expires = time.Time{}
	case req.ExpiresSeconds > 0:
		expires = n.now().Add(time.Duration(req.ExpiresSeconds) * time.Second)
	}
	token, made, err := n.db.Create(r.Context(), req.Uses, expires, req.Note)
	if err != nil {
		return nil, err
	}
	out := inviteOf(made)
	out.URL = n.inviteURL(token)
	return out, nil
}

func (n *Node) adminExplain(r *http.Request) (any, error) {
	var req ExplainRequest
	if err := adminBody(r, &req); err != nil {
		return nil, err
	}
	action, err := policy.ParseAction(req.Action)
	if err == nil {
		var direction policy.Direction
		if direction, err = policy.ParseDirection(req.Direction); err == nil {
			return NewDecision(n.policy.Decide(policy.Request{
				Domain: req.Domain, Action: action, Direction: direction, User: req.User, At: n.now(),
			})), nil
		}
	}
	return nil, &AdminError{Status: http.StatusBadRequest, Code: "invalid", Message: err.Error()}
}

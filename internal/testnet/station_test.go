package testnet

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/federation"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/bolt"
	"github.com/trunkline-net/trunkline/node"
)

// station is a node over its lives.
type station struct {
	w        *world
	i        int
	name     string
	domain   string
	dir      string
	at       string // host:port of the client link
	peer     identity.PeerID
	power    *power
	offset   atomic.Int64 // of its clock, nanoseconds
	forward  atomic.Int64 // sum of the jumps forward
	restarts int

	mu   sync.Mutex // guards all below
	node *node.Node
	end  context.CancelFunc
	done chan error
	busy bool // being stopped or started by a fault
}

func (w *world) newStation(i int, rng *rand.Rand) *station {
	s := &station{w: w, i: i, name: fmt.Sprintf("node%d", i+1), domain: fmt.Sprintf("node%d.example", i+1),
		dir: filepath.Join(w.dir, fmt.Sprintf("node%d", i+1)), at: fmt.Sprintf("127.0.0.1:%d", 7001+i)}
	s.power = newPower(s.dir, "node.db", []string{"node.db.keys"}, rng)
	s.power.lost = s.goDark
	s.power.cutAt = func(what string) { go s.afterPower(what) }
	w.packets.names[net.IPv4(1, 0, 0, byte(i+1)).String()] = s.name
	return s
}

func (s *station) config() node.Config {
	cfg := node.DefaultConfig()
	cfg.Domain, cfg.Data = s.domain, s.dir
	cfg.HTTP.Listen, cfg.Metrics.Listen, cfg.TURN.Listen = s.at, "", "127.0.0.1:0"
	cfg.Federation.Listen = []string{"127.0.0.1:0"}
	cfg.TURN.ExternalIP = "127.0.0.1"
	for _, name := range s.w.domains() {
		if name != s.domain {
			cfg.Federation.Peers = append(cfg.Federation.Peers, node.PeerConfig{Domain: name, Document: s.w.documentOf(name)})
		}
	}
	return cfg
}

// prepare makes the folder and the keys, and returns the line of the policy that pins them.
func (s *station) prepare() (string, error) {
	made, err := node.Init(s.config())
	if err != nil {
		return "", err
	}
	if s.peer, err = identity.ParsePeerID(made.PeerID); err != nil {
		return "", err
	}
	return made.DomainKey, nil
}

// federationAt is where the node's datagrams are.
func (s *station) federationAt() string { return fmt.Sprintf("/ip4/1.0.0.%d/udp/8000/quic-v1", s.i+1) }

func (s *station) now() time.Time { return time.Now().Add(time.Duration(s.offset.Load())) }

// start runs the node on its folder until it is ready.
func (s *station) start() error {
	var out io.Writer = io.Discard
	if s.w.log != nil {
		out = s.w.log
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", s.name)
	g := node.Ground{
		Now:     s.now,
		NoRelay: true,
		Commit:  s.power.commit,
		Listen:  func(network, at string) (net.Listener, error) { return s.w.streams.listen(s.name, network, at) },
		Federation: func(c *federation.Config) {
			c.Listen, c.Transports = []string{s.federationAt()}, s.w.packets.transports()
			c.Deliverer = witness{c.Deliverer, s}
		},
	}
	if s.w.ground != nil {
		federate := g.Federation
		s.w.ground(&g)
		if broken := g.Federation; broken != nil {
			g.Federation = func(c *federation.Config) { federate(c); broken(c) }
		}
	}
	n, err := node.NewOn(s.config(), log, g)
	if err != nil {
		return fmt.Errorf("%s does not start: %w", s.name, err)
	}
	ctx, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	select {
	case <-n.Ready():
	case err := <-done:
		end()
		return fmt.Errorf("%s ended before it was ready: %w", s.name, err)
	}
	s.mu.Lock()
	s.node, s.end, s.done = n, end, done
	s.mu.Unlock()
	return nil
}

// witness writes down what a node refuses of what others bring.
type witness struct {
	federation.Deliverer
	s *station
}

func (v witness) Deliver(ctx context.Context, from federation.Source, e *envelope.Envelope) federation.Outcome {
	id := e.ID()
	out := v.Deliverer.Deliver(ctx, from, e)
	if out.Fate == envelopepb.Fate_FATE_REFUSED {
		v.s.w.history.add(event{who: v.s.name, kind: turnedDown, id: id, code: out.Code})
	}
	return out
}

// stop ends the node as SIGTERM does.
func (s *station) stop() error {
	s.mu.Lock()
	end, done := s.end, s.done
	s.node, s.end, s.done = nil, nil, nil
	s.mu.Unlock()
	if end == nil {
		return nil
	}
	end()
	return <-done
}

// claim says that a fault owns the node's life now. Only one does at a time.
func (s *station) claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		return false
	}
	s.busy = true
	s.w.repairs.Add(1) // until release
	return true
}

func (s *station) release() {
	s.mu.Lock()
	s.busy = false
	s.mu.Unlock()
	s.w.repairs.Done()
}

// goDark is what a power loss does to the network, at once: nothing that the node says from
// now on arrives anywhere.
func (s *station) goDark() {
	s.w.packets.setDead(s.name, true)
	s.w.streams.lose(s.name, 3*time.Second)
}

// afterPower ends what is left of a node without power and starts it again on what its disk
// had.
func (s *station) afterPower(what string) {
	defer s.release()
	s.w.history.fault("power lost", s.name+", of its last write arrived: "+what)
	// It still believes that it lives. What it does in the dark, nobody learns.
	_ = s.stop()
	s.w.pause(time.Duration(s.w.random(20_000)) * time.Millisecond)
	if err := s.power.restore(); err != nil {
		s.w.fail("%v", err)
		return
	}
	if r, err := bolt.Verify(filepath.Join(s.dir, "node.db")); err != nil || len(r.Problems) > 0 {
		s.w.fail("the disk of %s after its power loss (%s): %v %v", s.name, what, err, r.Problems)
	}
	s.w.packets.setDead(s.name, false)
	s.restarts++
	if err := s.start(); err != nil {
		s.w.fail("after its power loss (%s): %v", what, err)
		return
	}
	s.w.history.add(event{who: s.name, kind: remark, text: "is up again"})
}

// policy makes everybody a partner of everybody.
func policyFor(keys map[string]string, self string) string {
	var b strings.Builder
	b.WriteString("version = 1\n[register]\nmode = \"open\"\n")
	for _, d := range sorted(keys) {
		if d != self {
			fmt.Fprintf(&b, "[[domain]]\nname = %q\nlevel = \"partner\"\nkey = %q\n", d, keys[d])
		}
	}
	b.WriteString("[[rule]]\nname = \"partners\"\nlevel = \"partner\"\ndirection = \"both\"\nactions = [\"federate\", \"signal\", \"knock\", \"store\", \"query\"]\n")
	return b.String()
}

func keyText(key []byte) string { return "ed25519:" + base64.StdEncoding.EncodeToString(key) }

func write(path, text string) error {
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
}

// Package importgraph holds the tree to its import table: which of our packages may import
// which, and which package is the one door of each heavy dependency. The test runs it over
// "go list"; docs/ARCHITECTURE.md explains the table.
//
// What a package cannot import it cannot leak: two lines of this table are promises to users
// (media never imports envelope or federation; federation never imports media or the store).
package importgraph

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is the prefix of our own packages.
const Module = "github.com/trunkline-net/trunkline"

// Package is what the check needs of one entry of "go list -json".
type Package struct {
	ImportPath string
	Imports    []string // of the package itself, not of its tests
	Deps       []string // everything it is built of
}

// table says for each package of ours which others it may import. A name that ends in "/…"
// stands for the package and everything below it. A package that no line names is a
// violation: a new package is a decision about this table.
//
// Two things hold besides: a package may import what is below it and its own parent's
// generated code, and whoever may import P may import P/pb, since P's exported functions
// speak in those types.
var table = []struct {
	who string
	may []string
}{
	{"internal/canon", nil},
	{"identity/…", []string{"internal/canon"}},
	// room is what travels sealed between the members of a room; it makes sessions of envelope.
	{"envelope/room", []string{"identity", "envelope", "internal/canon"}},
	{"envelope/…", []string{"identity", "internal/canon"}},
	{"policy", []string{"identity"}},
	{"internal/link/…", []string{"identity", "envelope", "internal/canon"}},
	{"internal/localca", nil},
	// ws is the WebSocket's frames as the node's data path reads and writes them.
	{"internal/ws", nil},

	{"internal/store", []string{"identity", "envelope"}},
	{"internal/store/storetest", []string{"identity", "envelope", "internal/store"}},
	// kv is the bbolt file below both stores: groups of commits, versions, sealed values.
	{"internal/store/kv", nil},
	{"internal/store/bolt", []string{"identity", "envelope", "internal/store", "internal/store/kv"}},
	// bench compares the node's store with bbolt alone, behind bbolt's door.
	{"internal/store/bench", []string{"envelope", "internal/store", "internal/store/bolt"}},
	{"internal/store/keep", []string{"identity", "envelope", "internal/store/kv"}},

	// federation splits off what can be fuzzed without libp2p: wire reads frames, proof
	// fetches and pins domain documents.
	{"federation/wire", []string{"identity", "envelope", "internal/canon", "federation/pb"}},
	{"federation/proof", []string{"identity", "envelope", "policy", "internal/canon", "federation/pb", "federation/wire"}},
	{"federation/…", []string{"identity", "envelope", "policy", "internal/canon", "federation/…"}},

	{"media/sframe", nil},
	{"media", []string{"identity", "policy"}},
	{"media/turn/…", []string{"identity", "policy", "media", "media/turn/…"}},
	// The benchmark of the SFU runs it as a process of its own and reads what that uses.
	{"media/sfu/bench", []string{"media/sfu/…", "internal/child", "internal/usage"}},
	{"media/sfu/…", []string{"identity", "policy", "media", "media/sfu/…"}},

	// The light parts of the client know nothing of keys or links: they parse what comes
	// from strangers and are fuzzed by themselves.
	{"client/sdp", nil},
	{"client/clip", nil},
	{"client/transfer/…", []string{"identity", "envelope", "internal/canon"}},
	// rtc estimates what a path takes as the SFU does.
	{"client/rtc", []string{"identity", "envelope", "internal/canon", "media/sframe", "media/sfu/congestion", "media/sfu/wire", "client/sdp", "client/clip"}},
	{"client/…", []string{"identity", "envelope", "envelope/room", "internal/canon", "internal/link", "internal/store/keep", "media/sframe", "client/…"}},

	{"web", nil},
	{"node/…", []string{"internal/canon", "identity", "envelope", "policy", "internal/link", "internal/ws", "internal/localca", "internal/store/…",
		"federation/…", "media/…", "web", "node/…"}},

	{"internal/protogen", nil},
	{"internal/importgraph", nil},
	// leak searches a process for planted secrets and has to know none of ours to do so.
	{"internal/leak", nil},
	// usage reads what a process uses, whatever it is.
	{"internal/usage", nil},
	// child runs the program's own binary and knows nothing of what it does.
	{"internal/child", nil},
	{"internal/demo/…", []string{"node/…", "client/…", "identity", "internal/child", "internal/leak", "internal/demo/…"}},
	// bench drives nodes from outside; what it compares them with stands behind the doors of
	// the heavy dependencies.
	{"internal/bench", []string{"node", "client/bench", "federation/bench", "internal/store/bench", "identity", "internal/child", "internal/usage"}},
	// The id commands make and read profiles without a network, so they use the client's
	// durable state directly.
	{"cmd/trunkline", []string{"node/…", "client/…", "identity", "envelope", "envelope/room", "policy", "web", "internal/link", "internal/demo", "internal/bench",
		"internal/store", "internal/store/bolt", "internal/store/keep", "media/turn/bench", "media/sfu/bench"}},

	// Tests only: many people of the Go client in one process, for the journeys of browsers.
	{"internal/crowd", []string{"client", "envelope/room"}},
	// Tests only: many nodes on a simulated network; namespaces and wires; real nodes under faults.
	{"internal/testnet/…", []string{"…"}},
	{"internal/lab/…", []string{"…"}},
	{"internal/faults", []string{"…"}},
}

// doors says which packages may import a heavy dependency, by the prefix of its import path.
var doors = []struct {
	module string
	may    []string
}{
	{"github.com/libp2p/", []string{"federation/…", "internal/testnet/…"}},
	{"github.com/multiformats/", []string{"federation/…", "internal/testnet/…"}},
	{"github.com/pion/", []string{"media/…", "client/…", "internal/lab/…", "internal/testnet/…"}},
	{"go.etcd.io/bbolt", []string{"internal/store/…"}},
	{"github.com/prometheus/", []string{"node/…"}},
	{"github.com/gorilla/websocket", []string{"node/…", "client/…"}},
	{"github.com/spf13/", []string{"cmd/trunkline"}},
	{"github.com/bufbuild/", []string{"internal/protogen"}},
}

// light lists packages that must not be built with any heavy dependency at all, not even
// through others: fuzzing and the second implementation rely on it.
var light = []string{"internal/canon", "identity", "envelope", "envelope/room", "policy", "internal/link", "internal/ws", "federation/wire",
	"client/sdp", "client/clip", "client/transfer", "media/sframe", "media/sfu/wire"}

// never lists what must not be reached at all, whatever way the table may go one day.
var never = []struct {
	who, what string
	why       string
}{
	{"media/…", "envelope/…", "the media plane cannot read signaling"},
	{"media/…", "federation/…", "the media plane does not know who federates"},
	{"federation/…", "media/…", "federation does not know about calls"},
	{"federation/…", "internal/store/…", "federation keeps nothing but what it is given an outbox for"},
	{"node/…", "client/…", "a node never acts as a person"},
}

// Violations are the imports that the tables do not allow, one line each, sorted.
func Violations(packages []Package) []string {
	var out []string
	for _, p := range packages {
		who, ours := own(p.ImportPath)
		if !ours {
			continue
		}
		may, known := allowed(who)
		if !known {
			out = append(out, fmt.Sprintf("%s has no line in the import table", who))
			continue
		}
		for _, imported := range p.Imports {
			what, ours := own(imported)
			if ours {
				if !mayImport(who, what, may) {
					out = append(out, fmt.Sprintf("%s imports %s, which its line in the import table does not allow", who, what))
				}
				continue
			}
			for _, d := range doors {
				if underModule(imported, d.module) && !matchAny(d.may, who) {
					out = append(out, fmt.Sprintf("%s imports %s, whose door is %s", who, imported, strings.Join(d.may, ", ")))
				}
			}
		}
		for _, dep := range p.Deps {
			what, ours := own(dep)
			if ours {
				for _, n := range never {
					if match(n.who, who) && match(n.what, what) && who != "media/sframe" {
						out = append(out, fmt.Sprintf("%s is built with %s, but %s", who, what, n.why))
					}
				}
				continue
			}
			if slices.Contains(light, who) {
				for _, d := range doors {
					if underModule(dep, d.module) {
						out = append(out, fmt.Sprintf("%s is built with %s, but it has to stay light", who, dep))
					}
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// allowed is the line for a package: the first that matches.
func allowed(who string) ([]string, bool) {
	if p, ok := strings.CutSuffix(who, "/pb"); ok {
		who = p // generated code stands under the line of its owner
	}
	for _, line := range table {
		if match(line.who, who) {
			return line.may, true
		}
	}
	return nil, false
}

func mayImport(who, what string, may []string) bool {
	if strings.HasPrefix(what, who+"/") || what == path.Dir(who)+"/pb" || matchAny(may, what) {
		return true
	}
	owner, generated := strings.CutSuffix(what, "/pb")
	return generated && (owner == who || matchAny(may, owner))
}

func matchAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, name) })
}

// match compares with a pattern: a name, or a name and "/…" for it and everything below.
func match(pattern, name string) bool {
	if pattern == "…" {
		return true
	}
	base, below := strings.CutSuffix(pattern, "/…")
	return name == base || (below && strings.HasPrefix(name, base+"/"))
}

// own is a package's path inside the module.
func own(importPath string) (string, bool) {
	if importPath == Module {
		return ".", true
	}
	return strings.CutPrefix(importPath, Module+"/")
}

func underModule(importPath, module string) bool {
	if strings.HasSuffix(module, "/") {
		return strings.HasPrefix(importPath, module)
	}
	return importPath == module || strings.HasPrefix(importPath, module+"/")
}

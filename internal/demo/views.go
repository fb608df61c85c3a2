package demo

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"
	"strings"

	"github.com/trunkline-net/trunkline/internal/child"
	"github.com/trunkline-net/trunkline/internal/leak"
)

// plant remembers a secret that no node may hold in any form.
func (d *demo) plant(name string, value []byte) {
	d.secrets = append(d.secrets, secret{Name: name, Forms: forms(value)})
}

// forms are the encodings in which a value would be recognised.
func forms(value []byte) [][]byte {
	return [][]byte{
		value,
		[]byte(hex.EncodeToString(value)),
		[]byte(base64.StdEncoding.EncodeToString(value)),
		[]byte(base64.RawURLEncoding.EncodeToString(value)),
	}
}

// collectSecrets asks a participant for what it knows and a node must not: its SDP lines,
// candidates, ICE passwords and own addresses.
func (d *demo) collectSecrets(ctx context.Context, p *participant) error {
	var got secretsResult
	if err := p.do(ctx, "secrets", struct{}{}, &got); err != nil {
		return err
	}
	for _, s := range got.Needles {
		s.Name, s.of = p.name+": "+s.Name, p.name
		d.secrets = append(d.secrets, s)
	}
	return nil
}

func (d *demo) views(ctx context.Context) (string, error) {
	if len(d.secrets) < 10 {
		return "", fmt.Errorf("only %d secrets were planted: the search would prove nothing", len(d.secrets))
	}
	var told []string
	for _, e := range []*exchange{d.acme, d.globex} {
		view, err := d.view(ctx, e)
		if err != nil {
			return "", err
		}
		d.report.Views = append(d.report.Views, view)
		line := fmt.Sprintf("%s saw %d envelopes of sizes %v; %d of %d planted secrets found in its %s, the control was found",
			view.Domain, view.Envelopes, view.Sizes, view.Leaks, view.Needles, strings.Join(view.Searched, ", "))
		if !slices.Contains(view.Searched, "memory") {
			line += "; its memory was not searched, because this system does not let the demo read it"
		}
		told = append(told, line)
		if view.Leaks != 0 {
			return "", fmt.Errorf("%s holds what it must not: %s", e.domain, strings.Join(view.LeakedNames, ", "))
		}
		if view.PlantedFound == 0 {
			return "", fmt.Errorf("the search did not find the control in %s: it proves nothing", e.domain)
		}
	}
	return strings.Join(told, "\n"), nil
}

// alive says whether a child still runs.
func alive(p *process) bool {
	select {
	case <-p.Done():
		return false
	default:
		return true
	}
}

type viewsResult struct {
	Envelopes int   `json:"envelopes"`
	Sizes     []int `json:"sizes"`
}

const control = "control"

// view searches one node: its memory, its link frames, its log, its metrics, its disk.
func (d *demo) view(ctx context.Context, e *exchange) (ViewReport, error) {
	out := ViewReport{Domain: e.domain}
	var saw viewsResult
	if err := child.Run(ctx, d.binary, &saw, "peers", "--views", "--data", e.dir, "--json"); err != nil {
		return out, err
	}
	out.Envelopes, out.Sizes = saw.Envelopes, saw.Sizes
	sort.Ints(out.Sizes)

	pair := []leak.Needle{
		{Name: "identity of Alice", Forms: append(forms(d.aliceID.PublicKey), []byte(d.aliceID.ID))},
		{Name: "identity of Bob", Forms: append(forms(d.bobID.PublicKey), []byte(d.bobID.ID))},
	}
	needles := append([]leak.Needle{{Name: control, Forms: [][]byte{[]byte(e.marker)}}}, pair...)
	guest := map[string]string{d.acme.domain: "alice", d.globex.domain: "bob"}[e.domain]
	for _, s := range d.secrets {
		if !s.Own || s.of != guest {
			needles = append(needles, leak.Needle{Name: s.Name, Forms: s.Forms})
		}
	}
	search, err := leak.New(needles)
	if err != nil {
		return out, err
	}
	for _, place := range []struct {
		name string
		look func() error
	}{
		{"frames", func() error {
			for _, f := range e.tap.frames() {
				search.Bytes("frames", f)
			}
			return nil
		}},
		{"logs", func() error { return search.Dir("logs", d.logs+"/"+e.domain+".log") }},
		{"metrics", func() error {
			body, err := fetch(ctx, e.metrics)
			search.Bytes("metrics", body)
			return err
		}},
		{"disk", func() error { return search.Dir("disk", e.dir) }},
		{"memory", func() error {
			if !leak.MemorySearched {
				return errors.ErrUnsupported
			}
			err := search.Memory("memory", e.PID())
			// A hardened system (ptrace_scope, no /proc) is no fault of the node.
			if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) && alive(e.process) {
				return errors.ErrUnsupported
			}
			return err
		}},
	} {
		switch err := place.look(); {
		case errors.Is(err, errors.ErrUnsupported):
			// The report names what was searched; this is not among it.
		case err != nil:
			return out, fmt.Errorf("search the %s of %s: %w", place.name, e.domain, err)
		default:
			out.Searched = append(out.Searched, place.name)
		}
	}

	found := search.Found()
	if len(found[control]) > 0 {
		out.PlantedFound = 1
	}
	delete(found, control)
	// A node must know the identity of its own user. Both together would be the pair.
	if _, both := found[pair[0].Name]; both {
		if _, both = found[pair[1].Name]; both {
			out.LeakedNames = append(out.LeakedNames, "both identities together")
		}
	}
	delete(found, pair[0].Name)
	delete(found, pair[1].Name)
	for name, places := range found {
		out.LeakedNames = append(out.LeakedNames, name+" ("+strings.Join(places, ", ")+")")
	}
	sort.Strings(out.LeakedNames)
	out.Leaks = len(out.LeakedNames)
	out.Needles = len(needles) - 2 // the control is none, the pair is one
	if out.Envelopes == 0 {
		return out, errors.New(e.domain + " says that it saw no envelope")
	}
	return out, nil
}

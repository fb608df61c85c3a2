package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

func TestASecretIsFoundWhereItLies(t *testing.T) {
	t.Parallel()
	needle := Needle{Name: "marker", Forms: [][]byte{[]byte("planted-marker-7c1")}}
	other := Needle{Name: "absent", Forms: [][]byte{[]byte("never-written-anywhere")}}
	s, err := New([]Needle{needle, other})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	body := append(bytes.Repeat([]byte{'x'}, 1<<20-5), []byte("planted-marker-7c1 tail")...)
	if err := os.WriteFile(filepath.Join(dir, "store"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Dir("disk", dir); err != nil {
		t.Fatal(err)
	}
	s.Bytes("log", []byte("nothing here"))
	found := s.Found()
	if len(found) != 1 || len(found["marker"]) != 1 || found["marker"][0] != "disk" {
		t.Fatalf("found %v, want the marker on disk only", found)
	}
}

func TestMemoryOfAnotherProcessIsSearched(t *testing.T) {
	t.Parallel()
	if !MemorySearched {
		t.Log("memory is searched on Linux only")
		return
	}
	// The child's environment lies in its writable memory: a secret on purpose.
	child := exec.Command("sleep", "60")
	child.Env = append(os.Environ(), "MARKER=planted-in-a-child-52d0")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	s, err := New([]Needle{
		{Name: "planted", Forms: [][]byte{[]byte("planted-in-a-child-52d0")}},
		{Name: "absent", Forms: [][]byte{[]byte("was-never-in-that-child")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Memory("memory", child.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if found := s.Found(); len(found) != 1 || len(found["planted"]) != 1 {
		t.Fatalf("found %v, want only the planted marker", found)
	}
}

func TestShortOrMissingNeedlesAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]Needle{nil, {{Name: "x"}}, {{Name: "x", Forms: [][]byte{[]byte("short")}}}} {
		if _, err := New(bad); err == nil {
			t.Errorf("New(%v) was accepted", bad)
		}
	}
}

func TestAValueIsFoundInEveryFormAndPosition(t *testing.T) {
	t.Parallel()
	value := []byte{0xfb, 0xff, 0x3e, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbf, 0xfe, 0x0d}
	text := `Grüße, "Bob" & Söhne`
	s, err := New([]Needle{Secret("value", value), Text("text", text)})
	if err != nil {
		t.Fatal(err)
	}
	type sample struct {
		needle, form string
		b            []byte
	}
	var samples []sample
	for name, v := range map[string][]byte{"value": value, "text": []byte(text)} {
		samples = append(samples, sample{name, "raw", v}, sample{name, "hex", fmt.Appendf(nil, "%x", v)}, sample{name, "HEX", fmt.Appendf(nil, "%X", v)})
		for before := range 4 {
			for after := range 4 {
				around := slices.Concat(bytes.Repeat([]byte{0xa5}, before), v, bytes.Repeat([]byte{0x5a}, after))
				for encoding, e := range map[string]*base64.Encoding{"standard": base64.StdEncoding, "address": base64.RawURLEncoding} {
					samples = append(samples, sample{name, fmt.Sprintf("%s base64, %d before, %d after", encoding, before, after), []byte(e.EncodeToString(around))})
				}
			}
		}
	}
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	samples = append(samples,
		sample{"value", "fingerprint", []byte("FB:FF:3E:11:22:33:44:55:66:77:88:99:AA:BF:FE:0D")},
		sample{"text", "JSON", quoted},
		sample{"text", "query", []byte(url.QueryEscape(text))},
		sample{"text", "capitals", []byte(strings.ToUpper(text))},
	)
	for order, put := range map[string]func([]byte, uint16) []byte{"little": binary.LittleEndian.AppendUint16, "big": binary.BigEndian.AppendUint16} {
		var b []byte
		for _, u := range utf16.Encode([]rune(text)) {
			b = put(b, u)
		}
		samples = append(samples, sample{"text", "UTF-16, " + order + " endian", b})
	}
	for i, c := range samples {
		place := strconv.Itoa(i)
		s.Bytes(place, slices.Concat([]byte("somewhere "), c.b, []byte(" in a piece")))
		if !slices.Contains(s.Found()[c.needle], place) {
			t.Errorf("%s is not found as %s: %q", c.needle, c.form, c.b)
		}
	}
	fresh, err := New([]Needle{Secret("value", value), Text("text", text)})
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	fresh.Bytes("noise", noise)
	if found := fresh.Found(); len(found) != 0 {
		t.Errorf("found in noise: %v", found)
	}
}

// witness is a test that takes down what it is told.
type witness struct{ errors []string }

func (w *witness) Helper()             {}
func (w *witness) Logf(string, ...any) {}
func (w *witness) Errorf(format string, args ...any) {
	w.errors = append(w.errors, fmt.Sprintf(format, args...))
}

func TestAHuntFailsWithoutItsControlAndWithASecret(t *testing.T) {
	t.Parallel()
	marker := Marker()
	if marker == Marker() {
		t.Fatal("two markers are the same")
	}
	control, secret := Text("control", marker), Text("the secret", "meet me at the old mill")
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/metrics" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, marker+" meet+me+at+the+old+mill") // to a test
	}))
	defer page.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(marker), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		hunt func(*Hunt)
		want string // of the only complaint; empty: there is none
	}{
		"clean":           {func(h *Hunt) { h.Bytes("log", []byte("x "+marker+" y"), control) }, ""},
		"clean folder":    {func(h *Hunt) { h.Dir("disk", dir, control) }, ""},
		"no control":      {func(h *Hunt) { h.Bytes("log", []byte(marker)) }, "log: a search without a control proves nothing"},
		"control missing": {func(h *Hunt) { h.Bytes("log", []byte("nothing at all"), control) }, "log: the control \"control\" is not found, so the search proves nothing"},
		"secret":          {func(h *Hunt) { h.Bytes("log", []byte(marker+" meet me at the old mill"), control) }, "log: the secret is there (log)"},
		"secret in a piece": {func(h *Hunt) {
			h.Pieces("capture", slices.Values([][]byte{[]byte(marker), []byte("MEET ME AT THE OLD MILL")}), control)
		}, "capture: the secret is there (capture)"},
		"secret on a page":  {func(h *Hunt) { h.Page("metrics", page.URL+"/metrics", page.Client(), control) }, "metrics: the secret is there (metrics)"},
		"no page":           {func(h *Hunt) { h.Page("metrics", page.URL+"/", page.Client(), control) }, "metrics: it was not searched: the server answers 404 Not Found"},
		"no folder":         {func(h *Hunt) { h.Dir("disk", filepath.Join(dir, "none"), control) }, "disk: it was not searched: "},
		"secret as control": {func(h *Hunt) { h.Bytes("log", []byte("meet me at the old mill"), secret) }, ""},
	} {
		w := new(witness)
		c.hunt(NewHunt(w, secret))
		if c.want == "" && len(w.errors) != 0 || c.want != "" && (len(w.errors) != 1 || !strings.HasPrefix(w.errors[0], c.want)) {
			t.Errorf("%s: %q, want %q", name, w.errors, c.want)
		}
	}
}

package importgraph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goList is what the go command knows about every package of the module, with extra files
// laid over the tree.
func goList(t *testing.T, overlay map[string]string) []Package {
	t.Helper()
	args := []string{"list", "-e", "-json=ImportPath,Imports,Deps"}
	if overlay != nil {
		data, err := json.Marshal(map[string]any{"Replace": overlay})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "overlay.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "-overlay", file)
	}
	watchTree(t)
	cmd := exec.CommandContext(t.Context(), "go", append(args, Module+"/...")...)
	cmd.Dir = moduleRoot(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// watchTree looks at every source file, because "go test" takes a result from its cache unless
// something that this process itself looked at has changed, and the go command is another.
func watchTree(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(moduleRoot(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			// Other tests make and remove folders while this one walks.
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		name := d.Name()
		if d.IsDir() && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
			return fs.SkipDir
		}
		if strings.HasSuffix(name, ".go") || name == "go.mod" {
			if _, err := os.Stat(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestTheTreeKeepsToTheImportTable(t *testing.T) {
	packages := goList(t, nil)
	// A list without these is not the tree, and would pass for the wrong reason.
	for _, want := range []string{"identity", "envelope", "policy", "federation", "media/turn", "node", "client", "cmd/trunkline"} {
		if !slices.ContainsFunc(packages, func(p Package) bool { return p.ImportPath == Module+"/"+want }) {
			t.Errorf("go list knows no package %s", want)
		}
	}
	for _, v := range Violations(packages) {
		t.Error(v)
	}
}

// TestAPlantedViolationIsFound is the control: files with forbidden imports are laid over the
// tree, and the same check must find each.
func TestAPlantedViolationIsFound(t *testing.T) {
	dir := t.TempDir()
	overlay := make(map[string]string)
	plant := func(folder, pkg string, imports ...string) {
		var b strings.Builder
		b.WriteString("package " + pkg + "\n")
		for _, i := range imports {
			b.WriteString("import _ \"" + i + "\"\n")
		}
		file := filepath.Join(dir, strings.ReplaceAll(folder, "/", "_")+".go")
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay[filepath.Join(moduleRoot(t), filepath.FromSlash(folder), "planted_violation.go")] = file
	}
	plant("media", "media", Module+"/envelope")
	plant("federation/wire", "wire", Module+"/internal/store")
	plant("identity", "identity", "github.com/libp2p/go-libp2p/core/peer")
	plant("client/sdp", "sdp", "github.com/pion/sdp/v3")
	plant("policy", "policy", "go.etcd.io/bbolt")
	plant("internal/surprise", "surprise", Module+"/identity")

	found := Violations(goList(t, overlay))
	for _, want := range []string{
		"media imports envelope, which its line in the import table does not allow",
		"media is built with envelope, but the media plane cannot read signaling",
		"federation/wire imports internal/store, which its line in the import table does not allow",
		"identity imports github.com/libp2p/go-libp2p/core/peer, whose door is",
		"client/sdp is built with github.com/pion/sdp/v3, but it has to stay light",
		"policy imports go.etcd.io/bbolt, whose door is",
		"internal/surprise has no line in the import table",
	} {
		if !slices.ContainsFunc(found, func(v string) bool { return strings.HasPrefix(v, want) }) {
			t.Errorf("not found: %q, in\n%s", want, strings.Join(found, "\n"))
		}
	}
}

func TestTheTablesOwnRules(t *testing.T) {
	for _, c := range []struct {
		who, what string
		ok        bool
	}{
		{"identity", "identity/pb", true},
		{"envelope", "identity/pb", true}, // who may import identity may import its messages
		{"media", "identity/pb", true},
		{"media", "envelope/pb", false},
		{"identity/pb", "internal/canon", true},
		{"identity/pb", "envelope/pb", false},
		{"policy", "internal/canon", false},
		{"client", "client/rtc", true},
		{"client/rtc", "client", false},
		{"client/sdp", "identity", false},
		{"client/transfer/pb", "identity", true},
		{"client/rtc", "client/transfer", false},
		{"client", "node", false},
		{"node", "client", false},
		{"node", "internal/store/bolt", true},
		{"node/admin", "node", true},
		{"federation", "media", false},
		{"federation", "federation/wire", true},
		{"internal/store/keep", "internal/store/bolt", false},
		{"media/sframe", "media", false},
		{"internal/demo", "federation", false},
		{"cmd/trunkline", "federation", false},
		{"internal/testnet", "federation", true},
	} {
		may, known := allowed(c.who)
		if !known {
			t.Errorf("no line for %s", c.who)
		}
		if got := mayImport(c.who, c.what, may); got != c.ok {
			t.Errorf("%s importing %s: allowed %v, want %v", c.who, c.what, got, c.ok)
		}
	}
	if _, known := allowed("helpers"); known {
		t.Error("any package has a line")
	}
}

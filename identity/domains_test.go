package identity

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// contextStrings reads the constants of domains.go from the source, so that none can be
// forgotten.
func contextStrings(t testing.TB) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "domains.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	contexts := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Context") {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		contexts[spec.Names[0].Name] = value
		return true
	})
	if len(contexts) < 30 {
		t.Fatalf("%d context strings found", len(contexts))
	}
	return contexts
}

func TestContextStringsAreDistinctAndInTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("../docs/spec/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for name, s := range contextStrings(t) {
		if other, ok := seen[s]; ok {
			t.Errorf("%s and %s are the same", name, other)
		}
		seen[s] = name
		inner, ok := strings.CutSuffix(s, "\x00")
		if !ok || !strings.HasPrefix(inner, "trunkline/v1/") || strings.Contains(inner, "\x00") {
			t.Errorf("%s is %q", name, s)
		}
		if !strings.Contains(string(spec), "| `"+inner+"` |") {
			t.Errorf("%s is not in the table of docs/spec/identity.md", inner)
		}
	}
}

// everyContextString finds the context strings of the repository and where each is written.
func everyContextString(t testing.TB) map[string][]string {
	t.Helper()
	literal := regexp.MustCompile(`"(trunkline/v1/[^"\\]*)\\x00"`)
	places := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range literal.FindAllSubmatch(source, -1) {
			places[string(m[1])] = append(places[string(m[1])], path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return places
}

// Strings that one other package uses alone stand in that package; the table of the
// specification has them all, each once. A string that two places define is two purposes
// with one string, or one purpose written twice.
func TestEveryContextStringOfTheRepositoryIsInTheTableOnce(t *testing.T) {
	spec, err := os.ReadFile("../docs/spec/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	places := everyContextString(t)
	for s, paths := range places {
		if len(paths) != 1 {
			t.Errorf("%s is written in %v", s, paths)
		}
		if strings.Count(string(spec), "| `"+s+"` |") != 1 {
			t.Errorf("%s (%v) does not stand once in the table of docs/spec/identity.md", s, paths)
		}
	}
	for row := range strings.Lines(string(spec)) {
		if s, ok := strings.CutPrefix(row, "| `trunkline/v1/"); ok {
			s, _, _ = strings.Cut(s, "`")
			if places["trunkline/v1/"+s] == nil {
				t.Errorf("trunkline/v1/%s is in the table and nowhere in the code", s)
			}
		}
	}
}

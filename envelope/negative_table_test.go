package envelope

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table of negative tests names every number once, and tests that exist.
func TestTheTableOfNegativeTestsIsTrue(t *testing.T) {
	spec, err := os.ReadFile("../docs/spec/envelope.md")
	must(t, err)
	_, table, found := strings.Cut(string(spec), "## 16. Negative tests")
	if !found {
		t.Fatal("the specification has no table of negative tests")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	row := regexp.MustCompile(`(?m)^\| (\d+) \|.*\| (.*) \|$`)
	name := regexp.MustCompile("`([a-z/0-9]+)\\.(Test[A-Za-z0-9_]+)`")
	sources := map[string]string{}
	next := 1
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		if m[1] != fmt.Sprint(next) {
			t.Fatalf("number %s stands where %d should", m[1], next)
		}
		next++
		tests := name.FindAllStringSubmatch(m[2], -1)
		if len(tests) == 0 && !strings.HasPrefix(m[2], "later: ") {
			t.Errorf("number %s names no test", m[1])
		}
		for _, n := range tests {
			if _, read := sources[n[1]]; !read {
				sources[n[1]] = testSources(t, filepath.Join("..", n[1]))
			}
			if !strings.Contains(sources[n[1]], "\nfunc "+n[2]+"(t *testing.T)") {
				t.Errorf("number %s: there is no %s in %s", m[1], n[2], n[1])
			}
		}
	}
	if next != 75 {
		t.Errorf("the table ends at %d, not at 74", next-1)
	}
}

func testSources(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	must(t, err)
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		must(t, err)
		all.Write(b)
	}
	return all.String()
}

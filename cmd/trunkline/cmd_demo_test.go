package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two people at the two nodes of demo --browser find each other, and nothing is left when it ends.
func TestTwoNodesForABrowser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	demo := w.start("demo --browser --json --keep two")
	line := demo.line(func(v map[string]any) bool { return v["ready"] == true })
	nodes, ok := line["nodes"].([]any)
	if !ok || len(nodes) != 2 {
		t.Fatalf("it said %v", line)
	}
	var people []string
	for i, name := range []string{"alice", "bob"} {
		n, ok := nodes[i].(map[string]any)
		if !ok {
			t.Fatalf("it said %v", line)
		}
		invite, _ := n["invite"].(string)
		w.run(exitDone, "id new --data "+name)
		var registered struct{ Address string }
		w.object("register --data "+name+" "+invite, &registered)
		if domain, _ := n["domain"].(string); domain == "" || !strings.Contains(registered.Address, "@"+domain+"/") {
			t.Errorf("%s is at %s", registered.Address, domain)
		}
		people = append(people, registered.Address)
		page, err := http.Get(strings.SplitN(invite, "#", 2)[0])
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(page.Body)
		if cerr := page.Body.Close(); err != nil || cerr != nil || page.StatusCode != http.StatusOK || !strings.Contains(string(body), "<script") {
			t.Errorf("the app at %s: %s, %v, %v", name, page.Status, err, cerr)
		}
	}
	// Which it could not if the nodes did not trust each other.
	w.run(exitDone, "contact add --data alice --as bob --name Alice "+people[1])
	demo.signal(os.Interrupt)
	demo.end(exitDone)
	if kept, err := os.ReadDir(filepath.Join(w.dir, "two")); err != nil || len(kept) == 0 {
		t.Errorf("of the folder to keep there is %v, %v", kept, err)
	}
}

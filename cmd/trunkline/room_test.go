package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/leak"
)

// stayed reads what a join said at its end.
func (p *process) stayed(exit int) (f stayFacts) {
	p.w.t.Helper()
	again, err := json.Marshal(p.event("left"))
	if err == nil {
		err = json.Unmarshal(again, &f)
	}
	if err != nil {
		p.w.t.Fatal(err)
	}
	p.end(exit)
	return f
}

// opened is how many frames of a slot opened of the first member in a counts event.
func opened(t *testing.T, what any, slot, way string) float64 {
	t.Helper()
	counts, _ := what.(map[string]any)
	members, _ := counts["members"].([]any)
	if len(members) == 0 {
		return 0
	}
	first, _ := members[0].(map[string]any)
	frames, listed := first["frames"].([]any)
	if !listed {
		t.Errorf("counts: %v", what)
	}
	for _, f := range frames {
		if f, _ := f.(map[string]any); f["slot"] == slot {
			n, _ := f[way].(float64)
			return n
		}
	}
	return 0
}

// TestARoomFromTheCommandLine: one node, its owner, a member and a guest, with the program as
// people use it; and what the node's memory, disk and log hold of it.
func TestARoomFromTheCommandLine(t *testing.T) {
	w := newWorld(t)
	w.object("init --data acme --domain acme.example"+nodeOnFreePorts+" --turn-external-ip 127.0.0.1 --turn-allow-peers 127.0.0.1/32:1024-65535", &madeNode{})
	node := w.start("serve --data acme --json --log-level debug")
	marker := leak.Marker()
	w.write("acme/"+marker, "") // the control of the disk
	metrics, _ := node.line(any1)["metrics"].(string)
	_, alice := w.person("alice", "acme")
	_, bob := w.person("bob", "acme")

	var made roomFacts
	const title = "Plans for the old mill"
	w.object("room create --data alice --for 2h --title "+strings.ReplaceAll(title, " ", "~"), &made)
	l, err := room.ParseLink(made.Link)
	if err != nil || made.Title != title || made.Entry != "open" || !made.Owner || !made.Runs || made.Over {
		t.Fatalf("made: %+v, %v", made, err)
	}
	var known struct{ Rooms []roomFacts }
	w.object("room list --data alice", &known)
	if len(known.Rooms) != 1 || known.Rooms[0].Link != made.Link {
		t.Errorf("listed: %+v", known)
	}

	ogg, ivf := clipFiles(t)
	join := func(who string) *process {
		p := w.start("room join " + made.Link + " --json --wait 2 --as " + who + "-of-the-mill --record rec-" + who + " --audio " + ogg + " --video " + ivf + " --data " + who)
		p.event("in")
		return p
	}
	all := []*process{join("alice"), join("bob"), join("nobody")} // the last has no identity: a guest
	secret := l.Secret
	guestID := ""
	for _, p := range all {
		// Everybody records, and says so and what it sends.
		p.line(func(v map[string]any) bool {
			what, _ := v["what"].(map[string]any)
			return v["event"] == "presence" && what["recording"] == true && what["microphone"] == true && what["camera"] == true && what["screen"] == false
		})
		f := p.stayed(exitDone)
		if f.Title != title || f.Ended != "left" || f.Audio == 0 || f.Video == 0 || len(f.Members) != 2 {
			t.Fatalf("%s: %+v", p.name, f)
		}
		for _, m := range f.Members {
			if !m.Connected || m.Route == "" || m.Audio == 0 || m.Video == 0 || m.Unopened != 0 || !m.Recording {
				t.Errorf("%s: %+v", p.name, m)
			}
			for _, file := range []string{"audio.ogg", "video.ivf"} {
				if info, err := os.Stat(filepath.Join(w.dir, m.Record, file)); err != nil || info.Size() < 1000 {
					t.Errorf("recorded %s: %v", file, err)
				}
			}
			if m.Name == "nobody-of-the-mill" {
				guestID = m.ID
			}
		}
	}

	t.Log("what the node has of it")
	keys := secret.Keys()
	gate := keys.GatePublic()
	owner := []byte(alice)
	secrets := []leak.Needle{
		leak.Secret("the link's secret", secret[:]), leak.Text("the title", title), leak.Secret("the gate's private key", keys.Gate().Seed()),
		leak.Text("a name", "alice-of-the-mill"), leak.Text("another name", "bob-of-the-mill"), leak.Text("the guest's id", guestID),
	}
	hunt := leak.NewHunt(t, secrets...)
	hunt.Memory("the node's memory", node.cmd.Process.Pid, leak.Secret("the gate's public key", gate[:]))
	hunt.Dir("the node's disk", filepath.Join(w.dir, "acme"), leak.Text("control", marker))
	// Who makes rooms is a member of the node, which the node knows; that it is in one is nowhere.
	leak.NewHunt(t, append(secrets, leak.Text("the owner", string(owner)), leak.Text("a member", bob), leak.Secret("the room", l.Room[:]))...).
		Bytes("the node's log", []byte(node.errs.String()), leak.Text("control", "acme.example"))

	t.Log("refusals")
	for _, c := range []struct {
		args string
		exit int
		says string
	}{
		{"room join not-a-link", exitUsage, "this is not a room's link"},
		{"room join " + made.Link[:len(made.Link)-4], exitUsage, "copy the whole link"},
		{"room join --guest " + made.Link[:len(made.Link)-43] + strings.Repeat("A", 43), exitRefused, "does not open this room"},
		{"room join --guest --wait 0 " + made.Link, exitUsage, "cannot be waited for"},
		{"room join --admit some " + made.Link, exitUsage, "none, contacts or all"},
		{"room create --data alice --for never", exitUsage, "--for"},
		{"room create --data alice --lobby --member bob", exitUsage, "not both"},
		{"room create --data alice --seats 51", exitUsage, "--seats"},
		{"room create --data alice --topology star", exitUsage, "auto, mesh or sfu"},
		{"room create --data alice --member stranger", exitUsage, "contact"},
		{"room close --data bob " + made.Link, exitRefused, "does not run the room"},
		{"room close --data alice another", exitUsage, "knows no such room"},
	} {
		if text := w.run(c.exit, c.args); !strings.Contains(text, c.says) {
			t.Errorf("%s: %s", c.args, text)
		}
	}

	t.Log("a lobby")
	var lobby roomFacts
	w.object("room create --data alice --lobby", &lobby)
	host := w.start("room join " + lobby.Link + " --data alice --admit all --audio " + ogg + " --video " + ivf + " --loop --json")
	host.event("in")
	waits := w.start("room join " + lobby.Link + " --guest --as Carol-of-the-mill --counts --json")
	waits.event("waiting")
	if got := host.event("waits"); got["name"] != "Carol-of-the-mill" {
		t.Errorf("waits: %v", got)
	}
	waits.line(func(v map[string]any) bool { return v["event"] == "admitted" })
	waits.event("connected")
	waits.line(func(v map[string]any) bool {
		return v["event"] == "counts" && opened(t, v["what"], "camera", "mesh") > 0
	})
	var there struct {
		Index            int
		Members, Waiting []memberFacts
	}
	w.object("room members --data alice", &there)
	if len(there.Members) != 1 || there.Members[0].Name != "Carol-of-the-mill" || !there.Members[0].Connected || len(there.Waiting) != 0 {
		t.Fatalf("who is there: %+v", there)
	}
	// The figures of a node say how many there are, and never who, while they are there.
	inLobby, err := room.ParseLink(lobby.Link)
	if err != nil {
		t.Fatal(err)
	}
	figures := append(secrets, leak.Text("the owner", alice), leak.Text("a member", bob), leak.Secret("the first room", l.Room[:]),
		leak.Secret("the lobby", inLobby.Room[:]), leak.Secret("the lobby's secret", inLobby.Secret[:]), leak.Text("the name of a guest", "Carol-of-the-mill"),
		leak.Text("the guest's own id", there.Members[0].ID))
	leak.NewHunt(t, figures...).Page("the node's metrics", metrics, http.DefaultClient, leak.Text("two seats", "trunkline_room_seats 2"))
	w.object("room say --data alice Welcome,~all", &struct{ Said string }{})
	if got := waits.event("note"); got["text"] != "Welcome, all" || got["id"] != alice {
		t.Errorf("a line of chat: %v", got)
	}
	leak.NewHunt(t, leak.Text("a line of chat", "Welcome, all")).
		Memory("the node's memory", node.cmd.Process.Pid, leak.Secret("the gate's public key", gate[:]))
	w.object("room react --data alice heart", &struct{ Reacted string }{})
	if got := waits.event("reaction"); got["reaction"] != "heart" || got["id"] != alice {
		t.Errorf("a sign: %v", got)
	}
	for _, up := range []bool{true, false} {
		w.object("room hand --data alice "+map[bool]string{true: "up", false: "down"}[up], &struct{ Hand bool }{})
		waits.line(func(v map[string]any) bool {
			what, _ := v["what"].(map[string]any)
			return v["event"] == "presence" && what["hand"] == up
		})
	}
	away := w.start("room join " + lobby.Link + " --guest --as Mallory --json")
	away.event("waiting")
	host.event("waits")
	host.event("connected")
	for _, c := range []struct {
		args string
		exit int
		says string
	}{
		{"room remove --data bob Carol-of-the-mill", exitUnreachable, "nobody is in a room"},
		{"room remove --data alice Nobody", exitUsage, "nobody like that"},
		{"room admit --data alice Mallory", exitUsage, "nobody like that"}, // is in already
		{"room admit --data alice", exitUsage, "arg"},
		{"room say --data bob hello", exitUnreachable, "nobody is in a room"},
		{"room say --data alice " + strings.Repeat("x", room.MaxNote+1), exitUsage, "1 to 4096 bytes"},
		{"room react --data alice wink", exitUsage, "applause"},
		{"room hand --data alice sideways", exitUsage, "up or down"},
	} {
		if text := w.run(c.exit, c.args); !strings.Contains(text, c.says) {
			t.Errorf("%s: %s", c.args, text)
		}
	}
	w.object("room remove --data alice Mallory", &struct{ Removed int }{})
	if f := away.stayed(exitRefused); f.Ended != "removed" {
		t.Errorf("who was sent away: %+v", f)
	}
	host.event("rekeyed")
	if text := w.run(exitRefused, "room join --guest "+lobby.Link); !strings.Contains(text, "does not open this room") {
		t.Errorf("over the link that was replaced: %s", text)
	}
	host.signal(os.Interrupt)
	if f := host.stayed(exitDone); f.Ended != "left" || len(f.Members) != 2 {
		t.Errorf("the host: %+v", f)
	}
	if text := w.run(exitUnreachable, "room members --data alice"); !strings.Contains(text, "room join") {
		t.Errorf("when nobody is in: %s", text)
	}
	w.run(exitDone, "room close --data alice "+lobby.Link)
	if f := waits.stayed(exitDone); f.Ended != "closed" || f.Index != there.Members[0].Index {
		t.Errorf("who was in a room that was closed: %+v", f)
	}
	if text := w.run(exitRefused, "room join --guest "+lobby.Link); !strings.Contains(text, "no such room") {
		t.Errorf("after the end: %s", text)
	}

	t.Log("policy")
	w.write("acme/policy.toml", `
[[domain]]
name  = "acme.example"
level = "internal"

[[rule]]
name      = "everything but rooms"
level     = "internal"
direction = "both"
actions   = ["signal", "turn"]
`)
	w.run(exitDone, "policy reload --data acme")
	if text := w.run(exitRefused, "room create --data bob"); !strings.Contains(text, "policy") {
		t.Errorf("against the policy: %s", text)
	}
	w.object("room list --data bob", &known)
	if len(known.Rooms) != 1 {
		t.Errorf("a room that was refused is remembered: %+v", known)
	}
	node.signal(syscall.SIGTERM)
	node.end(exitDone)
}

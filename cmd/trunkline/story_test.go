package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// federate makes two nodes that name each other as partners, with documents exchanged as
// files, and starts them.
func (w *world) federate() (acme, globex *process) {
	w.t.Helper()
	keys := map[string]string{}
	domains := []string{"acme", "globex"}
	for i, name := range domains {
		other := domains[1-i]
		var made madeNode
		w.object(fmt.Sprintf("init --data %s --domain %s.example%s --turn-external-ip 127.0.0.1 --turn-allow-peers 127.0.0.1/32:1024-65535 --federation-peer %s.example=%s",
			name, name, nodeOnFreePorts, other, filepath.Join(w.dir, other+".document")), &made)
		keys[name] = made.DomainKey
	}
	var nodes []*process
	for i, name := range domains {
		other := domains[1-i]
		w.write(name+"/policy.toml", fmt.Sprintf(`
[[domain]]
name  = "%s.example"
level = "partner"
key   = %q

[[rule]]
name      = "partners call and relay"
level     = "partner"
direction = "both"
actions   = ["federate", "signal", "knock", "store", "query", "turn"]
`, other, keys[other]))
		p := w.start("serve --data " + name + " --json")
		ready := p.line(any1)
		for _, key := range []string{"ready", "domain", "peer_id", "http", "federation", "turn", "metrics", "invite", "setup"} {
			if _, there := ready[key]; !there {
				w.t.Errorf("serve --json lacks %q: %v", key, ready)
			}
		}
		if ready["ready"] != true || ready["domain"] != name+".example" {
			w.t.Errorf("ready line: %v", ready)
		}
		nodes = append(nodes, p)
	}
	for _, name := range domains {
		document, err := os.ReadFile(filepath.Join(w.dir, name, "domain.document"))
		if err != nil {
			w.t.Fatal(err)
		}
		w.write(name+".document", string(document))
	}
	for _, name := range domains {
		w.run(exitDone, "policy reload --data "+name)
	}
	return nodes[0], nodes[1]
}

// person makes an identity that is registered at a node and returns its address and id.
func (w *world) person(name, node string) (address, id string) {
	w.t.Helper()
	var made shownIdentity
	w.object("id new --data "+name, &made)
	var invite struct{ URL string }
	w.object("invite create --data "+node, &invite)
	base, _, _ := strings.Cut(invite.URL, "#")
	if text := w.run(exitRefused, "register --data "+name+" "+base+"#invite=AAAAAAAAAAAAAAAAAAAAAA"); !strings.Contains(text, "ask the administrator") {
		w.t.Errorf("a wrong invitation: %s", text)
	}
	w.run(exitFailure, "inbox --data "+name) // not registered by that
	var done struct{ Address, Domain, ID string }
	w.object("register --data "+name+" "+invite.URL, &done)
	if done.Domain != node+".example" || done.ID != made.ID || !strings.HasPrefix(done.Address, made.ID+"@"+done.Domain+"/12D3") {
		w.t.Errorf("registered: %+v", done)
	}
	return done.Address, done.ID
}

// TestTheStory is what the README promises, with the program as people use it: two nodes, two
// identities, a knock, notes, a call, a file, another device.
func TestTheStory(t *testing.T) {
	w := newWorld(t)
	acme, globex := w.federate()
	_, alice := w.person("alice", "acme")
	bobAddress, bob := w.person("bob", "globex")

	t.Log("strangers")
	w.run(exitUsage, "send --data alice bob hello") // nobody is called that yet
	w.run(exitUsage, "contact add --data alice "+alice+"@acme.example")
	ghost := strings.Replace(bobAddress, bob, someID, 1)
	w.run(exitRefused, "contact add --data alice "+ghost)
	nowhere := bob + "@nowhere.example"
	if text := w.run(exitRefused, "contact add --data alice "+nowhere); !strings.Contains(text, "error: ") {
		t.Errorf("an unknown domain: %s", text)
	}

	t.Log("knock and accept")
	var contact1 shownContact
	w.object("contact add --data alice "+bobAddress+" --text Hello,~it~is~me --name Alice --as bob", &contact1)
	if contact1.State != "pending-out" || contact1.ID != bob || contact1.Name != "bob" {
		t.Errorf("knocked: %+v", contact1)
	}
	var box struct {
		Notes  []shownNote
		Knocks []shownContact
	}
	w.object("inbox --data bob", &box)
	if len(box.Knocks) != 1 || box.Knocks[0].ID != alice || box.Knocks[0].Knock != "Hello, it is me" || len(box.Notes) != 0 {
		t.Fatalf("bob's inbox: %+v", box)
	}
	w.run(exitRefused, "send --data alice bob too~early")
	w.object("contact accept --data bob Alice", &contact1)
	if contact1.State != "accepted" || contact1.ID != alice {
		t.Errorf("accepted: %+v", contact1)
	}
	if text := w.run(exitDone, "inbox --data alice"); !strings.Contains(text, "bob let you in") {
		t.Errorf("alice's inbox: %s", text)
	}

	t.Log("the safety number")
	var number struct {
		Number string `json:"safety_number"`
	}
	w.object("contact verify --data alice bob", &number)
	digits60 := digits(number.Number)
	w.run(exitUnverified, "contact verify --data bob Alice --number "+digits60[:59]+string('0'+('9'-digits60[59])))
	var verified struct{ Verified bool }
	w.object("contact verify --data bob Alice --number "+digits60, &verified)
	if !verified.Verified {
		t.Error("not verified")
	}

	t.Log("notes")
	var sent struct{ State string }
	w.object("send --data alice bob the~first~note", &sent)
	if sent.State != "stored" {
		t.Errorf("sent: %+v", sent)
	}
	w.object("inbox --data bob", &box)
	if len(box.Notes) != 1 || box.Notes[0].Text != "the first note" || box.Notes[0].With != alice {
		t.Errorf("bob's inbox: %+v", box)
	}
	box.Notes = nil
	if w.object("inbox --data bob", &box); len(box.Notes) != 0 {
		t.Errorf("shown twice: %+v", box.Notes)
	}
	follow := w.start("inbox --data bob --follow --json")
	follow.event("link-up")
	w.object("send --data alice bob another --wait read", &sent)
	if got := follow.event("note"); got["text"] != "another" || sent.State != "read" {
		t.Errorf("followed: %v, sent %+v", got, sent)
	}
	follow.signal(os.Interrupt)
	follow.end(exitDone)

	w.callAndFile(bob)
	w.letInAndKeptOut(bobAddress)
	w.secondDevice(alice, bob)
	w.refusals()
	w.askedCall()
	w.leave(acme, globex)
}

func (w *world) callAndFile(bob string) {
	t := w.t
	t.Log("a relayed call")
	ogg, ivf := clipFiles(t)
	answer := w.start("answer --data bob --auto --once --json --relay-only --record bob-rec --audio " + ogg + " --video " + ivf)
	answer.event("link-up")
	var mine callFacts
	w.object("call --data alice bob --relay-only --seconds 2 --record alice-rec --audio "+ogg+" --video "+ivf, &mine)
	answer.event("ringing")
	var theirs callFacts
	again, err := json.Marshal(answer.event("call"))
	if err == nil {
		err = json.Unmarshal(again, &theirs)
	}
	if err != nil {
		t.Fatal(err)
	}
	answer.end(exitDone)
	for _, f := range []callFacts{mine, theirs} {
		if !f.Connected || !f.ChannelBinding || !f.SFrame || f.LocalRoute != "relay/udp" || f.Audio.Received == 0 || f.Video.Received == 0 || f.Ended != "hangup" {
			t.Errorf("the call: %+v", f)
		}
	}
	for _, name := range []string{"alice-rec/audio.ogg", "alice-rec/video.ivf", "bob-rec/audio.ogg", "bob-rec/video.ivf"} {
		if info, err := os.Stat(filepath.Join(w.dir, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}

	t.Log("a file")
	content := make([]byte, 1<<20+17)
	rand.Read(content)
	w.write("photo.bin", string(content))
	receive := w.start("file receive --data bob --dir got --once --json")
	var file struct {
		To, SHA256 string
		Bytes      int
	}
	w.object("file send --data alice bob photo.bin", &file)
	got := receive.line(any1)
	receive.end(exitDone)
	have, err := os.ReadFile(filepath.Join(w.dir, "got", "photo.bin"))
	if err != nil || !bytes.Equal(have, content) || file.To != bob || file.Bytes != len(content) || got["sha256"] != file.SHA256 {
		t.Errorf("%v; sent %+v, received %v", err, file, got)
	}
}

// clipFiles are the demo's clip, from where package demo keeps it.
func clipFiles(t *testing.T) (ogg, ivf string) {
	t.Helper()
	for name, into := range map[string]*string{"clip.ogg": &ogg, "clip.ivf": &ivf} {
		path, err := filepath.Abs(filepath.Join("..", "..", "internal", "demo", "clip", name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(path, " ~") {
			t.Fatalf("the test's way to write commands has no word for %s", path)
		}
		*into = path
	}
	return ogg, ivf
}

// letInAndKeptOut is Carol, whom Bob drops, lets in, blocks, and lets in again.
func (w *world) letInAndKeptOut(bobAddress string) {
	t := w.t
	t.Log("let in and kept out")
	_, carol := w.person("carol", "acme")
	w.run(exitUnreachable, "contact add --data carol "+bobAddress+" --name Carol --wait --timeout 1ms")
	if text := w.run(exitDone, "inbox --data bob"); !strings.Contains(text, "Carol knocked") {
		t.Errorf("bob's inbox: %s", text)
	}
	w.run(exitUsage, "contact block --data bob Carol") // not a contact
	w.run(exitDone, "contact decline --data bob Carol")
	w.run(exitUsage, "contact accept --data bob Carol")
	w.run(exitUsage, "contact decline --data bob Alice")

	waiting := w.start("contact add --data carol " + bobAddress + " --name Carol --as bob --wait --json")
	follow := w.start("inbox --data bob --follow --json")
	follow.event("knock")
	follow.signal(os.Interrupt)
	follow.end(exitDone)
	w.run(exitDone, "contact accept --data bob "+carol+" --as carol")
	if done := waiting.line(any1); done["state"] != "accepted" {
		t.Errorf("carol waited for %v", done)
	}
	waiting.end(exitDone)
	w.run(exitDone, "send --data carol bob hello")
	w.run(exitDone, "inbox --data bob") // before the block: what comes after it is dropped, however old

	w.run(exitDone, "contact block --data bob carol")
	w.run(exitDone, "send --data carol bob are~you~there?") // whoever is blocked is not told
	if text := w.run(exitDone, "inbox --data bob --all"); strings.Contains(text, "are you there?") || !strings.Contains(text, "carol: hello") {
		t.Errorf("bob's inbox: %s", text)
	}
	w.run(exitDone, "contact accept --data bob carol")
	w.run(exitDone, "inbox --data carol")
	w.run(exitDone, "send --data carol bob hello~again")
	if text := w.run(exitDone, "inbox --data bob"); !strings.Contains(text, "carol: hello again") {
		t.Errorf("bob's inbox: %s", text)
	}
	w.run(exitDone, "send --data alice bob and~me?") // the block of Carol changed nothing for Alice
}

func (w *world) secondDevice(alice, bob string) {
	t := w.t
	t.Log("another device")
	joining := w.start("device add --data laptop --json")
	request, _ := joining.line(any1)["request"].(string)
	var approved struct{ Approval string }
	w.object("device add --data alice "+request, &approved)
	if _, err := io.WriteString(joining.in, approved.Approval+"\n"); err != nil {
		t.Fatal(err)
	}
	joined := joining.line(any1)
	joining.end(exitDone)
	if joined["id"] != alice {
		t.Errorf("joined: %v", joined)
	}
	w.run(exitDone, "inbox --data laptop")
	if text := w.run(exitDone, "contact list --data laptop"); !strings.Contains(text, bob) {
		t.Errorf("the laptop's contacts: %s", text)
	}
	// The device list of the first must have both before one of them can go.
	if text := w.run(exitDone, "device list --data alice"); !strings.Contains(text, joined["device"].(string)) {
		t.Errorf("alice's devices: %s", text)
	}
	w.run(exitFailure, "device revoke --data laptop "+ownDevice(w, "alice")) // has no root key
	w.run(exitDone, "device revoke --data alice "+joined["device"].(string))
	if text := w.run(exitDone, "device list --data alice"); strings.Contains(text, joined["device"].(string)) {
		t.Errorf("still there: %s", text)
	}
}

func ownDevice(w *world, data string) string {
	var list struct {
		Devices []struct {
			ID   string
			This bool
		}
	}
	w.object("device list --data "+data, &list)
	for _, d := range list.Devices {
		if d.This {
			return d.ID
		}
	}
	w.t.Fatalf("%s has no device of its own: %+v", data, list)
	return ""
}

func (w *world) refusals() {
	t := w.t
	t.Log("who is refused, and how the administrator sees it")
	var seen struct {
		Peers []struct {
			Domain, State string
		}
	}
	w.object("peers --data acme", &seen)
	if len(seen.Peers) != 1 || seen.Peers[0].Domain != "globex.example" || seen.Peers[0].State != "connected" {
		t.Errorf("acme's peers: %+v", seen)
	}
	var views struct {
		Envelopes int
		Sizes     []int
	}
	w.object("peers --data globex --views", &views)
	if views.Envelopes == 0 || len(views.Sizes) == 0 {
		t.Errorf("globex's views: %+v", views)
	}
}

// askedCall is a call that a person is asked about, and declines.
func (w *world) askedCall() {
	t := w.t
	t.Log("a call that is declined by hand")
	in, type_ := io.Pipe()
	var errs lockedBuffer
	asked := make(chan struct{})
	a := newApp(in, io.Discard, io.MultiWriter(&errs, &watcher{for_: "Take it? [y/n]", seen: asked}))
	a.inTerminal = true
	a.getenv = func(string) string { return "" }
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	exit := make(chan int, 1)
	go func() { exit <- a.run(ctx, []string{"answer", "--data", filepath.Join(w.dir, "bob")}) }()
	call := w.start("call --data alice bob --json")
	select {
	case <-asked:
	case code := <-exit:
		t.Fatalf("answer ended with %d: %s", code, &errs)
	}
	if _, err := io.WriteString(type_, "perhaps\nn\n"); err != nil {
		t.Fatal(err)
	}
	call.end(exitRefused)
	if !strings.Contains(call.errs.String(), `"reason":"declined"`) {
		t.Errorf("the caller was told: %s", &call.errs)
	}
	stop()
	if code := <-exit; code != exitDone {
		t.Errorf("answer: exit %d: %s", code, &errs)
	}
	inOrder(t, "the question", errs.String(), []string{"Alice is calling. Take it? [y/n] ", "y takes it, n declines: "})
}

// watcher closes seen when a text has gone by.
type watcher struct {
	for_ string
	text strings.Builder
	seen chan struct{}
	done bool
}

func (w *watcher) Write(p []byte) (int, error) {
	w.text.Write(p)
	if !w.done && strings.Contains(w.text.String(), w.for_) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

// leave ends both nodes, one after a reload that fails, and looks at what is left.
func (w *world) leave(acme, globex *process) {
	t := w.t
	t.Log("the end")
	w.write("globex/policy.toml", "\nnonsense = 1\n")
	globex.signal(syscall.SIGHUP)
	w.run(exitUsage, "policy reload --data globex")
	w.run(exitDone, "peers --data globex") // the old policy is in force
	globex.signal(syscall.SIGTERM)
	globex.end(exitDone)
	if !strings.Contains(globex.errs.String(), "reload failed") {
		t.Errorf("globex's log: %s", &globex.errs)
	}
	acme.signal(os.Interrupt)
	acme.end(exitDone)
	for _, name := range []string{"acme", "globex"} {
		w.run(exitDone, "verify store --data "+name)
	}

	t.Log("without the own node")
	var errs bytes.Buffer
	a := newApp(strings.NewReader(""), io.Discard, &errs)
	a.patience = 10 * time.Millisecond
	if code := a.run(w.ctx, []string{"send", "--data", filepath.Join(w.dir, "alice"), "bob", "hello"}); code != exitUnreachable || !strings.Contains(errs.String(), "your own node cannot be reached") {
		t.Errorf("exit %d: %s", code, &errs)
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Two identities that no node knows meet over cards that go through files and pipes.
func TestTwoTerminalsMeetByCards(t *testing.T) {
	w := newWorld(t)
	var ada, bob shownIdentity
	w.object("id new --data ada", &ada)
	w.object("id new --data bob", &bob)
	w.write("small.txt", strings.Repeat("small ", 20_000))

	offering := w.start("card offer --data ada --name Ada --file offer.txt --files taken --json")
	offer := offering.event("card")
	written, err := os.ReadFile(filepath.Join(w.dir, "offer.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != fmt.Sprint(offer["link"], "\n") {
		t.Errorf("%q was written, %v shown", written, offer["link"])
	}

	t.Log("what is refused, and how it ends")
	w.run(exitUsage, "card answer --data bob hello")
	w.run(exitUsage, "card answer --data bob "+fmt.Sprint(offer["card"])[:200])
	changed := []byte(fmt.Sprint(offer["card"]))
	at := 20 // within the signature
	if changed[at] == 'a' {
		changed[at] = 'b'
	} else {
		changed[at] = 'a'
	}
	w.run(exitUnverified, "card answer --data bob "+string(changed))
	w.run(exitUsage, "card answer --data bob c2."+fmt.Sprint(offer["card"])[3:])
	w.run(exitFailure, "card offer --data bob --relay-only")
	w.run(exitUsage, "card offer --data bob --life 31m")

	t.Log("the meeting")
	answering := w.start("card answer --data bob - --send small.txt --json")
	if _, err := fmt.Fprintln(answering.in, offer["link"]); err != nil {
		t.Fatal(err)
	}
	who := answering.event("peer")
	if who["id"] != ada.ID || who["name"] != "Ada" || who["known"] != false {
		t.Errorf("shown: %v", who)
	}
	answer := answering.event("card")
	if answer["kind"] != "answer" {
		t.Errorf("shown: %v", answer)
	}
	var eve shownIdentity
	w.object("id new --data eve", &eve)
	w.run(exitUsage, "card answer --data eve "+fmt.Sprint(answer["card"])) // the other kind
	if _, err := fmt.Fprintln(offering.in, answer["card"]); err != nil {
		t.Fatal(err)
	}
	if who := offering.event("peer"); who["id"] != bob.ID {
		t.Errorf("shown: %v", who)
	}
	offering.event("connected")
	if _, err := fmt.Fprintln(offering.in, "hello from the terminal"); err != nil {
		t.Fatal(err)
	}
	file := offering.event("file")
	if file["name"] != "small.txt" || file["error"] != nil {
		t.Errorf("a file came: %v", file)
	}
	if call := answering.event("call"); call["with"] != ada.ID || call["channel_binding"] != true || call["ended"] != "hangup" {
		t.Errorf("the call: %v", call)
	}
	answering.end(exitDone)
	if call := offering.event("call"); call["with"] != bob.ID {
		t.Errorf("the call: %v", call)
	}
	offering.end(exitDone)
}

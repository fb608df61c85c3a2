package stage

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/lab"
	"github.com/trunkline-net/trunkline/internal/leak"
)

// TestNothingOfAnExchangeIsInANodeOrOnAnyLine: two people at two nodes knock, write, call and
// send a file, over plain links to their nodes. Memory, disk, log and metrics of each node, and
// everything that passed its interfaces, are searched for what was said, for the keys of the
// call, and for who is at the other end.
func TestNothingOfAnExchangeIsInANodeOrOnAnyLine(t *testing.T) {
	t.Parallel()
	s := New(t)
	acme := s.PlainNode("acme.example", "globex.example")
	globex := s.PlainNode("globex.example", "acme.example")
	s.Federate()
	nodes := []*Node{acme, globex}
	var captures []*lab.Capture
	var planted []string
	for _, n := range nodes {
		captures = append(captures, n.Host.Capture())
		planted = append(planted, leak.Marker())
		s.must(plant(n.Host, planted[len(planted)-1]))
	}
	alice, bob := s.Person("alice", acme), s.Person("bob", globex)

	// What is said. Each text is one that no program has by itself.
	const (
		knockText = "the lady with the red umbrella from the fair"
		knockName = "Alice Underwood-Pemberton"
		noteText  = "meet me at the old mill at nine"
		fileName  = "plans-for-the-old-mill.txt"
	)
	content := make([]byte, 48)
	_, _ = rand.Read(content) // never fails
	file := s.path(fileName)
	s.must(os.WriteFile(file, bytes.Repeat(content, 2000), 0o600))
	s.Object(acme.Host, nil, "contact", "add", "--data", alice.Dir, bob.Address, "--text", knockText, "--name", knockName, "--as", "bob")
	s.Object(globex.Host, nil, "inbox", "--data", bob.Dir)
	s.Object(globex.Host, nil, "contact", "accept", "--data", bob.Dir, alice.ID)
	s.Object(acme.Host, nil, "inbox", "--data", alice.Dir)
	s.Object(acme.Host, nil, "send", "--data", alice.Dir, bob.ID, noteText, "--wait", "stored")

	secrets := []leak.Needle{
		leak.Text("the text of the knock", knockText), leak.Text("the name in the knock", knockName),
		leak.Text("the note", noteText), leak.Text("the name of the file", fileName), leak.Secret("the file", content),
	}
	identities := []leak.Needle{person(t, alice), person(t, bob)}
	for _, p := range []*Person{alice, bob} {
		phrase := s.Text(p.Home.Host, "id", "phrase", "--data", p.Dir, "--reveal")
		if len(strings.Fields(phrase)) != 24 {
			t.Fatalf("the phrase of %s has %d words", p.Name, len(strings.Fields(phrase)))
		}
		secrets = append(secrets, leak.Text("the phrase of "+p.Name, strings.Join(strings.Fields(phrase), " ")))
	}
	search := func(when string, secrets []leak.Needle) {
		for i, n := range nodes {
			// A node knows its own people; that is a control. Who is at the other end, it must not.
			own, other := identities[i], identities[1-i]
			hunt := leak.NewHunt(t, append(slices.Clone(secrets), other)...)
			at := func(place string) string { return n.Domain + ", " + when + ": " + place }
			itself := leak.Text("the node's own name", n.Ready.PeerID)
			hunt.Memory(at("memory"), n.PID(), leak.Text("a marker in its environment", n.Marker), itself, own)
			hunt.Dir(at("disk"), n.Dir, own)
			hunt.Page(at("metrics"), n.Ready.Metrics, n.Host.HTTP(), leak.Text("a name of a metric", "trunkline_"))
			leak.NewHunt(t, append(slices.Clone(secrets), identities...)...).Bytes(at("log"), []byte(n.Log()), itself)
		}
	}
	search("while a note waits", secrets)

	// Bob reads it, answers a call and takes a file.
	answer := s.Start(globex.Host, "answer", "--data", bob.Dir, "--auto", "--files", s.path("came"))
	r := s.resident(alice)
	r.give(order{To: bob.ID, Call: true})
	var texts []string
	s.Until("the call is over", func() bool { texts = r.secrets(); return texts != nil })
	var facts callFacts
	s.must(answer.Event("call", &facts))
	r.leave()
	s.Object(acme.Host, nil, "file", "send", "--data", alice.Dir, bob.ID, file)
	s.must(answer.Event("file", new(struct{})))
	s.must(answer.Stop())
	if got, err := os.ReadFile(filepath.Join(s.path("came"), fileName)); err != nil || !bytes.Contains(got, content) {
		t.Fatalf("the file did not arrive: %v", err)
	}
	ofCall := callNeedles(texts)
	if len(ofCall) < 8 {
		t.Fatalf("only %d needles of the call: %q", len(ofCall), texts)
	}
	all := append(slices.Clone(secrets), ofCall...)
	search("after the exchange", all)

	for i, n := range nodes {
		s.must(captures[i].Stop())
		own, other := identities[i], identities[1-i]
		leak.NewHunt(t, append(slices.Clone(all), other)...).Pieces(n.Domain+": its interfaces", unmasked(captures[i]),
			leak.Text("a packet sent on purpose", planted[i]), own)
		t.Logf("%s: %d packets were captured", n.Domain, len(captures[i].Packets()))
	}
}

// plant sends a datagram to the host itself.
func plant(h *lab.Host, text string) error {
	return h.Do(func() error {
		c, err := net.Dial("udp", net.JoinHostPort(h.Addr().String(), "9"))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte(text))
		return err
	})
}

func person(t *testing.T, p *Person) leak.Needle {
	t.Helper()
	key, err := identity.ParseID(p.ID)
	if err != nil {
		t.Fatal(err)
	}
	return leak.Secret(p.Name+"'s identity", key.Bytes()).And(key.ID(), key.PeerID().String(), key.Fingerprint())
}

// callNeedles are the lines that only one call has. The ICE user names are not among them:
// connectivity checks carry them in clear between the two ends (RFC 8445 section 7.2.2).
func callNeedles(texts []string) (out []leak.Needle) {
	seen := map[string]bool{}
	for _, text := range texts {
		for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n") {
			line = strings.TrimPrefix(line, "a=")
			name, value, _ := strings.Cut(line, ":")
			if seen[line] {
				continue
			}
			seen[line] = true
			n := fmt.Sprintf("%s %d", name, len(out))
			switch name {
			case "ice-pwd":
				out = append(out, leak.Text(n, value))
			case "candidate":
				out = append(out, leak.Text(n, line))
			case "fingerprint":
				_, digest, _ := strings.Cut(value, " ")
				if b, err := hex.DecodeString(strings.ReplaceAll(digest, ":", "")); err == nil {
					out = append(out, leak.Secret(n, b))
				}
			}
		}
	}
	return out
}

// unmasked are the pieces of a capture, and what clients say in WebSocket frames, which is
// masked on the way (RFC 6455 section 5.3): the search would find nothing in it.
func unmasked(c *lab.Capture) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for b := range c.Pieces() {
			if !yield(b) {
				return
			}
		}
		for _, b := range c.Streams() {
			if head, frames, ok := bytes.Cut(b, []byte("\r\n\r\n")); ok && bytes.Contains(bytes.ToLower(head), []byte("websocket")) {
				if !yield(clear(frames)) {
					return
				}
			}
		}
	}
}

// clear takes the masks off a stream of WebSocket frames.
func clear(b []byte) (out []byte) {
	for len(b) >= 2 {
		size, head := uint64(b[1]&0x7f), 2
		switch {
		case size == 126 && len(b) >= 4:
			size, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
		case size == 127 && len(b) >= 10:
			size, head = binary.BigEndian.Uint64(b[2:]), 10
		}
		var mask [4]byte
		if b[1]&0x80 != 0 {
			if len(b) < head+4 {
				return out
			}
			mask, head = [4]byte(b[head:]), head+4
		}
		end := uint64(head) + size
		if uint64(len(b)) < end {
			return out
		}
		for i, v := range b[head:end] {
			out = append(out, v^mask[i%4])
		}
		b = b[end:]
	}
	return out
}

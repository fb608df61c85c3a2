// Package demo is `trunkline demo`: two organisations' nodes, two people, one call, every
// part of it real and in a process of its own. It tells the story on the terminal, checks
// every step and reports what each node saw.
//
// Call [Run]. The package drives the same binary that it is part of and leaves nothing
// behind unless it is told to keep its folder.
package demo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Options of one run.
type Options struct {
	Binary string    // the trunkline binary to start; empty: the running one
	Keep   string    // folder that keeps data, logs and recordings; empty: a temporary one
	Out    io.Writer // the timeline; nil: none
	Color  bool
}

// Limit is how long the whole story may take.
const Limit = 45 * time.Second

// ErrTooSlow is a verdict about the machine, not about a step.
var ErrTooSlow = fmt.Errorf("this machine is too busy or too slow: the story was not over after %s", Limit)

// ErrNoFolder: there is no place for the demo to work in.
var ErrNoFolder = errors.New("cannot make a folder to work in")

const fileSize = 16 << 20

type demo struct {
	binary, root, logs string
	line               *timeline
	report             *Report

	acme, globex, initech *exchange
	alice, bob, mallory   *participant
	aliceID, bobID        idResult
	bobAddress            string
	secrets               []secret
	noteRead              func(context.Context) error // what must happen once Bob is back

	children []*process
	taps     []*tap
}

// Run plays the story and returns its report. The error says which step did not hold; the
// report is complete up to there.
func Run(ctx context.Context, o Options) (*Report, error) {
	// The tap and the children live as long as the demo, also while it cleans up.
	whole, cancel := context.WithTimeoutCause(ctx, Limit, ErrTooSlow)
	defer cancel()
	began := time.Now()
	d := &demo{report: &Report{Kept: o.Keep, Nodes: []NodeReport{}, Views: []ViewReport{}}, line: newTimeline(o.Out, o.Color)}
	err := d.prepare(o)
	if err == nil {
		err = d.play(whole)
	}
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(whole), ErrTooSlow) {
		err = fmt.Errorf("%w (%w)", ErrTooSlow, err)
	}
	err = errors.Join(err, d.cleanUp(o.Keep == ""))
	d.report.TookMS = time.Since(began).Milliseconds()
	d.report.OK = err == nil
	switch {
	case err == nil:
		d.line.end(d.report)
	case ctx.Err() != nil:
		d.report.Error = "interrupted"
		d.line.interrupted()
	default:
		d.report.Error = err.Error()
		d.line.failed(err)
	}
	return d.report, err
}

func (d *demo) prepare(o Options) error {
	d.binary = o.Binary
	if d.binary == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		d.binary = self
	}
	if o.Keep == "" {
		dir, err := os.MkdirTemp("", "trunkline-demo-")
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoFolder, err)
		}
		d.root = dir
	} else {
		entries, err := os.ReadDir(o.Keep)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if len(entries) > 0 {
			return fmt.Errorf("the folder %s is not empty: name a new or an empty one", o.Keep)
		}
		if d.root, err = filepath.Abs(o.Keep); err != nil {
			return err
		}
	}
	d.logs = filepath.Join(d.root, "logs")
	if err := os.MkdirAll(d.logs, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrNoFolder, err)
	}
	return nil
}

func (d *demo) folder(name string) string { return filepath.Join(d.root, name) }

// endGrace is how long a child may take to end: far more than it needs, so that only one
// that hangs is killed.
const endGrace = 10 * time.Second

// cleanUp ends every process that still runs and removes what the demo made.
func (d *demo) cleanUp(remove bool) error {
	// People before nodes, so that nobody is cut off; within each all at once, because on a
	// busy machine each may take long.
	var err error
	for _, people := range []bool{true, false} {
		var ending sync.WaitGroup
		results := make([]error, len(d.children))
		for i, child := range d.children {
			if child.person == people {
				ending.Go(func() { results[i] = child.Stop(endGrace) })
			}
		}
		ending.Wait()
		err = errors.Join(err, errors.Join(results...))
	}
	for _, t := range d.taps {
		err = errors.Join(err, t.close())
	}
	if remove && d.root != "" {
		err = errors.Join(err, os.RemoveAll(d.root))
	}
	return err
}

// play is the story, in order. Each step has a sentence for the terminal.
func (d *demo) play(ctx context.Context) error {
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"two organisations start their nodes", d.startNodes},
		{"Alice and Bob make identities and register", d.register},
		{"Alice finds Bob by address", d.find},
		{"Alice knocks, Bob accepts", d.knock},
		{"Bob goes offline, Alice leaves a note", d.leaveNote},
		{"Bob comes back", d.fetchNote},
		{"Alice calls Bob, relay only", d.call},
		{"a file crosses, Bob's process is killed in the middle", d.file},
		{"a third node tries to reach Bob", d.stranger},
		{"every envelope is accounted for", d.account},
		{"what each node saw", d.views},
	} {
		d.line.begin(step.name)
		told, err := step.do(ctx)
		if err != nil {
			d.report.Failed = step.name
			return fmt.Errorf("%s: %w", step.name, err)
		}
		d.line.done(told)
	}
	return nil
}

func (d *demo) startNodes(ctx context.Context) (string, error) {
	var err error
	for domain, into := range map[string]**exchange{
		"acme.example": &d.acme, "globex.example": &d.globex, "initech.example": &d.initech,
	} {
		if *into, err = d.newTappedExchange(ctx, domain); err != nil {
			return "", err
		}
	}
	// acme and globex name each other; nobody names initech, which itself would talk to
	// globex.
	if err := errors.Join(
		d.acme.configure(partnerPolicy(d.globex), d.globex),
		d.globex.configure(partnerPolicy(d.acme), d.acme),
		d.initech.configure(thirdPolicy(d.globex), d.globex),
	); err != nil {
		return "", err
	}
	for _, e := range []*exchange{d.acme, d.globex} {
		if err := d.startExchange(ctx, e); err != nil {
			return "", err
		}
		d.report.Nodes = append(d.report.Nodes, NodeReport{Domain: e.domain, PeerID: e.peerID})
	}
	if err := errors.Join(introduce(ctx, d.acme, d.globex), introduce(ctx, d.globex, d.acme)); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s and %s run, each names the other as partner", d.acme.domain, d.globex.domain), nil
}

// thirdPolicy lets initech call globex; whether globex answers is globex's own policy.
func thirdPolicy(partner *exchange) string {
	return fmt.Sprintf(`version = 1

[register]
mode = "invitation"

[[domain]]
name  = %q
level = "partner"
key   = %q

[[rule]]
name      = "reach out"
level     = "partner"
direction = "both"
actions   = ["federate", "signal", "knock", "store", "query", "turn"]
`, partner.domain, partner.key)
}

// join makes a participant with a fresh identity and registers it by invitation.
func (d *demo) join(ctx context.Context, name string, at *exchange) (*participant, idResult, string, error) {
	var id idResult
	p, err := d.startParticipant(name)
	if err != nil {
		return nil, id, "", err
	}
	if err := p.do(ctx, "create", struct{}{}, &id); err != nil {
		return nil, id, "", err
	}
	// The note of the invitation is the marker that the search must find in this node.
	invite, err := d.invite(ctx, at, at.marker)
	if err != nil {
		return nil, id, "", err
	}
	var registered registerResult
	if err := p.do(ctx, "register", registerArgs{Invite: invite}, &registered); err != nil {
		return nil, id, "", err
	}
	return p, id, registered.Address, p.do(ctx, "start", struct{}{}, nil)
}

func (d *demo) register(ctx context.Context) (string, error) {
	var err error
	if d.alice, d.aliceID, _, err = d.join(ctx, "alice", d.acme); err != nil {
		return "", err
	}
	if d.bob, d.bobID, d.bobAddress, err = d.join(ctx, "bob", d.globex); err != nil {
		return "", err
	}
	return "24 words each, a key from the words, a place at their own node by invitation", nil
}

func (d *demo) find(ctx context.Context) (string, error) {
	if err := d.alice.do(ctx, "find", addressArgs{Address: d.bobAddress}, nil); err != nil {
		return "", err
	}
	return "acme passed on a question it cannot read, globex answered without knowing who asks", nil
}

func (d *demo) knock(ctx context.Context) (string, error) {
	hello := randomText("knock")
	d.plant("knock text", []byte(hello))
	waitKnock, err := d.bob.begin("wait-knock", struct{}{})
	if err != nil {
		return "", err
	}
	if err := d.alice.do(ctx, "knock", addressArgs{Address: d.bobAddress, Text: hello, Name: "Alice"}, nil); err != nil {
		return "", err
	}
	var got knockResult
	if err := waitKnock(ctx, &got); err != nil {
		return "", err
	}
	if got.ID != d.aliceID.ID || got.Text != hello {
		return "", errors.New("the knock that Bob saw is not the one that Alice sent")
	}
	waitAccepted, err := d.alice.begin("wait-accepted", contactArgs{ID: d.bobID.ID})
	if err != nil {
		return "", err
	}
	if err := d.bob.do(ctx, "accept", contactArgs{ID: got.ID}, nil); err != nil {
		return "", err
	}
	if err := waitAccepted(ctx, nil); err != nil {
		return "", err
	}
	return "from now on both hold leave to deliver to the other's mailbox", nil
}

func (d *demo) leaveNote(ctx context.Context) (string, error) {
	if err := d.collectSecrets(ctx, d.bob); err != nil {
		return "", err
	}
	if err := d.bob.do(ctx, "leave", struct{}{}, nil); err != nil {
		return "", err
	}
	text := randomText("note")
	d.plant("note text", []byte(text))
	var note noteResult
	if err := d.alice.do(ctx, "note", contactArgs{ID: d.bobID.ID, Text: text}, &note); err != nil {
		return "", err
	}
	if err := d.alice.do(ctx, "wait-stored", messageArgs{Message: note.Message}, nil); err != nil {
		return "", err
	}
	d.report.Note.Stored = true
	waitRead, err := d.alice.begin("wait-read", messageArgs{Message: note.Message})
	if err != nil {
		return "", err
	}
	d.noteRead = func(ctx context.Context) error {
		var got messageArgs
		if err := d.bob.do(ctx, "wait-note", contactArgs{ID: d.aliceID.ID}, &got); err != nil {
			return err
		}
		if got.Message != text {
			return errors.New("the note that Bob read is not the one that Alice left")
		}
		return waitRead(ctx, nil)
	}
	return "sealed, stored on globex's disk, its fate known to Alice", nil
}

func (d *demo) fetchNote(ctx context.Context) (string, error) {
	if err := d.bob.do(ctx, "start", struct{}{}, nil); err != nil {
		return "", err
	}
	if err := d.noteRead(ctx); err != nil {
		return "", err
	}
	d.report.Note.Delivered = true
	return "he reads the note, Alice gets his sealed receipt", nil
}

func (d *demo) call(ctx context.Context) (string, error) {
	began := time.Now()
	answer := callArgs{RelayOnly: true, Clip: true, Record: d.folder("recordings/bob")}
	answered, err := d.bob.begin("answer-next", answer)
	if err != nil {
		return "", err
	}
	ring := callArgs{ID: d.bobID.ID, RelayOnly: true, Clip: true, Record: d.folder("recordings/alice")}
	var caller, callee callFacts
	if err := d.alice.do(ctx, "call", ring, &caller); err != nil {
		return "", err
	}
	if err := answered(ctx, &callee); err != nil {
		return "", err
	}
	d.report.Call = CallReport{
		Connected:      caller.Connected && callee.Connected,
		SetupMS:        caller.SetupMS,
		CallerRoute:    caller.LocalRoute,
		CalleeRoute:    callee.LocalRoute,
		ChannelBinding: caller.ChannelBinding && callee.ChannelBinding,
		SFrame:         caller.SFrame && callee.SFrame,
		Audio:          AudioReport{Sent: caller.AudioSent + callee.AudioSent, Received: caller.AudioReceived + callee.AudioReceived},
		Video: VideoReport{
			Sent:      len(caller.VideoSent) + len(callee.VideoSent),
			Received:  len(caller.VideoReceived) + len(callee.VideoReceived),
			Identical: identical(caller.VideoSent, callee.VideoReceived) + identical(callee.VideoSent, caller.VideoReceived),
		},
	}
	if err := d.report.Call.check(); err != nil {
		return "", err
	}
	if err := errors.Join(d.collectSecrets(ctx, d.alice), d.collectSecrets(ctx, d.bob)); err != nil {
		return "", err
	}
	c := d.report.Call
	return fmt.Sprintf("rang, answered and connected in %d ms by %s; %d of %d audio and %d of %d video frames arrived under SFrame, %d bit for bit the same (%.1f s)",
		c.SetupMS, c.CallerRoute, c.Audio.Received, c.Audio.Sent, c.Video.Received, c.Video.Sent, c.Video.Identical, time.Since(began).Seconds()), nil
}

// check holds the call to what the demo promises. A relay over UDP may lose a packet on a
// busy machine, and retransmission comes too late for the last frames: 95 of 100 frames
// must arrive, and what arrives must be what was sent.
func (c CallReport) check() error {
	switch {
	case !c.Connected:
		return errors.New("the call did not connect on both sides")
	case c.CallerRoute != "relay/udp" || c.CalleeRoute != "relay/udp":
		return fmt.Errorf("relay only was asked for, the routes are %q and %q", c.CallerRoute, c.CalleeRoute)
	case !c.ChannelBinding:
		return errors.New("the channel binding was not confirmed on both sides")
	case !c.SFrame:
		return errors.New("media was not under SFrame on both sides")
	case c.Audio.Sent == 0 || c.Video.Sent == 0:
		return errors.New("no media was sent")
	case c.Audio.Received*100 < c.Audio.Sent*95 || c.Video.Received*100 < c.Video.Sent*95:
		return fmt.Errorf("too much media was lost: %d of %d audio, %d of %d video frames arrived",
			c.Audio.Received, c.Audio.Sent, c.Video.Received, c.Video.Sent)
	case c.Video.Identical != c.Video.Received:
		return fmt.Errorf("%d of %d received video frames are not what was sent", c.Video.Received-c.Video.Identical, c.Video.Received)
	}
	return nil
}

// identical counts the received frames that were sent, each sent frame at most once.
func identical(sent, received [][]byte) int {
	left := make(map[string]int, len(sent))
	for _, h := range sent {
		left[string(h)]++
	}
	n := 0
	for _, h := range received {
		if left[string(h)] > 0 {
			left[string(h)]--
			n++
		}
	}
	return n
}

func (d *demo) file(ctx context.Context) (string, error) {
	name := randomText("file") + ".bin"
	d.plant("file name", []byte(name))
	path := filepath.Join(d.root, name)
	sum, err := writeRandomFile(path, fileSize)
	if err != nil {
		return "", err
	}
	inbox := d.folder("received")
	half, err := d.bob.begin("receive-until", receiveArgs{Dir: inbox, Pause: fileSize / 3})
	if err != nil {
		return "", err
	}
	sent, err := d.alice.begin("send-file", fileArgs{ID: d.bobID.ID, Path: path})
	if err != nil {
		return "", err
	}
	var at fileProgress
	if err := half(ctx, &at); err != nil {
		return "", err
	}
	d.bob.Kill()
	if d.bob, err = d.startParticipant("bob"); err != nil {
		return "", err
	}
	if err := d.bob.do(ctx, "open", struct{}{}, nil); err != nil {
		return "", err
	}
	if err := d.bob.do(ctx, "start", struct{}{}, nil); err != nil {
		return "", err
	}
	var got fileResult
	if err := d.bob.do(ctx, "receive", receiveArgs{Dir: inbox}, &got); err != nil {
		return "", err
	}
	if err := sent(ctx, nil); err != nil {
		return "", err
	}
	have, err := hashFile(got.Path)
	if err != nil {
		return "", err
	}
	d.report.File = FileReport{Bytes: got.Bytes, Match: have == sum, Resumed: got.Resumed}
	switch {
	case got.Bytes != fileSize || have != sum:
		return "", errors.New("the file that arrived is not the file that was sent")
	case !got.Resumed:
		return "", errors.New("the file started over instead of going on")
	case at.Bytes >= fileSize:
		return "", errors.New("Bob was killed too late: the file was already whole")
	}
	return fmt.Sprintf("killed with %d of %d MiB on disk, went on from there, SHA-256 is the same", at.Bytes>>20, fileSize>>20), nil
}

func (d *demo) stranger(ctx context.Context) (string, error) {
	if err := d.startExchange(ctx, d.initech); err != nil {
		return "", err
	}
	if err := introduce(ctx, d.initech, d.globex); err != nil {
		return "", err
	}
	var err error
	if d.mallory, _, _, err = d.join(ctx, "mallory", d.initech); err != nil {
		return "", err
	}
	err = d.mallory.do(ctx, "find", addressArgs{Address: d.bobAddress}, nil)
	code := refusalCode(err)
	if err == nil {
		return "", errors.New("Bob was found from a domain that no policy names")
	}
	if code == "" {
		return "", fmt.Errorf("the refusal carries no code: %w", err)
	}
	if d.report.Refused, err = d.refusalOf(ctx, d.globex, d.initech.domain); err != nil {
		return "", err
	}
	return fmt.Sprintf("refused with code %q; globex's administrator sees rule %q", d.report.Refused.Code, d.report.Refused.Rule), nil
}

func (d *demo) account(ctx context.Context) (string, error) {
	for _, p := range []*participant{d.alice, d.bob, d.mallory} {
		var sum EnvelopeReport
		if err := p.do(ctx, "ledger", struct{}{}, &sum); err != nil {
			return "", err
		}
		if !sum.balanced() {
			return "", fmt.Errorf("the ledger of %s does not add up: %+v", p.name, sum)
		}
		d.report.Envelopes.add(sum)
	}
	e := d.report.Envelopes
	if e.Lost != 0 {
		return "", fmt.Errorf("%d envelopes are lost", e.Lost)
	}
	return fmt.Sprintf("%d sent: %d delivered, %d waiting, %d expired, %d refused, %d lost",
		e.Sent, e.Delivered, e.StoredPending, e.Expired, e.Refused, e.Lost), nil
}

func randomText(purpose string) string {
	var b [12]byte
	// crypto/rand.Read never fails on supported systems; it ends the program instead.
	_, _ = rand.Read(b[:])
	return purpose + "-" + hex.EncodeToString(b[:])
}

func writeRandomFile(path string, size int64) (sum string, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, h), rand.Reader, size); err != nil {
		return "", errors.Join(err, f.Close())
	}
	return hex.EncodeToString(h.Sum(nil)), f.Close()
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/transfer"
)

// answering takes rings: for trunkline answer, and for trunkline file receive. One goroutine,
// the one of run, writes to the terminal; calls run beside it and hand it what to say.
type answering struct {
	a     *app
	c     *client.Client
	media *mediaFlags
	files string // folder for files; empty: none are taken
	auto  bool   // take every ring without asking
	once  bool   // end after the first call or file
	// filesOnly is trunkline file receive: calls and all other events are left alone.
	filesOnly bool

	say    chan func() error // what calls want written
	gone   chan struct{}     // closed when nobody writes any more
	calls  sync.WaitGroup
	nth    int // calls so far
	queue  []*client.Incoming
	asking *client.Incoming
	over   bool // --once has had its one
}

// run takes rings until ctx ends or, with once, until one was taken to its end.
func (s *answering) run(ctx context.Context) error {
	if s.files != "" {
		if err := os.MkdirAll(s.files, 0o700); err != nil {
			return failed(err, "cannot make the folder for files", "name one that can be written")
		}
	}
	s.say, s.gone = make(chan func() error), make(chan struct{})
	defer close(s.gone)
	told := map[string]bool{}
	if !s.filesOnly {
		var err error
		if told, err = s.a.tellWaiting(s.c, false); err != nil {
			return err
		}
	}
	s.a.hint("Waiting. Stop with Ctrl-C.")
	talking, hangUp := context.WithCancel(ctx)
	defer hangUp()
	err := s.loop(talking, told, s.typed())
	// Calls that still run say goodbye; what they have to tell is told.
	hangUp()
	silent := make(chan struct{})
	go func() { s.calls.Wait(); close(silent) }()
	for {
		select {
		case f := <-s.say:
			err = errors.Join(err, f())
		case <-silent:
			return err
		}
	}
}

func (s *answering) loop(ctx context.Context, told map[string]bool, typed <-chan string) error {
	for !s.over {
		var gone <-chan struct{}
		if s.asking != nil {
			gone = s.asking.Done()
		}
		var err error
		select {
		case e, open := <-s.c.Events():
			if !open {
				return context.Cause(ctx)
			}
			err = s.onEvent(ctx, told, e)
		case line, open := <-typed:
			if !open {
				typed = nil
				continue
			}
			s.onLine(ctx, line)
		case <-gone:
			s.asking = nil // its Missed event says so to the person
			s.askNext()
		case f := <-s.say:
			err = f()
		case <-ctx.Done():
			return ended(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *answering) onEvent(ctx context.Context, told map[string]bool, e client.Event) error {
	ring, ok := e.(client.Ringing)
	if !ok {
		if s.filesOnly || seenAlready(told, e) {
			return nil
		}
		return s.a.toldEvent(s.c, e)
	}
	isFile := ring.Media == client.DataOnly
	switch {
	case s.filesOnly && !isFile:
		s.a.hint("%s is calling: trunkline answer takes calls", oneLine(called(ring.From)))
		return nil
	case isFile && s.files == "":
		s.a.hint("%s wants to send a file, which was declined: --files DIR takes files", oneLine(called(ring.From)))
		ring.Decline()
		return nil
	}
	if !s.filesOnly {
		if err := s.a.told("ringing", struct {
			From  string `json:"from"`
			Name  string `json:"name"`
			Media string `json:"media"`
		}{ring.From.ID.ID(), ring.From.Name, mediaWord(ring.Media)}, func(w io.Writer) {
			if s.auto {
				fmt.Fprintf(w, "%s %s.\n", oneLine(called(ring.From)), mediaVerb(ring.Media))
			}
		}); err != nil {
			return err
		}
	}
	if s.auto {
		s.take(ctx, ring.Incoming)
		return nil
	}
	s.queue = append(s.queue, ring.Incoming)
	s.askNext()
	return nil
}

func mediaWord(m client.Media) string {
	switch m {
	case client.Audio:
		return "audio"
	case client.Video:
		return "video"
	}
	return "file"
}

func mediaVerb(m client.Media) string {
	switch m {
	case client.Audio:
		return "is calling"
	case client.Video:
		return "is calling with video"
	}
	return "wants to send a file"
}

// askNext asks about the next ring that is still ringing.
func (s *answering) askNext() {
	for s.asking == nil && len(s.queue) > 0 {
		next := s.queue[0]
		s.queue = s.queue[1:]
		select {
		case <-next.Done():
			continue
		default:
		}
		s.asking = next
		fmt.Fprintf(s.a.err, "%s %s. Take it? [y/n] ", oneLine(called(next.From)), mediaVerb(next.Media))
	}
}

// typed are the lines of the terminal, where a person is asked.
func (s *answering) typed() <-chan string {
	if s.auto {
		return nil
	}
	return readLines(s.a.in)
}

// readLines gives the lines of r. Its goroutine ends with r, or with the program: nothing can
// call a read from a terminal back.
func readLines(r io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		in := bufio.NewScanner(r)
		in.Buffer(nil, 1<<16)
		for in.Scan() {
			lines <- in.Text()
		}
	}()
	return lines
}

func (s *answering) onLine(ctx context.Context, line string) {
	if s.asking == nil {
		return
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		s.take(ctx, s.asking)
	case "n", "no":
		s.asking.Decline()
	default:
		fmt.Fprint(s.a.err, "y takes it, n declines: ")
		return
	}
	s.asking = nil
	s.askNext()
}

// take answers a ring and sees the call through, beside the loop.
func (s *answering) take(ctx context.Context, ring *client.Incoming) {
	isFile := ring.Media == client.DataOnly
	nth := 0
	if !isFile {
		s.nth++
		nth = s.nth
	}
	s.calls.Add(1)
	go func() {
		defer s.calls.Done()
		if isFile {
			s.takeFiles(ctx, ring)
		} else {
			s.takeCall(ctx, ring, nth)
		}
	}()
}

// later hands the loop something to write. A call that could not be ended in time may come
// with something when the loop is gone; nobody is there to read it then.
func (s *answering) later(f func() error) {
	select {
	case s.say <- f:
	case <-s.gone:
	}
}

func (s *answering) takeCall(ctx context.Context, ring *client.Incoming, nth int) {
	o, err := s.media.options(nth)
	if err != nil {
		ring.Decline()
		s.later(func() error { return err })
		return
	}
	if s.files != "" {
		o.Files = s.fileOptions(ring.From, func(bool) {})
	}
	call, err := ring.Answer(ctx, o)
	if err != nil {
		s.later(func() error { return s.notTaken(ring.From, err) })
		return
	}
	err = s.a.talk(ctx, call, 0, false)
	facts := factsOf(call, called(ring.From), s.media.folder(nth), err)
	s.later(func() error {
		s.over = s.over || s.once && facts.Connected
		return s.a.told("call", facts, func(w io.Writer) { printCall(w, facts) })
	})
}

// notTaken tells of a ring that was over before it was answered, which is no reason to stop.
func (s *answering) notTaken(from client.Contact, err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	s.a.hint("The call of %s could not be taken: %s", oneLine(called(from)), oneLine(err.Error()))
	return nil
}

func (s *answering) takeFiles(ctx context.Context, ring *client.Incoming) {
	whole := make(chan bool, 1)
	o := client.CallOptions{RelayOnly: s.media.relayOnly, Files: s.fileOptions(ring.From, func(good bool) {
		select {
		case whole <- good:
		default:
		}
	})}
	call, err := ring.Answer(ctx, o)
	if err != nil {
		s.later(func() error { return s.notTaken(ring.From, err) })
		return
	}
	select {
	case <-call.Done(): // the sender hangs up when its file is whole, or rings again
	case <-ctx.Done():
		bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangupPatience)
		defer cancel()
		err = call.Hangup(bye)
	}
	good := false
	select {
	case good = <-whole:
	default:
	}
	if err == nil {
		err = call.Err()
	}
	s.later(func() error {
		var alarm *exitError
		switch {
		case good || err == nil || ctx.Err() != nil:
		case errors.As(clientError(err), &alarm) && alarm.code == exitUnverified:
			s.a.hint("The files of %s were stopped: %s; %s", oneLine(called(ring.From)), oneLine(alarm.what), alarm.do)
		default:
			s.a.hint("The connection with %s broke; what is here is kept, and it goes on when they ring again.", oneLine(called(ring.From)))
		}
		s.over = s.over || s.once && good
		return nil
	})
}

// receivedFile is a file that came, in JSON.
type receivedFile struct {
	From    string `json:"from"`
	Name    string `json:"name"`
	Path    string `json:"path,omitempty"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256,omitempty"`
	Resumed int64  `json:"resumed"` // bytes that an earlier attempt had brought
	Error   string `json:"error,omitempty"`
}

func (s *answering) fileOptions(from client.Contact, done func(good bool)) *client.FileOptions {
	var bar *progress
	return &client.FileOptions{
		Dir: s.files,
		Progress: func(p transfer.Progress) {
			s.later(func() error {
				if bar == nil {
					bar = s.a.bytesProgress(oneLine(p.Name), p.Size)
				}
				bar.set(p.Done)
				return nil
			})
		},
		Received: func(r transfer.Received) {
			f := receivedFile{From: from.ID.ID(), Name: r.Name, Path: r.Path, Bytes: r.Size, Resumed: r.Resumed}
			if r.Err != nil {
				f.Error = r.Err.Error()
			} else {
				f.SHA256 = hex.EncodeToString(r.SHA256[:])
			}
			s.later(func() error {
				if bar != nil {
					bar.end("")
					bar = nil
				}
				return s.toldFile(from, f)
			})
			done(r.Err == nil)
		},
	}
}

func (s *answering) toldFile(from client.Contact, f receivedFile) error {
	people := func(w io.Writer) {
		if f.Error != "" {
			fmt.Fprintf(w, "%s from %s did not arrive: %s\n", oneLine(f.Name), oneLine(called(from)), oneLine(f.Error))
			return
		}
		fmt.Fprintf(w, "%s from %s: %s in %s\n", oneLine(f.Name), oneLine(called(from)), bytesText(f.Bytes), oneLine(f.Path))
	}
	if s.filesOnly {
		return s.a.result(f, people)
	}
	return s.a.told("file", f, people)
}

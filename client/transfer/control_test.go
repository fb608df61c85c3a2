package transfer

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// Control messages that an honest peer does not send.
func TestBadControlMessages(t *testing.T) {
	t.Parallel()
	good := manifestOf("film.mkv", []byte("content"))
	base := func() *pb.Manifest {
		return &pb.Manifest{
			FileId: good.id[:], AttemptId: good.attempt[:], Size: 7, Padded: uint64(padme(7)), Name: good.name, Root: good.root[:],
		}
	}
	of := func(change func(m *pb.Manifest)) []byte {
		m := base()
		change(m)
		// Written without the canonical writer's checks.
		b, err := canon.Marshal(&pb.Message{Kind: &pb.Message_Manifest{Manifest: m}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	message := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, msg := range map[string][]byte{
		"nothing":           {},
		"no kind":           nil,
		"too long":          make([]byte, maxControl+1),
		"garbage":           {0xff, 0xff, 0xff},
		"two kinds":         append(message(doneMessage(good.attempt)), message(waitMessage(good.attempt))...),
		"short file id":     of(func(m *pb.Manifest) { m.FileId = m.FileId[:15] }),
		"long attempt id":   of(func(m *pb.Manifest) { m.AttemptId = make([]byte, 17) }),
		"no attempt id":     of(func(m *pb.Manifest) { m.AttemptId = nil }),
		"no name":           of(func(m *pb.Manifest) { m.Name = "" }),
		"long name":         of(func(m *pb.Manifest) { m.Name = string(bytes.Repeat([]byte("n"), maxName+1)) }),
		"short root":        of(func(m *pb.Manifest) { m.Root = m.Root[:31] }),
		"padding too small": of(func(m *pb.Manifest) { m.Padded-- }),
		"padding too big":   of(func(m *pb.Manifest) { m.Padded++ }),
		"huge size":         of(func(m *pb.Manifest) { m.Size, m.Padded = 1<<63, 1<<63 }),
		"size above all":    of(func(m *pb.Manifest) { m.Size, m.Padded = maxSize+1, uint64(padme(maxSize+1)) }),
		"id of another":     of(func(m *pb.Manifest) { m.FileId = bytes.Repeat([]byte{7}, 16) }),
		"accept of nothing": message(acceptMessage(good.attempt, 1)),
		"refuse of nothing": message(refuseMessage(good.attempt, pb.Reason_REASON_DISK)),
		"done of nothing":   message(doneMessage(good.attempt)),
		"wait of nothing":   message(waitMessage(good.attempt)),
		"kept of nothing":   message(keptMessage(good.attempt, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newLiar(t, nil, nil)
			if err := x.engine.HandleControl(msg); !errors.Is(err, ErrProtocol) {
				t.Errorf("%v", err)
			}
		})
	}
	x := newLiar(t, nil, nil)
	if err := x.engine.HandleControl(message(cancelMessage(good.attempt, pb.Reason_REASON_STOPPED))); err != nil {
		t.Errorf("cancel of an offer that never came: %v", err)
	}
}

// An attempt id serves once; a receiver does not answer for its sender.
func TestAttemptOutOfTurn(t *testing.T) {
	t.Parallel()
	x := newLiar(t, content(10, 1), nil)
	x.accepted()
	again, err := x.manifest.marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := x.engine.HandleControl(again); !errors.Is(err, ErrProtocol) {
		t.Errorf("the same attempt twice: %v", err)
	}
	msg, err := doneMessage(x.manifest.attempt)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.engine.HandleControl(msg); !errors.Is(err, ErrProtocol) {
		t.Errorf("done by the sender: %v", err)
	}
	if msg, err = cancelMessage(x.manifest.attempt, pb.Reason_REASON_STOPPED); err != nil {
		t.Fatal(err)
	}
	if err := x.engine.HandleControl(msg); err != nil {
		t.Fatal(err)
	}
	if r := <-x.bob.received; !errors.Is(r.Err, ErrCanceled) {
		t.Errorf("told %+v", r)
	}
	if err := x.engine.HandleControl(again); !errors.Is(err, ErrProtocol) {
		t.Errorf("an ended attempt again: %v", err)
	}
}

// Whoever offers without end and does not listen is cut off, and costs nothing until then.
func TestOffersWithoutEnd(t *testing.T) {
	t.Parallel()
	x := newLiar(t, nil, func(c *Config) { c.Accept = nil })
	for range maxWaiting + cap(x.answers.control) + 2 {
		fillRandom(x.manifest.attempt[:])
		msg, err := x.manifest.marshal()
		if err != nil {
			t.Fatal(err)
		}
		if err := x.engine.HandleControl(msg); errors.Is(err, ErrProtocol) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Error("more offers were taken than answers fit")
}

// The answers of a hostile receiver.
func TestReceiverOutOfTurn(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string]func(a attemptID) [][]byte{
		"accept behind the end": func(a attemptID) [][]byte { return [][]byte{must(acceptMessage(a, 4))} },
		"accept twice": func(a attemptID) [][]byte {
			return [][]byte{must(acceptMessage(a, 0)), must(acceptMessage(a, 1))}
		},
		"done while it is sent": func(a attemptID) [][]byte { return [][]byte{must(acceptMessage(a, 0)), must(doneMessage(a))} },
		"refused after accept": func(a attemptID) [][]byte {
			return [][]byte{must(acceptMessage(a, 0)), must(refuseMessage(a, pb.Reason_REASON_REFUSED))}
		},
		"kept before accept": func(a attemptID) [][]byte { return [][]byte{must(keptMessage(a, 1))} },
		"kept behind the end": func(a attemptID) [][]byte {
			return [][]byte{must(acceptMessage(a, 0)), must(keptMessage(a, 4))}
		},
		"kept that does not grow": func(a attemptID) [][]byte {
			return [][]byte{must(acceptMessage(a, 1)), must(keptMessage(a, 1))}
		},
		"done twice": func(a attemptID) [][]byte { return [][]byte{must(doneMessage(a)), must(doneMessage(a))} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLine() // nobody reads the data: the sender is held in the middle
			e, err := New(Config{FileKey: [32]byte{1}, Channel: l})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var ran, sent = make(chan error, 1), make(chan error, 1)
			go func() { ran <- e.Run(ctx) }()
			path := write(t, "film.mkv", content(3*unitSize, 1))
			go func() {
				_, err := e.Send(ctx, path, "")
				sent <- err
			}()
			_, attempt, err := parseControl(<-l.control)
			if err != nil {
				t.Fatal(err)
			}
			// Both are handed over under the lock that Send needs to go on, so that it cannot
			// end in between.
			e.mu.Lock()
			out := e.out
			err = nil
			for _, msg := range answers(attempt) {
				m, _, bad := parseControl(msg)
				if bad != nil {
					t.Error(bad)
				}
				if err == nil {
					err = out.answered(m)
				}
			}
			e.mu.Unlock()
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v", err)
			}
			cancel()
			<-sent
			if err := <-ran; err != nil {
				t.Error(err)
			}
		})
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

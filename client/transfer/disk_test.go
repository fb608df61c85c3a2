package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// fullDisk writes so many bytes and no more.
type fullDisk struct {
	partFile
	room int64
}

func (f *fullDisk) WriteAt(b []byte, at int64) (int, error) {
	if at+int64(len(b)) > f.room {
		return 0, syscall.ENOSPC
	}
	return f.partFile.WriteAt(b, at)
}

// The receiver's disk is full: both hear it, the session lives on, and when there is room
// again the transfer goes on.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	var room int64 = 2*unitSize + 10
	s := connect(t, alice, bob, options{bobEng: func(e *Engine) {
		e.open = func(path string, flag int) (partFile, error) {
			f, err := openPart(path, flag)
			return &fullDisk{f, room}, err
		}
	}})
	b := content(4*unitSize+1, 1)
	path := write(t, "film.mkv", b)
	if _, err := s.alice.Send(context.Background(), path, ""); !errors.Is(err, ErrPeerDisk) {
		t.Errorf("the sender says %v", err)
	}
	if r := <-bob.received; !errors.Is(r.Err, syscall.ENOSPC) {
		t.Errorf("the receiver says %+v", r)
	}
	if shown, hidden := bob.files(t); len(shown) != 0 || len(hidden) != 1 {
		t.Errorf("shown %q, hidden %q", shown, hidden)
	}
	room = 1 << 40
	sent, err := s.alice.Send(context.Background(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, b)
	if sent.Resumed != 2*unitSize {
		t.Errorf("resumed %d", sent.Resumed)
	}
}

// journal notes what happens to the hidden file and the records, in order.
type journal struct {
	partFile
	State
	events *[]string
}

func (j journal) note(e string) { *j.events = append(*j.events, e) }

func (j journal) WriteAt(b []byte, at int64) (int, error) {
	j.note("write")
	return j.partFile.WriteAt(b, at)
}

func (j journal) Sync() error {
	j.note("sync")
	return j.partFile.Sync()
}

func (j journal) Save(key [16]byte, record []byte) error {
	if len(record)%hashSize == 0 {
		j.note(fmt.Sprintf("record %d", len(record)/hashSize))
	}
	return j.State.Save(key, record)
}

// A unit is on the disk before anything says so.
func TestUnitIsSyncedBeforeItIsRecorded(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	var events []string
	s := connect(t, alice, bob, options{
		bob: func(c *Config) { c.State = journal{State: bob.state, events: &events} },
		bobEng: func(e *Engine) {
			e.open = func(path string, flag int) (partFile, error) {
				f, err := openPart(path, flag)
				return journal{partFile: f, events: &events}, err
			}
		},
	})
	if _, err := s.alice.Send(context.Background(), write(t, "a", content(2*unitSize+5, 1)), ""); err != nil {
		t.Fatal(err)
	}
	<-bob.received
	s.kill()
	var writes []string
	for i, e := range events {
		if e == "write" {
			writes = append(writes, strings.Join(events[i:i+3], ", "))
		}
	}
	want := []string{"write, sync, record 1", "write, sync, record 2", "write, sync, record 3"}
	if !slices.Equal(writes, want) {
		t.Errorf("%q", events)
	}
}

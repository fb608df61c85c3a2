package keep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

func sprint(v any) string { return fmt.Sprintf("%v %+v %#v", v, v, v) }

func message(n int) (id envelope.MessageID) {
	binary.BigEndian.PutUint64(id[:], uint64(n)+1)
	return id
}

// seen asks for a message and expects an answer.
func (f *folder) seen(dev identity.DeviceID, n int, until time.Time, stranger, want bool) {
	f.Helper()
	dup, err := f.Seen(dev, message(n), until, stranger)
	f.ok(err)
	if dup != want {
		f.Fatalf("message %d: seen before: %v, want %v", n, dup, want)
	}
}

func Test14_35_AReplayAfterARestartAndAfterALossOfTheCache(t *testing.T) {
	f := newFolder(t, Options{})
	alice, bob := identity.DeviceID{1}, identity.DeviceID{2}
	until := f.Now().Add(time.Hour)
	f.seen(alice, 1, until, false, false)
	f.seen(alice, 1, until, false, true)
	f.seen(bob, 1, until, false, false) // the same id of another sender is another message
	f.seen(bob, 2, until, true, false)
	f.reopen()
	f.seen(alice, 1, until, false, true)
	f.seen(bob, 1, until, true, true)
	f.seen(bob, 2, until, false, true) // a stranger that became a contact

	// The cache is lost: everything created before now has to be refused.
	f.pass(time.Minute)
	f.ok(f.Close())
	db, err := bbolt.Open(filepath.Join(f.dir, fileDB), 0o600, nil)
	f.ok(err)
	f.ok(errors.Join(db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketReplay) }), db.Close()))
	k, err := Open(f.dir, f.o)
	f.ok(err)
	f.Keep = k
	lost := f.o.Now()
	if !f.Horizon().Equal(lost) {
		t.Fatalf("horizon %v, want %v", f.Horizon(), lost)
	}
	f.pass(time.Minute)
	f.reopen()
	if !f.Horizon().Equal(lost) {
		t.Fatalf("after a restart: horizon %v, want %v", f.Horizon(), lost)
	}
	f.seen(alice, 1, until, false, false)
}

func Test14_39_AClockSetBackMakesNoOldMessageNew(t *testing.T) {
	f := newFolder(t, Options{ReplayPerDevice: 2})
	dev, start := identity.DeviceID{1}, f.o.Now()
	end := start.Add(30 * time.Minute)
	f.seen(dev, 1, end, false, false)
	f.seen(dev, 2, start.Add(3*time.Hour), false, false)
	f.set(start.Add(time.Hour))
	f.seen(dev, 3, start.Add(3*time.Hour), false, false) // makes room by forgetting 1
	f.set(start)
	f.reopen()
	// By the wall clock message 1 would be in its time, and it is not remembered. By the
	// clock that counts it is over, which is what keeps it out.
	if now := f.Now(); now.Before(end) {
		t.Fatalf("the clock to use for expiry went back to %v", now)
	}
	f.seen(dev, 2, start.Add(3*time.Hour), false, true)
	f.seen(dev, 3, start.Add(3*time.Hour), false, true)
}

func TestAtACapMessagesAreRefusedAndNoneIsForgotten(t *testing.T) {
	f := newFolder(t, Options{ReplayPerDevice: 3, ReplayStrangers: 2})
	alice, bob := identity.DeviceID{1}, identity.DeviceID{2}
	until := f.Now().Add(time.Hour)
	for n := range 3 {
		f.seen(alice, n, until, false, false)
	}
	_, err := f.Seen(alice, message(9), until, false)
	f.is(err, ErrReplayFull)
	f.seen(alice, 0, until, false, true)
	f.seen(bob, 0, until, false, false) // another contact has a cap of its own
	for n := range byte(2) {
		f.seen(identity.DeviceID{100 + n}, 0, until, true, false)
	}
	_, err = f.Seen(identity.DeviceID{200}, message(0), until, true)
	f.is(err, ErrReplayFull) // all strangers share one
	f.reopen()
	_, err = f.Seen(alice, message(9), until, false)
	f.is(err, ErrReplayFull)
	f.pass(2 * time.Hour)
	f.seen(alice, 9, f.Now().Add(time.Hour), false, false)
	f.seen(identity.DeviceID{200}, 0, f.Now().Add(time.Hour), true, false)
	f.ok(f.Tick())
	f.reopen()
	f.seen(alice, 9, f.Now().Add(time.Hour), false, true)
}

func TestOfManyWhoAskAtOnceOneIsTheFirst(t *testing.T) {
	f := newFolder(t, Options{})
	until := f.Now().Add(time.Hour)
	var wg sync.WaitGroup
	var mu sync.Mutex // guards first, failed
	first, failed := 0, error(nil)
	for range 64 {
		wg.Go(func() {
			dup, err := f.Seen(identity.DeviceID{1}, message(1), until, false)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			if !dup {
				first++
			}
		})
	}
	wg.Wait()
	f.ok(failed)
	if first != 1 {
		t.Fatalf("%d were told that the message is new", first)
	}
}

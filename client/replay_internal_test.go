package client

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

func TestAMessageThatACrashLeftUnfinishedMayComeOnceMore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "alice")
	device, err := identity.GenerateDevice()
	if err != nil {
		t.Fatal(err)
	}
	k, err := keep.Create(dir, keep.NewProfile{Root: identity.RootFromSeed([32]byte{1}).Public(), Device: device}, keep.Options{})
	if err != nil {
		t.Fatal(err)
	}
	// reopened is what a new process finds.
	reopened := func() *replayLog {
		t.Helper()
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
		if k, err = keep.Open(dir, keep.Options{}); err != nil {
			t.Fatal(err)
		}
		r, err := openReplayLog(k)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	defer func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}()
	until := time.Now().Add(time.Hour)
	dev := identity.DeviceID{1}
	seen := func(r *replayLog, id byte, want bool) {
		t.Helper()
		dup, err := r.Seen(dev, envelope.MessageID{id}, until, false)
		if err != nil || dup != want {
			t.Errorf("message %d: repeated %v, %v", id, dup, err)
		}
	}
	finish := func(r *replayLog) {
		t.Helper()
		if err := r.finished(); err != nil {
			t.Error(err)
		}
	}

	r, err := openReplayLog(k)
	if err != nil {
		t.Fatal(err)
	}
	seen(r, 1, false)
	finish(r)
	seen(r, 1, true)
	seen(r, 2, false) // and here the process dies

	r = reopened()
	seen(r, 1, true) // what came before it in the mailbox comes first
	seen(r, 2, false)
	finish(r)
	seen(r, 2, true)

	r = reopened()
	seen(r, 1, true)
	seen(r, 2, true)
	seen(r, 3, false)
	r.unfinished() // the disk did not take it; it comes again in the same run
	seen(r, 4, false)
	finish(r)
	seen(r, 3, false)
	finish(r)
	seen(r, 3, true)

	// More than is remembered: the oldest is a replay then, and nothing opens twice.
	for id := byte(10); id < 10+maxUnfinished+1; id++ {
		seen(r, id, false)
		r.unfinished()
	}
	seen(r, 10, true)
	seen(r, 11+maxUnfinished-1, false)
	finish(r)
	seen(r, 11+maxUnfinished-1, true)
}

func TestWhatIsSeldomAllowedIsBounded(t *testing.T) {
	t.Parallel()
	var s seldom[int]
	now := time.Now()
	for i := range seldomKeys {
		if !s.allow(i, now, time.Minute) {
			t.Fatalf("key %d is refused", i)
		}
	}
	if s.allow(1, now.Add(time.Second), time.Minute) {
		t.Error("the same key is allowed twice in a minute")
	}
	if s.allow(seldomKeys, now, time.Minute) {
		t.Error("a full memory takes another key")
	}
	if !s.allow(seldomKeys, now.Add(time.Minute), time.Minute) || len(s.last) != 1 {
		t.Errorf("after their time %d keys are kept", len(s.last))
	}
}

func TestAttemptsAreSpacedMoreAndMore(t *testing.T) {
	t.Parallel()
	var a attempts
	now := time.Now()
	var last time.Duration
	for range 12 {
		if !a.ready("it", now) {
			t.Fatal("an attempt that is due is refused")
		}
		pause := time.Duration(0)
		for !a.ready("it", now.Add(pause)) {
			pause += time.Second
		}
		a.mu.Lock()
		got := a.due["it"]
		a.mu.Unlock()
		if pause < last || pause > lastPause || got.wait > lastPause {
			t.Fatalf("a pause of %v follows one of %v", pause, last)
		}
		last = pause
		now = got.next
	}
	if last != lastPause {
		t.Errorf("the last pause is %v", last)
	}
	a.done("it")
	if !a.ready("it", now.Add(-time.Hour)) {
		t.Error("a thing that was done is not new")
	}
	if a.ready("it", now.Add(-time.Hour)) {
		t.Error("and is allowed at once again")
	}
	a.again()
	if !a.ready("it", now.Add(-time.Hour)) {
		t.Error("a change makes nothing ready")
	}
}

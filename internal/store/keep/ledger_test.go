package keep

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
)

func (f *folder) submitted(n int, ttl envelope.TTL) Submitted {
	s := Submitted{Message: message(n), Contact: someone(1), Device: identity.DeviceID{1}, Dest: home.PeerID, TTL: ttl,
		Envelope: bytes.Repeat([]byte{byte(n)}, 100), At: f.Now(), Deadline: f.Now().Add(ttl.Duration()), Fate: FateSubmitted}
	binary.BigEndian.PutUint64(s.ID[:], uint64(n)+1)
	return s
}

func (f *folder) fate(s Submitted, to Fate, code string, want bool) {
	f.Helper()
	changed, err := f.SetFate(s.ID, to, code)
	f.ok(err)
	if changed != want {
		f.Fatalf("to %v: changed %v, want %v", to, changed, want)
	}
}

// adds up expects the totals, and that they are a sum.
func (f *folder) totals(want Totals) {
	f.Helper()
	got, err := f.Totals()
	f.ok(err)
	want.Sent = want.Delivered + want.StoredPending + want.Expired + want.Refused + want.Lost + want.Open
	if got != want {
		f.Fatalf("totals %+v, want %+v", got, want)
	}
	end := got.Final()
	if end.Sent != end.Delivered+end.StoredPending+end.Expired+end.Refused+end.Lost || end.Open != 0 {
		f.Fatalf("in the end %+v", end)
	}
}

func TestEveryEnvelopeEndsAsExactlyOneThing(t *testing.T) {
	f := newFolder(t, Options{})
	var all []Submitted
	for n := range 6 {
		s := f.submitted(n, envelope.Week)
		f.ok(f.Submit(s))
		f.ok(f.Submit(s)) // a retry is the same envelope
		all = append(all, s)
	}
	f.totals(Totals{Open: 6})
	f.fate(all[0], FateAccepted, "", true)
	f.fate(all[0], FateAccepted, "", false)
	f.fate(all[0], FateStored, "", true)
	f.fate(all[0], FateAccepted, "", false) // only forward
	f.fate(all[1], FateStored, "", true)
	f.fate(all[1], FateDelivered, "", true)
	f.fate(all[1], FateExpired, "", false) // final is final
	f.fate(all[2], FateExpired, "", true)
	f.fate(all[3], FateRefused, "quota", true)
	f.fate(all[4], FateLost, "", true)
	f.fate(Submitted{ID: envelope.ID{99}}, FateDelivered, "", false)
	f.totals(Totals{StoredPending: 1, Delivered: 1, Expired: 1, Refused: 1, Lost: 1, Open: 1})
	f.reopen()
	f.totals(Totals{StoredPending: 1, Delivered: 1, Expired: 1, Refused: 1, Lost: 1, Open: 1})
	open, err := f.OpenEnvelopes(10)
	f.ok(err)
	want := []Submitted{all[0], all[5]}
	want[0].Fate = FateStored
	if !reflect.DeepEqual(open, want) {
		t.Fatal("other open envelopes, or not byte for byte")
	}
	if open, err = f.OpenEnvelopes(1); err != nil || len(open) != 1 {
		t.Fatalf("%d, %v", len(open), err)
	}
	got, err := f.Submitted(all[3].ID)
	f.ok(err)
	if got.Fate != FateRefused || got.Code != "quota" || got.Envelope != nil {
		t.Fatalf("fate %v, code %q, %d bytes kept", got.Fate, got.Code, len(got.Envelope))
	}
	f.fate(all[4], FateDelivered, "", true) // what was lost is found
	f.totals(Totals{StoredPending: 1, Delivered: 2, Expired: 1, Refused: 1, Open: 1})
	if _, err := f.SetFate(all[0].ID, 99, ""); err == nil {
		t.Error("a fate that does not exist was taken")
	}
	if err := f.Submit(Submitted{ID: envelope.ID{5, 5}}); err == nil {
		t.Error("an envelope without bytes was taken")
	}
}

func TestWhatNobodyCanBeAskedAboutIsLostAndOldEntriesGo(t *testing.T) {
	f := newFolder(t, Options{})
	live, week, done := f.submitted(1, envelope.Live), f.submitted(2, envelope.Week), f.submitted(3, envelope.Day)
	for _, s := range []Submitted{live, week, done} {
		f.ok(f.Submit(s))
	}
	f.fate(week, FateStored, "", true)
	f.fate(done, FateDelivered, "", true)
	settle := func(want int) {
		t.Helper()
		n, err := f.Settle()
		f.ok(err)
		if n != want {
			t.Fatalf("%d lost, want %d", n, want)
		}
	}
	settle(0)
	f.pass(2 * time.Minute)
	settle(1)
	f.totals(Totals{Lost: 1, StoredPending: 1, Delivered: 1})
	f.pass(14 * 24 * time.Hour)
	settle(0) // the destination can still be asked
	f.pass(2 * 24 * time.Hour)
	settle(1)
	f.totals(Totals{Lost: 2, Delivered: 1})
	settle(0)
	_, err := f.Submitted(done.ID)
	f.is(err, ErrNotFound)
	if open, err := f.OpenEnvelopes(10); err != nil || len(open) != 0 {
		t.Fatalf("%d open, %v", len(open), err)
	}
	f.reopen()
	f.totals(Totals{Lost: 2, Delivered: 1})
}

func TestTransfersGoOnWhereTheyStopped(t *testing.T) {
	f := newFolder(t, Options{})
	in := Transfer{ID: FileID{1}, Contact: someone(1), State: TransferRunning, Name: "a.txt", Size: 12 << 20, Manifest: []byte("m"),
		Path: "/tmp/a.txt", Partial: "/tmp/a.part", Secret: []byte("key"), ModTime: f.Now(), Units: 12, Started: f.Now(), Updated: f.Now()}
	out := in
	out.Out, out.State, out.Started = true, TransferOffered, f.Now().Add(time.Second)
	f.ok(f.PutTransfer(in))
	f.ok(f.PutTransfer(out))
	for _, unit := range []uint32{0, 9, 11, 9} {
		got, err := f.UnitDone(in.ID, unit)
		f.ok(err)
		if !got.Has(unit) {
			t.Fatalf("unit %d is not done", unit)
		}
	}
	if _, err := f.UnitDone(in.ID, 12); err == nil {
		t.Fatal("a unit behind the end was taken")
	}
	_, err := f.UnitDone(FileID{9}, 0)
	f.is(err, ErrNotFound)
	f.reopen()
	got, err := f.Transfer(in.ID, false)
	f.ok(err)
	for unit := range uint32(14) {
		if want := unit == 0 || unit == 9 || unit == 11; got.Has(unit) != want {
			t.Errorf("unit %d: %v", unit, !want)
		}
	}
	got.Done = nil
	if !reflect.DeepEqual(got, in) {
		t.Fatal("another transfer")
	}
	all, err := f.Transfers()
	f.ok(err)
	if len(all) != 2 || all[0].Out || !all[1].Out || all[1].Has(9) {
		t.Fatal("other transfers, or another order")
	}
	got, err = f.UpdateTransfer(in.ID, false, func(t *Transfer) error { t.State, t.Reason = TransferFailed, "disk"; return nil })
	f.ok(err)
	if got.State != TransferFailed || !got.Has(9) {
		t.Fatal("the change came back differently")
	}
	no := errors.New("no")
	_, err = f.UpdateTransfer(in.ID, false, func(*Transfer) error { return no })
	f.is(err, no)
	f.ok(f.RemoveTransfer(in.ID, false))
	_, err = f.Transfer(in.ID, false)
	f.is(err, ErrNotFound)
	_, err = f.Transfer(in.ID, true)
	f.ok(err)
	if err := f.PutTransfer(Transfer{Units: maxUnits + 1}); err == nil {
		t.Error("a transfer without end was taken")
	}
}

func TestUnitsAndOtherChangesAtOnceAreAllKept(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.PutTransfer(Transfer{ID: FileID{1}, Units: 64}))
	var wg sync.WaitGroup
	errs := make([]error, 128)
	for i := range 64 {
		wg.Go(func() { _, errs[i] = f.UnitDone(FileID{1}, uint32(i)) })
		wg.Go(func() {
			_, errs[64+i] = f.UpdateTransfer(FileID{1}, false, func(t *Transfer) error { t.Size++; return nil })
		})
	}
	wg.Wait()
	f.ok(errors.Join(errs...))
	got, err := f.Transfer(FileID{1}, false)
	f.ok(err)
	for i := range uint32(64) {
		if !got.Has(i) {
			t.Errorf("unit %d was lost", i)
		}
	}
	if got.Size != 64 {
		t.Errorf("%d of 64 changes are there", got.Size)
	}
}

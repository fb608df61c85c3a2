package keep

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// folder is a client's folder with a clock that only moves when told to.
type folder struct {
	*testing.T
	*Keep
	dir string
	o   Options
	mu  sync.Mutex // guards now
	now time.Time
}

var (
	root   = identity.RootFromSeed(sha256.Sum256([]byte("root")))
	device = identity.DeviceFromSeed(sha256.Sum256([]byte("device")))
	home   = identity.Home{PeerID: identity.RootFromSeed([32]byte{9}).Public().PeerID(), Domain: "acme.example"}
)

func someone(n byte) identity.PublicKey { return identity.RootFromSeed([32]byte{n, 77}).Public() }

func newFolder(t *testing.T, o Options) *folder {
	t.Helper()
	f := &folder{T: t, dir: filepath.Join(t.TempDir(), "client"), o: o, now: time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)}
	f.o.Now = func() time.Time {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.now
	}
	f.o.ScryptWork = 4
	f.o.LockTimeout = 50 * time.Millisecond
	k, err := Create(f.dir, NewProfile{Root: root.Public(), Device: device}, f.o)
	f.ok(err)
	f.Keep = k
	t.Cleanup(func() {
		if err := f.Keep.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return f
}

func (f *folder) reopen() {
	f.Helper()
	f.ok(f.Close())
	k, err := Open(f.dir, f.o)
	f.ok(err)
	f.Keep = k
}

func (f *folder) set(t time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = t
}

func (f *folder) pass(d time.Duration) { f.set(f.o.Now().Add(d)) }

func (f *folder) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *folder) is(err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Fatalf("got error %v, want %v", err, want)
	}
}

// disk is every byte of the folder.
func (f *folder) disk() []byte {
	f.Helper()
	var all []byte
	files, err := os.ReadDir(f.dir)
	f.ok(err)
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(f.dir, file.Name()))
		f.ok(err)
		all = append(all, b...)
	}
	return all
}

func TestAFolderBelongsToOneProcessAndOneUser(t *testing.T) {
	f := newFolder(t, Options{})
	_, err := Open(f.dir, f.o)
	f.is(err, ErrInUse)
	if err.Error() != "another trunkline command uses this folder" {
		t.Errorf("says %q", err)
	}
	f.ok(f.SetRoot(root, ""))
	info, err := os.Stat(f.dir)
	f.ok(err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v", info.Mode())
	}
	files, err := os.ReadDir(f.dir)
	f.ok(err)
	if len(files) != 4 {
		t.Errorf("%d files", len(files))
	}
	for _, file := range files {
		info, err := file.Info()
		f.ok(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", file.Name(), info.Mode())
		}
	}
}

func TestAProfileIsMadeOnceAndFoundAgain(t *testing.T) {
	empty := t.TempDir()
	if _, err := Open(empty, Options{}); !errors.Is(err, ErrNoProfile) {
		t.Fatalf("an empty folder: %v", err)
	}
	if files, err := os.ReadDir(empty); err != nil || len(files) != 0 {
		t.Fatalf("looking left %d files, %v", len(files), err)
	}
	f := newFolder(t, Options{})
	f.reopen()
	p := f.Profile()
	if p.Root != root.Public() || p.Device != device.Public() || p.Custody != CustodyCold || !p.Created.Equal(f.o.Now()) {
		t.Fatalf("profile %+v", p)
	}
	if f.Device().Seed() != device.Seed() {
		t.Fatal("another device key")
	}
	if !f.Horizon().IsZero() {
		t.Fatal("a new replay cache was never lost")
	}
	f.ok(f.Close())
	_, err := Create(f.dir, NewProfile{Root: someone(1), Device: identity.DeviceFromSeed([32]byte{8})}, f.o)
	f.is(err, ErrExists)
	k, err := Open(f.dir, f.o)
	f.ok(err)
	f.Keep = k
	if f.Profile().Root != root.Public() {
		t.Fatal("overwritten")
	}
	for what, p := range map[string]NewProfile{
		"no device":                  {Root: root.Public()},
		"no root key":                {Device: device},
		"a seed of another root key": {Root: someone(1), Device: device, RootSeed: root},
	} {
		if _, err := Create(t.TempDir(), p, Options{}); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	seed := device.Seed()
	if bytes.Contains(f.disk(), seed[:]) {
		t.Error("the device seed stands on the disk in clear")
	}
}

func TestTheRootSeedIsWhereItWasPut(t *testing.T) {
	f := newFolder(t, Options{})
	_, err := f.Root("")
	f.is(err, ErrNoRoot)
	seed := root.Seed()
	for _, step := range []struct {
		root       *identity.Root
		passphrase string
		custody    Custody
		clear      bool
	}{
		{root, "", CustodyPlain, true},
		{root, "correct horse", CustodyPassphrase, false},
		{root, "battery staple", CustodyPassphrase, false},
		{root, "", CustodyPlain, true},
		{nil, "", CustodyCold, false},
	} {
		f.ok(f.SetRoot(step.root, step.passphrase))
		f.reopen()
		if got := f.Profile().Custody; got != step.custody {
			t.Fatalf("custody %v, want %v", got, step.custody)
		}
		if bytes.Contains(f.disk(), seed[:]) != step.clear {
			t.Fatalf("%v: seed in clear on the disk: %v", step.custody, !step.clear)
		}
		got, err := f.Root(step.passphrase)
		if step.root == nil {
			f.is(err, ErrNoRoot)
			continue
		}
		f.ok(err)
		if got.Seed() != seed {
			t.Fatal("another seed")
		}
		if step.custody == CustodyPassphrase {
			for _, wrong := range []string{"", "wrong", "correct horse "} {
				_, err := f.Root(wrong)
				f.is(err, ErrPassphrase)
			}
		}
	}
	if err := f.SetRoot(identity.RootFromSeed([32]byte{5}), ""); err == nil {
		t.Error("another identity's seed was taken")
	}
}

// A crash in SetRoot leaves the new file beside the old one; the profile says which counts.
func TestACrashBetweenTheFilesOfTheRootSeedLosesNothing(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.SetRoot(root, "first"))
	first, err := os.ReadFile(filepath.Join(f.dir, fileRootAge))
	f.ok(err)

	// Before the profile was written: the old one counts.
	f.ok(os.WriteFile(filepath.Join(f.dir, fileRootSeed), make([]byte, 32), 0o600))
	f.reopen()
	_, err = f.Root("first")
	f.ok(err)
	if _, err := os.Stat(filepath.Join(f.dir, fileRootSeed)); !os.IsNotExist(err) {
		t.Errorf("the other form is still there: %v", err)
	}

	// After it: the new one does, under the name it was written with first.
	f.ok(f.Close())
	f.ok(os.Remove(filepath.Join(f.dir, fileRootAge)))
	f.ok(os.WriteFile(filepath.Join(f.dir, fileRootNew), first, 0o600))
	k, err := Open(f.dir, f.o)
	f.ok(err)
	f.Keep = k
	_, err = f.Root("first")
	f.ok(err)

	// A root seed without its profile is not written over.
	f.ok(f.Close())
	other := filepath.Join(t.TempDir(), "other")
	f.ok(os.MkdirAll(other, 0o700))
	f.ok(os.WriteFile(filepath.Join(other, fileRootAge), first, 0o600))
	_, err = Create(other, NewProfile{Device: device, RootSeed: root}, f.o)
	f.is(err, ErrExists)
	if b, err := os.ReadFile(filepath.Join(other, fileRootAge)); err != nil || !bytes.Equal(b, first) {
		t.Errorf("it was changed, %v", err)
	}
	k, err = Open(f.dir, f.o)
	f.ok(err)
	f.Keep = k
}

func Test14_73_AWrappedSeedThatAsksForTooMuchWorkIsRefused(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.SetRoot(root, "passphrase"))
	path := filepath.Join(f.dir, fileRootAge)
	whole, err := os.ReadFile(path)
	f.ok(err)
	line, rest, _ := strings.Cut(strings.TrimPrefix(string(whole), "age-encryption.org/v1\n"), "\n")
	if !strings.HasSuffix(line, " 4") {
		t.Fatalf("the header line is %q", line)
	}
	with := func(line string) error {
		t.Helper()
		f.ok(os.WriteFile(path, []byte("age-encryption.org/v1\n"+line+"\n"+rest), 0o600))
		_, err := f.Root("passphrase")
		return err
	}
	f.ok(with(line))
	stanza := strings.TrimSuffix(line, "4")
	for _, work := range []string{"21", "22", "30", "64", "255"} {
		f.is(with(stanza+work), ErrWorkFactor)
	}
	// Within the limit, and a lie: the work is done, and then it does not open.
	f.is(with(stanza+"5"), ErrPassphrase)
	for _, odd := range []string{stanza, stanza + "0", stanza + "-4", stanza + "256", stanza + "4 4", "-> X25519 abc", ""} {
		if err := with(odd); err == nil || errors.Is(err, ErrPassphrase) {
			t.Errorf("header %q: %v", odd, err)
		}
	}
	f.ok(os.WriteFile(path, append([]byte("age-encryption.org/v1\n"+line+"\n"), make([]byte, 1<<20)...), 0o600))
	if _, err := f.Root("passphrase"); err == nil {
		t.Error("a megabyte was taken for a wrapped seed")
	}
}

func TestTheOwnListOnlyGoesForward(t *testing.T) {
	f := newFolder(t, Options{})
	_, err := f.OwnList()
	f.is(err, ErrNotFound)
	_, err = f.OwnCert()
	f.is(err, ErrNotFound)
	first, err := root.NewList(device.Public(), []identity.Home{home}, [32]byte{}, f.Now())
	f.ok(err)
	second, err := root.AddDevice(first, identity.DeviceFromSeed([32]byte{3}).Public(), f.Now())
	f.ok(err)
	rival, err := root.AddDevice(first, identity.DeviceFromSeed([32]byte{4}).Public(), f.Now())
	f.ok(err)
	f.ok(f.SetOwnList(first))
	f.ok(f.SetOwnList(second))
	f.ok(f.SetOwnList(second))
	f.is(f.SetOwnList(first), ErrRollback)
	f.is(f.SetOwnList(rival), ErrConflict)
	other, err := identity.RootFromSeed([32]byte{5}).NewList(device.Public(), []identity.Home{home}, [32]byte{}, f.Now())
	f.ok(err)
	if err := f.SetOwnList(other); err == nil {
		t.Error("another identity's list was taken")
	}
	f.reopen()
	got, err := f.OwnList()
	f.ok(err)
	if got.Hash() != second.Hash() {
		t.Error("another list")
	}
	cert, err := f.OwnCert()
	f.ok(err)
	if cert.DeviceID() != device.ID() {
		t.Error("another device's certificate")
	}
	third, err := root.Revoke(second, device.ID(), f.Now())
	f.ok(err)
	f.ok(f.SetOwnList(third))
	_, err = f.OwnCert()
	f.is(err, ErrNotFound)
}

func TestHomesAndTheirTokens(t *testing.T) {
	f := newFolder(t, Options{})
	b := Home{PeerID: home.PeerID, Domain: "b.example", URL: "https://b.example", Tag: envelope.RouteTag{1}, MailboxSecret: [32]byte{2}, TokenEpoch: 1, Registered: f.Now()}
	a := b
	a.Domain, a.MailboxSecret = "a.example", [32]byte{3}
	f.ok(f.PutHome(b))
	f.ok(f.PutHome(a))
	b.After, b.Grace, b.TokenEpoch = 17, true, 2
	f.ok(f.PutHome(b))
	f.reopen()
	homes, err := f.Homes()
	f.ok(err)
	if len(homes) != 2 || homes[0] != b || homes[1] != a {
		t.Fatal("other homes, or another order")
	}
	got, err := f.Home("a.example")
	f.ok(err)
	if got != a {
		t.Fatal("another home")
	}
	if a.Token(1) == a.Token(2) || a.Token(1) == b.Token(1) || a.Token(1) != got.Token(1) || a.TokenHash(1) == a.TokenHash(2) {
		t.Error("tokens depend on more or less than secret and epoch")
	}
	f.ok(f.RemoveHome("a.example"))
	f.ok(f.RemoveHome("a.example"))
	_, err = f.Home("a.example")
	f.is(err, ErrNotFound)
}

func TestTheClockNeverStepsBack(t *testing.T) {
	f := newFolder(t, Options{})
	start := f.o.Now()
	f.pass(time.Hour)
	f.ok(f.Tick())
	f.set(start)
	if now := f.Now(); !now.Equal(start.Add(time.Hour)) {
		t.Fatalf("in one process: %v", now)
	}
	f.reopen()
	if now := f.Now(); !now.Equal(start.Add(time.Hour)) {
		t.Fatalf("after a restart: %v", now)
	}
	f.set(start.Add(2 * time.Hour))
	if now := f.Now(); !now.Equal(start.Add(2 * time.Hour)) {
		t.Fatalf("it stands still: %v", now)
	}
}

func TestAFolderOfANewerVersionIsRefused(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.Close())
	later, err := kv.Open(filepath.Join(f.dir, fileDB), kv.Options{Format: 2, Migrations: []kv.Migration{func(*bbolt.Tx) error { return nil }}})
	f.ok(err)
	f.ok(later.Close())
	_, err = Open(f.dir, f.o)
	f.is(err, kv.ErrNewer)
	if !strings.Contains(err.Error(), "newer version") {
		t.Errorf("says %q", err)
	}
}

func TestAFullDiskIsAnAnswerAndChangesNothing(t *testing.T) {
	f := newFolder(t, Options{maxFile: 1 << 20})
	var err error
	n := 0
	for ; err == nil; n++ {
		s := f.submitted(n, envelope.Week)
		s.Envelope = make([]byte, envelope.MaxPayload)
		err = f.Submit(s)
	}
	n--
	f.is(err, ErrUnavailable)
	f.totals(Totals{Open: uint64(n)})
	for i := range n {
		f.fate(f.submitted(i, envelope.Week), FateDelivered, "", true) // which forgets the bytes
	}
	f.seen(identity.DeviceID{1}, 1, f.Now().Add(time.Hour), false, false)
	f.totals(Totals{Delivered: uint64(n)})
	f.reopen()
	f.seen(identity.DeviceID{1}, 1, f.Now().Add(time.Hour), false, true)
	f.totals(Totals{Delivered: uint64(n)})
}

func TestAClosedFolderSaysSo(t *testing.T) {
	f := newFolder(t, Options{})
	f.ok(f.Close())
	f.is(f.Tick(), ErrUnavailable)
	_, err := f.Contacts()
	f.is(err, ErrUnavailable)
	_, err = f.Seen(identity.DeviceID{1}, message(1), f.o.Now(), false)
	f.is(err, ErrUnavailable)
}

func TestSecretsAreNotPrinted(t *testing.T) {
	for _, v := range []any{
		Home{MailboxSecret: [32]byte{1}}, Prekey{Secret: []byte("s")}, Grant{}, Contact{}, Note{Text: "t"}, Knock{}, Transfer{}, NewProfile{Passphrase: "p"},
	} {
		if got := strings.TrimSpace(sprint(v)); got != "[redacted] [redacted] [redacted]" {
			t.Errorf("%T prints %q", v, got)
		}
	}
}

package keep

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"filippo.io/age"
	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// NewProfile is what Create needs.
type NewProfile struct {
	Root       identity.PublicKey // may be zero where RootSeed is given
	Device     *identity.Device
	RootSeed   *identity.Root // nil: cold
	Passphrase string         // empty with a RootSeed: plain, readable by this user only
}

func (p *NewProfile) check() error {
	if p.Device == nil {
		return errors.New("create profile: a device key is needed")
	}
	if p.RootSeed != nil {
		if p.Root.IsZero() {
			p.Root = p.RootSeed.Public()
		}
		if p.Root != p.RootSeed.Public() {
			return errors.New("create profile: the root seed is not that of the root key")
		}
	}
	if p.Root.IsZero() {
		return errors.New("create profile: a root key is needed")
	}
	return nil
}

// profileBox holds the profile, whose custody can change.
type profileBox struct {
	mu sync.RWMutex // guards p
	p  Profile
}

// Profile returns who this folder belongs to.
func (k *Keep) Profile() Profile {
	k.profile.mu.RLock()
	defer k.profile.mu.RUnlock()
	return k.profile.p
}

// Device returns the device key, which is always at hand.
func (k *Keep) Device() *identity.Device { return k.device }

// create writes a new profile. The root seed is written first, under a name that counts only
// once the profile says so: a crash leaves either no profile, or a whole one.
func (k *Keep) create(p NewProfile) error {
	for _, name := range []string{fileRootAge, fileRootSeed} {
		if _, err := os.Lstat(k.path(name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s holds a root seed; move it away, or open it with the phrase's other copy, first", ErrExists, name)
		}
	}
	profile := Profile{Root: p.Root, Device: p.Device.Public(), Created: k.Now()}
	if p.RootSeed != nil {
		var err error
		if profile.Custody, err = k.writeRoot(fileRootNew, p.RootSeed, p.Passphrase); err != nil {
			return err
		}
	}
	seed := p.Device.Seed()
	defer clear(seed[:])
	err := k.do(func(tx *bbolt.Tx) error {
		own := tx.Bucket(bucketOwn)
		v, err := k.sealRecord(ringDevice(), seed[:], keyDevice)
		if err != nil {
			return err
		}
		return errors.Join(own.Put(keyDevice, v), own.Put(keyProfile, encodeProfile(profile)))
	})
	if err != nil {
		return err
	}
	return k.loadProfile()
}

// loadProfile reads the profile, where there is one, and finishes what a crash has left
// unfinished about the root seed.
func (k *Keep) loadProfile() error {
	var p Profile
	var seed [32]byte
	found := false
	err := k.view(func(tx *bbolt.Tx) error {
		own := tx.Bucket(bucketOwn)
		v := own.Get(keyProfile)
		if found = v != nil; !found {
			return nil
		}
		var err error
		if p, err = decodeProfile(v); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		plain, err := k.openRecord(ringDevice(), own.Get(keyDevice), keyDevice)
		if err != nil || len(plain) != len(seed) {
			return fmt.Errorf("device key: %w", errors.Join(err, kv.ErrValue))
		}
		copy(seed[:], plain)
		return nil
	})
	if err != nil || !found {
		return err
	}
	k.device = identity.DeviceFromSeed(seed)
	clear(seed[:])
	if k.device.Public() != p.Device {
		return fmt.Errorf("device key: %w", kv.ErrValue)
	}
	k.profile.p = p
	return k.tidyRoot(p.Custody)
}

// tidyRoot makes the files of the root seed what the profile says.
func (k *Keep) tidyRoot(c Custody) error {
	if name := rootFile(c); name != "" {
		if _, err := os.Lstat(k.path(fileRootNew)); err == nil {
			if err := os.Rename(k.path(fileRootNew), k.path(name)); err != nil {
				return fmt.Errorf("%w: %w", ErrUnavailable, err)
			}
		}
	}
	for _, name := range []string{fileRootAge, fileRootSeed, fileRootNew} {
		if name == rootFile(c) {
			continue
		}
		if err := kv.RemoveFile(k.path(name)); err != nil {
			return translate(err)
		}
	}
	return nil
}

func rootFile(c Custody) string {
	switch c {
	case CustodyPlain:
		return fileRootSeed
	case CustodyPassphrase:
		return fileRootAge
	}
	return ""
}

// writeRoot writes a root seed to a file of this folder.
func (k *Keep) writeRoot(name string, root *identity.Root, passphrase string) (Custody, error) {
	seed := root.Seed()
	defer clear(seed[:])
	if passphrase == "" {
		return CustodyPlain, translate(kv.ReplaceFile(k.path(name), seed[:]))
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return 0, fmt.Errorf("wrap root seed: %w", err)
	}
	recipient.SetWorkFactor(k.o.ScryptWork)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, recipient)
	if err == nil {
		if _, err = w.Write(seed[:]); err == nil {
			err = w.Close()
		}
	}
	if err != nil {
		return 0, fmt.Errorf("wrap root seed: %w", err)
	}
	return CustodyPassphrase, translate(kv.ReplaceFile(k.path(name), b.Bytes()))
}

// Root opens the root seed. ErrNoRoot, ErrPassphrase and ErrWorkFactor say what is wrong.
// The passphrase of a plain one is ignored.
func (k *Keep) Root(passphrase string) (*identity.Root, error) {
	p := k.Profile()
	name := rootFile(p.Custody)
	if name == "" {
		return nil, ErrNoRoot
	}
	f, err := os.Open(k.path(name))
	if err != nil {
		return nil, fmt.Errorf("%w: root seed: %w", ErrUnavailable, err)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxWrapped+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("%w: root seed: %w", ErrUnavailable, err)
	}
	defer clear(b)
	if p.Custody == CustodyPassphrase {
		if b, err = unwrap(b, passphrase); err != nil {
			return nil, err
		}
		defer clear(b)
	}
	if len(b) != 32 {
		return nil, fmt.Errorf("root seed: %w", kv.ErrValue)
	}
	root := identity.RootFromSeed([32]byte(b))
	if root.Public() != p.Root {
		return nil, fmt.Errorf("root seed: %w: it belongs to another identity", kv.ErrValue)
	}
	return root, nil
}

// SetRoot keeps the root seed here, under a passphrase or (empty) plain, or with nil forgets
// it. The file of the earlier form is overwritten with zeros and removed.
func (k *Keep) SetRoot(root *identity.Root, passphrase string) error {
	k.profile.mu.Lock()
	defer k.profile.mu.Unlock()
	p := k.profile.p
	p.Custody = CustodyCold
	if root != nil {
		if root.Public() != p.Root {
			return errors.New("set root: the seed belongs to another identity")
		}
		var err error
		if p.Custody, err = k.writeRoot(fileRootNew, root, passphrase); err != nil {
			return err
		}
	}
	// Once the profile names the new form, tidyRoot, now or after a crash, does the rest.
	// Before that the new file is removed again.
	err := k.do(func(tx *bbolt.Tx) error { return tx.Bucket(bucketOwn).Put(keyProfile, encodeProfile(p)) })
	if err != nil {
		return errors.Join(err, translate(kv.RemoveFile(k.path(fileRootNew))))
	}
	k.profile.p = p
	return k.tidyRoot(p.Custody)
}

// maxWrapped is more than a wrapped seed takes (about 230 bytes).
const maxWrapped = 1024

// unwrap opens a seed wrapped with age under a passphrase.
func unwrap(b []byte, passphrase string) ([]byte, error) {
	work, err := scryptWork(b)
	if err != nil {
		return nil, err
	}
	if work > MaxScryptWork {
		return nil, ErrWorkFactor
	}
	if passphrase == "" {
		return nil, ErrPassphrase
	}
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("unwrap root seed: %w", err)
	}
	id.SetMaxWorkFactor(MaxScryptWork)
	r, err := age.Decrypt(bytes.NewReader(b), id)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) || errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("unwrap root seed: %w", err)
	}
	seed, err := io.ReadAll(io.LimitReader(r, 33))
	if err != nil {
		return nil, fmt.Errorf("unwrap root seed: %w", err)
	}
	return seed, nil
}

// scryptWork reads the work factor out of an age header with one scrypt stanza, before
// anything is computed with it:
//
//	age-encryption.org/v1
//	-> scrypt SALT WORK
func scryptWork(b []byte) (int, error) {
	if len(b) > maxWrapped {
		return 0, fmt.Errorf("wrapped root seed: %w", kv.ErrValue)
	}
	lines := strings.SplitN(string(b), "\n", 3)
	if len(lines) != 3 || lines[0] != "age-encryption.org/v1" {
		return 0, fmt.Errorf("wrapped root seed: %w", kv.ErrValue)
	}
	fields := strings.Split(lines[1], " ")
	if len(fields) != 4 || fields[0] != "->" || fields[1] != "scrypt" {
		return 0, fmt.Errorf("wrapped root seed: %w", kv.ErrValue)
	}
	work, err := strconv.ParseUint(fields[3], 10, 8)
	if err != nil || work == 0 {
		return 0, fmt.Errorf("wrapped root seed: %w", kv.ErrValue)
	}
	return int(work), nil
}

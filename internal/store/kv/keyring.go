package kv

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeyID names a key in a ring.
type KeyID [16]byte

// Key seals the values of one owner: one mailbox, one prekey, one conversation.
type Key [32]byte

func (Key) String() string   { return "[redacted]" }
func (Key) GoString() string { return "[redacted]" }

// Keyring is a small file of keys beside a bbolt file. bbolt keeps the bytes of deleted
// values in its free pages; so values are sealed under keys that stand here, and deleting
// means writing this file anew without the key. What is left in the pages is noise then.
//
// The old file is filled with zeros before it goes. A file system that copies on write, a
// flash translation layer and a backup may still hold it; no program can promise more.
//
// Layout: magic (8), ring id (16), then records of key id (16), key (32) and their CRC-32C
// (4). A later record of one id wins. A record that does not fit its checksum is dropped: a
// crash in an append leaves one, and nothing was sealed under a key not yet durable. Damage
// in the middle costs the one key; verify store finds the values it sealed.
type Keyring struct {
	path string
	id   KeyID

	mu    sync.RWMutex // guards all below
	keys  map[KeyID]Key
	new   []KeyID // in keys, not yet in the file
	torn  bool    // the end of the file is not to be appended to
	spare []KeyID // in keys and in the file, and nobody's yet
	stock int     // how many spares the next Flush adds; 0 until Draw has run out
}

// Spare keys cost one append for many new owners instead of one each: the append is an fsync
// beside the one of the commit. A store that draws few keeps few.
const (
	minStock = 32
	maxStock = 1024
)

const (
	ringMagic  = "TLKEYS1\n"
	ringHeader = len(ringMagic) + 16
	ringRecord = 16 + 32 + 4
	// maxRing bounds what is read: a million keys and more.
	maxRing = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ErrNoRing: the key file is missing.
var ErrNoRing = errors.New("key file is missing")

// NewRing makes an empty key file with a new id. One that holds keys must not be there: it
// belongs to a store that is missing.
func NewRing(path string) (*Keyring, error) {
	if info, err := os.Lstat(path); err == nil && info.Size() > int64(ringHeader) {
		return nil, fmt.Errorf("%w: %s exists without the store it belongs to: put that back, or move the key file away", ErrDamaged, filepath.Base(path))
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r := &Keyring{path: path, keys: make(map[KeyID]Key)}
	if _, err := rand.Read(r.id[:]); err != nil {
		return nil, err
	}
	return r, r.rewrite()
}

// OpenRing reads a key file and checks that it belongs to the store that names id.
func OpenRing(path string, id KeyID) (*Keyring, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s belongs to the store and has to be backed up with it", ErrNoRing, filepath.Base(path))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if info.Size() > maxRing {
		return nil, fmt.Errorf("%w: %s is too large", ErrDamaged, filepath.Base(path))
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r := &Keyring{path: path}
	if r.id, r.keys, r.torn, err = parseRing(b); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	clear(b)
	if r.id != id {
		return nil, fmt.Errorf("%w: %s belongs to another store", ErrDamaged, filepath.Base(path))
	}
	return r, nil
}

// parseRing reads a key file.
func parseRing(b []byte) (id KeyID, keys map[KeyID]Key, torn bool, err error) {
	if len(b) < ringHeader || len(b) > maxRing || string(b[:len(ringMagic)]) != ringMagic {
		return id, nil, false, fmt.Errorf("%w: not a key file", ErrDamaged)
	}
	copy(id[:], b[len(ringMagic):])
	b = b[ringHeader:]
	keys = make(map[KeyID]Key, len(b)/ringRecord)
	for len(b) >= ringRecord {
		rec := b[:ringRecord]
		if crc32.Checksum(rec[:48], castagnoli) != binary.BigEndian.Uint32(rec[48:]) {
			torn = true
		} else {
			keys[KeyID(rec[:16])] = Key(rec[16:48])
		}
		b = b[ringRecord:]
	}
	return id, keys, torn || len(b) > 0, nil
}

// ID is kept in the store that the ring belongs to.
func (r *Keyring) ID() KeyID { return r.id }

// Len returns the number of keys.
func (r *Keyring) Len() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.keys)
}

// Get returns a key.
func (r *Keyring) Get(id KeyID) (Key, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	k, ok := r.keys[id]
	return k, ok
}

// Ensure returns the key of an id, a fresh one where there is none. A fresh key is not on
// the disk before Flush.
func (r *Keyring) Ensure(id KeyID) (Key, error) {
	if k, ok := r.Get(id); ok {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.keys[id]; ok {
		return k, nil
	}
	var k Key
	if _, err := rand.Read(k[:]); err != nil {
		return k, err
	}
	r.keys[id] = k
	r.new = append(r.new, id)
	return k, nil
}

// Draw returns a key that nobody has had, under a random id: a spare one that is in the file
// already, or a fresh one that is not on the disk before Flush. Whoever draws writes the id
// down beside what is sealed; a spare that a crash orphans goes with the next Retain.
func (r *Keyring) Draw() (KeyID, Key, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.spare); n > 0 {
		id := r.spare[n-1]
		r.spare = r.spare[:n-1]
		return id, r.keys[id], nil
	}
	if len(r.new) == 0 { // the first since the last Flush
		r.stock = min(max(minStock, 2*r.stock), maxStock)
	}
	id, k, err := r.freshLocked()
	if err == nil {
		r.new = append(r.new, id)
	}
	return id, k, err
}

func (r *Keyring) freshLocked() (id KeyID, k Key, err error) {
	if _, err = rand.Read(id[:]); err == nil {
		_, err = rand.Read(k[:])
	}
	if err == nil {
		r.keys[id] = k
	}
	return id, k, err
}

// Flush makes fresh keys durable. It comes before the commit of what is sealed under them.
func (r *Keyring) Flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.new) == 0 {
		return nil
	}
	var spare []KeyID
	for len(r.spare)+len(spare) < r.stock {
		id, _, err := r.freshLocked()
		if err != nil {
			return err
		}
		spare = append(spare, id)
	}
	if err := r.writeNewLocked(spare); err != nil {
		for _, id := range spare { // nobody's: the next try makes its own
			delete(r.keys, id)
		}
		return err
	}
	r.new, r.spare = r.new[:0], append(r.spare, spare...)
	return nil
}

// writeNewLocked appends the fresh keys and the spare ones to the file.
func (r *Keyring) writeNewLocked(spare []KeyID) error {
	if r.torn {
		return r.rewriteLocked()
	}
	b := make([]byte, 0, (len(r.new)+len(spare))*ringRecord)
	for _, ids := range [][]KeyID{r.new, spare} {
		for _, id := range ids {
			if k, ok := r.keys[id]; ok { // not dropped in the meantime
				b = appendRecord(b, id, k)
			}
		}
	}
	defer clear(b)
	if err := r.append(b); err != nil {
		// How much of it arrived is unknown: the next time the file is written whole.
		r.torn = true
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

func (r *Keyring) append(b []byte) error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Drop forgets keys for good. It returns after the file no longer holds them. Where it
// fails the keys are gone from memory, and the next Drop or Flush tries the file again.
func (r *Keyring) Drop(ids ...KeyID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.keys)
	for _, id := range ids {
		delete(r.keys, id)
	}
	if len(r.keys) == n && !r.torn {
		return nil
	}
	return r.rewriteLocked()
}

// Retain drops all keys that nothing needs any more, which a crash between a commit and a
// Drop leaves behind.
func (r *Keyring) Retain(need func(KeyID) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.keys)
	for id := range r.keys {
		if !need(id) {
			delete(r.keys, id)
		}
	}
	r.spare = slices.DeleteFunc(r.spare, func(id KeyID) bool { _, ok := r.keys[id]; return !ok })
	if len(r.keys) == n && !r.torn {
		return nil
	}
	return r.rewriteLocked()
}

func (r *Keyring) rewrite() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.rewriteLocked()
}

// rewriteLocked writes the whole file anew beside the old one and takes its place. r.mu is
// held: a key must not be added to the file that is about to vanish.
func (r *Keyring) rewriteLocked() error {
	b := make([]byte, 0, ringHeader+len(r.keys)*ringRecord)
	b = append(b, ringMagic...)
	b = append(b, r.id[:]...)
	for id, k := range r.keys {
		b = appendRecord(b, id, k)
	}
	defer clear(b)
	if err := replaceFile(r.path, b); err != nil {
		r.torn = true
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.new, r.torn = r.new[:0], false
	return nil
}

func appendRecord(b []byte, id KeyID, k Key) []byte {
	start := len(b)
	b = append(append(b, id[:]...), k[:]...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// replaceFile puts b durably in the place of a file and fills the old one with zeros.
func replaceFile(path string, b []byte) error {
	if err := WriteFile(path+".new", b); err != nil {
		return err
	}
	old, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		if old != nil {
			err = errors.Join(err, old.Close())
		}
		return err
	}
	err = syncDir(path)
	if old == nil {
		return err
	}
	return errors.Join(err, wipe(old))
}

// WriteFile writes a file of mode 0600 and makes it durable, over an existing one of that
// name.
func WriteFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// ReplaceFile puts b in the place of a secret file, durably and whole, and fills the old
// one with zeros.
func ReplaceFile(path string, b []byte) error {
	if err := replaceFile(path, b); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// RemoveFile fills a secret file with zeros and removes it. No such file is no error.
func RemoveFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(wipe(f), os.Remove(path))
	}
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// wipe overwrites a file with zeros and closes it.
func wipe(f *os.File) error {
	info, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(make([]byte, info.Size()), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// AEAD returns what Seal and Unseal use, for those who seal often under one key. The nonce
// is NonceSize bytes and random.
func (k Key) AEAD() (cipher.AEAD, error) { return chacha20poly1305.NewX(k[:]) }

// NonceSize is the length of the nonce that stands before a sealed value.
const NonceSize = chacha20poly1305.NonceSizeX

// Overhead is what Seal adds.
const Overhead = chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead

// Seal appends nonce and ciphertext of plain to dst: XChaCha20-Poly1305 with a random nonce,
// so that a commit that failed and is written again uses no nonce twice.
func Seal(dst []byte, k Key, plain, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		return nil, err
	}
	var nonce [chacha20poly1305.NonceSizeX]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return nil, err
	}
	return aead.Seal(append(dst, nonce[:]...), nonce[:], plain, ad), nil
}

// Unseal is the inverse of Seal.
func Unseal(k Key, box, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(k[:])
	if err != nil {
		return nil, err
	}
	if len(box) < Overhead {
		return nil, ErrValue
	}
	n := chacha20poly1305.NonceSizeX
	plain, err := aead.Open(nil, box[:n], box[n:], ad)
	if err != nil {
		return nil, ErrValue
	}
	return plain, nil
}

package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Report is what Check found. It counts and names no one.
type Report struct {
	Format      int   `json:"format"`
	Mailboxes   int   `json:"mailboxes"`
	Envelopes   int   `json:"envelopes"`
	Knocks      int   `json:"knocks"`
	Bytes       int64 `json:"bytes"` // of payload waiting
	Outcomes    int   `json:"outcomes"`
	Accounts    int   `json:"accounts"`
	Devices     int   `json:"devices"`
	Invitations int   `json:"invitations"`
	Blobs       int   `json:"blobs"`
	Outgoing    int   `json:"outgoing"`
	Keys        int   `json:"keys"`
	FileBytes   int64 `json:"file_bytes"`
	FreeBytes   int64 `json:"free_bytes"`
	// Problems are sentences for the administrator; none means that everything fits.
	Problems []string `json:"problems"`
}

// maxProblems keeps a report of a ruined file readable.
const maxProblems = 100

func (r *Report) problem(format string, args ...any) {
	switch {
	case len(r.Problems) < maxProblems:
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	case len(r.Problems) == maxProblems:
		r.Problems = append(r.Problems, "further problems are not listed")
	}
}

// Verify checks the store of a node that is not running, and changes nothing.
func Verify(path string) (Report, error) {
	if _, err := os.Stat(path); err != nil {
		return Report{}, err
	}
	// A page that is damaged badly makes bbolt panic on a goroutine of its own when it is
	// opened for writing. So everything is read once before, where a panic is caught.
	if err := kv.Walk(path); err != nil {
		if errors.Is(err, kv.ErrDamaged) {
			return Report{Problems: []string{err.Error()}}, nil
		}
		return Report{}, translate(err)
	}
	d, err := open(path, Options{}, kv.Options{Format: Format, Migrations: migrations, Inspect: true})
	if errors.Is(err, kv.ErrDamaged) || errors.Is(err, kv.ErrNoRing) || errors.Is(err, kv.ErrValue) {
		return Report{Problems: []string{err.Error()}}, nil
	}
	if err != nil {
		return Report{}, err
	}
	r, err := d.Check(context.Background())
	return r, errors.Join(err, d.Close())
}

// Check runs bbolt's own check and then ours: values open under their keys and are what
// stands before them says, counters in memory are what the file says,
// and the directory's parts name each other. It runs between two batches of the writer:
// puts wait while it reads the file.
func (d *DB) Check(ctx context.Context) (Report, error) {
	r := Report{Format: Format, Problems: []string{}}
	err := d.do(ctx, 0, func(tx *bbolt.Tx) error {
		r = Report{Format: Format, Problems: []string{}}
		for err := range tx.Check() {
			r.problem("bbolt: %v", err)
		}
		if len(r.Problems) == 0 {
			d.checkMailboxes(tx, &r)
			d.checkOutcomes(tx, &r)
			d.checkDirectory(tx, &r)
			d.checkRest(tx, &r)
		}
		return kv.NoChange
	})
	if err != nil {
		return r, err
	}
	r.Keys = d.ring.Len()
	if n := d.corrupt.Load(); n > 0 {
		r.problem("%d values could not be opened when a device asked for them", n)
	}
	r.FileBytes, r.FreeBytes, err = d.file.Size()
	return r, translate(err)
}

func (d *DB) checkMailboxes(tx *bbolt.Tx, r *Report) {
	log := tx.Bucket(bucketLog)
	fromFile := make(map[store.MailboxID]*box)
	entries := 0
	var held tally
	err := log.ForEach(func(k, v []byte) error {
		if len(k) != 8 {
			return kv.ErrValue
		}
		entries++
		seq := store.Seq(binary.BigEndian.Uint64(k))
		id, keyID, e, err := decodeLogHeader(v)
		if err != nil {
			r.problem("envelope %d does not decode", seq)
			return nil
		}
		e.seq = seq
		b := fromFile[id]
		if b == nil {
			b = &box{}
			fromFile[id] = b
		}
		if slices.ContainsFunc(b.entries, func(o entry) bool { return o.id == e.id }) {
			r.problem("envelope %d waits twice", seq)
		}
		b.add(e)
		held.count(&e, 1)
		env, err := d.open(id, v)
		s := d.sealers.get(id)
		switch {
		case err != nil:
			r.problem("envelope %d cannot be opened", seq)
		case s == nil || s.id != keyID:
			r.problem("envelope %d is not sealed under its mailbox's key", seq)
		case env.Mailbox != id || env.ID != e.id || len(env.Payload) != int(e.size) || env.TTL != e.ttl ||
			env.Knock != e.knock || env.Collapse != e.collapse || int64(kv.Milli(env.Expires)) != e.expires ||
			sourceTag(&s.key, &env.Source) != e.source:
			r.problem("envelope %d and what stands before it differ", seq)
		case seq > d.st.last:
			r.problem("envelope %d has a number that was not given yet", seq)
		}
		return nil
	})
	if err != nil {
		r.problem("log: %v", err)
	}
	if told, err := readTally(tx); (err != nil && entries > 0) || told != held {
		r.problem("the log holds %d envelopes of %d bytes, %d of %d were counted", held.envelopes, held.bytes, told.envelopes, told.bytes)
	}
	closed := 0
	if err := tx.Bucket(bucketBoxes).ForEach(func(k, _ []byte) error {
		closed++
		if b := d.st.boxes[store.MailboxID(k)]; b == nil || !b.closed {
			r.problem("a mailbox is closed in the file and open in memory")
		}
		return nil
	}); err != nil {
		r.problem("boxes: %v", err)
	}
	boxes := 0
	for id, b := range d.st.boxes {
		if b.closed {
			closed--
		}
		f := fromFile[id]
		if f == nil {
			f = &box{}
		}
		if !slices.Equal(f.entries, b.entries) || f.ordinary != b.ordinary || f.rings != b.rings ||
			f.knocks != b.knocks || f.ordinaryBytes != b.ordinaryBytes || f.heldBytes != b.heldBytes {
			r.problem("a mailbox of %d envelopes is counted as %d", len(f.entries), len(b.entries))
		}
		if len(b.entries) > 0 {
			boxes++
			r.Mailboxes++
		}
		r.Envelopes += b.ordinary + b.rings
		r.Knocks += b.knocks
		for _, e := range b.entries {
			r.Bytes += int64(e.size)
		}
	}
	if boxes != len(fromFile) || closed != 0 || held != d.st.waits {
		r.problem("%d mailboxes are in the file, %d in memory", len(fromFile), boxes)
	}
}

func (d *DB) checkOutcomes(tx *bbolt.Tx, r *Report) {
	all := tx.Bucket(bucketOutcomes)
	var days []uint32
	err := all.ForEachBucket(func(k []byte) error {
		if len(k) == 4 {
			days = append(days, day(time.Unix(int64(uint32(k[0])<<24|uint32(k[1])<<16|uint32(k[2])<<8|uint32(k[3]))*86400, 0)))
		}
		return all.Bucket(k).ForEach(func(k, v []byte) error {
			r.Outcomes++
			if len(k) != len(envelope.ID{}) || len(v) != 1 || v[0] < byte(store.FateDelivered) || v[0] > byte(fateKnock) {
				r.problem("an outcome does not decode")
			}
			return nil
		})
	})
	if err != nil || !slices.Equal(days, d.st.days) {
		r.problem("the days of outcomes differ from those in memory")
	}
}

func (d *DB) checkDirectory(tx *bbolt.Tx, r *Report) {
	devices := tx.Bucket(bucketDevices)
	listed := 0
	each := func(name []byte, fn func(k, v []byte) error) {
		if err := tx.Bucket(name).ForEach(func(k, v []byte) error {
			if err := fn(k, v); err != nil {
				r.problem("%s: %v", name, err)
			}
			return nil
		}); err != nil {
			r.problem("%s: %v", name, err)
		}
	}
	each(bucketAccounts, func(k, v []byte) error {
		r.Accounts++
		if len(k) != 32 {
			return kv.ErrValue
		}
		a, err := readAccount(identity.PublicKey(k), v)
		if err != nil {
			return err
		}
		listed += len(a.Devices)
		for _, id := range a.Devices {
			if devices.Get(deviceKey(a.Root, id)) == nil {
				return errors.New("a listed device is missing")
			}
		}
		return nil
	})
	each(bucketDevices, func(k, v []byte) error {
		r.Devices++
		dev, err := decodeDevice(v)
		if err != nil {
			return err
		}
		if tag := dev.route.Tag; tag != (envelope.RouteTag{}) {
			if owner := tx.Bucket(bucketTags).Get(tag[:]); len(owner) != 48 || len(k) != 48 || !bytes.Equal(owner[32:], k[32:]) {
				return errors.New("a route's tag leads to another device")
			}
		}
		return nil
	})
	if listed != r.Devices {
		r.problem("accounts list %d devices, %d are kept", listed, r.Devices)
	}
	each(bucketTags, func(_, v []byte) error {
		if devices.Get(v) == nil {
			return errors.New("a tag leads to no device")
		}
		return nil
	})
	each(bucketHolders, func(k, v []byte) error {
		if devices.Get(key(v, k)) == nil {
			return errors.New("a device belongs to an account that lacks it")
		}
		return nil
	})
}

func (d *DB) checkRest(tx *bbolt.Tx, r *Report) {
	err := tx.Bucket(bucketInvites).ForEach(func(_, v []byte) error {
		r.Invitations++
		_, err := decodeInvitation(v)
		return err
	})
	if err != nil {
		r.problem("invitations: %v", err)
	}
	err = tx.Bucket(bucketBlobs).ForEach(func(k, v []byte) error {
		r.Blobs++
		if _, err := (blobs{d}).open(string(k), v); err != nil {
			r.problem("blob %q: %v", k, err)
		}
		return nil
	})
	if err != nil {
		r.problem("blobs: %v", err)
	}
	all := tx.Bucket(bucketOutbox)
	err = all.ForEachBucket(func(dest []byte) error {
		n, size := 0, int64(0)
		err := all.Bucket(dest).ForEach(func(_, v []byte) error {
			n++
			q, err := decodeQueued(v)
			size += int64(len(q.Envelope))
			return err
		})
		r.Outgoing += n
		if len(dest) != len(identity.PeerID{}) {
			return kv.ErrValue
		}
		if q := d.st.queues[identity.PeerID(dest)]; q == nil || len(q.ids) != n || q.bytes != size {
			r.problem("an outbox of %d envelopes is counted otherwise in memory", n)
		}
		return err
	})
	if err != nil {
		r.problem("outbox: %v", err)
	}
}

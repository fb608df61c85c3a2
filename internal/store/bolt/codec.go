package bolt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Stored values begin with nothing: their form belongs to the format version of the file.
// Bytes below are big endian.

func seqKey(s store.Seq) []byte { return binary.BigEndian.AppendUint64(nil, uint64(s)) }

func indexKey(id store.MailboxID, s store.Seq) []byte {
	return binary.BigEndian.AppendUint64(id[:len(id):len(id)], uint64(s))
}

func parseIndexKey(k []byte) (id store.MailboxID, s store.Seq, err error) {
	if len(k) != 24 {
		return id, 0, fmt.Errorf("index key: %w", kv.ErrValue)
	}
	copy(id[:], k)
	return id, store.Seq(binary.BigEndian.Uint64(k[16:])), nil
}

const flagKnock = 1

// encodeEntry: envelope id 16, collapse key 16, source hash 8, expires 8, size 4, class 1,
// flags 1.
func encodeEntry(e entry) []byte {
	var flags uint8
	if e.knock {
		flags = flagKnock
	}
	return kv.NewEncoder(54).Raw(e.id[:]).Raw(e.collapse[:]).Raw(e.source[:]).
		U64(uint64(e.expires)).U32(e.size).U8(uint8(e.ttl)).U8(flags).Bytes()
}

func decodeEntry(b []byte) (e entry, err error) {
	d := kv.NewDecoder(b)
	d.Raw(e.id[:])
	d.Raw(e.collapse[:])
	d.Raw(e.source[:])
	e.expires = int64(d.U64())
	e.size = d.U32()
	e.ttl = envelope.TTL(d.U8())
	flags := d.U8()
	if err := d.Done(); err != nil {
		return e, err
	}
	if !e.ttl.Valid() || flags > flagKnock || e.expires < 0 {
		return e, kv.ErrValue
	}
	e.knock = flags == flagKnock
	return e, nil
}

// logHeader is what stands before the sealed part of a value in the log, and is its
// associated data: mailbox 16, envelope id 16. With it a value says where it belongs
// although the index says it too.
const logHeader = 32

// sealEnvelope makes a value of the log. Sealed: class 1, flags 1, hint 2, collapse key 16,
// source 38, received 8, expires 8, payload.
func sealEnvelope(k kv.Key, e *store.Envelope) ([]byte, error) {
	var flags uint8
	if e.Knock {
		flags = flagKnock
	}
	plain := kv.NewEncoder(74 + len(e.Payload)).
		U8(uint8(e.TTL)).U8(flags).Raw(e.Hint[:]).Raw(e.Collapse[:]).Raw(e.Source[:]).
		Time(e.Received).Time(e.Expires).Raw(e.Payload).Bytes()
	b := make([]byte, 0, logHeader+len(plain)+kv.Overhead)
	b = append(append(b, e.Mailbox[:]...), e.ID[:]...)
	return kv.Seal(b, k, plain, b)
}

func openEnvelope(k kv.Key, b []byte) (e store.Envelope, err error) {
	if len(b) < logHeader {
		return e, kv.ErrValue
	}
	plain, err := kv.Unseal(k, b[logHeader:], b[:logHeader])
	if err != nil {
		return e, err
	}
	if err = decodeEnvelope(plain, &e); err != nil {
		return e, err
	}
	copy(e.Mailbox[:], b)
	copy(e.ID[:], b[16:])
	return e, nil
}

// decodeEnvelope reads the sealed part; the payload stays a part of plain.
func decodeEnvelope(plain []byte, e *store.Envelope) error {
	d := kv.NewDecoder(plain)
	e.TTL = envelope.TTL(d.U8())
	flags := d.U8()
	d.Raw(e.Hint[:])
	d.Raw(e.Collapse[:])
	d.Raw(e.Source[:])
	e.Received = d.Time()
	e.Expires = d.Time()
	e.Payload = d.Rest()
	if err := d.Done(); err != nil {
		return err
	}
	if !e.TTL.Valid() || flags > flagKnock {
		return kv.ErrValue
	}
	e.Knock = flags == flagKnock
	return nil
}

// sourceTag is how the index tells source nodes of one mailbox apart without naming them.
func sourceTag(k kv.Key, source identity.PeerID) (tag [8]byte) {
	h := sha256.New()
	h.Write([]byte("trunkline store source\x00"))
	h.Write(k[:])
	h.Write(source[:])
	copy(tag[:], h.Sum(nil))
	return tag
}

// account is a value of the accounts: registered 8, epoch 8, hash 32, list.
type account struct {
	registered time.Time
	epoch      uint64
	hash       [32]byte
	list       []byte
}

func (a account) encode() []byte {
	return kv.NewEncoder(48 + len(a.list)).Time(a.registered).U64(a.epoch).Raw(a.hash[:]).Raw(a.list).Bytes()
}

func decodeAccount(b []byte) (a account, err error) {
	d := kv.NewDecoder(b)
	a.registered = d.Time()
	a.epoch = d.U64()
	d.Raw(a.hash[:])
	a.list = append([]byte(nil), d.Rest()...)
	return a, d.Done()
}

// device is a value of the devices: route, bundle, earlier tags.
type device struct {
	route   store.Route
	bundle  []byte
	earlier []envelope.RouteTag // newest last
}

func (v device) encode() []byte {
	e := kv.NewEncoder(128 + len(v.bundle)).
		Raw(v.route.Tag[:]).Raw(v.route.TokenHash[:]).Raw(v.route.PreviousHash[:]).U64(v.route.TokenEpoch).
		Blob(v.bundle).U32(uint32(len(v.earlier)))
	for i := range v.earlier {
		e.Raw(v.earlier[i][:])
	}
	return e.Bytes()
}

func decodeDevice(b []byte) (v device, err error) {
	d := kv.NewDecoder(b)
	d.Raw(v.route.Tag[:])
	d.Raw(v.route.TokenHash[:])
	d.Raw(v.route.PreviousHash[:])
	v.route.TokenEpoch = d.U64()
	v.bundle = d.Blob()
	for range d.Count() {
		var t envelope.RouteTag
		d.Raw(t[:])
		if d.Err() != nil {
			break
		}
		v.earlier = append(v.earlier, t)
	}
	return v, d.Done()
}

// encodeInvitation: created, expires, uses left, used, note.
func encodeInvitation(v store.Invitation) []byte {
	return kv.NewEncoder(32 + len(v.Note)).Time(v.Created).Time(v.Expires).
		U32(uint32(v.Uses)).U32(uint32(v.Used)).Text(v.Note).Bytes()
}

func decodeInvitation(b []byte) (v store.Invitation, err error) {
	d := kv.NewDecoder(b)
	v.Created = d.Time()
	v.Expires = d.Time()
	v.Uses = int(d.U32())
	v.Used = int(d.U32())
	v.Note = d.Text()
	return v, d.Done()
}

// encodeQueued: envelope id 16, expires 8, envelope.
func encodeQueued(q store.Queued) []byte {
	return kv.NewEncoder(24 + len(q.Envelope)).Raw(q.ID[:]).Time(q.Expires).Raw(q.Envelope).Bytes()
}

func decodeQueued(b []byte) (q store.Queued, err error) {
	d := kv.NewDecoder(b)
	d.Raw(q.ID[:])
	q.Expires = d.Time()
	q.Envelope = append([]byte(nil), d.Rest()...)
	return q, d.Done()
}

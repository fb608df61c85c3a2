package bolt

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Stored values begin with nothing: their form belongs to the format version of the file.
// Bytes below are big endian.

func seqKey(s store.Seq) []byte { return binary.BigEndian.AppendUint64(nil, uint64(s)) }

const flagKnock = 1

// A value of the log: what admission needs to know, in clear, so that it is read at the start
// without a key; then mailbox and envelope id, which are the associated data of what
// follows; then the nonce and the sealed rest. verify store compares the two.
//
//	key id 16, collapse key 16, source tag 8, expires 8, size 4, class 1, flags 1
//	mailbox 16, envelope id 16
//	nonce 24, sealed{class 1, flags 1, hint 2, collapse key 16, source 38, received 8, expires 8, payload}
//
// Format 1 had the second and third line in the log, and the first, with the envelope id in
// the place of the key id, in an index; its key had the mailbox's id.
const (
	entrySize  = 54
	logHeader  = entrySize + 32
	plainStart = logHeader + kv.NonceSize
	plainSize  = 74 // without the payload
	logSize    = plainStart + plainSize + kv.Overhead - kv.NonceSize
)

// appendLogHeader writes everything up to the nonce.
func appendLogHeader(b []byte, box store.MailboxID, keyID kv.KeyID, e *entry) []byte {
	b = append(append(append(b, keyID[:]...), e.collapse[:]...), e.source[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(e.expires))
	b = binary.BigEndian.AppendUint32(b, e.size)
	b = append(b, uint8(e.ttl), flags(e.knock))
	return append(append(b, box[:]...), e.id[:]...)
}

// decodeLogHeader reads it again; the number of the entry stays zero.
func decodeLogHeader(b []byte) (box store.MailboxID, keyID kv.KeyID, e entry, err error) {
	if len(b) < logHeader {
		return box, keyID, e, kv.ErrValue
	}
	d := kv.NewDecoder(b[:logHeader])
	d.Raw(keyID[:])
	d.Raw(e.collapse[:])
	d.Raw(e.source[:])
	e.expires = int64(d.U64())
	e.size = d.U32()
	e.ttl = envelope.TTL(d.U8())
	f := d.U8()
	d.Raw(box[:])
	d.Raw(e.id[:])
	if err := d.Done(); err != nil {
		return box, keyID, e, err
	}
	if !e.ttl.Valid() || f > flagKnock || e.expires < 0 {
		return box, keyID, e, kv.ErrValue
	}
	e.knock = f == flagKnock
	return box, keyID, e, nil
}

func flags(knock bool) uint8 {
	if knock {
		return flagKnock
	}
	return 0
}

// sealEnvelope appends a value of the log to b, which is empty and best has the room: the
// payload is copied there and sealed in place.
func sealEnvelope(b []byte, s *sealer, e *store.Envelope, x *entry) ([]byte, error) {
	b = appendLogHeader(b, e.Mailbox, s.id, x)
	b = b[:plainStart]
	nonce := b[logHeader:plainStart]
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	b = append(b, uint8(e.TTL), flags(e.Knock), e.Hint[0], e.Hint[1])
	b = append(append(b, e.Collapse[:]...), e.Source[:]...)
	b = appendTime(appendTime(b, e.Received), e.Expires)
	b = append(b, e.Payload...)
	return s.aead.Seal(b[:plainStart], nonce, b[plainStart:], b[entrySize:logHeader]), nil
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, kv.Milli(t))
}

func openEnvelope(s *sealer, b []byte) (e store.Envelope, err error) {
	if len(b) < logSize {
		return e, kv.ErrValue
	}
	plain, err := s.aead.Open(make([]byte, 0, len(b)-logSize+plainSize), b[logHeader:plainStart], b[plainStart:], b[entrySize:logHeader])
	if err != nil {
		return e, kv.ErrValue
	}
	if err = decodeEnvelope(plain, &e); err != nil {
		return e, err
	}
	copy(e.Mailbox[:], b[entrySize:])
	copy(e.ID[:], b[entrySize+16:])
	return e, nil
}

// decodeEnvelope reads the sealed part; the payload stays a part of plain.
func decodeEnvelope(plain []byte, e *store.Envelope) error {
	d := kv.NewDecoder(plain)
	e.TTL = envelope.TTL(d.U8())
	f := d.U8()
	d.Raw(e.Hint[:])
	d.Raw(e.Collapse[:])
	d.Raw(e.Source[:])
	e.Received = d.Time()
	e.Expires = d.Time()
	e.Payload = d.Rest()
	if err := d.Done(); err != nil {
		return err
	}
	if !e.TTL.Valid() || f > flagKnock {
		return kv.ErrValue
	}
	e.Knock = f == flagKnock
	return nil
}

// sourceTag is how the log tells source nodes of one mailbox apart without naming them.
func sourceTag(k *kv.Key, source *identity.PeerID) (tag [8]byte) {
	const label = "trunkline store source\x00"
	var in [len(label) + len(kv.Key{}) + len(identity.PeerID{})]byte
	copy(in[:], label)
	copy(in[len(label):], k[:])
	copy(in[len(label)+len(k):], source[:])
	sum := sha256.Sum256(in[:])
	copy(tag[:], sum[:])
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

// accountEpoch reads no more than that.
func accountEpoch(b []byte) (uint64, error) {
	d := kv.NewDecoder(b)
	d.Time()
	epoch := d.U64()
	return epoch, d.Err()
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

package keep

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/kv"
)

// Stored values, field by field in the order written here; their form belongs to Format.

func encodeProfile(p Profile) []byte {
	return kv.NewEncoder(80).Raw(p.Root[:]).Raw(p.Device[:]).U8(uint8(p.Custody)).Time(p.Created).Bytes()
}

func decodeProfile(b []byte) (p Profile, err error) {
	d := kv.NewDecoder(b)
	d.Raw(p.Root[:])
	d.Raw(p.Device[:])
	p.Custody = Custody(d.U8())
	p.Created = d.Time()
	if err := d.Done(); err != nil {
		return p, err
	}
	if p.Custody > CustodyPassphrase {
		return p, kv.ErrValue
	}
	return p, nil
}

func encodeHome(h Home) []byte {
	return kv.NewEncoder(256).Raw(h.PeerID[:]).Text(h.Domain).Text(h.URL).Raw(h.Tag[:]).
		Raw(h.MailboxSecret[:]).U64(h.TokenEpoch).Bool(h.Grace).U64(h.After).Time(h.Registered).Bytes()
}

func decodeHome(b []byte) (h Home, err error) {
	d := kv.NewDecoder(b)
	d.Raw(h.PeerID[:])
	h.Domain = d.Text()
	h.URL = d.Text()
	d.Raw(h.Tag[:])
	d.Raw(h.MailboxSecret[:])
	h.TokenEpoch = d.U64()
	h.Grace = d.Bool()
	h.After = d.U64()
	h.Registered = d.Time()
	return h, d.Done()
}

func encodeContact(c Contact) []byte {
	e := kv.NewEncoder(512 + len(c.List)).Raw(c.Root[:]).Text(c.Domain).Raw(c.Home[:]).
		Text(c.Petname).Text(c.Name).U8(uint8(c.State)).Text(c.Text).Bool(c.Verified).Bool(c.Changed).
		U64(c.Pin.Epoch).Raw(c.Pin.Hash[:]).Time(c.Pin.Seen).Raw(c.Pin.Recovery[:]).U32(c.Pin.Suite).
		Blob(c.List).Time(c.Added)
	e.U32(uint32(len(c.Evidence)))
	for _, v := range c.Evidence {
		e.Blob(v)
	}
	e.U32(uint32(len(c.Grants)))
	for _, g := range c.Grants {
		encodeGrant(e, g)
	}
	e.U32(uint32(len(c.Given)))
	for _, domain := range slices.Sorted(maps.Keys(c.Given)) {
		e.Text(domain).U64(c.Given[domain])
	}
	e.U32(uint32(len(c.Told)))
	byID := func(a, b identity.DeviceID) int { return bytes.Compare(a[:], b[:]) }
	for _, id := range slices.SortedFunc(maps.Keys(c.Told), byID) {
		e.Raw(id[:]).Time(c.Told[id])
	}
	return e.Bytes()
}

func decodeContact(b []byte) (c Contact, err error) {
	d := kv.NewDecoder(b)
	d.Raw(c.Root[:])
	c.Domain = d.Text()
	d.Raw(c.Home[:])
	c.Petname = d.Text()
	c.Name = d.Text()
	c.State = ContactState(d.U8())
	c.Text = d.Text()
	c.Verified = d.Bool()
	c.Changed = d.Bool()
	c.Pin.Epoch = d.U64()
	d.Raw(c.Pin.Hash[:])
	c.Pin.Seen = d.Time()
	d.Raw(c.Pin.Recovery[:])
	c.Pin.Suite = d.U32()
	c.List = d.Blob()
	c.Added = d.Time()
	for n := d.Count(); n > 0 && d.Err() == nil; n-- {
		c.Evidence = append(c.Evidence, d.Blob())
	}
	for n := d.Count(); n > 0 && d.Err() == nil; n-- {
		c.Grants = append(c.Grants, decodeGrant(d))
	}
	if n := d.Count(); n > 0 {
		c.Given = make(map[string]uint64)
		for ; n > 0 && d.Err() == nil; n-- {
			domain := d.Text()
			c.Given[domain] = d.U64()
		}
	}
	if n := d.Count(); n > 0 {
		c.Told = make(map[identity.DeviceID]time.Time)
		for ; n > 0 && d.Err() == nil; n-- {
			var id identity.DeviceID
			d.Raw(id[:])
			c.Told[id] = d.Time()
		}
	}
	if err := d.Done(); err != nil {
		return c, err
	}
	if c.State > ContactBlocked {
		return c, kv.ErrValue
	}
	return c, nil
}

func encodeGrant(e *kv.Encoder, g Grant) {
	e.Raw(g.Device[:]).Raw(g.PeerID[:]).Text(g.Domain).Raw(g.Tag[:]).Raw(g.Token[:]).U64(g.TokenEpoch)
}

func decodeGrant(d *kv.Decoder) (g Grant) {
	d.Raw(g.Device[:])
	d.Raw(g.PeerID[:])
	g.Domain = d.Text()
	d.Raw(g.Tag[:])
	d.Raw(g.Token[:])
	g.TokenEpoch = d.U64()
	return g
}

func encodeKnock(n Knock) []byte {
	e := kv.NewEncoder(256 + len(n.Text)).Raw(n.Root[:]).Raw(n.Device[:]).Raw(n.Message[:]).
		Text(n.Name).Text(n.Text).Text(n.Domain).Raw(n.Home[:]).Time(n.Received).Bool(n.Grant != nil)
	if n.Grant != nil {
		encodeGrant(e, *n.Grant)
	}
	return e.Bytes()
}

func decodeKnock(b []byte) (n Knock, err error) {
	d := kv.NewDecoder(b)
	d.Raw(n.Root[:])
	d.Raw(n.Device[:])
	d.Raw(n.Message[:])
	n.Name = d.Text()
	n.Text = d.Text()
	n.Domain = d.Text()
	d.Raw(n.Home[:])
	n.Received = d.Time()
	if d.Bool() {
		g := decodeGrant(d)
		n.Grant = &g
	}
	return n, d.Done()
}

func encodeNote(n Note) []byte {
	return kv.NewEncoder(128 + len(n.Text)).Raw(n.ID[:]).Bool(n.Out).Text(n.Text).Raw(n.ReplyTo[:]).
		Time(n.Created).Time(n.Expires).U8(uint8(n.State)).Text(n.Code).Bool(n.Acked).Bytes()
}

func decodeNote(b []byte) (n Note, err error) {
	d := kv.NewDecoder(b)
	d.Raw(n.ID[:])
	n.Out = d.Bool()
	n.Text = d.Text()
	d.Raw(n.ReplyTo[:])
	n.Created = d.Time()
	n.Expires = d.Time()
	n.State = NoteState(d.U8())
	n.Code = d.Text()
	n.Acked = d.Bool()
	if err := d.Done(); err != nil {
		return n, err
	}
	if n.State > NoteRefused {
		return n, kv.ErrValue
	}
	return n, nil
}

func encodeSubmitted(s Submitted) []byte {
	return kv.NewEncoder(256 + len(s.Envelope)).Raw(s.ID[:]).Raw(s.Message[:]).Raw(s.Contact[:]).
		Raw(s.Device[:]).Raw(s.Dest[:]).U8(uint8(s.TTL)).Time(s.At).Time(s.Deadline).
		U8(uint8(s.Fate)).Text(s.Code).Blob(s.Envelope).Bytes()
}

func decodeSubmitted(b []byte) (s Submitted, err error) {
	d := kv.NewDecoder(b)
	d.Raw(s.ID[:])
	d.Raw(s.Message[:])
	d.Raw(s.Contact[:])
	d.Raw(s.Device[:])
	d.Raw(s.Dest[:])
	s.TTL = envelope.TTL(d.U8())
	s.At = d.Time()
	s.Deadline = d.Time()
	s.Fate = Fate(d.U8())
	s.Code = d.Text()
	s.Envelope = d.Blob()
	if err := d.Done(); err != nil {
		return s, err
	}
	if s.Fate < FateSubmitted || s.Fate > FateLost || !s.TTL.Valid() {
		return s, kv.ErrValue
	}
	return s, nil
}

// encodeTransfer leaves the bitmap out, see writeTransfer.
func encodeTransfer(t Transfer) []byte {
	return kv.NewEncoder(512 + len(t.Manifest)).Raw(t.ID[:]).Raw(t.Contact[:]).Bool(t.Out).U8(uint8(t.State)).
		Text(t.Reason).Text(t.Name).U64(uint64(t.Size)).Blob(t.Manifest).Text(t.Path).Text(t.Partial).
		Blob(t.Secret).Time(t.ModTime).U32(t.Units).Time(t.Started).Time(t.Updated).Bytes()
}

func decodeTransfer(b []byte) (t Transfer, err error) {
	d := kv.NewDecoder(b)
	d.Raw(t.ID[:])
	d.Raw(t.Contact[:])
	t.Out = d.Bool()
	t.State = TransferState(d.U8())
	t.Reason = d.Text()
	t.Name = d.Text()
	t.Size = int64(d.U64())
	t.Manifest = d.Blob()
	t.Path = d.Text()
	t.Partial = d.Text()
	t.Secret = d.Blob()
	t.ModTime = d.Time()
	t.Units = d.U32()
	t.Started = d.Time()
	t.Updated = d.Time()
	if err := d.Done(); err != nil {
		return t, err
	}
	if t.Size < 0 || t.Units > maxUnits || t.State > TransferDeclined {
		return t, kv.ErrValue
	}
	return t, nil
}

func encodeDocument(v Document) []byte {
	return kv.NewEncoder(64 + len(v.Bytes)).U64(v.Epoch).Raw(v.Hash[:]).Time(v.Seen).Blob(v.Bytes).Bytes()
}

func decodeDocument(b []byte) (v Document, err error) {
	d := kv.NewDecoder(b)
	v.Epoch = d.U64()
	d.Raw(v.Hash[:])
	v.Seen = d.Time()
	v.Bytes = d.Blob()
	return v, d.Done()
}

func encodeRoom(r Room) []byte {
	return kv.NewEncoder(256 + len(r.Card)).Text(r.Base).Raw(r.ID[:]).Raw(r.Secret[:]).Bool(r.Owner).Raw(r.Steward[:]).
		Blob(r.Card).Time(r.Expires).Time(r.Seen).Bytes()
}

func decodeRoom(b []byte) (r Room, err error) {
	d := kv.NewDecoder(b)
	r.Base = d.Text()
	d.Raw(r.ID[:])
	d.Raw(r.Secret[:])
	r.Owner = d.Bool()
	d.Raw(r.Steward[:])
	r.Card = d.Blob()
	r.Expires = d.Time()
	r.Seen = d.Time()
	return r, d.Done()
}

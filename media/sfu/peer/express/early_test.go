package express

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/srtp"
)

// reader is a receiver that keeps the sequence numbers it was given.
type reader struct {
	listener
	got []uint16
}

func (r *reader) RTP(b []byte) { r.got = append(r.got, binary.BigEndian.Uint16(b[2:])) }

// A client that finishes the handshake first sends at once. What it sent comes after the news that it is connected, in
// order, and no more waits than a little.
func TestWhatComesBeforeTheKeysWaitsForThem(t *testing.T) {
	t.Parallel()
	p := open(t)
	r := &reader{listener: listener{make(chan peer.State, 1)}}
	tr := p.New(p.Lane(), r, false)
	profile := srtp.Profile(profiles[0])
	n, err := profile.Material()
	if err != nil {
		t.Fatal(err)
	}
	client, server, err := srtp.Split(profile, bytes.Repeat([]byte{7}, n))
	if err != nil {
		t.Fatal(err)
	}
	far, err := srtp.NewSealer(client)
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 0, 1500)
	send := func(sequence uint16) {
		t.Helper()
		packet := []byte{0x80, 111, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11, 1, 2, 3}
		binary.BigEndian.PutUint16(packet[2:], sequence)
		b, err := far.RTP(buffer, packet)
		if err != nil {
			t.Fatal(err)
		}
		tr.came(b) // and the same buffer is used for the next one, as the port does
	}
	for i := range uint16(earlyMost + 2) {
		send(i + 1)
	}
	if len(r.got) != 0 {
		t.Fatalf("%v were opened without keys", r.got)
	}
	near, err := srtp.NewSealer(server)
	if err != nil {
		t.Fatal(err)
	}
	opener, err := srtp.NewOpener(client, sourcesMost)
	if err != nil {
		t.Fatal(err)
	}
	tr.secured(near, opener)
	r.want(t, peer.Connected)
	send(100)
	if len(r.got) != earlyMost+1 || r.got[0] != 1 || r.got[earlyMost-1] != earlyMost || r.got[earlyMost] != 100 {
		t.Errorf("%v came", r.got)
	}
	if bad := p.Counts().BadMedia; bad != 2 {
		t.Errorf("%d are counted that were too many", bad)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
}

package udp_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/udp"
)

func socket(t *testing.T, address string) (*udp.Socket, netip.AddrPort) {
	t.Helper()
	s, err := udp.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, netip.MustParseAddrPort(s.LocalAddr().String())
}

func TestALaneSendsInOrderAndOnlyWhenAsked(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		from, _ := socket(t, address)
		to, addr := socket(t, address)
		lane := from.Lane()
		b := make([]byte, 900)
		for i := range 150 { // more than a lane holds
			binary.BigEndian.PutUint32(b, uint32(i))
			if err := lane.Put(b[:100+i], addr); err != nil {
				t.Fatal(err)
			}
		}
		if c := from.Counts(); c.Sent != 128 {
			t.Errorf("%d were sent before anybody flushed, want two full lanes", c.Sent)
		}
		if err := lane.Flush(); err != nil {
			t.Fatal(err)
		}
		for i := range 150 {
			n, _, err := to.ReadFromAddrPort(b)
			if err != nil || n != 100+i || binary.BigEndian.Uint32(b) != uint32(i) {
				t.Fatalf("datagram %d is %d bytes, number %d, %v", i, n, binary.BigEndian.Uint32(b), err)
			}
		}
		if c := from.Counts(); c.Sent != 150 || c.Calls > 10 || c.Dropped != 0 {
			t.Errorf("%+v", c)
		}
		lane.Release()
	}
}

func TestALaneFromAnyAddressReachesIPv4(t *testing.T) {
	from, _ := socket(t, ":0")
	to, addr := socket(t, "127.0.0.1:0")
	lane := from.Lane()
	defer lane.Release()
	if err := lane.Put([]byte("here"), addr); err != nil {
		t.Fatal(err)
	}
	if err := lane.Flush(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 10)
	if n, _, err := to.ReadFromAddrPort(b); err != nil || string(b[:n]) != "here" {
		t.Fatal(string(b[:n]), err)
	}
}

func TestADatagramThatCannotBeSentHoldsNobodyUp(t *testing.T) {
	from, _ := socket(t, "127.0.0.1:0")
	to, addr := socket(t, "127.0.0.1:0")
	lane := from.Lane()
	defer lane.Release()
	for _, a := range []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), addr} {
		if err := lane.Put([]byte("x"), a); err != nil {
			t.Fatal(err)
		}
	}
	if err := lane.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := to.ReadFromAddrPort(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	if c := from.Counts(); c.Dropped != 1 || c.Sent != 1 {
		t.Errorf("%+v", c)
	}
}

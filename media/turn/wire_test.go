package turn

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 5769 section 2.4: a request with long-term authentication.
const rfc5769LongTerm = `
	00010060 2112a442 78ad3433 c6ad72c0 29da412e
	00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
	0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
	0014000b 6578616d 706c652e 6f726700
	00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666`

func TestTheRFC5769LongTermVectorVerifies(t *testing.T) {
	var m message
	if err := m.parse(unhex(t, rfc5769LongTerm)); err != nil {
		t.Fatal(err)
	}
	if m.method != methodBinding || m.class != classRequest || string(m.realm) != "example.org" ||
		string(m.nonce) != "f//499k954d6OL34oL9FSTvy64sA" || string(m.username) != "マトリックス" {
		t.Fatalf("parsed as method %x class %d realm %q nonce %q user %q", m.method, m.class, m.realm, m.nonce, m.username)
	}
	key := longTermKey(m.username, "example.org", "TheMatrIX")
	if !m.verify(key[:]) {
		t.Error("the integrity of the vector was not accepted")
	}
	wrong := longTermKey(m.username, "example.org", "TheMatrIY")
	if m.verify(wrong[:]) {
		t.Error("a wrong password was accepted")
	}
}

// RFC 5769 section 2.2 and 2.3: mapped addresses of both families, with FINGERPRINT.
func TestTheRFC5769MappedAddressesAreRead(t *testing.T) {
	for text, want := range map[string]string{
		`0101003c 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200008 0001a147 e112a643
		 00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7 80280004 c07d4c96`: "192.0.2.1:32853",
		`01010048 2112a442 b7e7a701 bc34d686 fa87dfae 8022000b 74657374 20766563 746f7220 00200014 0002a147 0113a9fa
		 a5d3f179 bc25f4b5 bed2b9d9 00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41 80280004 c8fb0b4c`: "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
	} {
		b := unhex(t, text)
		var m message
		if err := m.parse(b); err != nil {
			t.Fatal(err)
		}
		got, ok := m.unxor(attribute(b, attrXORMappedAddress))
		if !ok || got != netip.MustParseAddrPort(want) {
			t.Errorf("%v, want %s", got, want)
		}
		if key := []byte("VOkJxbRl1RmTxUk/WvJxBt"); !m.verify(key) {
			t.Errorf("the integrity of the vector for %s was not accepted", want)
		}
		b[len(b)-1] ^= 1
		if m.parse(b) != errFingerprint {
			t.Error("a wrong FINGERPRINT was accepted")
		}
	}
}

func TestWhatTheWriterWritesTheParserReads(t *testing.T) {
	id := [12]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
	four, six := netip.MustParseAddrPort("192.0.2.7:1234"), netip.MustParseAddrPort("[2001:db8::7]:65535")
	for _, long := range []bool{false, true} {
		for _, method := range []uint16{methodBinding, methodAllocate, methodCreatePermission, methodChannelBind, 0xFFF} {
			for class := range uint8(4) {
				key := []byte("key")
				b := newWriter(make([]byte, 8), method, class, id).text(attrUsername, "user").address(attrXORPeerAddress, four).
					address(attrXORPeerAddress, six).uint32(attrLifetime, 7).sign(key, long).bytes()
				var m message
				if err := m.parse(b); err != nil {
					t.Fatal(err)
				}
				if m.method != method || m.class != class || m.id != id || string(m.username) != "user" ||
					len(m.peers) != 2 || m.peers[0] != four || m.peers[1] != six || binary.BigEndian.Uint32(m.lifetime) != 7 {
					t.Errorf("method %x class %d: read %+v", method, class, m)
				}
				if !m.verify(key) || m.verify([]byte("kez")) {
					t.Errorf("method %x class %d: the integrity is wrong", method, class)
				}
				b[21] ^= 1
				if m.parse(b) == nil && m.verify(key) {
					t.Error("a changed message was accepted")
				}
			}
		}
	}
}

// raw builds a message from attributes that are given byte for byte.
func raw(kind uint16, attributes ...[]byte) []byte {
	body := bytes.Join(attributes, nil)
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	b = binary.BigEndian.AppendUint32(b, stunCookie)
	b = append(b, "transactions"...)
	return append(b, body...)
}

func attr(kind uint16, n int, value ...byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	return append(b, value...)
}

// A5 case 26: what is refused before anything else looks at it.
func TestA5Case26LengthsThatLieAreNotParsed(t *testing.T) {
	good := raw(0x0003, attr(attrTransport, 4, 17, 0, 0, 0))
	cut := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(good)) }
	for name, b := range map[string][]byte{
		"empty":                        {},
		"a header cut short":           good[:19],
		"length not a multiple of 4":   cut(func(b []byte) []byte { b[3]++; return append(b, 0) }),
		"length longer than datagram":  cut(func(b []byte) []byte { b[3] += 4; return b }),
		"length shorter":               cut(func(b []byte) []byte { b[3] -= 4; return b }),
		"length 65535":                 cut(func(b []byte) []byte { b[2], b[3] = 0xFF, 0xFF; return b }),
		"trailing bytes":               append(bytes.Clone(good), 0, 0, 0, 0),
		"attribute past the end":       raw(0x0003, attr(attrTransport, 5, 17, 0, 0, 0)),
		"attribute of 65535":           raw(0x0003, attr(attrTransport, 65535, 17, 0, 0, 0)),
		"padding missing":              raw(0x0003, attr(attrUsername, 5, 1, 2, 3, 4)),
		"RFC 3489, no cookie":          cut(func(b []byte) []byte { b[4] = 0; return b }),
		"first bits set":               cut(func(b []byte) []byte { b[0] |= 0x80; return b }),
		"integrity of 19 bytes":        raw(0x0003, attr(attrIntegrity, 19, make([]byte, 20)...)),
		"integrity of 24 bytes":        raw(0x0003, attr(attrIntegrity, 24, make([]byte, 24)...)),
		"SHA-256 integrity of 8":       raw(0x0003, attr(attrIntegritySHA256, 8, make([]byte, 8)...)),
		"SHA-256 integrity of 36":      raw(0x0003, attr(attrIntegritySHA256, 36, make([]byte, 36)...)),
		"too long":                     raw(0x0003, bytes.Repeat(attr(0x8022, 0), 600)),
		"something behind FINGERPRINT": raw(0x0003, attr(attrFingerprint, 4, 0, 0, 0, 0), attr(attrTransport, 4, 17, 0, 0, 0)),
	} {
		var m message
		if err := m.parse(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestA5Case26AttributesThatAreOddButNotBroken(t *testing.T) {
	peer := []byte{0, 1, 0x21 ^ 0x12, 0x12 ^ 0x34, 1 ^ 0x21, 2 ^ 0x12, 3 ^ 0xa4, 4 ^ 0x42}
	other := bytes.Clone(peer)
	other[7]++
	var m message

	// Duplicates: the first counts.
	b := raw(0x0003, attr(attrLifetime, 4, 0, 0, 0, 1), attr(attrLifetime, 4, 0, 0, 0, 2), attr(attrRealm, 0), attr(attrRealm, 1, 'x', 0, 0, 0))
	if err := m.parse(b); err != nil || m.lifetime[3] != 1 || m.realm == nil || len(m.realm) != 0 {
		t.Errorf("duplicates: %v, lifetime %v, realm %q", err, m.lifetime, m.realm)
	}
	// Padding that is not zero is ignored.
	if err := m.parse(raw(0x0003, attr(attrRealm, 1, 'x', 9, 9, 9))); err != nil || string(m.realm) != "x" {
		t.Errorf("padding: %v, realm %q", err, m.realm)
	}
	// Peers that are none.
	for name, value := range map[string][]byte{
		"zero-length": {}, "IPv6 in 8 bytes": {0, 2, 1, 2, 3, 4, 5, 6}, "IPv4 in 20 bytes": append([]byte{0, 1}, make([]byte, 18)...),
		"family 3": {0, 3, 1, 2, 3, 4, 5, 6},
	} {
		b := raw(0x0008, attr(attrXORPeerAddress, len(value), value...), attr(attrXORPeerAddress, 8, peer...))
		if err := m.parse(b); err != nil || !m.badPeer {
			t.Errorf("%s peer: %v, bad %v", name, err, m.badPeer)
		}
	}
	// As many peers as fit.
	many := raw(0x0008, bytes.Repeat(attr(attrXORPeerAddress, 8, peer...), 169))
	if err := m.parse(many); err != nil || len(m.peers) != 169 {
		t.Errorf("169 peers: %v, read %d", err, len(m.peers))
	}
	// The list of unknown attributes is bounded, and what only a server sends is unknown from a client.
	if err := m.parse(raw(0x0003, bytes.Repeat(attr(attrErrorCode, 4, 0, 0, 4, 0), 100))); err != nil || len(m.unknown) != maxUnknown {
		t.Errorf("100 ERROR-CODEs: %v, unknown %d", err, len(m.unknown))
	}
	// What follows MESSAGE-INTEGRITY does not count (A5 case 21).
	b = raw(0x0008, attr(attrIntegrity, 20, make([]byte, 20)...), attr(attrXORPeerAddress, 8, other...), attr(attrUsername, 4, 'e', 'v', 'i', 'l'))
	if err := m.parse(b); err != nil || len(m.peers) != 0 || m.username != nil {
		t.Errorf("behind the integrity: %v, peers %v, user %q", err, m.peers, m.username)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(unhex(f, rfc5769LongTerm))
	f.Add(raw(0x0008, attr(attrXORPeerAddress, 8, 0, 1, 2, 3, 4, 5, 6, 7)))
	f.Add(raw(0x0016, attr(attrData, 3, 1, 2, 3, 0)))
	f.Add([]byte{0x40, 0, 0, 4, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		var m message
		if m.parse(b) != nil {
			return
		}
		m.verify([]byte("key"))
		if len(m.unknown) > maxUnknown {
			t.Fatal("the list of unknown attributes is not bounded")
		}
		for _, peer := range m.peers {
			if !peer.IsValid() {
				t.Fatal("a peer that is none")
			}
		}
		if !bytes.Equal(b, before) {
			t.Fatal("parsing changed the message")
		}
	})
}

// However a stream is cut into reads, the frames are the same.
func FuzzFrameSize(f *testing.F) {
	f.Add(append(raw(0x0001), 0x40, 0, 0, 3, 1, 2, 3, 0), uint8(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(1))
	f.Add([]byte{0x40, 0, 0xFF, 0xFF, 1, 2, 3}, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		size, err := frameSize(b)
		if err == nil && size == 0 && len(b) >= channelHead {
			t.Fatal("four bytes say how long a frame is")
		}
		if err == nil && size > 4+65536 {
			t.Fatalf("a frame of %d bytes", size)
		}
		part := b[:min(int(cut), len(b))]
		early, earlyErr := frameSize(part)
		if earlyErr != nil && err == nil {
			t.Fatal("an error that more bytes take back")
		}
		if earlyErr == nil && early != 0 && err == nil && early != size {
			t.Fatalf("%d bytes by a part, %d by the whole", early, size)
		}
	})
}

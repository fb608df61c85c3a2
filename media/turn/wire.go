package turn

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
)

// STUN messages (RFC 8489 section 5) and channel data (RFC 8656 section 12.4), as far as a TURN server needs them.
//
//	0                   1                   2                   3
//	|0 0|  message type, 14 bits   | length of the attributes      |
//	| magic cookie 0x2112A442                                      |
//	| transaction id, 12 bytes                                     |
//	then attributes: type 2, length 2, value, padding to 4
const (
	stunHeader   = 20
	stunCookie   = 0x2112A442
	channelHead  = 4
	maxFrame     = 2048 // any datagram or frame from a client; longer ones are dropped whole
	maxDatagram  = 2000 // payload from a peer: with headroom it still fits into one frame
	headroom     = 48   // STUN header, XOR-PEER-ADDRESS (IPv6) and DATA header in front of a peer's payload
	channelFirst = 0x4000
	channelLast  = 0x4FFF // RFC 8656 narrowed RFC 5766's 0x7FFF
)

const (
	methodBinding          = 0x001
	methodAllocate         = 0x003
	methodRefresh          = 0x004
	methodSend             = 0x006
	methodData             = 0x007
	methodCreatePermission = 0x008
	methodChannelBind      = 0x009

	classRequest    = 0
	classIndication = 1
	classSuccess    = 2
	classError      = 3
)

const (
	attrUsername          = 0x0006
	attrIntegrity         = 0x0008
	attrErrorCode         = 0x0009
	attrUnknownAttributes = 0x000A
	attrChannelNumber     = 0x000C
	attrLifetime          = 0x000D
	attrXORPeerAddress    = 0x0012
	attrData              = 0x0013
	attrRealm             = 0x0014
	attrNonce             = 0x0015
	attrXORRelayedAddress = 0x0016
	attrAddressFamily     = 0x0017
	attrEvenPort          = 0x0018
	attrTransport         = 0x0019
	attrDontFragment      = 0x001A
	attrIntegritySHA256   = 0x001C
	attrPasswordAlgorithm = 0x001D
	attrXORMappedAddress  = 0x0020
	attrReservationToken  = 0x0022
	attrFingerprint       = 0x8028

	family4 = 0x01
	family6 = 0x02

	transportTCP = 6
	transportUDP = 17
)

// message is one parsed STUN message. Its slices alias the datagram. Of repeated attributes the first counts
// (RFC 8489 section 14), except peers, of which CreatePermission may carry several.
type message struct {
	raw    []byte
	method uint16
	class  uint8
	id     [12]byte

	username, realm, nonce                     []byte // nil: absent
	transport, lifetime, family, channel       []byte
	data, evenPort, token                      []byte
	dontFragment, passwordAlgorithm            bool
	peers                                      []netip.AddrPort
	badPeer                                    bool // an XOR-PEER-ADDRESS that is none
	unknown                                    []uint16
	integrity, integrity256, endOfIntegrity256 int // offsets in raw; 0: absent
	peerSpace                                  [4]netip.AddrPort
	unknownSpace                               [4]uint16
}

var (
	errLength      = errors.New("length")
	errNotSTUN     = errors.New("not STUN")
	errAttribute   = errors.New("attribute past the end")
	errFingerprint = errors.New("fingerprint")
)

// parse reads one whole STUN message into m. What fails here is not worth an answer: the sender is no STUN client,
// or one whose message was damaged.
func (m *message) parse(b []byte) error {
	*m = message{raw: b}
	m.peers, m.unknown = m.peerSpace[:0], m.unknownSpace[:0]
	if len(b) < stunHeader || len(b) > maxFrame {
		return errLength
	}
	kind := binary.BigEndian.Uint16(b)
	if kind&0xC000 != 0 || binary.BigEndian.Uint32(b[4:]) != stunCookie {
		return errNotSTUN // the cookie also keeps RFC 3489 clients out
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n%4 != 0 || n != len(b)-stunHeader {
		return errLength
	}
	m.method = kind&0x000F | kind&0x00E0>>1 | kind&0x3E00>>2
	m.class = uint8(kind>>4&1 | kind>>7&2)
	copy(m.id[:], b[8:20])

	for at := stunHeader; at < len(b); {
		if len(b)-at < 4 {
			return errAttribute
		}
		kind, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + 4 + (n+3)&^3
		if next > len(b) {
			return errAttribute
		}
		value := b[at+4 : at+4+n : at+4+n]
		switch {
		case kind == attrFingerprint:
			// It must be the last attribute (RFC 8489 section 14.7).
			if n != 4 || next != len(b) || binary.BigEndian.Uint32(value) != fingerprint(b[:at]) {
				return errFingerprint
			}
		case m.integrity256 != 0:
			// Nothing but the fingerprint counts behind it.
		case kind == attrIntegritySHA256:
			if n < 16 || n > 32 || n%4 != 0 {
				return errAttribute
			}
			m.integrity256, m.endOfIntegrity256 = at, at+4+n
		case m.integrity != 0:
			// What follows MESSAGE-INTEGRITY is not protected and is ignored.
		case kind == attrIntegrity:
			if n != sha1.Size {
				return errAttribute
			}
			m.integrity = at
		default:
			m.take(kind, value)
		}
		at = next
	}
	return nil
}

func (m *message) take(kind uint16, value []byte) {
	first := func(field *[]byte) {
		if *field == nil {
			*field = value
		}
	}
	switch kind {
	case attrUsername:
		first(&m.username)
	case attrRealm:
		first(&m.realm)
	case attrNonce:
		first(&m.nonce)
	case attrTransport:
		first(&m.transport)
	case attrLifetime:
		first(&m.lifetime)
	case attrAddressFamily:
		first(&m.family)
	case attrChannelNumber:
		first(&m.channel)
	case attrData:
		first(&m.data)
	case attrEvenPort:
		first(&m.evenPort)
	case attrReservationToken:
		first(&m.token)
	case attrDontFragment:
		m.dontFragment = true
	case attrPasswordAlgorithm:
		m.passwordAlgorithm = true
	case attrXORPeerAddress:
		peer, ok := m.unxor(value)
		if !ok {
			m.badPeer = true
			return
		}
		m.peers = append(m.peers, peer)
	default:
		if kind < 0x8000 && len(m.unknown) < maxUnknown {
			m.unknown = append(m.unknown, kind)
		}
	}
}

// maxUnknown bounds what a 420 answer lists, so that the answer stays smaller than the request.
const maxUnknown = 16

// unxor reads the value of an XOR-…-ADDRESS attribute (RFC 8489 section 14.2). An IPv4-mapped IPv6 address stays
// what it was sent as, IPv6: the family decides about 443.
func (m *message) unxor(value []byte) (netip.AddrPort, bool) {
	if len(value) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ stunCookie>>16
	switch {
	case value[1] == family4 && len(value) == 8:
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(value[4:])^stunCookie)
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), true
	case value[1] == family6 && len(value) == 20:
		var a [16]byte
		for i := range a {
			a[i] = value[4+i] ^ m.raw[4+i] // cookie and transaction id stand there in this order
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), true
	}
	return netip.AddrPort{}, false
}

// protected says whether the message carries a MESSAGE-INTEGRITY of either kind.
func (m *message) protected() bool { return m.integrity != 0 || m.integrity256 != 0 }

// verify checks every MESSAGE-INTEGRITY the message carries, in constant time.
func (m *message) verify(key []byte) bool {
	if !m.protected() {
		return false
	}
	ok := true
	if m.integrity != 0 {
		value := m.raw[m.integrity+4 : m.integrity+4+sha1.Size]
		ok = hmac.Equal(integrityOf(key, m.raw[:m.integrity], 4+sha1.Size, false), value) && ok
	}
	if m.integrity256 != 0 {
		value := m.raw[m.integrity256+4 : m.endOfIntegrity256]
		sum := integrityOf(key, m.raw[:m.integrity256], 4+len(value), true)
		ok = hmac.Equal(sum[:len(value)], value) && ok
	}
	return ok
}

// integrityOf computes the HMAC over the message up to the attribute, with the header's length pretending that the
// message ends behind the attribute, which takes n bytes (RFC 8489 section 14.5).
func integrityOf(key, upTo []byte, n int, long bool) []byte {
	h := hmac.New(sha1.New, key)
	if long {
		h = hmac.New(sha256.New, key)
	}
	var head [4]byte
	copy(head[:2], upTo)
	binary.BigEndian.PutUint16(head[2:], uint16(len(upTo)-stunHeader+n))
	h.Write(head[:])
	h.Write(upTo[4:])
	return h.Sum(nil)
}

func fingerprint(upTo []byte) uint32 { return crc32.ChecksumIEEE(upTo) ^ 0x5354554e }

// writer builds one STUN message. Padding is always zero: what lies in the buffer is not the client's
// (CVE-2020-4067).
type writer struct{ b []byte }

func newWriter(space []byte, method uint16, class uint8, id [12]byte) *writer {
	w := &writer{b: space[:0]}
	kind := method&0x000F | method&0x0070<<1 | method&0x0F80<<2 | uint16(class)&1<<4 | uint16(class)&2<<7
	w.b = binary.BigEndian.AppendUint16(w.b, kind)
	w.b = append(w.b, 0, 0)
	w.b = binary.BigEndian.AppendUint32(w.b, stunCookie)
	w.b = append(w.b, id[:]...)
	return w
}

func (w *writer) attr(kind uint16, value []byte) *writer {
	w.b = binary.BigEndian.AppendUint16(w.b, kind)
	w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(value)))
	w.b = append(w.b, value...)
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
	return w
}

func (w *writer) text(kind uint16, value string) *writer { return w.attr(kind, []byte(value)) }

func (w *writer) uint32(kind uint16, value uint32) *writer {
	return w.attr(kind, binary.BigEndian.AppendUint32(nil, value))
}

// address writes an XOR-…-ADDRESS attribute.
func (w *writer) address(kind uint16, a netip.AddrPort) *writer {
	var value [20]byte
	return w.attr(kind, value[:putXOR(value[:], a, w.b[4:stunHeader])])
}

// putXOR writes the value of an XOR-…-ADDRESS attribute; mask is cookie and transaction id.
func putXOR(value []byte, a netip.AddrPort, mask []byte) int {
	value[0] = 0
	binary.BigEndian.PutUint16(value[2:], a.Port()^stunCookie>>16)
	if a.Addr().Is4() {
		value[1] = family4
		ip := a.Addr().As4()
		for i := range ip {
			value[4+i] = ip[i] ^ mask[i]
		}
		return 8
	}
	value[1] = family6
	ip := a.Addr().As16()
	for i := range ip {
		value[4+i] = ip[i] ^ mask[i]
	}
	return 20
}

// code writes ERROR-CODE without a reason phrase: the number says it, and a phrase would be amplification.
func (w *writer) code(code int) *writer {
	return w.attr(attrErrorCode, []byte{0, 0, byte(code / 100), byte(code % 100)})
}

// sign appends MESSAGE-INTEGRITY in the form the request used.
func (w *writer) sign(key []byte, long bool) *writer {
	if long {
		return w.attr(attrIntegritySHA256, integrityOf(key, w.b, 4+sha256.Size, true))
	}
	return w.attr(attrIntegrity, integrityOf(key, w.b, 4+sha1.Size, false))
}

// bytes sets the length and returns the message.
func (w *writer) bytes() []byte {
	binary.BigEndian.PutUint16(w.b[2:], uint16(len(w.b)-stunHeader))
	return w.b
}

// errorCodeOf reads the code of an error response; 0 if there is none.
func errorCodeOf(b []byte) int {
	value := attribute(b, attrErrorCode)
	if len(value) < 4 {
		return 0
	}
	return int(value[2]&7)*100 + int(value[3])
}

// attribute finds the first attribute of a kind in a message that this process built itself.
func attribute(b []byte, kind uint16) []byte {
	for at := stunHeader; at+4 <= len(b); {
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if at+4+n > len(b) {
			return nil
		}
		if binary.BigEndian.Uint16(b[at:]) == kind {
			return b[at+4 : at+4+n]
		}
		at += 4 + (n+3)&^3
	}
	return nil
}

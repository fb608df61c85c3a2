package turn

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

var public = netip.MustParseAddrPort("8.8.8.8:50000") // permitted, never sent to

func TestBindingTellsTheClientItsAddress(t *testing.T) {
	s := start(t)
	eachTransport(t, func(t *testing.T, network string) {
		c := dial(t, s, network)
		got := c.ask(newWriter(nil, methodBinding, classRequest, newID()).bytes())
		if want := c.conn.LocalAddr().String(); got.wantCode(0).address(attrXORMappedAddress).String() != want {
			t.Errorf("mapped address of %s is %s", want, got.address(attrXORMappedAddress))
		}
		unknown := c.ask(newWriter(nil, methodBinding, classRequest, newID()).uint32(0x0025, 1).bytes())
		if list := attribute(unknown.wantCode(420).b, attrUnknownAttributes); !bytes.Equal(list, []byte{0, 0x25}) {
			t.Errorf("UNKNOWN-ATTRIBUTES %x", list)
		}
	})
}

func TestAllocateGivesARelayedAddressOfTheRange(t *testing.T) {
	s := start(t)
	eachTransport(t, func(t *testing.T, network string) {
		for _, long := range []bool{false, true} {
			c := dial(t, s, network).login(mint(t, s, 1))
			c.long = long
			request := c.signed(methodAllocate, func(w *writer) { udpTransport(w); w.uint32(attrLifetime, 1200) })
			r := c.ask(request).wantCode(0)
			relayed := r.address(attrXORRelayedAddress)
			if relayed.Addr().String() != "127.0.0.1" || relayed.Port() < defaultPortMin {
				t.Errorf("relayed address %s", relayed)
			}
			if mapped := r.address(attrXORMappedAddress); mapped.String() != c.conn.LocalAddr().String() {
				t.Errorf("mapped address %s", mapped)
			}
			if life := attribute(r.b, attrLifetime); !bytes.Equal(life, []byte{0, 0, 4, 0xb0}) {
				t.Errorf("lifetime %x", life)
			}
			if !r.m.verify(c.key()) {
				t.Error("the success is not protected")
			}
			// A retransmission gets the same answer, another Allocate 437.
			if again := c.ask(request); !bytes.Equal(again.b, r.b) {
				t.Errorf("a retransmission was answered with %x, before %x", again.b, r.b)
			}
			c.request(methodAllocate, udpTransport).wantCode(437)
			c.refresh(0).wantCode(0)
			c.refresh(600).wantCode(437)
			s.Release(c.creds.Handle)
		}
	})
}

func TestLifetimesAreKeptBetweenTenMinutesAndAnHour(t *testing.T) {
	s := start(t)
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	for asked, want := range map[uint32]uint32{1: 600, 600: 600, 1000: 1000, 3600: 3599, 0xFFFFFFFF: 3599} {
		life := attribute(c.refresh(asked).wantCode(0).b, attrLifetime)
		if got := uint32(life[0])<<24 | uint32(life[1])<<16 | uint32(life[2])<<8 | uint32(life[3]); got != want {
			t.Errorf("asked for %d s, got %d, want %d", asked, got, want)
		}
	}
}

// A5 case 16, on the wire: everything wrong about a credential is 401, and the answers do not differ.
func TestA5Case16WrongCredentialsAreAllAnsweredAlike(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	key := s.keys.signing()
	good := mint(t, s, 1)
	name := func(expiry int64, keyID uint16, handle [16]byte) media.Credentials {
		n := username{expiry: expiry, keyID: keyID, handle: handle}.String()
		return media.Credentials{Username: n, Password: password(key, []byte(n))}
	}
	text := func(n string) media.Credentials {
		return media.Credentials{Username: n, Password: password(key, []byte(n))}
	}
	tail := good.Username[strings.IndexByte(good.Username, ':')+1:]
	lengths := map[int]bool{}
	for why, creds := range map[string]media.Credentials{
		"expired":              name(noon.Unix()-1, key.id, good.Handle),
		"expiring now":         name(noon.Unix(), key.id, good.Handle),
		"expiring in a second": name(noon.Unix()+1, key.id, good.Handle),
		"year 2100":            name(4102444800, key.id, good.Handle),
		"unknown key":          name(noon.Unix()+300, key.id+1, good.Handle),
		"handle never minted":  name(noon.Unix()+300, key.id, [16]byte{1}),
		"no number":            text("123abc:" + tail),
		"negative":             text("-1:" + tail),
		"plus":                 text("+1790000300:" + tail),
		"no handle":            text("1790000300:"),
		"many digits":          text(strings.Repeat("9", 25) + ":" + tail),
		"another name":         text("alice"),
		"wrong password":       {Username: good.Username, Password: "x"},
		"empty password":       {Username: good.Username},
		"empty name":           {},
	} {
		c := dial(t, s, "udp").login(creds)
		r := c.request(methodAllocate, udpTransport).wantCode(401)
		if attribute(r.b, attrNonce) == nil || attribute(r.b, attrRealm) == nil {
			t.Errorf("%s: 401 without realm or nonce", why)
		}
		lengths[len(r.b)] = true
	}
	if len(lengths) != 1 {
		t.Errorf("answers differ in length: %v", lengths)
	}
	dial(t, s, "udp").login(good).allocate()
}

func TestA5Case17CredentialsOfTheRetiredSecretStillStart(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	clk.add(rotateKeys - time.Minute)
	creds := mint(t, s, 1)
	clk.add(time.Minute)
	s.tick()
	if s.keys.signing().id == s.keys.previous.id || s.keys.previous == (secret{}) {
		t.Fatal("the secrets were not rotated")
	}
	dial(t, s, "udp").login(creds).allocate()
}

// A5 case 18.
func TestA5Case18CredentialsOfAnotherNodeOrRealmAreRefused(t *testing.T) {
	here, there := start(t), start(t)
	creds := mint(t, there, 1)
	dial(t, there, "udp").login(creds).allocate()
	dial(t, here, "udp").login(creds).request(methodAllocate, udpTransport).wantCode(401)

	own := dial(t, here, "udp").login(mint(t, here, 1))
	own.realm = "other.example"
	own.request(methodAllocate, udpTransport).wantCode(401)
}

// A5 case 20. pion alone fails this.
func TestA5Case20AnotherUserOnTheSameFiveTupleChangesNothing(t *testing.T) {
	s := start(t)
	eachTransport(t, func(t *testing.T, network string) {
		c := dial(t, s, network).login(mint(t, s, 1))
		c.allocate()
		owner := c.creds
		c.creds = mint(t, s, 2)
		c.refresh(0).wantCode(441)
		c.refresh(600).wantCode(441)
		c.permit(public).wantCode(441)
		c.bind(0x4000, public).wantCode(441)
		c.request(methodAllocate, udpTransport).wantCode(437)
		c.creds = owner
		c.refresh(600).wantCode(0)
		a := s.allocationOf(tuple{addr: netip.MustParseAddrPort(c.conn.LocalAddr().String()), tcp: network == "tcp"})
		if a == nil || len(a.tables.Load().permissions) != 0 || len(a.tables.Load().channels) != 0 {
			t.Error("the allocation was changed")
		}
	})
}

// A5 case 21, on the wire.
func TestA5Case21NoncesAndIntegrity(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	c := dial(t, s, "udp").login(mint(t, s, 1))
	good := c.nonce
	for name, nonce := range map[string]string{
		"forged": "AAAAAAAAAAAAAAAA", "truncated": good[:8], "of another node": newNonces(noon).make(tuple{}, noon),
	} {
		c.nonce = nonce
		r := c.request(methodAllocate, udpTransport).wantCode(438)
		if string(attribute(r.b, attrNonce)) == "" || string(attribute(r.b, attrRealm)) != testRealm {
			t.Errorf("%s: 438 without a fresh nonce", name)
		}
	}
	c.nonce = good
	missing := func(leave uint16) []byte {
		w := newWriter(nil, methodAllocate, classRequest, newID())
		udpTransport(w)
		for kind, value := range map[uint16]string{attrUsername: c.creds.Username, attrRealm: c.realm, attrNonce: c.nonce} {
			if kind != leave {
				w.text(kind, value)
			}
		}
		return w.sign(c.key(), false).bytes()
	}
	for _, kind := range []uint16{attrUsername, attrRealm, attrNonce} {
		c.ask(missing(kind)).wantCode(400)
	}
	// A password algorithm that was never offered: somebody rewrote the offer.
	c.ask(c.signed(methodAllocate, func(w *writer) { udpTransport(w); w.uint32(attrPasswordAlgorithm, 1<<16) })).wantCode(400)
	// Both kinds of integrity, one of them wrong.
	b := c.signed(methodAllocate, udpTransport)
	both := (&writer{b: bytes.Clone(b)}).sign([]byte("wrong"), true)
	c.ask(both.bytes()).wantCode(401)
	// Both right.
	both = (&writer{b: bytes.Clone(b)}).sign(c.key(), true)
	if r := c.ask(both.bytes()).wantCode(0); r.m.integrity256 == 0 {
		t.Error("the answer to SHA-256 is protected with less")
	}
	// 61 minutes later the nonce is stale; the allocation goes on with a new one.
	clk.add(nonceLife + time.Minute)
	r := c.refresh(600).wantCode(438)
	c.nonce = string(attribute(r.b, attrNonce))
	c.refresh(600).wantCode(0)
}

// A5 case 22: guessing ends in silence, or in a closed connection; who knows the password is still served.
func TestA5Case22GuessingEndsInSilence(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	creds := mint(t, s, 1)
	c := dial(t, s, "udp").login(media.Credentials{Username: creds.Username, Password: "guess"})
	for range failureBurst {
		c.request(methodAllocate, udpTransport).wantCode(401)
	}
	c.send(c.signed(methodAllocate, udpTransport))
	c.nothing("one guess too many")
	if n := s.Stats().Counters["dropped/failures"]; n != 1 {
		t.Errorf("%d counted", n)
	}

	guess := dial(t, s, "tcp").login(media.Credentials{Username: creds.Username, Password: "guess"})
	guess.send(guess.signed(methodAllocate, udpTransport))
	if b, err := guess.tryRecv(); err == nil {
		t.Errorf("over TCP the guess was answered with %x", b)
	}
	c.creds = creds
	c.allocate()
}

// A5 case 24, as media.md A2 settles it: expiry limits the start; strictly, also the refresh.
func TestA5Case24RefreshAfterTheCredentialExpired(t *testing.T) {
	for _, strict := range []bool{false, true} {
		t.Run("strict="+strconv.FormatBool(strict), func(t *testing.T) {
			clk := newClock()
			s := start(t, onClock(clk), func(c *Config) { c.StrictExpiry = strict })
			creds := mint(t, s, 1)
			c := dial(t, s, "udp").login(creds)
			c.allocate()
			clk.add(startTTL + time.Second)
			s.tick()
			want := 0
			if strict {
				want = 401
			}
			c.refresh(600).wantCode(want)
			// Whatever happens to what lives, nothing new starts.
			dial(t, s, "udp").login(creds).request(methodAllocate, udpTransport).wantCode(401)
		})
	}
}

// A5 case 25: the default answers of RFC 8656.
func TestA5Case25TheAnswersOfRFC8656(t *testing.T) {
	s := start(t)
	private := netip.MustParseAddrPort("192.168.1.1:50000")
	eachTransport(t, func(t *testing.T, network string) {
		overTCP := 400
		if network == "tcp" {
			overTCP = 442 // RFC 6062 would be possible here, but is not offered
		}
		c := dial(t, s, network).login(mint(t, s, 1))
		allocate := func(build func(w *writer)) *reply { return c.request(methodAllocate, build) }
		with := func(kind uint16, value ...byte) func(w *writer) {
			return func(w *writer) { udpTransport(w); w.attr(kind, value) }
		}
		c.request(methodCreatePermission, func(w *writer) { w.address(attrXORPeerAddress, public) }).wantCode(437)
		c.bind(0x4000, public).wantCode(437)
		c.refresh(600).wantCode(437)
		c.refresh(0).wantCode(437)

		allocate(nil).wantCode(400)
		allocate(func(w *writer) { w.attr(attrTransport, []byte{17}) }).wantCode(400)
		allocate(func(w *writer) { w.attr(attrTransport, []byte{transportTCP, 0, 0, 0}) }).wantCode(overTCP)
		allocate(func(w *writer) { w.attr(attrTransport, []byte{132, 0, 0, 0}) }).wantCode(442)
		allocate(with(attrAddressFamily, family6, 0, 0, 0)).wantCode(440)
		allocate(with(attrAddressFamily, 9, 0, 0, 0)).wantCode(440)
		allocate(with(attrAddressFamily, family4)).wantCode(400)
		allocate(with(attrLifetime, 1)).wantCode(400)
		allocate(with(attrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8)).wantCode(508)
		allocate(with(attrEvenPort, 0x80)).wantCode(508)
		allocate(func(w *writer) {
			udpTransport(w)
			w.attr(attrEvenPort, []byte{0}).attr(attrReservationToken, make([]byte, 8))
		}).wantCode(400)
		r := allocate(func(w *writer) { udpTransport(w); w.uint32(0x7FFF, 1).attr(attrDontFragment, nil).uint32(0x0024, 1) }).wantCode(420)
		if list := attribute(r.b, attrUnknownAttributes); !bytes.Equal(list, []byte{0x7F, 0xFF, 0, 0x24, 0, 0x1A}) {
			t.Errorf("UNKNOWN-ATTRIBUTES %x", list)
		}
		// Optional attributes that are unknown are nobody's business.
		even := allocate(func(w *writer) { udpTransport(w); w.attr(attrEvenPort, []byte{0}).uint32(0x8000, 1<<24) }).wantCode(0)
		if port := even.address(attrXORRelayedAddress).Port(); port%2 != 0 {
			t.Errorf("EVEN-PORT gave %d", port)
		}

		c.request(methodCreatePermission, nil).wantCode(400)
		c.request(methodCreatePermission, func(w *writer) { w.attr(attrXORPeerAddress, []byte{0, 2, 1, 2, 3, 4, 5, 6}) }).wantCode(400)
		c.request(methodCreatePermission, func(w *writer) { w.address(attrXORPeerAddress, public).uint32(0x0030, 0) }).wantCode(420)
		c.permit(netip.MustParseAddrPort("[2a00::1]:50000")).wantCode(443)
		c.permit(netip.MustParseAddrPort("[::ffff:8.8.8.8]:50000")).wantCode(443) // A5 case 7
		c.permit(private).wantCode(403)
		c.permit(public).wantCode(0)

		for _, number := range []uint16{0, 0x3FFF, 0x5000, 0x7FFE, 0xFFFF} {
			c.bind(number, public).wantCode(400)
		}
		c.request(methodChannelBind, func(w *writer) { w.address(attrXORPeerAddress, public) }).wantCode(400)
		c.request(methodChannelBind, func(w *writer) { w.attr(attrChannelNumber, []byte{0x40, 0, 0, 0}) }).wantCode(400)
		c.bind(0x4000, private).wantCode(403)
		c.bind(0x4000, netip.MustParseAddrPort("[2a00::1]:50000")).wantCode(443)
		c.bind(0x4000, public).wantCode(0)
		c.bind(0x4000, public).wantCode(0) // a refresh
		c.bind(0x4000, netip.MustParseAddrPort("8.8.4.4:50000")).wantCode(400)
		c.bind(0x4001, public).wantCode(400)
		c.bind(0x4FFF, netip.MustParseAddrPort("8.8.4.4:50000")).wantCode(0)

		c.request(methodRefresh, func(w *writer) { w.attr(attrAddressFamily, []byte{family6, 0, 0, 0}) }).wantCode(443)
		c.request(methodRefresh, func(w *writer) { w.attr(attrLifetime, []byte{0}) }).wantCode(400)
		c.refresh(0).wantCode(0)
		c.permit(public).wantCode(437)
		s.Release(c.creds.Handle)
	})
}

func TestWhatNoClientMaySendIsMetWithSilence(t *testing.T) {
	s := start(t)
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	for name, b := range map[string][]byte{
		"a success response":    newWriter(nil, methodBinding, classSuccess, newID()).bytes(),
		"an error response":     newWriter(nil, methodAllocate, classError, newID()).code(400).bytes(),
		"a Data indication":     newWriter(nil, methodData, classIndication, newID()).bytes(),
		"an Allocate for TCP":   c.signed(0x00A, nil),
		"an unknown method":     c.signed(0x123, nil),
		"a cut header":          {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42},
		"HTTP":                  []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"three bytes":           {0x40, 0, 0},
		"one byte":              {0},
		"DTLS":                  {0x16, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1},
		"RTP":                   {0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
		"a channel never bound": channelData(0x4123, []byte("x"), false),
		"a channel that is cut": {0x40, 0, 0, 200, 1, 2, 3, 4},
		"an empty Send":         newWriter(nil, methodSend, classIndication, newID()).bytes(),
	} {
		c.send(b)
		c.nothing(name)
	}
	c.refresh(600).wantCode(0)
}

// A5 case 38: nothing tells strangers what runs here or who is known.
func TestA5Case38AnswersNameNoSoftware(t *testing.T) {
	s := start(t)
	c := dial(t, s, "udp")
	for _, method := range []uint16{methodBinding, methodAllocate, methodRefresh, methodCreatePermission, methodChannelBind} {
		r := c.ask(newWriter(nil, method, classRequest, newID()).bytes())
		if attribute(r.b, 0x8022) != nil {
			t.Errorf("method %x: SOFTWARE %q", method, attribute(r.b, 0x8022))
		}
		// A5 case 28: padding is zero.
		for at := stunHeader; at < len(r.b); {
			n := int(r.b[at+2])<<8 | int(r.b[at+3])
			for _, pad := range r.b[at+4+n : at+4+(n+3)&^3] {
				if pad != 0 {
					t.Errorf("method %x: padding %x", method, pad)
				}
			}
			at += 4 + (n+3)&^3
		}
	}
}

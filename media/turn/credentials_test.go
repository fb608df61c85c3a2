package turn

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var noon = time.Unix(1_790_000_000, 0)

const someHandle = "00112233445566778899aabbccddeeff"

// A5 case 16, the forms. What is well-formed but wrong is refused with a running server in guard_test.go.
func TestA5Case16OnlyOneFormOfUserNameIsRead(t *testing.T) {
	good := "1790000300:abcd" + someHandle
	u, ok := parseUsername([]byte(good))
	if !ok || u.expiry != 1790000300 || u.keyID != 0xabcd || u.String() != good {
		t.Fatalf("%q was read as %+v, %v", good, u, ok)
	}
	for _, bad := range []string{
		"", ":", "1790000300", "1790000300:", "1790000300:abcd", ":abcd" + someHandle, "x:abcd" + someHandle,
		"123abc:abcd" + someHandle, "+1790000300:abcd" + someHandle, "-1790000300:abcd" + someHandle,
		" 1790000300:abcd" + someHandle, "1790000300 :abcd" + someHandle, "1790000300:abcd" + someHandle + " ",
		"01790000300:abcd" + someHandle, "0:abcd" + someHandle, "1790000300.0:abcd" + someHandle, "1e9:abcd" + someHandle,
		"0x6ab1:abcd" + someHandle, strings.Repeat("9", 21) + ":abcd" + someHandle, "17900003000000:abcd" + someHandle,
		"1790000300:ABCD" + someHandle, "1790000300:abcg" + someHandle, "1790000300:abcd" + someHandle + "00",
		"1790000300::bcd" + someHandle, "1790000300:abcd" + someHandle[:31] + ":", "１790000300:abcd" + someHandle,
		"1790000300:abcd" + someHandle + "\x00", strings.Repeat("a", 2000),
	} {
		if u, ok := parseUsername([]byte(bad)); ok {
			t.Errorf("%q was read as %v", bad, u)
		}
	}
}

func TestA5Case16ExpiryMustLieAheadButNotFar(t *testing.T) {
	for left, want := range map[int64]bool{
		-1000: false, -1: false, 0: false, 1: false, 2: true, 299: true, 300: true, 360: true, 361: false, 4102444800 - noon.Unix(): false,
	} {
		if got := (username{expiry: noon.Unix() + left}).startable(noon); got != want {
			t.Errorf("%d s left: startable %v, want %v", left, got, want)
		}
	}
}

func TestA5Case17ARetiredSecretVerifiesDuringTheOverlapOnly(t *testing.T) {
	k := newKeyring(noon)
	old := k.signing()
	k.turn(noon.Add(rotateKeys - time.Second))
	if k.signing() != old {
		t.Error("rotated early")
	}
	at := noon.Add(rotateKeys)
	k.turn(at)
	if k.signing().id == old.id || k.signing().key == old.key {
		t.Fatal("did not rotate")
	}
	if s, ok := k.lookup(old.id, at.Add(keyOverlap-time.Second)); !ok || s != old {
		t.Error("the retired secret is unknown during the overlap")
	}
	s, ok := k.lookup(old.id, at.Add(keyOverlap))
	if ok || s.key == old.key {
		t.Error("the retired secret is known after the overlap")
	}
	k.turn(at.Add(keyOverlap))
	if k.previous != (secret{}) {
		t.Error("the retired secret is still in memory")
	}
	k.turn(at.Add(rotateKeys))
	if s, ok := k.lookup(old.id, at.Add(rotateKeys)); ok || s.key == old.key {
		t.Error("two rotations later the first secret is known")
	}
}

// A5 case 21, the nonces.
func TestA5Case21NoncesAreBoundToAddressTimeAndNode(t *testing.T) {
	n := newNonces(noon)
	who := tuple{addr: netip.MustParseAddrPort("192.0.2.1:1000")}
	text := n.make(who, noon.Add(time.Minute))
	if len(text) != nonceText || !n.valid([]byte(text), who, noon.Add(2*time.Minute)) {
		t.Fatalf("a fresh nonce %q is not valid", text)
	}
	if !n.valid([]byte(text), who, noon.Add(time.Minute+nonceLife)) {
		t.Error("a nonce of an hour is not valid")
	}
	for name, valid := range map[string]bool{
		"61 min old":      n.valid([]byte(text), who, noon.Add(62*time.Minute)),
		"another port":    n.valid([]byte(text), tuple{addr: netip.MustParseAddrPort("192.0.2.1:1001")}, noon),
		"another address": n.valid([]byte(text), tuple{addr: netip.MustParseAddrPort("192.0.2.2:1000")}, noon),
		"over TCP":        n.valid([]byte(text), tuple{addr: who.addr, tcp: true}, noon),
		"another node":    newNonces(noon).valid([]byte(text), who, noon),
		"truncated":       n.valid([]byte(text[:15]), who, noon),
		"longer":          n.valid([]byte(text+"A"), who, noon),
		"empty":           n.valid(nil, who, noon),
		"not base64":      n.valid([]byte("!!!!!!!!!!!!!!!!"), who, noon),
		"line breaks":     n.valid([]byte(text[:14]+"\n\n"), who, noon),
	} {
		if valid {
			t.Errorf("%s: accepted", name)
		}
	}
	for i := range text {
		forged := []byte(text)
		forged[i] ^= 1
		if n.valid(forged, who, noon.Add(time.Minute)) {
			t.Errorf("forged at %d: accepted", i)
		}
	}
}

func TestPasswordsAreTheOnesOfTheTURNRESTDraft(t *testing.T) {
	// echo -n 1790000300:x | openssl dgst -sha1 -hmac <32 zero bytes> -binary | base64
	var s secret
	if got, want := password(s, []byte("1790000300:x")), "vzz+vlpM0uamilQuGBKei9co9io="; got != want {
		t.Errorf("password %s, want %s", got, want)
	}
}

func FuzzParseUsername(f *testing.F) {
	f.Add([]byte("1790000300:abcd" + someHandle))
	f.Add([]byte("1:" + strings.Repeat("f", 36)))
	f.Add([]byte(":"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if u, ok := parseUsername(b); ok && u.String() != string(b) {
			t.Fatalf("%q was read, but is written %q", b, u)
		}
	})
}

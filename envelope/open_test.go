package envelope

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

func pair(t testing.TB) (a, b *party) {
	t.Helper()
	a, b = newParty(t, 1), newParty(t, 2)
	a.knows(b)
	return a, b
}

func Test14_19_StaleBelievedEpochIsAcceptedAndWantsAListUpdate(t *testing.T) {
	a, b := pair(t)
	old := *b // what a node may still serve of b
	b.secondDevice(3)

	payload, _, err := SealMessage(a.device, a.cert, old.bundle(), a.message(&Note{Text: "x"}, &old))
	must(t, err)
	opened, err := b.open(payload)
	must(t, err)
	if opened.Echo != EchoOld || !opened.WantsList() {
		t.Fatalf("echo %d, wants list %v", opened.Echo, opened.WantsList())
	}
	// Never as an answer to one, and never to a stranger.
	m := a.message(&ListUpdate{List: a.list.Bytes()}, &old)
	payload, _, err = SealMessage(a.device, a.cert, b.bundle(), m)
	must(t, err)
	opened, err = b.open(payload)
	must(t, err)
	if opened.Echo != EchoOld || opened.WantsList() {
		t.Fatal("a LIST_UPDATE is answered with a LIST_UPDATE")
	}
	opened.Type, opened.Standing = pb.Type_TYPE_KNOCK, Stranger
	if opened.WantsList() {
		t.Fatal("a stranger is given our list")
	}
	var limit UpdateLimit
	dev := a.device.ID()
	if !limit.Allow(dev, base) || limit.Allow(dev, base.Add(59*time.Minute)) || !limit.Allow(dev, base.Add(time.Hour)) {
		t.Fatal("not one LIST_UPDATE per device and hour")
	}
}

func TestALieAboutOurListIsSeen(t *testing.T) {
	a, b := pair(t)
	for name, c := range map[string]struct {
		change func(*Message)
		want   Echo
	}{
		"none":       {func(m *Message) { m.SetEpochs(a.list, nil) }, EchoNone},
		"other hash": {func(m *Message) { m.BelievedHash[0] ^= 1 }, EchoConflict},
		"later":      {func(m *Message) { m.BelievedEpoch++ }, EchoAhead},
	} {
		m := a.message(&Note{Text: "x"}, b)
		c.change(&m)
		payload, _, err := SealMessage(a.device, a.cert, b.bundle(), m)
		must(t, err)
		opened, err := b.open(payload)
		must(t, err)
		if opened.Echo != c.want {
			t.Errorf("%s: echo %d, want %d", name, opened.Echo, c.want)
		}
	}
}

func Test14_25_EnvelopeWithHybridAndX25519StanzaIsRefused(t *testing.T) {
	a, b := pair(t)
	classic, err := age.GenerateX25519Identity()
	must(t, err)
	signed := a.inner(&Note{Text: "x"}, b)
	hybrid := b.bundle().recipient
	for _, rs := range [][]age.Recipient{
		{hidden{hybrid}, classic.Recipient()},
		{classic.Recipient(), hidden{hybrid}},
	} {
		drops(t, b, sealWith(t, bucket4K, signed, rs...), ErrOverhead)
	}
	drops(t, b, sealWith(t, bucket4K, signed, classic.Recipient()), ErrDecrypt)
}

func Test14_26_EnvelopeWithTwoHybridStanzasOrAGreaseStanzaIsRefused(t *testing.T) {
	a, b := pair(t)
	c := newParty(t, 3)
	signed := a.inner(&Note{Text: "x"}, b)
	hybrid := b.bundle().recipient
	for name, rs := range map[string][]age.Recipient{
		"two readers":  {hybrid, c.bundle().recipient},
		"reader twice": {hybrid, hybrid},
		"grease":       {hidden{hybrid}, grease{}},
		"grease first": {grease{}, hidden{hybrid}},
	} {
		t.Run(name, func(t *testing.T) { drops(t, b, sealWith(t, bucket8K, signed, rs...), ErrOverhead) })
	}
}

func Test14_27_EnvelopeToAnotherPrekeyIsDropped(t *testing.T) {
	a, b := pair(t)
	payload := a.seal(&Note{Text: "x"}, b)
	old := b.prekeys.Current().Hint()
	_, err := b.prekeys.RotateNow(b.now)
	must(t, err)
	drops(t, b, payload, ErrDecrypt) // the hint of the new one
	if _, err := b.opener.Open(payload, Hint{old[0], ^old[1]}, false); !errors.Is(err, ErrNoPrekey) && !errors.Is(err, ErrDecrypt) {
		t.Fatalf("unknown hint: %v", err)
	}
	if _, err := b.opener.Open(payload, old, false); err != nil {
		t.Fatalf("right prekey: %v", err)
	}
	drops(t, newParty(t, 3), payload, ErrDecrypt)
}

func Test14_28_ChangedTruncatedOrExtendedEnvelopeIsDropped(t *testing.T) {
	a, b := pair(t)
	payload := a.seal(&Note{Text: string(make([]byte, 0)) + "x"}, b)
	for _, at := range []int{0, 30, 100, 1500, 1600, 1630, 1645, 2000, 4095} {
		bad := bytes.Clone(payload)
		bad[at] ^= 1
		drops(t, b, bad, ErrDecrypt)
	}
	drops(t, b, payload[:4000], ErrSize)
	drops(t, b, payload[:1024], ErrDecrypt)
	drops(t, b, append(bytes.Clone(payload), make([]byte, 4096)...), ErrDecrypt)
}

// blindPrekeys fails the test when anyone asks for a prekey.
type blindPrekeys struct{ t *testing.T }

func (b blindPrekeys) ByHint(Hint) (*Prekey, error) {
	b.t.Error("a prekey was looked up")
	return nil, ErrNoPrekey
}

func Test14_29_PayloadOffABucketIsDroppedBeforeDecryption(t *testing.T) {
	a, b := pair(t)
	payload := a.seal(&Note{Text: "x"}, b)
	b.opener.c.Prekeys = blindPrekeys{t}
	for _, p := range [][]byte{payload[:4095], append(bytes.Clone(payload), 0), nil, make([]byte, MaxPayload+1)} {
		if _, err := b.opener.Open(p, Hint{}, false); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes: %v", len(p), err)
		}
	}
	if _, err := b.opener.Open(make([]byte, 8192), Hint{}, true); !errors.Is(err, ErrSize) {
		t.Errorf("knock of 8192 bytes: %v", err)
	}
}

func Test14_30_WrongPaddingIsDropped(t *testing.T) {
	a, b := pair(t)
	// Each try is a message of its own: a second one of the same id would be dropped as a
	// replay, whatever its padding.
	block := func() (plain []byte, body int) {
		signed := a.inner(&Note{Text: "x"}, b)
		plain = make([]byte, bucket4K-ageOverhead)
		must(t, Pad(plain, signed))
		return plain, len(signed)
	}
	good, _ := block()
	if _, err := b.open(sealPlain(t, good, b)); err != nil {
		t.Fatalf("good padding: %v", err)
	}
	for name, change := range map[string]func(p []byte, body int){
		"last byte":            func(p []byte, _ int) { p[len(p)-1] = 1 },
		"first byte of it":     func(p []byte, body int) { p[4+body] = 1 },
		"in the middle":        func(p []byte, body int) { p[4+body+700] = 1 },
		"length of the block":  func(p []byte, _ int) { p[2], p[3] = byte(len(p)>>8), byte(len(p)) },
		"length of four bytes": func(p []byte, _ int) { p[0] = 0xff },
	} {
		t.Run(name, func(t *testing.T) {
			bad, body := block()
			change(bad, body)
			drops(t, b, sealPlain(t, bad, b), ErrMalformed)
		})
	}
	// A length that takes a zero in is a longer message, and not a canonical one.
	longer, _ := block()
	longer[3]++
	drops(t, b, sealPlain(t, longer, b), canon.ErrNotCanonical)
}

func Test14_31_ForwardedMessageIsDropped(t *testing.T) {
	a, b := pair(t)
	c := newParty(t, 3)
	a.knows(c)
	b.knows(c)
	// B opens what A wrote to B, and seals A's signed bytes to C.
	signed := a.inner(&Note{Text: "for B only"}, b)
	drops(t, c, b.sealSignedTo(signed, c), ErrRecipient)
	// Also to another device of the same person.
	b2 := b.secondDevice(4)
	a.contacts[b.root.Public()] = Contact{Standing: Accepted, List: b.list}
	b2.list = b.list
	drops(t, b2, b.sealSignedTo(signed, b2), ErrRecipient)
	// Each of the four fields counts by itself: here all but one are right.
	root, device := c.root.Public(), c.device.ID()
	for name, change := range map[string]func(*pb.Inner){
		"root":      func(m *pb.Inner) { m.RecipientRoot = root[:] },
		"device":    func(m *pb.Inner) { m.RecipientDevice = device[:] },
		"prekey":    func(m *pb.Inner) { m.PrekeyId[0] ^= 1 },
		"route tag": func(m *pb.Inner) { m.RouteTag[0] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) { drops(t, b, a.sealSignedTo(a.forge(b, change), b), ErrRecipient) })
	}
}

func Test14_32_OtherRouteTagInsideIsDropped(t *testing.T) {
	a, b := pair(t)
	signed := a.forge(b, func(m *pb.Inner) { m.RouteTag = bytes.Repeat([]byte{9}, 16) })
	drops(t, b, a.sealSignedTo(signed, b), ErrRecipient)
	signed = a.forge(b, func(m *pb.Inner) { m.PrekeyId = bytes.Repeat([]byte{9}, 16) })
	drops(t, b, a.sealSignedTo(signed, b), ErrRecipient)
}

func Test14_33_SwappedSenderRootIsDropped(t *testing.T) {
	a, b := pair(t)
	c := newParty(t, 3)
	c.knows(b)
	other := c.root.Public()
	swapped := func() []byte {
		return a.sealSignedTo(a.forge(b, func(m *pb.Inner) { m.SenderRoot = other[:] }), b)
	}
	drops(t, b, swapped(), ErrSender)
	// The certificate of another person's device, signed by ours.
	drops(t, b, a.sealSignedTo(a.forge(b, func(m *pb.Inner) {
		m.SenderRoot, m.SenderCert = other[:], c.cert.Bytes()
	}), b), ErrSender)
	// Also where no list of the named root could tell.
	clear(b.contacts)
	drops(t, b, swapped(), ErrSender)
}

func TestOnlyAListedDeviceSpeaksForAnIdentity(t *testing.T) {
	a, b := pair(t)
	// A certificate of the right root, for a device that the pinned list does not name.
	ghost := identity.DeviceFromSeed(seed(0x77))
	cert, err := a.root.CertifyDevice(ghost.Public(), a.list.Epoch, base.Add(-time.Hour), base.Add(24*time.Hour))
	must(t, err)
	payload, _, err := SealMessage(ghost, cert, b.bundle(), a.message(&Note{Text: "x"}, b))
	must(t, err)
	drops(t, b, payload, ErrSender)

	// The same device with a certificate newer than the list goes on, unverified.
	cert, err = a.root.CertifyDevice(ghost.Public(), a.list.Epoch+1, base.Add(-time.Hour), base.Add(24*time.Hour))
	must(t, err)
	payload, _, err = SealMessage(ghost, cert, b.bundle(), a.message(&Note{Text: "x"}, b))
	must(t, err)
	opened, err := b.open(payload)
	must(t, err)
	if opened.List != ListNewer || !opened.FetchList() {
		t.Fatalf("list state %d", opened.List)
	}
	// A list that ended is said so. One that ended long ago opens nothing but its successor
	// (TestAListThatEndedLongAgoSpeaksForNobody).
	b.now = a.list.Expires.Add(time.Hour)
	a.now = b.now
	opened, err = b.open(a.seal(&Note{Text: "x"}, b2(t, b)))
	must(t, err)
	if opened.List != ListStale {
		t.Fatalf("list state %d an hour after its end", opened.List)
	}
	b.now = a.list.Expires.Add(8 * 24 * time.Hour)
	a.now = b.now
	opened, err = b.open(a.seal(&ListUpdate{List: a.list.Bytes()}, b2(t, b)))
	must(t, err)
	if opened.List != ListEnded || !opened.FetchList() {
		t.Fatalf("list state %d eight days after its end", opened.List)
	}
}

// The identity package has the times of a certificate; here they must hold where no list of
// the sender is known, too.
func TestACertificateOutsideItsTimeSendsNothing(t *testing.T) {
	a, b := pair(t)
	for name, from := range map[string]time.Duration{"ended": -48 * time.Hour, "not begun": time.Hour} {
		cert, err := a.root.CertifyDevice(a.device.Public(), 1, base.Add(from), base.Add(from+24*time.Hour))
		must(t, err)
		for _, known := range []Contact{{Standing: Accepted, List: a.list}, {Standing: Accepted}} {
			b.contacts[a.root.Public()] = known
			payload, _, err := SealMessage(a.device, cert, b.bundle(), a.message(&Note{Text: "x"}, b))
			must(t, err)
			t.Run(name, func(t *testing.T) { drops(t, b, payload, ErrSender) })
		}
	}
}

func TestAListOfTomorrowSpeaksForNobody(t *testing.T) {
	a, b := pair(t)
	list, err := a.root.SignList(identity.DeviceList{
		Epoch: 1, Issued: base.Add(time.Hour), Expires: base.Add(2 * time.Hour), Devices: []*identity.DeviceCert{a.cert},
		LowestSuite: 1, Homes: []identity.Home{a.home},
	})
	must(t, err)
	b.contacts[a.root.Public()] = Contact{Standing: Accepted, List: list}
	drops(t, b, a.seal(&Note{Text: "x"}, b), ErrSender)
}

// What a client keeps of contacts cannot make somebody else an own device.
func TestAContactIsNeverOurselves(t *testing.T) {
	a, b := pair(t)
	b.contacts[a.root.Public()] = Contact{Standing: Own, List: a.list}
	drops(t, b, a.seal(&Note{Text: "x"}, b), ErrSender)
}

// b2 renews b's own list and prekey at b's present time.
func b2(t *testing.T, b *party) *party {
	t.Helper()
	list, err := b.root.Renew(b.list, b.now)
	must(t, err)
	b.list = list
	_, err = b.prekeys.RotateNow(b.now)
	must(t, err)
	return b
}

func Test14_34_ExactReplayIsDropped(t *testing.T) {
	a, b := pair(t)
	payload := a.seal(&Note{Text: "x"}, b)
	opened, err := b.open(payload)
	must(t, err)
	drops(t, b, payload, ErrReplay)
	// A note is acknowledged again, so the client learns which one came.
	_, err = b.open(payload)
	var again *ReplayError
	if !errors.As(err, &again) || again.ID != opened.ID || again.Sender != a.root.Public() || again.Type != pb.Type_TYPE_NOTE {
		t.Fatalf("replay says %v", err)
	}
}

func Test14_35_ReplayAfterRestartAndAfterCacheLossIsDropped(t *testing.T) {
	a, b := pair(t)
	payload := a.seal(&Note{Text: "x"}, b)
	hint := b.prekeys.Current().Hint()
	_, err := b.open(payload)
	must(t, err)
	b.restart()
	drops(t, b, payload, ErrReplay)

	// The cache is lost: the horizon is now, and the prekeys are new.
	b.now = b.now.Add(10 * time.Second)
	b.replay, b.horizon = NewMemoryReplay(b.clock), b.now
	b.restart()
	drops(t, b, payload, ErrTime)
	_, err = b.prekeys.RotateNow(b.now)
	must(t, err)
	n, err := b.prekeys.DeleteBefore(b.now)
	must(t, err)
	if n != 1 {
		t.Fatalf("%d prekeys deleted", n)
	}
	if _, err := b.opener.Open(payload, hint, false); !errors.Is(err, ErrNoPrekey) {
		t.Fatalf("after the prekey is gone: %v", err)
	}
	a.now = b.now
	if _, err := b.open(a.seal(&Note{Text: "new"}, b)); err != nil {
		t.Fatalf("a new message: %v", err)
	}
}

func Test14_36_SameMessageIDFromTwoSendersIsTwoMessages(t *testing.T) {
	a, b := pair(t)
	c := newParty(t, 3)
	c.knows(b)
	for _, p := range []*party{a, c} {
		m := p.message(&Note{Text: "x"}, b)
		m.ID = MessageID(bytes.Repeat([]byte{5}, 16))
		payload, _, err := SealMessage(p.device, p.cert, b.bundle(), m)
		must(t, err)
		if _, err := b.open(payload); err != nil {
			t.Fatal(err)
		}
	}
}

func Test14_37_ResealedInnerIsAReplay(t *testing.T) {
	a, b := pair(t)
	signed := a.inner(&Note{Text: "x"}, b)
	_, err := b.open(a.sealSignedTo(signed, b))
	must(t, err)
	again := a.sealSignedTo(signed, b)
	drops(t, b, again, ErrReplay)
	// Signed anew, with other words: the message is its device and its id, not its bytes.
	m := a.message(&Note{Text: "one"}, b)
	m.ID = NewMessageID()
	for i, text := range []string{"one", "two"} {
		body, err := (&Note{Text: text}).Marshal()
		must(t, err)
		m.Body = body
		payload, _, err := SealMessage(a.device, a.cert, b.bundle(), m)
		must(t, err)
		if i == 1 {
			drops(t, b, payload, ErrReplay)
		} else if _, err := b.open(payload); err != nil {
			t.Fatal(err)
		}
	}
}

func Test14_38_WrongTimesAreDropped(t *testing.T) {
	a, b := pair(t)
	ms := func(d time.Duration) uint64 { return uint64(base.Add(d).UnixMilli()) }
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		created, expires uint64
		ok               bool
	}{
		"expired":                  {ms(-time.Hour), ms(-3 * time.Minute), false},
		"expired within the grace": {ms(-time.Hour), ms(-time.Minute), true},
		"created 6 min ahead":      {ms(6 * time.Minute), ms(time.Hour), false},
		"created 4 min ahead":      {ms(4 * time.Minute), ms(time.Hour), true},
		"expires before created":   {ms(time.Minute), ms(0), false},
		"expires with created":     {ms(0), ms(0), false},
		"lifetime 8 days":          {ms(0), ms(8 * day), false},
		"lifetime 7 days":          {ms(0), ms(7 * day), true},
		"time beyond reason":       {ms(0), 1 << 62, false},
	} {
		t.Run(name, func(t *testing.T) {
			signed := a.forge(b, func(m *pb.Inner) { m.Created, m.Expires = c.created, c.expires })
			payload := a.sealSignedTo(signed, b)
			if !c.ok {
				want := ErrTime
				if c.expires > maxMillis {
					want = ErrMalformed
				}
				drops(t, b, payload, want)
				return
			}
			opened, err := b.open(payload)
			must(t, err)
			if opened.Late != (name == "expired within the grace") {
				t.Errorf("late: %v", opened.Late)
			}
		})
	}
	// A ring lives a minute.
	signed := a.forge(b, func(m *pb.Inner) {
		m.Type, m.Created, m.Expires = pb.Type_TYPE_RING, ms(0), ms(61*time.Second)
		m.SessionId = bytes.Repeat([]byte{7}, 16)
	})
	drops(t, b, a.sealSignedTo(signed, b), ErrTime)
}

func Test14_39_ClockSetBackDoesNotBringOldMessagesBack(t *testing.T) {
	a, b := pair(t)
	fresh := a.seal(&Note{Text: "a minute"}, b)
	// An hour later the device notes the time and stops; then its clock is set back.
	wall := base.Add(time.Hour)
	clock := NewClock(func() time.Time { return wall }, time.Time{})
	floor := clock.Now()
	wall = base
	if got := clock.Now(); got.Before(floor) {
		t.Fatalf("the clock went back to %v", got)
	}
	clock = NewClock(func() time.Time { return wall }, floor)
	b.opener.c.Now = clock.Now
	before := b.count()
	b.opener.c.Now = clock.Now
	if _, err := b.open(fresh); !errors.Is(err, ErrTime) || before.n != 0 {
		t.Fatalf("old message after the clock was set back: %v", err)
	}
	wall = base.Add(2 * time.Hour)
	if got := clock.Now(); !got.Equal(wall) {
		t.Fatalf("the clock stands still at %v", got)
	}
}

func Test14_40_NonCanonicalMessagesAreDropped(t *testing.T) {
	a, b := pair(t)
	good := a.inner(&Note{Text: "x"}, b)[identity.SignatureSize:]
	tag := func(n protowire.Number, w protowire.Type) []byte { return protowire.AppendTag(nil, n, w) }
	field := func(n protowire.Number, v []byte) []byte {
		return protowire.AppendBytes(tag(n, protowire.BytesType), v)
	}
	for name, msg := range map[string][]byte{
		"duplicate field":  slices.Concat(good[:2], good),
		"descending order": slices.Concat(good[2:], good[:2]),
		"unknown field":    slices.Concat(good, field(99, []byte{1})),
		"long varint":      slices.Concat([]byte{0x08, 0x81, 0x00}, good[2:]),
		"long tag":         slices.Concat([]byte{0x88, 0x00, 0x01}, good[2:]),
		"overrun":          slices.Concat(good, tag(18, protowire.BytesType), []byte{0xff, 0x01}),
		"group":            slices.Concat(good, tag(18, protowire.StartGroupType), tag(18, protowire.EndGroupType)),
		"explicit zero":    slices.Concat(good, tag(16, protowire.VarintType), []byte{0}),
		"empty bytes":      slices.Concat(good, field(18, nil)),
		"fixed width":      slices.Concat(good, tag(18, protowire.Fixed32Type), []byte{1, 2, 3, 4}),
		"nothing":          {},
	} {
		t.Run(name, func(t *testing.T) {
			signed := a.device.SignObject(identity.ContextInner, msg)
			before := b.count()
			if _, err := b.open(a.sealSignedTo(signed, b)); err == nil || before.n != 0 {
				t.Fatalf("error %v, %d entries", err, before.n)
			}
		})
	}
	// The same for a body.
	body, err := (&Note{Text: "x"}).Marshal()
	must(t, err)
	signed := a.forge(b, func(m *pb.Inner) { m.Body = append(slices.Clone(body), field(9, []byte{1})...) })
	if _, err := b.open(a.sealSignedTo(signed, b)); err == nil {
		t.Error("a body with an unknown field was opened")
	}
}

func Test14_41_BombsAreDroppedWithoutAllocation(t *testing.T) {
	lengths := protowire.AppendVarint(protowire.AppendTag(nil, 13, protowire.BytesType), 10<<20)
	var nest []byte
	for range 2000 {
		nest = protowire.AppendBytes(protowire.AppendTag(nil, 18, protowire.BytesType), nest)
		if len(nest) > 20000 {
			break
		}
	}
	for name, msg := range map[string][]byte{"length": lengths, "nesting": nest} {
		if _, _, err := parseInner(msg); err == nil {
			t.Fatalf("%s bomb parsed", name)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, _ = parseInner(msg)
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<10 {
			t.Errorf("%s bomb: %d bytes allocated", name, grown)
		}
	}
	block := make([]byte, 64)
	block[0] = 0x00
	block[1], block[2] = 0x98, 0x96 // a length of ten million in a block of 64 bytes
	if n := testing.AllocsPerRun(20, func() { _, _ = Unpad(block) }); n != 0 {
		t.Errorf("padded block: %v allocations", n)
	}
}

func TestTheHashOfAMessageCoversItsSignature(t *testing.T) {
	a, b := pair(t)
	payload, signed, err := SealMessage(a.device, a.cert, b.bundle(), a.message(&Note{Text: "x"}, b))
	must(t, err)
	opened, err := b.open(payload)
	must(t, err)
	if opened.Hash != sha256.Sum256(signed) {
		t.Fatal("sender and recipient hash different bytes")
	}
}

func TestASenderIsToldWhatARecipientWouldDrop(t *testing.T) {
	a, b := pair(t)
	for name, change := range map[string]func(*Message){
		"no lifetime":     func(m *Message) { m.Expires = m.Created },
		"lifetime 8 days": func(m *Message) { m.Expires = m.Created.Add(8 * 24 * time.Hour) },
		"no epoch":        func(m *Message) { m.OwnEpoch = 0 },
		"other body":      func(m *Message) { m.Type = pb.Type_TYPE_READ },
		"no grant":        func(m *Message) { m.Type, m.Body = pb.Type_TYPE_TOKEN_UPDATE, nil },
	} {
		m := a.message(&Note{Text: "x"}, b)
		change(&m)
		if _, _, err := SealMessage(a.device, a.cert, b.bundle(), m); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	if _, _, err := SealMessage(b.device, a.cert, b.bundle(), a.message(&Note{}, b)); err == nil {
		t.Error("sealed under another device's certificate")
	}
}

func TestInnerRefusesWrongSizes(t *testing.T) {
	a, b := pair(t)
	for name, change := range map[string]func(*pb.Inner){
		"version":                 func(m *pb.Inner) { m.Version = 2 },
		"root":                    func(m *pb.Inner) { m.SenderRoot = m.SenderRoot[:31] },
		"cert":                    func(m *pb.Inner) { m.SenderCert = make([]byte, 257) },
		"recipient":               func(m *pb.Inner) { m.RecipientRoot = nil },
		"device":                  func(m *pb.Inner) { m.RecipientDevice = make([]byte, 15) },
		"prekey id":               func(m *pb.Inner) { m.PrekeyId = nil },
		"message id":              func(m *pb.Inner) { m.MessageId = make([]byte, 17) },
		"session id":              func(m *pb.Inner) { m.SessionId = make([]byte, 8) },
		"session id in a note":    func(m *pb.Inner) { m.SessionId = bytes.Repeat([]byte{1}, 16) },
		"ring without session id": func(m *pb.Inner) { m.Type = pb.Type_TYPE_RING },
		"own epoch":               func(m *pb.Inner) { m.OwnEpoch = 0 },
		"believed hash":           func(m *pb.Inner) { m.BelievedHash = nil },
		"believed epoch":          func(m *pb.Inner) { m.BelievedEpoch = 0 },
		"zero-token grant": func(m *pb.Inner) {
			g := a.grant()
			g.Token = Token{}
			m.Grant = g.proto()
		},
		"type": func(m *pb.Inner) { m.Type = 99 },
	} {
		t.Run(name, func(t *testing.T) {
			signed := a.forge(b, change)
			before := b.count()
			_, err := b.open(a.sealSignedTo(signed, b))
			// A type that nobody knows passes to step 11, where nobody may send it.
			if err == nil || before.n != 0 && name != "type" {
				t.Fatalf("error %v, %d entries", err, before.n)
			}
		})
	}
}

// resign changes b's bundle and signs it again with b's device.
func resign(t *testing.T, b *party, change func(*pb.PrekeyBundle)) []byte {
	t.Helper()
	var m pb.PrekeyBundle
	must(t, canon.Unmarshal(b.bundle().Bytes()[identity.SignatureSize:], maxBundle, &m))
	change(&m)
	msg, err := canon.Marshal(&m)
	must(t, err)
	return b.device.SignObject(identity.ContextPrekey, msg)
}

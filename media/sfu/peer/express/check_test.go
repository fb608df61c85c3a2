package express

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v4"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
)

// limit is only there to end a test that hangs.
const limit = 20 * time.Second

// listener is a receiver that only tells states.
type listener struct{ states chan peer.State }

func (listener) RTP([]byte)           {}
func (listener) RTCP([]byte)          {}
func (l listener) State(s peer.State) { l.states <- s }
func (listener) Strange(string)       {}

func (l listener) want(t *testing.T, s peer.State) {
	t.Helper()
	select {
	case got := <-l.states:
		if got != s {
			t.Fatalf("the state is %v, want %v", got, s)
		}
	case <-time.After(limit):
		t.Fatalf("the state never became %v", s)
	}
}

func open(t testing.TB) *Port {
	t.Helper()
	p, err := Listen(Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// answered is a peer whose client's offer was answered and that did nothing more yet.
func answered(t testing.TB, p *Port, o light.Options) (*Transport, *light.Client, listener, string) {
	t.Helper()
	l := listener{make(chan peer.State, 64)}
	o.Sections = []light.Section{{Audio: true, Sends: true, SSRC: 11}, {Audio: true}}
	c, err1 := light.New(o)
	if err1 != nil {
		t.Fatal(err1)
	}
	tr := p.New(p.Lane(), l, false)
	offer, err1 := peer.ParseOffer(c.Offer())
	if err1 != nil {
		t.Fatal(err1)
	}
	answer, _, err := tr.Answer(context.Background(), offer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), tr.Close()); err != nil {
			t.Error(err)
		}
	})
	return tr, c, l, answer
}

// stranger is a socket of somebody's.
func stranger(t *testing.T, p *Port) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func checkOf(t testing.TB, c credentials, more ...stun.Setter) []byte {
	t.Helper()
	with := append([]stun.Setter{stun.TransactionID, stun.BindingRequest, stun.NewUsername(c.ufrag + ":" + c.farUfrag)}, more...)
	m, err := stun.Build(append(with, stun.NewShortTermIntegrity(c.pwd), stun.Fingerprint)...)
	if err != nil {
		t.Fatal(err)
	}
	return m.Raw
}

var nominate = attribute{stun.AttrUseCandidate, nil}

func (t *Transport) current() credentials {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sessions[len(t.sessions)-1]
}

// exchange sends a datagram and reads what comes back.
func exchange(t *testing.T, c *net.UDPConn, b []byte) *stun.Message {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	return receive(t, c)
}

func receive(t *testing.T, c *net.UDPConn) *stun.Message {
	t.Helper()
	in := make([]byte, 1500)
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(in)
	if err != nil {
		t.Fatal(err)
	}
	m := &stun.Message{Raw: in[:n]}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestOnlyWhoKnowsThePasswordIsAnswered(t *testing.T) {
	p := open(t)
	p.Start()
	tr, _, _, _ := answered(t, p, light.Options{})
	good := tr.current()
	s := stranger(t, p)
	wrongPassword, wrongName, wrongFar := good, good, good
	wrongPassword.pwd, wrongName.ufrag, wrongFar.farUfrag = "another password of theirs", "nobody", "other"
	touched := checkOf(t, good)
	touched[12] ^= 1 // of the transaction
	bad := [][]byte{
		checkOf(t, wrongPassword), checkOf(t, wrongName), checkOf(t, wrongFar), touched,
		checkOf(t, good, attribute{stun.AttrSoftware, make([]byte, checkMost)}), // too long
	}
	for _, kind := range []stun.MessageType{stun.BindingSuccess, stun.BindingError, stun.NewType(stun.MethodAllocate, stun.ClassRequest)} {
		bad = append(bad, build(stun.NewTransactionID(), kind, stun.NewUsername(good.ufrag+":"+good.farUfrag), stun.NewShortTermIntegrity(good.pwd)))
	}
	plain, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(good.ufrag+":"+good.farUfrag), stun.Fingerprint)
	if err != nil {
		t.Fatal(err)
	}
	bad = append(bad, plain.Raw)
	for _, b := range bad {
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	// The port answers in order: what comes back first is of the first one that is good.
	request := checkOf(t, good)
	m := exchange(t, s, request)
	var mapped stun.XORMappedAddress
	if m.Type != stun.BindingSuccess || !bytes.Equal(m.TransactionID[:], request[8:20]) || mapped.GetFrom(m) != nil || mapped.String() != s.LocalAddr().String() {
		t.Errorf("%v for %v", m, mapped)
	}
	if err := stun.NewShortTermIntegrity(good.pwd).Check(m); err != nil {
		t.Error(err)
	}
	if len(m.Raw) > len(request) {
		t.Errorf("%d bytes are answered with %d", len(request), len(m.Raw))
	}
	if n := p.Counts().BadChecks; n != uint64(len(bad)) {
		t.Errorf("%d bad checks are counted, %d were sent", n, len(bad))
	}
}

func TestAuthenticChecksThatAreRefusedMoveNothing(t *testing.T) {
	p := open(t)
	p.Start()
	tr, _, _, _ := answered(t, p, light.Options{})
	s := stranger(t, p)
	for code, more := range map[stun.ErrorCode]stun.Setter{
		stun.CodeUnknownAttribute: attribute{stun.AttrType(0x0777), []byte{1, 2, 3, 4}},
		stun.CodeRoleConflict:     attribute{stun.AttrICEControlled, make([]byte, 8)},
	} {
		m := exchange(t, s, checkOf(t, tr.current(), nominate, more))
		var got stun.ErrorCodeAttribute
		if err := got.GetFrom(m); m.Type != stun.BindingError || err != nil || got.Code != code {
			t.Errorf("%v instead of %d", m, code)
		}
	}
	if tr.path.Load() != nil {
		t.Error("there is a path")
	}
}

// connected is a client with a path and keys.
func connected(t *testing.T, p *Port, o light.Options) (*Transport, *light.Client, listener) {
	t.Helper()
	tr, c, l, answer := answered(t, p, o)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := c.Connect(ctx, answer); err != nil {
		t.Fatal(err)
	}
	l.want(t, peer.Connected)
	return tr, c, l
}

// Who has seen a check on its way can send it again from an address of somebody else's. Media does not go there.
func TestACheckThatIsSentAgainFromElsewhereMovesNoMedia(t *testing.T) {
	p := open(t)
	p.Start()
	tr, _, _ := connected(t, p, light.Options{})
	before := *tr.path.Load()
	victim := stranger(t, p)
	recorded := checkOf(t, tr.current(), nominate)
	m := exchange(t, victim, recorded)
	ask := receive(t, victim)
	if m.Type != stun.BindingSuccess || ask.Type != stun.BindingRequest {
		t.Fatalf("%v, and %v", m, ask)
	}
	// The victim answers nothing, or what is no answer.
	for _, b := range [][]byte{
		build(ask.TransactionID, stun.BindingSuccess),
		build(ask.TransactionID, stun.BindingSuccess, stun.NewShortTermIntegrity(tr.current().pwd)), // the server's own
		build(stun.NewTransactionID(), stun.BindingSuccess, stun.NewShortTermIntegrity(tr.current().farPwd)),
		build(ask.TransactionID, stun.BindingError, stun.NewShortTermIntegrity(tr.current().farPwd)),
	} {
		if _, err := victim.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	// Checks at once are answered one to one, without another question.
	if m := exchange(t, victim, checkOf(t, tr.current(), nominate)); m.Type != stun.BindingSuccess {
		t.Fatal(m)
	}
	if now := *tr.path.Load(); now != before {
		t.Errorf("media goes to %v", now.addr)
	}
	// It moves to who can answer.
	if _, err := victim.Write(build(ask.TransactionID, stun.BindingSuccess, stun.NewShortTermIntegrity(tr.current().farPwd))); err != nil {
		t.Fatal(err)
	}
	exchange(t, victim, checkOf(t, tr.current())) // which is read after it
	if now := tr.path.Load(); now.addr.String() != victim.LocalAddr().String() {
		t.Errorf("media goes to %v", now.addr)
	}
}

func TestAnotherCertificateThanTheOffersIsNotServed(t *testing.T) {
	p := open(t)
	p.Start()
	l := listener{make(chan peer.State, 64)}
	c, err := light.New(light.Options{Sections: []light.Section{{Audio: true}}})
	if err != nil {
		t.Fatal(err)
	}
	text := c.Offer()
	at := strings.Index(text, "a=fingerprint:sha-256 ") + len("a=fingerprint:sha-256 ")
	text = strings.ReplaceAll(text, text[at:at+95], strings.TrimPrefix(peer.PrintOf([]byte("another")), "sha-256 "))
	offer, err := peer.ParseOffer(text)
	if err != nil {
		t.Fatal(err)
	}
	tr := p.New(p.Lane(), l, false)
	answer, _, err := tr.Answer(t.Context(), offer)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := c.Connect(ctx, answer); err == nil {
		t.Error("the client was served")
	}
	l.want(t, peer.Closed)
	if tr.sealer.Load() != nil {
		t.Error("there are keys")
	}
	if err := errors.Join(c.Close(), tr.Close()); err != nil {
		t.Error(err)
	}
}

func TestAnotherCertificateLaterIsRefused(t *testing.T) {
	p := open(t)
	tr, c, _, _ := answered(t, p, light.Options{})
	text := c.Offer()
	at := strings.Index(text, "a=fingerprint:sha-256 ") + len("a=fingerprint:sha-256 ")
	offer, err := peer.ParseOffer(strings.ReplaceAll(text, text[at:at+95], strings.TrimPrefix(peer.PrintOf([]byte("another")), "sha-256 ")))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := tr.Answer(t.Context(), offer); !errors.Is(err, peer.ErrOffer) {
		t.Error(err)
	}
}

func TestMediaFromAnAddressWithoutACheckIsNobodys(t *testing.T) {
	p := open(t)
	p.Start()
	connected(t, p, light.Options{})
	s := stranger(t, p)
	before := p.Counts()
	for _, first := range []byte{0x80, 22, 70, 255} {
		if _, err := s.Write([]byte{first, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 11}); err != nil {
			t.Fatal(err)
		}
	}
	// Read behind them, by the same reader.
	tr, _, _, _ := answered(t, p, light.Options{})
	exchange(t, s, checkOf(t, tr.current()))
	if n := p.Counts().Unknown - before.Unknown; n != 4 {
		t.Errorf("%d of 4 are counted", n)
	}
}

func TestSilenceBreaksAPathAndAnyAuthenticWordMendsIt(t *testing.T) {
	p := open(t) // nobody counts seconds but the test
	p.loops.Go(p.readLoop)
	tr, c, l := connected(t, p, light.Options{})
	tr.second() // in which the handshake was
	for range brokenAfter - 1 {
		tr.second()
	}
	select {
	case s := <-l.states:
		t.Fatalf("%v too early", s)
	default:
	}
	tr.second()
	l.want(t, peer.Broken)
	if err := c.WriteRTCP([]byte{0x80, 201, 0, 1, 0, 0, 0, 11}); err != nil {
		t.Fatal(err)
	}
	l.want(t, peer.Connected)
	for range brokenAfter + 1 {
		tr.second()
	}
	l.want(t, peer.Broken)
	exchange(t, stranger(t, p), checkOf(t, tr.current()))
	l.want(t, peer.Connected)

	late, _, told, _ := answered(t, p, light.Options{})
	for range lateAfter {
		late.second()
	}
	told.want(t, peer.Broken)
}

func TestWhoHasManyAddressesAndConnectionsLosesTheOldestOnes(t *testing.T) {
	p := open(t)
	p.Start()
	tr, _, _ := connected(t, p, light.Options{})
	own := tr.path.Load().addr
	for range 3 * addrsMost {
		exchange(t, stranger(t, p), checkOf(t, tr.current()))
	}
	p.mu.RLock()
	n, still := len(p.addrs), p.addrs[own] == tr
	p.mu.RUnlock()
	if n != addrsMost || !still {
		t.Errorf("%d addresses, the one that is used is there: %v", n, still)
	}
	var conns []net.Conn
	for range tcpOfOne + 2 {
		conns = append(conns, dial(t, p))
		c := conns[len(conns)-1]
		// A connection is the client's after its first check was answered: the second answer says that it is.
		for range 2 {
			write(t, c, checkOf(t, tr.current()))
			b := make([]byte, 1500)
			if n, err := readFrame(c, b); err != nil || n == 0 {
				t.Fatal(n, err)
			}
		}
	}
	for _, c := range conns[:2] {
		if _, err := io.ReadAll(c); err != nil && !isReset(err) {
			t.Fatal(err)
		}
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

func dial(t *testing.T, p *Port) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func write(t *testing.T, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(append([]byte{byte(len(b) >> 8), byte(len(b))}, b...)); err != nil {
		t.Fatal(err)
	}
}

func TestAConnectionThatIsNobodysEnds(t *testing.T) {
	p := open(t)
	p.firstCheck = 200 * time.Millisecond
	p.Start()
	a, _, _, _ := answered(t, p, light.Options{})
	b, _, _, _ := answered(t, p, light.Options{})
	wrong := a.current()
	wrong.pwd = "another password of theirs"
	for name, frames := range map[string][][]byte{
		"nothing":              {},
		"half a length":        nil,
		"media before a check": {{0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 11}},
		"a handshake before":   {{22, 254, 253}},
		"a bad check":          {checkOf(t, wrong)},
		"a long frame":         {make([]byte, 1501)},
		"one for two":          {checkOf(t, a.current()), checkOf(t, b.current())},
	} {
		c := dial(t, p)
		if frames == nil {
			if _, err := c.Write([]byte{0}); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range frames {
			write(t, c, f)
		}
		if _, err := io.Copy(io.Discard, c); err != nil && !isReset(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAPortThatWasClosedHasNoPeers(t *testing.T) {
	p := open(t)
	p.Start()
	tr, c, _ := connected(t, p, light.Options{TCP: true})
	if err := errors.Join(tr.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if len(p.peers)+len(p.users)+len(p.addrs) != 0 {
		t.Errorf("%d peers, %d names, %d addresses", len(p.peers), len(p.users), len(p.addrs))
	}
}

func TestAClientThatEndsIsGoneAtOnce(t *testing.T) {
	p := open(t)
	p.Start()
	_, c, l := connected(t, p, light.Options{})
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	l.want(t, peer.Closed)
}

func TestCandidatesNameUDPBeforeTCP(t *testing.T) {
	p, err := Listen(Config{Listen: "127.0.0.1:0", External: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := p.candidates()
	if err != nil || len(c) != 4 {
		t.Fatal(c, err)
	}
	for i, want := range []string{" 1 udp 2130706431 192.0.2.1 ", " 1 udp 2130706175 2001:db8::1 ", " 1 tcp 1526726655 192.0.2.1 ", " 1 tcp 1526726399 2001:db8::1 "} {
		if !strings.Contains(c[i], want) || i > 1 && !strings.HasSuffix(c[i], "typ host tcptype passive") {
			t.Errorf("candidate %d is %q", i, c[i])
		}
	}
}

func FuzzCheck(f *testing.F) {
	p := open(f)
	tr, _, _, _ := answered(f, p, light.Options{})
	good := tr.current()
	f.Add(checkOf(f, good))
	f.Add(checkOf(f, good, nominate, attribute{stun.AttrICEControlling, make([]byte, 8)}, attribute{stun.AttrPriority, make([]byte, 4)}))
	f.Add(build(stun.NewTransactionID(), stun.BindingSuccess, stun.NewShortTermIntegrity(good.farPwd)))
	from := &path{addr: netip.MustParseAddrPort("127.0.0.1:9")}
	var c checker
	f.Fuzz(func(t *testing.T, b []byte) {
		if owner := c.check(p, b, from); owner != nil && owner != tr {
			t.Fatal("it is somebody else's")
		} else if owner == nil && len(p.addrs) > 0 {
			t.Fatal("an address is known of a check that was not authentic")
		}
		p.forget(tr, nil, tr.addrs)
		tr.addrs = nil
	})
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 3, 1, 2, 3})
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		b := make([]byte, 1500)
		r := bytes.NewReader(in)
		for {
			n, err := readFrame(r, b)
			if err != nil {
				return
			}
			if n > len(b) {
				t.Fatal(n)
			}
		}
	})
}

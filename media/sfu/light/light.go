// Package light is a client of the SFU that is nothing but one: a socket, one kind of STUN request, DTLS, and SRTP
// spoken directly. The benchmark loads the server with hundreds of them, where a whole WebRTC stack each would take
// the machine from the server; tests send with it what no library would send.
//
// [New], [Client.Offer], then [Client.Connect] with the answer.
package light

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/pion/stun/v4"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
)

// The numbers under which a light client has its header extensions and formats.
var Extensions = peer.Extensions{MID: 1, RID: 2, RepairRID: 3, Transport: 4, Descriptor: 5, Allocation: 6, AudioLevel: 7}

// Payload types.
const (
	Opus = 111
	VP8  = 96
	VP9  = 98
	AV1  = 45
)

// repairOf is the payload type that repairs another.
func repairOf(pt uint8) uint8 { return pt + 1 }

// Section is one that a client offers.
type Section struct {
	Audio bool
	Sends bool
	RIDs  []string // of simulcast, the smallest first
	SSRC  uint32   // announced; 0: none
	RTX   uint32   // announced repair of SSRC
	Codec uint8    // the only payload type; 0: all of its kind
	Off   bool     // inactive
}

// Options of a client. Callbacks come from the client's reading goroutine, one at a time.
type Options struct {
	Sections []Section
	TCP      bool
	// OnRTP gets what came, decrypted. Slices are valid during the call.
	OnRTP func(packet []byte)
	// OnSealed, if set, gets packets as they came instead, with the header in clear and the rest sealed.
	OnSealed func(packet []byte)
	OnRTCP   func(compound []byte)
	// Bind is the client's own address; empty: any.
	Bind string
	// Deaf clients do not answer the server's checks.
	Deaf bool
	// Profiles it offers for SRTP; empty: AES-128-GCM.
	Profiles []dtls.SRTPProtectionProfile
}

// Client is one peer.
type Client struct {
	o       Options
	cert    tls.Certificate
	print   string
	version int

	mu         sync.Mutex // guards all below, to far
	ufrag, pwd string
	conn       net.Conn
	far        remote

	secure    *dtls.Conn
	handshake *pipe
	answered  chan [12]byte // transaction ids of answered checks
	done      chan struct{}
	loops     sync.WaitGroup
	ended     atomic.Bool

	inMu    sync.Mutex // guards in
	in, out *srtp.Context
	outMu   sync.Mutex // guards out, header, sealed
	header  rtp.Header
	sealed  []byte
	opened  []byte
	inHead  rtp.Header
}

// remote is the server as its answer describes it.
type remote struct {
	ufrag, pwd, print string
	udp, tcp          netip.AddrPort
	sources           map[string][2]uint32
}

var identity = sync.OnceValues(func() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(240 * time.Hour)},
		&x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
})

// New makes a client; all of one process have one certificate.
func New(o Options) (*Client, error) {
	c := &Client{o: o, done: make(chan struct{}), answered: make(chan [12]byte, 4), handshake: newPipe()}
	var err error
	if c.cert, err = identity(); err != nil {
		return nil, fmt.Errorf("light: %w", err)
	}
	sum := sha256.Sum256(c.cert.Certificate[0])
	text := strings.ToUpper(hex.EncodeToString(sum[:]))
	var pairs []string
	for i := 0; i < len(text); i += 2 {
		pairs = append(pairs, text[i:i+2])
	}
	c.print = strings.Join(pairs, ":")
	c.credentials()
	return c, nil
}

func (c *Client) credentials() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ufrag, c.pwd = rand.Text()[:8], rand.Text()
}

// SetSections changes what the next offer has.
func (c *Client) SetSections(s []Section) { c.o.Sections = s }

// Offer writes the description. Each section's mid is its place.
func (c *Client) Offer() string {
	c.version++
	c.mu.Lock()
	defer c.mu.Unlock()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	line("v=0")
	line("o=- 1 %d IN IP4 0.0.0.0", c.version)
	line("s=-")
	line("t=0 0")
	line("a=extmap-allow-mixed")
	b.WriteString("a=group:BUNDLE")
	for i := range c.o.Sections {
		fmt.Fprintf(&b, " %d", i)
	}
	b.WriteString("\r\n")
	line("a=msid-semantic: WMS *")
	for i := range c.o.Sections {
		c.section(line, i, &c.o.Sections[i])
	}
	return b.String()
}

func (c *Client) section(line func(string, ...any), i int, s *Section) {
	kind, types := "video", []uint8{VP8, VP9, AV1}
	if s.Audio {
		kind, types = "audio", []uint8{Opus}
	}
	if s.Codec != 0 {
		types = []uint8{s.Codec}
	}
	var numbers []string
	for _, t := range types {
		numbers = append(numbers, fmt.Sprint(t))
		if !s.Audio {
			numbers = append(numbers, fmt.Sprint(repairOf(t)))
		}
	}
	line("m=%s 9 UDP/TLS/RTP/SAVPF %s", kind, strings.Join(numbers, " "))
	line("c=IN IP4 0.0.0.0")
	line("a=rtcp:9 IN IP4 0.0.0.0")
	line("a=ice-ufrag:%s", c.ufrag)
	line("a=ice-pwd:%s", c.pwd)
	line("a=fingerprint:sha-256 %s", c.print)
	line("a=setup:actpass")
	line("a=mid:%d", i)
	switch {
	case s.Off:
		line("a=inactive")
	case s.Sends:
		line("a=sendonly")
		line("a=msid:- m%d", i)
	default:
		line("a=recvonly")
	}
	line("a=rtcp-mux")
	line("a=rtcp-rsize")
	line("a=extmap:%d %s", Extensions.MID, peer.ExtMID)
	line("a=extmap:%d %s", Extensions.Transport, peer.ExtTransport)
	if s.Audio {
		line("a=extmap:%d %s", Extensions.AudioLevel, peer.ExtAudioLevel)
	} else {
		line("a=extmap:%d %s", Extensions.RID, peer.ExtRID)
		line("a=extmap:%d %s", Extensions.RepairRID, peer.ExtRepairRID)
		line("a=extmap:%d %s", Extensions.Descriptor, peer.ExtDescriptor)
		line("a=extmap:%d %s", Extensions.Allocation, peer.ExtAllocation)
	}
	for _, t := range types {
		switch t {
		case Opus:
			line("a=rtpmap:%d opus/48000/2", t)
			line("a=fmtp:%d minptime=10;useinbandfec=1", t)
			line("a=rtcp-fb:%d nack", t)
			line("a=rtcp-fb:%d transport-cc", t)
			continue
		case VP8:
			line("a=rtpmap:%d VP8/90000", t)
		case VP9:
			line("a=rtpmap:%d VP9/90000", t)
			line("a=fmtp:%d profile-id=0", t)
		case AV1:
			line("a=rtpmap:%d AV1/90000", t)
		}
		for _, f := range []string{"nack", "nack pli", "ccm fir", "transport-cc"} {
			line("a=rtcp-fb:%d %s", t, f)
		}
		line("a=rtpmap:%d rtx/90000", repairOf(t))
		line("a=fmtp:%d apt=%d", repairOf(t), t)
	}
	if s.Sends && len(s.RIDs) > 0 {
		for _, r := range s.RIDs {
			line("a=rid:%s send", r)
		}
		line("a=simulcast:send %s", strings.Join(s.RIDs, ";"))
	}
	if s.Sends && s.SSRC != 0 {
		if s.RTX != 0 {
			line("a=ssrc-group:FID %d %d", s.SSRC, s.RTX)
			line("a=ssrc:%d cname:light", s.RTX)
			line("a=ssrc:%d msid:- m%d", s.RTX, i)
		}
		line("a=ssrc:%d cname:light", s.SSRC)
		line("a=ssrc:%d msid:- m%d", s.SSRC, i)
	}
}

func parseAnswer(text string) (r remote, err error) {
	r.sources = map[string][2]uint32{}
	var mid string
	var pending [][2]uint32
	flush := func() {
		if mid != "" && len(pending) > 0 {
			r.sources[mid] = pending[0]
		}
		mid, pending = "", nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		switch name {
		case "ice-ufrag":
			r.ufrag = value
		case "ice-pwd":
			r.pwd = value
		case "fingerprint":
			_, r.print, _ = strings.Cut(value, " ")
		case "mid":
			mid = value
		case "candidate":
			f := strings.Fields(value)
			if len(f) < 8 || f[7] != "host" {
				continue
			}
			a, err := netip.ParseAddrPort(net.JoinHostPort(f[4], f[5]))
			if err != nil {
				return r, fmt.Errorf("light: candidate: %w", err)
			}
			if into := map[string]*netip.AddrPort{"udp": &r.udp, "tcp": &r.tcp}[strings.ToLower(f[2])]; into != nil && !into.IsValid() {
				*into = a
			}
		case "ssrc":
			var ssrc uint32
			if _, err := fmt.Sscan(strings.Fields(value)[0], &ssrc); err != nil {
				return r, fmt.Errorf("light: source: %w", err)
			}
			if len(pending) == 0 {
				pending = append(pending, [2]uint32{ssrc, 0})
			} else if pending[0][0] != ssrc && pending[0][1] == 0 {
				pending[0][1] = ssrc
			}
		}
		if strings.HasPrefix(line, "m=") {
			flush()
		}
	}
	flush()
	if r.ufrag == "" || r.pwd == "" || r.print == "" || !r.udp.IsValid() {
		return r, errors.New("light: the answer has no credentials, fingerprint or UDP candidate")
	}
	return r, nil
}

// Source is the SSRC and its repair that a receiving section gets its packets from.
func (c *Client) Source(mid string) (ssrc, repair uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.far.sources[mid]
	return s[0], s[1]
}

// Update takes the answer to a later offer that did not restart ICE.
func (c *Client) Update(answer string) error {
	r, err := parseAnswer(answer)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.far.sources = r.sources
	return nil
}

// Connect finds the server and secures the path. The client is closed if it fails.
func (c *Client) Connect(ctx context.Context, answer string) error {
	err := c.path(ctx, answer)
	if err == nil {
		err = c.secureIt(ctx)
	}
	if err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// Restart gives the client new credentials; then comes an Offer, and Move with its answer.
func (c *Client) Restart() { c.credentials() }

// Move takes a new path under the credentials of Restart. The keys stay.
func (c *Client) Move(ctx context.Context, answer string) error {
	c.mu.Lock()
	old := c.conn
	c.mu.Unlock()
	if err := old.Close(); err != nil {
		return err
	}
	return c.path(ctx, answer)
}

// Drop closes the path, as a network that is gone does. Move makes another one.
func (c *Client) Drop() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Close()
}

func (c *Client) path(ctx context.Context, answer string) error {
	r, err := parseAnswer(answer)
	if err != nil {
		return err
	}
	var d net.Dialer
	network, to := "udp", r.udp
	if c.o.TCP {
		network, to = "tcp", r.tcp
	}
	if c.o.Bind != "" {
		ip := net.ParseIP(c.o.Bind)
		d.LocalAddr = &net.UDPAddr{IP: ip}
		if c.o.TCP {
			d.LocalAddr = &net.TCPAddr{IP: ip}
		}
	}
	conn, err := d.DialContext(ctx, network, to.String())
	if err != nil {
		return fmt.Errorf("light: %w", err)
	}
	if c.o.TCP {
		conn = &framed{Conn: conn}
	}
	c.mu.Lock()
	c.conn, c.far = conn, r
	c.mu.Unlock()
	c.loops.Add(1)
	go c.readLoop(conn)
	// Checks until one is answered.
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if err := c.check(); err != nil {
			return err
		}
		select {
		case <-c.answered:
			return nil
		case <-again.C:
		case <-c.done:
			return net.ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("light: no answer to a check: %w", ctx.Err())
		}
	}
}

// check is one STUN request that nominates (RFC 8445, 7.1). The server is ICE lite and sends none itself.
func (c *Client) check() error {
	c.mu.Lock()
	conn, r, own := c.conn, c.far, c.ufrag
	c.mu.Unlock()
	m, err := stun.Build(stun.TransactionID, stun.BindingRequest, stun.NewUsername(r.ufrag+":"+own),
		attribute{stun.AttrUseCandidate, nil}, attribute{stun.AttrICEControlling, []byte("trunklin")},
		attribute{stun.AttrPriority, []byte{0x6e, 0, 1, 0xff}}, stun.NewShortTermIntegrity(r.pwd), stun.Fingerprint)
	if err != nil {
		return fmt.Errorf("light: check: %w", err)
	}
	if _, err := conn.Write(m.Raw); err != nil {
		return fmt.Errorf("light: check: %w", err)
	}
	return nil
}

type attribute struct {
	kind  stun.AttrType
	value []byte
}

func (a attribute) AddTo(m *stun.Message) error {
	m.Add(a.kind, a.value)
	return nil
}

func (c *Client) secureIt(ctx context.Context) error {
	profiles := c.o.Profiles
	if len(profiles) == 0 {
		profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}
	}
	c.handshake.send = func(b []byte) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, err := c.conn.Write(b)
		return err
	}
	secure, err := dtls.ClientWithOptions(c.handshake, c.conn.RemoteAddr(), dtls.WithCertificates(c.cert),
		dtls.WithSRTPProtectionProfiles(profiles...), dtls.WithInsecureSkipVerify(true), dtls.WithFlightInterval(100*time.Millisecond),
		dtls.WithVerifyPeerCertificate(func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 {
				return errors.New("light: no certificate")
			}
			sum := sha256.Sum256(raw[0])
			if want := strings.ReplaceAll(c.far.print, ":", ""); !strings.EqualFold(hex.EncodeToString(sum[:]), want) {
				return errors.New("light: another certificate than the answer's")
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("light: dtls: %w", err)
	}
	c.secure = secure
	if err := secure.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("light: dtls: %w", err)
	}
	profile, ok := secure.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("light: no SRTP profile")
	}
	state, ok := secure.ConnectionState()
	if !ok {
		return errors.New("light: no DTLS state")
	}
	cfg := &srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	if err := cfg.ExtractSessionKeysFromDTLS(&state, true); err != nil {
		return fmt.Errorf("light: keys: %w", err)
	}
	out, err := srtp.CreateContext(cfg.Keys.LocalMasterKey, cfg.Keys.LocalMasterSalt, cfg.Profile)
	if err != nil {
		return fmt.Errorf("light: keys: %w", err)
	}
	in, err := srtp.CreateContext(cfg.Keys.RemoteMasterKey, cfg.Keys.RemoteMasterSalt, cfg.Profile)
	if err != nil {
		return fmt.Errorf("light: keys: %w", err)
	}
	c.inMu.Lock()
	c.in, c.out = in, out
	c.inMu.Unlock()
	c.loops.Add(1)
	go c.keepLoop()
	return nil
}

// keepLoop keeps the path open.
func (c *Client) keepLoop() {
	defer c.loops.Done()
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			// A path that is gone is noticed by who reads.
			if err := c.check(); err != nil {
				continue
			}
		case <-c.done:
			return
		}
	}
}

func (c *Client) readLoop(conn net.Conn) {
	defer c.loops.Done()
	b := make([]byte, 2048)
	for {
		n, err := conn.Read(b)
		if err != nil {
			var refused net.Error
			if errors.As(err, &refused) && !errors.Is(err, net.ErrClosed) && !c.o.TCP {
				continue // a port that was closed for a moment
			}
			return
		}
		if n < 2 {
			continue
		}
		switch first := b[0]; {
		case first < 4:
			c.stun(b[:n])
		case first >= 20 && first <= 63:
			c.handshake.put(b[:n])
		case first >= 128 && first <= 191:
			c.media(b[:n])
		}
	}
}

// stun takes an answer to a check, or answers one: a server asks whether a client can be reached where it moved to.
func (c *Client) stun(b []byte) {
	m := &stun.Message{Raw: append([]byte(nil), b...)}
	if m.Decode() != nil {
		return
	}
	switch m.Type {
	case stun.BindingSuccess:
		select {
		case c.answered <- m.TransactionID:
		default:
		}
	case stun.BindingRequest:
		c.mu.Lock()
		secret := stun.NewShortTermIntegrity(c.pwd)
		c.mu.Unlock()
		if c.o.Deaf || secret.Check(m) != nil {
			return
		}
		a, err := stun.Build(stun.NewTransactionIDSetter(m.TransactionID), stun.BindingSuccess, secret, stun.Fingerprint)
		if err == nil {
			// Lost, if it cannot be sent: the server asks again.
			_ = c.write(a.Raw)
		}
	}
}

func (c *Client) media(b []byte) {
	c.inMu.Lock()
	in := c.in
	c.inMu.Unlock()
	if in == nil {
		return
	}
	if b[1] >= 192 && b[1] <= 223 {
		if c.o.OnRTCP == nil {
			return
		}
		opened, err := in.DecryptRTCP(nil, b, nil)
		if err == nil {
			c.o.OnRTCP(opened)
		}
		return
	}
	if c.o.OnSealed != nil {
		c.o.OnSealed(b)
		return
	}
	if c.o.OnRTP == nil {
		return
	}
	opened, err := in.DecryptRTP(c.opened[:0], b, &c.inHead)
	if err == nil {
		c.opened = opened
		c.o.OnRTP(opened)
	}
}

// WriteRTP seals and sends a whole packet.
func (c *Client) WriteRTP(packet []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	sealed, err := c.out.EncryptRTP(c.sealed[:0], packet, &c.header)
	if err != nil {
		return fmt.Errorf("light: %w", err)
	}
	c.sealed = sealed
	return c.write(sealed)
}

// WriteRTCP seals and sends a compound, whatever it holds.
func (c *Client) WriteRTCP(compound []byte) error {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	sealed, err := c.out.EncryptRTCP(nil, compound, nil)
	if err != nil {
		return fmt.Errorf("light: %w", err)
	}
	return c.write(sealed)
}

// WriteRaw sends bytes as they are.
func (c *Client) WriteRaw(b []byte) error { return c.write(b) }

func (c *Client) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.conn.Write(b)
	return err
}

// Leave tells the server that the client goes, as a browser does that closes its connection, and then closes it.
func (c *Client) Leave() error { return errors.Join(c.secure.Close(), c.Close()) }

// Close ends the client without a word to the server.
func (c *Client) Close() error {
	if c.ended.Swap(true) {
		return nil
	}
	close(c.done)
	c.handshake.end()
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	var err error
	if conn != nil {
		err = conn.Close()
	}
	c.loops.Wait()
	if c.secure != nil {
		// The alert that it wants to send has no path any more.
		_ = c.secure.Close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

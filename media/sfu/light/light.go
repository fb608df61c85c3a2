// Package light is a client of the SFU that is nothing but one: a socket, one kind of STUN request, DTLS, and SRTP
// spoken directly. The benchmark loads the server with hundreds of them, where a whole WebRTC stack each would take
// the machine from the server; tests send with it what no library would send.
//
// [New], [Client.Offer], then [Client.Connect] with the answer.
package light

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pion/dtls/v3"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

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

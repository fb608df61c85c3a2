package express

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/transport/v4/packetio"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/srtp"
)

// profiles in the order in which the server takes them: GCM costs a third of the other.
var profiles = []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80}

const (
	// waitingMost bounds what of a handshake waits to be read; DTLS sends again what was lost.
	waitingMost = 64 << 10
	// exporter names what the keys are for (RFC 5764, 4.2).
	exporter = "EXTRACTOR-dtls_srtp"
)

var errCertificate = errors.New("sfu: another certificate than the offer's")

// handshake is the DTLS half of a connection, which is only there for its keys, and to hear the client end it.
type handshake struct {
	t      *Transport
	print  peer.Fingerprint
	in     *packetio.Buffer
	cancel context.CancelFunc
	done   sync.WaitGroup
	begin  sync.Once
}

func newHandshake(t *Transport, print peer.Fingerprint) *handshake {
	h := &handshake{t: t, print: print, in: packetio.NewBuffer(), cancel: func() {}}
	h.in.SetLimitSize(waitingMost)
	return h
}

// start waits for the client, in the background.
func (h *handshake) start() {
	h.begin.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		h.cancel = cancel
		h.done.Go(func() {
			// Who cannot be secured is told by silence, and who is gone by the state.
			_ = h.run(ctx)
			h.t.over()
		})
	})
}

// came takes a datagram. One that does not fit is lost.
func (h *handshake) came(b []byte) { _, _ = h.in.Write(b) }

func (h *handshake) run(ctx context.Context) (err error) {
	// ICE has proven the client's address with a password from the answer: a cookie would prove it again for one more
	// round trip.
	c, err := dtls.ServerWithOptions(h, nowhere{}, dtls.WithCertificates(h.t.port.certificate), dtls.WithSRTPProtectionProfiles(profiles...),
		dtls.WithClientAuth(dtls.RequireAnyClientCert), dtls.WithInsecureSkipVerifyHello(true),
		dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret), dtls.WithVerifyPeerCertificate(h.verify))
	if err != nil {
		return fmt.Errorf("sfu: dtls: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("sfu: dtls: %w", err)
	}
	if err := h.keys(c); err != nil {
		return err
	}
	// Nothing is said over DTLS but that it ends.
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	b := make([]byte, 1<<10)
	for {
		if _, err := c.Read(b); err != nil {
			return err
		}
	}
}

func (h *handshake) verify(raw [][]byte, _ [][]*x509.Certificate) error {
	if len(raw) == 0 || !h.print.Matches(raw[0]) {
		return errCertificate
	}
	return nil
}

func (h *handshake) keys(c *dtls.Conn) error {
	selected, ok := c.SelectedSRTPProtectionProfile()
	if !ok {
		return errors.New("sfu: the client knows no profile of SRTP that the server knows")
	}
	state, ok := c.ConnectionState()
	if !ok {
		return errors.New("sfu: no state of DTLS")
	}
	profile := srtp.Profile(selected)
	n, err := profile.Material()
	if err != nil {
		return err
	}
	material, err := state.ExportKeyingMaterial(exporter, nil, n)
	if err != nil {
		return fmt.Errorf("sfu: keys: %w", err)
	}
	client, server, err := srtp.Split(profile, material)
	if err != nil {
		return err
	}
	s, err := srtp.NewSealer(server)
	if err != nil {
		return err
	}
	o, err := srtp.NewOpener(client, sourcesMost)
	if err != nil {
		return err
	}
	h.t.secured(s, o)
	return nil
}

func (h *handshake) close() error {
	h.cancel()
	h.done.Wait()
	return h.in.Close()
}

// The handshake is a net.PacketConn for the library: what came, and the client's path. Its one far end has no address.

func (h *handshake) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := h.in.Read(b)
	return n, nowhere{}, err
}

func (h *handshake) WriteTo(b []byte, _ net.Addr) (int, error) {
	if to := h.t.path.Load(); to != nil {
		h.t.port.send(to, b)
	}
	return len(b), nil
}

func (h *handshake) Close() error                      { return h.in.Close() }
func (h *handshake) LocalAddr() net.Addr               { return nowhere{} }
func (h *handshake) SetReadDeadline(t time.Time) error { return h.in.SetReadDeadline(t) }
func (h *handshake) SetDeadline(t time.Time) error     { return h.in.SetReadDeadline(t) }
func (h *handshake) SetWriteDeadline(time.Time) error  { return nil }

type nowhere struct{}

func (nowhere) Network() string { return "udp" }
func (nowhere) String() string  { return "client" }

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
	"strings"
	"sync"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"
)

// The handshake, and media under its keys.

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

// Seal gives what WriteRTP would send, for WriteRaw.
func (c *Client) Seal(packet []byte) ([]byte, error) {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	sealed, err := c.out.EncryptRTP(nil, packet, &c.header)
	if err != nil {
		return nil, fmt.Errorf("light: %w", err)
	}
	return sealed, nil
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

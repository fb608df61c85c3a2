package light

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pion/stun/v4"
)

// The way to the server: a socket, the checks that open it and keep it open, and who gets what comes.

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

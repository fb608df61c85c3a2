package turn

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	pion "github.com/pion/turn/v4"

	"github.com/trunkline-net/trunkline/media"
)

// SelfTestResult is what one run of SelfTest saw.
type SelfTestResult struct {
	Relayed   net.Addr      // the relayed address that a call would advertise
	RoundTrip time.Duration // of one packet through two allocations and back
}

// SelfTest uses a relay the way a call does: over network ("udp" or "tcp") it makes two allocations with the given
// credentials, and loops a packet from one to the other and back. It proves listener, credentials, allocation,
// permission, channel and relaying; whether the advertised address is reachable from outside only an outsider can
// prove.
func SelfTest(ctx context.Context, network, server string, creds media.Credentials) (SelfTestResult, error) {
	var result SelfTestResult
	one, err := openProbe(ctx, network, server, creds)
	if err != nil {
		return result, err
	}
	defer one.close()
	two, err := openProbe(ctx, network, server, creds)
	if err != nil {
		return result, err
	}
	defer two.close()
	result.Relayed = one.relay.LocalAddr()

	// Closing is what makes the blocking calls of the client return.
	stop := context.AfterFunc(ctx, func() { one.conn.Close(); two.conn.Close() })
	defer stop()
	fail := func(doing string, err error) (SelfTestResult, error) {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return SelfTestResult{}, fmt.Errorf("%s: %w", doing, err)
	}
	if err := one.client.CreatePermission(two.relay.LocalAddr()); err != nil {
		return fail("permit the peer", err)
	}
	if err := two.client.CreatePermission(one.relay.LocalAddr()); err != nil {
		return fail("permit the peer", err)
	}
	packet := make([]byte, 64)
	rand.Read(packet)
	start := time.Now()
	for _, leg := range [][2]*probe{{one, two}, {two, one}} {
		got, err := pass(ctx, leg[0], leg[1], packet)
		if err != nil {
			return fail("pass a packet through the relay", err)
		}
		if !bytes.Equal(got, packet) {
			return SelfTestResult{}, errors.New("the relay changed a packet")
		}
	}
	result.RoundTrip = time.Since(start)
	return result, nil
}

// Hold makes one allocation with the given credentials and keeps it until close is called, for whoever wants to see
// what a release does to one that is in use.
func Hold(ctx context.Context, network, server string, creds media.Credentials) (relayed net.Addr, close func(), err error) {
	p, err := openProbe(ctx, network, server, creds)
	if err != nil {
		return nil, nil, err
	}
	return p.relay.LocalAddr(), p.close, nil
}

type probe struct {
	conn   net.PacketConn
	client *pion.Client
	relay  net.PacketConn
}

func openProbe(ctx context.Context, network, server string, creds media.Credentials) (*probe, error) {
	p := &probe{}
	var dialer net.Dialer
	switch network {
	case "udp":
		conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", ":0")
		if err != nil {
			return nil, fmt.Errorf("open a socket: %w", err)
		}
		p.conn = conn
	case "tcp":
		conn, err := dialer.DialContext(ctx, "tcp", server)
		if err != nil {
			return nil, fmt.Errorf("connect to the relay: %w", err)
		}
		p.conn = pion.NewSTUNConn(conn)
	default:
		return nil, fmt.Errorf("unknown network %q, want udp or tcp", network)
	}
	stop := context.AfterFunc(ctx, func() { p.conn.Close() })
	defer stop()
	client, err := pion.NewClient(&pion.ClientConfig{
		TURNServerAddr: server, Username: creds.Username, Password: creds.Password, Conn: p.conn, LoggerFactory: silence{},
	})
	if err != nil {
		p.conn.Close()
		return nil, fmt.Errorf("make a TURN client: %w", err)
	}
	p.client = client
	if err := client.Listen(); err != nil {
		p.close()
		return nil, fmt.Errorf("make a TURN client: %w", err)
	}
	if p.relay, err = client.Allocate(); err != nil {
		p.close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("allocate at the relay: %w", err)
	}
	return p, nil
}

func (p *probe) close() {
	if p.relay != nil {
		p.relay.Close() // tells the relay; a lost Refresh is made up for by its release of the handle
	}
	p.client.Close()
	p.conn.Close()
}

// pass sends the packet until it arrives once: datagrams may be lost on the way to the relay.
func pass(ctx context.Context, from, to *probe, packet []byte) ([]byte, error) {
	for attempt := 0; ; attempt++ {
		if _, err := from.relay.WriteTo(packet, to.relay.LocalAddr()); err != nil {
			return nil, err
		}
		if err := to.relay.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		buffer := make([]byte, maxFrame)
		n, _, err := to.relay.ReadFrom(buffer)
		if err == nil {
			return buffer[:n], nil
		}
		if ctx.Err() != nil || attempt == 4 {
			return nil, err
		}
	}
}

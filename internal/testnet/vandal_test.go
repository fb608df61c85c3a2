package testnet

import (
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"net"
	"time"

	"github.com/gorilla/websocket"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

// vandal is a stranger at the doors of the nodes: noise, halves of frames, floods of what no
// node should take, lines that are never read, and the names of others.
type vandal struct {
	w   *world
	rng *rand.Rand
}

func newVandal(w *world) *vandal { return &vandal{w: w, rng: stream(w.seed, "vandal")} }

func (v *vandal) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(v.rng.Uint32())
	}
	return b
}

func (v *vandal) work(ctx context.Context) {
	for ctx.Err() == nil {
		v.w.wait(ctx, time.Duration(v.rng.IntN(1500))*time.Millisecond)
		at := v.w.stations[v.rng.IntN(len(v.w.stations))]
		dialling, stop := context.WithTimeout(ctx, 5*time.Second)
		if v.rng.IntN(4) == 0 {
			v.knockDown(dialling, at)
		} else {
			v.visit(ctx, dialling, at)
		}
		stop()
	}
}

// knockDown speaks no HTTP.
func (v *vandal) knockDown(ctx context.Context, at *station) {
	c, err := v.w.streams.dial(ctx, "vandal", "tcp", at.at)
	if err != nil {
		return
	}
	v.w.count("noise at a door")
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // it cannot fail
	_, _ = c.Write(v.noise(1 + v.rng.IntN(4096)))       // whatever becomes of it
	_ = c.Close()
}

func (v *vandal) visit(ctx, dialling context.Context, at *station) {
	d := websocket.Dialer{Subprotocols: []string{link.Subprotocol}, NetDialContext: func(ctx context.Context, network, a string) (net.Conn, error) {
		return v.w.streams.dial(ctx, "vandal", network, a)
	}}
	ws, _, err := d.DialContext(dialling, "ws://"+at.at+link.Path, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.Close() }()
	deadline := time.Now().Add(15 * time.Second)
	_, _ = ws.UnderlyingConn().SetDeadline(deadline), ws.SetReadDeadline(deadline)
	_, b, err := ws.ReadMessage()
	if err != nil {
		return
	}
	f, err := link.ParseNode(b)
	if err != nil || f.GetChallenge() == nil {
		v.w.fail("the first frame of %s is no challenge: %v", at.name, err)
		return
	}
	send := func(b []byte) bool { return ws.WriteMessage(websocket.BinaryMessage, b) == nil }
	frame := func(f *pb.ClientFrame) bool {
		b, err := link.MarshalClient(f)
		return err == nil && send(b)
	}
	victim := v.w.people[v.rng.IntN(len(v.w.people))]
	var device *identity.Device
	var cert *identity.DeviceCert
	switch v.rng.IntN(4) {
	case 0: // noise instead of a handshake
		v.w.count("noise on a line")
		send(v.noise(1 + v.rng.IntN(2000)))
		return
	case 1: // somebody else's certificate under an own key
		v.w.count("names of others")
		cert, _ = victim.list.Device(victim.device.ID())
		if device, err = identity.GenerateDevice(); err != nil {
			v.w.fail("%v", err)
			return
		}
	}
	a, err := link.Authenticate(f.GetChallenge(), at.at, device, cert)
	if err != nil || !frame(&pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: a}}) {
		return
	}
	if cert != nil {
		if _, b, err = ws.ReadMessage(); err == nil {
			if f, err := link.ParseNode(b); err == nil && f.GetAuthenticated() != nil {
				v.w.fail("%s took somebody for %s who is not", at.name, victim.name)
			}
		}
		return
	}
	switch v.rng.IntN(4) {
	case 0: // half of a frame, and silence
		v.w.count("halves of frames")
		_, _ = ws.UnderlyingConn().Write([]byte{0x82, 0xfe, 0x40, 0x00, 1, 2, 3, 4, 5, 6})
		v.w.wait(ctx, time.Duration(v.rng.IntN(15))*time.Second)
	case 1: // a flood that is never read
		v.w.count("floods")
		for i := range 400 {
			hop := envelope.Hop{Tag: victim.tag, Token: envelope.Token{1}}
			if !v.submit(send, uint64(i+2), victim, hop) {
				return
			}
		}
	case 2: // a flood of pings and queries for nobody
		v.w.count("floods")
		for i := range 400 {
			f := &pb.ClientFrame{Id: uint64(i + 2), Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 1}}}
			if i%3 == 0 {
				f.Kind = &pb.ClientFrame_Query{Query: &pb.Query{Destination: victim.home.peer[:], Box: v.noise(560)}}
			}
			if !frame(f) {
				return
			}
		}
	case 3: // frames with a bit that is wrong
		v.w.count("noise on a line")
		hash := sha256.Sum256(v.noise(8))
		b, err := link.MarshalClient(&pb.ClientFrame{Id: 2, Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: victim.tag[:], TokenHash: hash[:], TokenEpoch: 9}}})
		if err != nil {
			v.w.fail("%v", err)
			return
		}
		if v.rng.IntN(2) == 0 {
			b[v.rng.IntN(len(b))] ^= 1 << v.rng.IntN(8)
		}
		send(b)
	}
}

// submit hands in what must not be taken, under the name of a letter that must not arrive.
func (v *vandal) submit(send func([]byte) bool, id uint64, to *person, hop envelope.Hop) bool {
	key, ok := v.w.routingKey(to.home)
	if !ok {
		return false
	}
	e, err := envelope.NewEnvelope(key, to.home.peer, envelope.TTL(v.rng.IntN(4)), hop, v.noise(1024))
	if err != nil {
		v.w.fail("seal: %v", err)
		return false
	}
	return send(link.AppendSubmit(nil, id, e.Marshal()))
}

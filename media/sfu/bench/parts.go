package bench

import (
	"bufio"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/pprof"

	"github.com/trunkline-net/trunkline/media/sfu"
	"github.com/trunkline-net/trunkline/media/sfu/udp"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// Part is what a process does that the benchmark starts. It reads what it is told from in, line by line, answers each
// with say, and ends when in does.
type Part func(ctx context.Context, in io.Reader, say func(any) error) error

// processors is what a part has, so that a figure is that of a core, and no time goes into waking another.
const processors = 1

// Parts are all, by name. The server that is reachable from everywhere is for tests with browsers: Firefox pairs no address
// of its own with the loopback.
func Parts() map[string]Part {
	return map[string]Part{"sfu": serverOn("127.0.0.1:0"), "sfu-any": serverOn("0.0.0.0:0"), "sfu-bare": playBare}
}

// order is a line to the server: what the node's link would bring.
type order struct {
	Op    string    `json:"op"` // join, offer, want, leave, stats, profile
	Room  byte      `json:"room"`
	Grant sfu.Grant `json:"grant"`
	SDP   string    `json:"sdp"`
	Wants sfu.Wants `json:"wants"`
	Index uint16    `json:"index"`
	File  string    `json:"file"`
}

type answer struct {
	Error string    `json:"error,omitempty"`
	SDP   string    `json:"sdp,omitempty"`
	Stats sfu.Stats `json:"stats"`
}

// seats are those of a server that is driven by lines.
type seats struct {
	s   *sfu.Server
	all map[uint16]*sfu.Seat
}

func serverOn(listen string) Part {
	return func(ctx context.Context, in io.Reader, say func(any) error) error {
		return playServer(ctx, listen, in, say)
	}
}

func playServer(ctx context.Context, listen string, in io.Reader, say func(any) error) (err error) {
	runtime.GOMAXPROCS(processors)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := sfu.New(sfu.Config{Listen: listen, Limits: sfu.Limits{NewRooms: 1e9, Joins: 1e9, RoomBitrate: 1e12}})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	if err := say(s.Addr()); err != nil {
		return err
	}
	all := &seats{s: s, all: map[uint16]*sfu.Seat{}}
	var stopProfile func() error
	lines := bufio.NewReaderSize(in, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			if stopProfile != nil {
				return stopProfile()
			}
			return nil // the benchmark is done
		}
		var o order
		if err := json.Unmarshal(line, &o); err != nil {
			return fmt.Errorf("order: %w", err)
		}
		a := answer{}
		if o.Op == "profile" {
			stopProfile, err = profile(o.File)
		} else {
			a, err = all.do(ctx, &o)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := say(a); err != nil {
			return err
		}
	}
}

func profile(file string) (func() error, error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

func (all *seats) do(ctx context.Context, o *order) (a answer, err error) {
	switch o.Op {
	case "join":
		seat, d, err := all.s.Join(ctx, sfu.RoomKey{o.Room}, o.Grant, sfu.Description{SDP: o.SDP})
		if err != nil {
			return a, err
		}
		go func() {
			for range seat.Events() { // until it is closed
			}
		}()
		all.all[o.Grant.Index] = seat
		a.SDP = d.SDP
	case "offer":
		seat := all.all[o.Index]
		if seat == nil {
			return a, errors.New("nobody sits there")
		}
		d, err := seat.Renegotiate(ctx, sfu.Description{SDP: o.SDP})
		a.SDP = d.SDP
		return a, err
	case "want":
		return a, all.all[o.Index].Want(o.Wants)
	case "leave":
		all.all[o.Index].Close(sfu.ReasonLeft)
		delete(all.all, o.Index)
	case "stats":
		a.Stats = all.s.Stats()
	default:
		err = fmt.Errorf("an unknown order %q", o.Op)
	}
	return a, err
}

// bareOrder tells the bare forwarder whom to send to.
type bareOrder struct {
	To []netip.AddrPort `json:"to"`
}

// bareKey seals everything of the bare forwarder: keys are as good as any other bytes for what it costs.
var bareKey = [16]byte{1, 2, 3}

// bare is the least that a forwarder of sealed packets does: it opens a packet, seals it under a key for each receiver
// behind a new header, and sends a batch with one call. It has the server's own socket, so that both batch alike.
func playBare(ctx context.Context, in io.Reader, say func(any) error) error {
	runtime.GOMAXPROCS(processors)
	socket, err := udp.Listen("127.0.0.1:0")
	if err != nil {
		return err
	}
	if err := say(socket.LocalAddr().String()); err != nil {
		return errors.Join(err, socket.Close())
	}
	lines := bufio.NewReaderSize(in, 1<<20)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return errors.Join(err, socket.Close())
	}
	var o bareOrder
	if err := json.Unmarshal(line, &o); err != nil {
		return errors.Join(err, socket.Close())
	}
	ended := make(chan error, 1)
	go func() { ended <- bareLoop(socket, o.To) }()
	if err := say(answer{}); err != nil {
		return errors.Join(err, socket.Close())
	}
	if _, err := io.Copy(io.Discard, lines); err != nil {
		return errors.Join(err, socket.Close())
	}
	// The loop ends because its socket is closed.
	err = socket.Close()
	<-ended
	return err
}

const bareOverhead = 16

func bareGCM() (cipher.AEAD, error) {
	block, err := aes.NewCipher(bareKey[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func bareLoop(socket *udp.Socket, to []netip.AddrPort) error {
	keys := make([]cipher.AEAD, len(to))
	for i := range keys {
		var err error
		if keys[i], err = bareGCM(); err != nil {
			return err
		}
	}
	open, err := bareGCM()
	if err != nil {
		return err
	}
	lane := socket.Lane()
	defer lane.Release()
	in, plain, out := make([]byte, udp.Size), make([]byte, 0, udp.Size), make([]byte, 0, udp.Size)
	var nonce [12]byte
	var counter uint64
	for {
		n, _, err := socket.ReadFromAddrPort(in)
		if err != nil {
			return err
		}
		var p wire.Packet
		if p.Parse(in[:n]) != nil {
			continue
		}
		head := p.PayloadOffset()
		copy(nonce[:], in[:12])
		plain, err = open.Open(plain[:0], nonce[:], in[head:n], in[:head])
		if err != nil {
			continue
		}
		counter++
		for i, addr := range to {
			out = append(out[:0], in[:head]...)
			binary.BigEndian.PutUint32(out[8:], uint32(i))
			binary.BigEndian.PutUint64(nonce[4:], counter)
			out = keys[i].Seal(out, nonce[:], plain, out[:head])
			if err := lane.Put(out, addr); err != nil {
				return err
			}
		}
		if err := lane.Flush(); err != nil {
			return err
		}
	}
}

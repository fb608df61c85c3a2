package bench

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/trunkline-net/trunkline/envelope"
)

// The bare stream: libp2p with TCP, TLS or Noise, and its muxer, and nothing of ours. Frames of a
// length and random bytes go one way through a buffered writer that is flushed when the window
// is full; the other side reads them through a buffered reader and says after each quarter of
// the window how many it has in all. A frame of no length asks it to say so now.

const streamProtocol = protocol.ID("/trunkline/bench/1")

// streamBuffer holds what fits into one message of Noise, and four records of TLS.
const streamBuffer = 64 << 10

// frameSize is that of an envelope with a payload of Size bytes.
func frameSize() int {
	e := envelope.Envelope{TTL: envelope.Live, Payload: make([]byte, Size)}
	return len(e.Marshal())
}

func newHost(setup Setup, listen ...string) (host.Host, error) {
	security := libp2p.Security(libp2ptls.ID, libp2ptls.New)
	if setup.Noise {
		security = libp2p.Security(noise.ID, noise.New)
	}
	return libp2p.New(
		libp2p.NoTransports, libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()), security,
		libp2p.ListenAddrStrings(listen...), libp2p.DisableRelay(), libp2p.Ping(false), libp2p.DisableMetrics(),
	)
}

func receiveStream(ctx context.Context, setup Setup, t *talk) error {
	h, err := newHost(setup, "/ip4/127.0.0.1/tcp/0")
	if err != nil {
		return err
	}
	defer h.Close()
	var frames atomic.Int64
	h.SetStreamHandler(streamProtocol, func(st network.Stream) {
		// The end of the stream is the end of the benchmark.
		_ = takeFrames(st, &frames)
		_ = st.Reset()
	})
	addresses, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(h))
	if err != nil {
		return err
	}
	return t.serve(ctx, Ready{Address: addresses[0].String()}, func(context.Context, time.Duration) (Told, error) {
		return Told{Frames: frames.Load()}, nil
	})
}

func takeFrames(st network.Stream, frames *atomic.Int64) error {
	in := bufio.NewReaderSize(st, streamBuffer)
	frame := make([]byte, streamBuffer)
	var ack []byte
	told := int64(0)
	for {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return err
		}
		if size > uint64(len(frame)) {
			return errors.New("a frame over its limit")
		}
		if _, err := io.ReadFull(in, frame[:size]); err != nil {
			return err
		}
		n := frames.Load()
		if size > 0 {
			n = frames.Add(1)
		}
		if size == 0 && n > told || n-told >= Window/4 {
			told = n
			ack = binary.AppendUvarint(ack[:0], uint64(n))
			if _, err := st.Write(ack); err != nil {
				return err
			}
		}
	}
}

func sendStream(ctx context.Context, setup Setup, t *talk) error {
	h, err := newHost(setup)
	if err != nil {
		return err
	}
	defer h.Close()
	address, err := ma.NewMultiaddr(setup.Address)
	if err != nil {
		return err
	}
	to, err := peer.AddrInfoFromP2pAddr(address)
	if err != nil {
		return err
	}
	if err := h.Connect(ctx, *to); err != nil {
		return err
	}
	st, err := h.NewStream(ctx, to.ID, streamProtocol)
	if err != nil {
		return err
	}
	defer st.Reset() //nolint:errcheck // its end is the end of the benchmark
	acks := make(chan uint64, 4*Window)
	broken := make(chan error, 1)
	go func() {
		in := bufio.NewReader(st)
		for {
			n, err := binary.ReadUvarint(in)
			if err != nil {
				broken <- err
				return
			}
			acks <- n
		}
	}()
	out := bufio.NewWriterSize(st, streamBuffer)
	frame := make([]byte, frameSize())
	_, _ = rand.Read(frame)
	header := binary.AppendUvarint(nil, uint64(len(frame)))
	var sent, acked uint64
	wait := func() error {
		if err := out.Flush(); err != nil {
			return err
		}
		select {
		case acked = <-acks:
			return nil
		case err := <-broken:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return t.serve(ctx, Ready{}, func(ctx context.Context, d time.Duration) (Told, error) {
		before, began := sent, time.Now()
		for time.Since(began) < d {
			for sent-acked >= Window {
				if err := wait(); err != nil {
					return Told{}, err
				}
			}
			if _, err := out.Write(header); err != nil {
				return Told{}, err
			}
			if _, err := out.Write(frame); err != nil {
				return Told{}, err
			}
			sent++
		}
		if _, err := out.Write([]byte{0}); err != nil {
			return Told{}, err
		}
		for acked < sent {
			if err := wait(); err != nil {
				return Told{}, err
			}
		}
		n := int64(sent - before)
		return Told{Sent: n, Frames: n, Seconds: time.Since(began).Seconds()}, nil
	})
}

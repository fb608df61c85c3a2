package demo

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tap stands between the clients and one node's HTTP port and keeps every byte that
// crosses, so that the search sees exactly what the node was handed. Client frames of a
// WebSocket are masked with a key that stands beside them (RFC 6455 section 5.3); the tap
// takes the mask off before it keeps them.
type tap struct {
	listener net.Listener
	target   atomic.Pointer[string]
	wait     sync.WaitGroup

	mu    sync.Mutex // guards kept, conns, closed
	kept  []*recording
	conns map[net.Conn]struct{}
	shut  bool
}

// recording is one direction of one connection. Beyond the limit it stops to keep: the
// demo's signaling is a few hundred KiB, its media does not pass here.
type recording struct {
	mu sync.Mutex // guards b
	b  []byte
}

const recordingLimit = 16 << 20

// dialPatience is for a node on this machine.
const dialPatience = 10 * time.Second

func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.b)+len(p) <= recordingLimit {
		r.b = append(r.b, p...)
	}
	return len(p), nil
}

func newTap(ctx context.Context) (*tap, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &tap{listener: listener, conns: make(map[net.Conn]struct{})}
	t.wait.Add(1)
	go t.acceptLoop()
	return t, nil
}

func (t *tap) addr() string { return t.listener.Addr().String() }

// forward names the node's own address; connections before that are closed at once.
func (t *tap) forward(address string) { t.target.Store(&address) }

func (t *tap) acceptLoop() {
	defer t.wait.Done()
	for {
		conn, err := t.listener.Accept()
		if err != nil {
			return
		}
		t.wait.Add(1)
		go t.serve(conn)
	}
}

func (t *tap) serve(client net.Conn) {
	defer t.wait.Done()
	defer client.Close()
	target := t.target.Load()
	if target == nil {
		return
	}
	// Not bound to the story's context: what is recorded last is its end.
	node, err := (&net.Dialer{Timeout: dialPatience}).DialContext(context.Background(), "tcp", *target)
	if err != nil {
		return
	}
	defer node.Close()
	if !t.hold(client, node) {
		return
	}
	defer t.drop(client, node)

	up, down := &recording{}, &recording{}
	t.mu.Lock()
	t.kept = append(t.kept, up, down)
	t.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(client, io.TeeReader(node, down))
		_ = client.Close()
	}()
	_, _ = io.Copy(node, io.TeeReader(client, up))
	_ = node.Close()
	<-ended
}

func (t *tap) hold(conns ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return false
	}
	for _, c := range conns {
		t.conns[c] = struct{}{}
	}
	return true
}

func (t *tap) drop(conns ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range conns {
		delete(t.conns, c)
	}
}

func (t *tap) close() error {
	err := t.listener.Close()
	t.mu.Lock()
	t.shut = true
	for c := range t.conns {
		err = errors.Join(err, c.Close())
	}
	t.mu.Unlock()
	t.wait.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// frames returns everything that crossed so far, client frames unmasked.
func (t *tap) frames() [][]byte {
	t.mu.Lock()
	kept := append([]*recording(nil), t.kept...)
	t.mu.Unlock()
	var out [][]byte
	for _, r := range kept {
		r.mu.Lock()
		raw := append([]byte(nil), r.b...)
		r.mu.Unlock()
		out = append(out, raw, unmask(raw))
	}
	return out
}

// unmask walks the WebSocket frames behind an HTTP upgrade and returns their payloads,
// unmasked, one after the other. Bytes that are not such frames end the walk.
func unmask(stream []byte) []byte {
	const end = "\r\n\r\n"
	at := bytes.Index(stream, []byte(end))
	if at < 0 {
		return nil
	}
	rest := stream[at+len(end):]
	var out []byte
	for len(rest) >= 2 {
		masked := rest[1]&0x80 != 0
		size := uint64(rest[1] & 0x7f)
		rest = rest[2:]
		switch size {
		case 126:
			if len(rest) < 2 {
				return out
			}
			size, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]
		case 127:
			if len(rest) < 8 {
				return out
			}
			size, rest = binary.BigEndian.Uint64(rest), rest[8:]
		}
		var key [4]byte
		if masked {
			if len(rest) < 4 {
				return out
			}
			copy(key[:], rest)
			rest = rest[4:]
		}
		if size > uint64(len(rest)) {
			return out
		}
		for i, b := range rest[:size] {
			out = append(out, b^key[i%4])
		}
		rest = rest[size:]
	}
	return out
}

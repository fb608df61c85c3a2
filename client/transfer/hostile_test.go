package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
)

// liar is a sender written by hand, that talks to Bob's engine.
type liar struct {
	t        *testing.T
	bob      *person
	engine   *Engine
	answers  *line
	key      [32]byte
	manifest manifest
	layout   layout
	content  []byte
}

func newLiar(t *testing.T, b []byte, change func(*Config)) *liar {
	t.Helper()
	x := &liar{t: t, bob: newPerson(t), answers: newLine(), content: b}
	x.start(change)
	x.manifest = manifestOf("film.mkv", b)
	x.layout = layoutOf(int64(len(b)))
	return x
}

// start begins a session for Bob.
func (x *liar) start(change func(*Config)) {
	x.t.Helper()
	fillRandom(x.key[:])
	cfg := x.bob.config()
	cfg.FileKey, cfg.Channel = x.key, x.answers
	// Whoever lies does not listen to what is kept.
	x.answers.onControl = func(msg []byte) bool {
		m, _, err := parseControl(msg)
		return err != nil || m.GetKept() == nil
	}
	if change != nil {
		change(&cfg)
	}
	e, err := New(cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	x.engine = e
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	x.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			x.t.Error(err)
		}
	})
}

func manifestOf(name string, b []byte) manifest {
	m := manifest{size: int64(len(b)), name: name}
	h := sha256.New()
	for rest := b; len(rest) > 0; rest = rest[min(len(rest), unitSize):] {
		sum := sha256.Sum256(rest[:min(len(rest), unitSize)])
		h.Write(sum[:])
	}
	m.root = [hashSize]byte(h.Sum(nil))
	m.id = fileID(name, m.size, m.root)
	fillRandom(m.attempt[:])
	return m
}

// offer sends the manifest and returns Bob's answer.
func (x *liar) offer() *pb.Message {
	x.t.Helper()
	msg, err := x.manifest.marshal()
	if err == nil {
		err = x.engine.HandleControl(msg)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return x.answer()
}

func (x *liar) answer() *pb.Message {
	x.t.Helper()
	m, _, err := parseControl(<-x.answers.control)
	if err != nil {
		x.t.Fatal(err)
	}
	return m
}

// accepted offers and begins at the unit that Bob wants.
func (x *liar) accepted() int64 {
	x.t.Helper()
	m := x.offer()
	if m.GetAccept() == nil {
		x.t.Fatalf("the offer was answered by %v", m)
	}
	return int64(m.GetAccept().GetUnit())
}

func (x *liar) box() *box {
	x.t.Helper()
	b, err := newBox(x.key, labelFileI2R, x.manifest.id, x.manifest.attempt, x.manifest.size)
	if err != nil {
		x.t.Fatal(err)
	}
	return b
}

// stream is the plaintext of the whole file.
func (x *liar) stream() []byte {
	var out []byte
	for rest := x.content; len(rest) > 0; rest = rest[min(len(rest), unitSize):] {
		unit := rest[:min(len(rest), unitSize)]
		sum := sha256.Sum256(unit)
		out = append(append(out, unit...), sum[:]...)
	}
	out = append(out, make([]byte, x.layout.zeros)...)
	return append(out, x.manifest.root[:]...)
}

// seal cuts a stream into messages from unit on.
func (x *liar) seal(stream []byte, unit int64) [][]byte {
	x.t.Helper()
	var out [][]byte
	c := &cutter{layout: x.layout, box: x.box(), emit: func(msg []byte) error {
		out = append(out, msg)
		return nil
	}}
	c.index, c.skip = x.layout.start(unit)
	if err := c.write(stream[x.layout.contentAt(unit)+hashSize*unit:]); err != nil {
		x.t.Fatal(err)
	}
	return out
}

// Test 71 and its relatives: whatever an honest sender would not send ends the attempt; the
// file is never shown, the units that were right are kept, and an honest sender goes on there.
func Test14_71_ChunksNotAsPromised(t *testing.T) {
	t.Parallel()
	const units = 3
	b := content(units*unitSize-5000, 11)
	// Chunk 30 lies in the second unit.
	cases := map[string]struct {
		change func(x *liar, stream []byte, msgs [][]byte) [][]byte
		want   error
		kept   int64
	}{
		"two chunks change places": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30], m[31] = m[31], m[30]
			return m
		}, ErrProtocol, 1},
		"a chunk comes twice": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[31] = m[30]
			return m
		}, ErrProtocol, 1},
		"a chunk is left out": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			return append(m[:30], m[31:]...)
		}, ErrProtocol, 1},
		"a chunk of the first unit comes again later": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30] = m[3]
			return m
		}, ErrProtocol, 1},
		"last flag early": {func(x *liar, s []byte, m [][]byte) [][]byte {
			m[30] = x.box().seal(30, true, s[30*chunkSize:31*chunkSize])
			return m
		}, ErrProtocol, 1},
		"ended at the border of a chunk": {func(x *liar, s []byte, m [][]byte) [][]byte {
			end := append(bytes.Clone(s[30*chunkSize:31*chunkSize-hashSize]), x.manifest.root[:]...)
			m[30] = x.box().seal(30, true, end)
			return m[:31]
		}, ErrProtocol, 1},
		"no last flag": {func(x *liar, s []byte, m [][]byte) [][]byte {
			n := len(m) - 1
			m[n] = x.box().seal(uint64(n), false, s[n*chunkSize:])
			return m
		}, ErrProtocol, units},
		"flag of the header is not that of the nonce": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			n := len(m) - 1
			m[n][24] = 0
			return m
		}, ErrProtocol, units},
		"flag 2": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30][24] = 2
			return m
		}, ErrProtocol, 1},
		"index of the header is not that of the nonce": {func(x *liar, s []byte, m [][]byte) [][]byte {
			m[30] = x.box().seal(31, false, s[30*chunkSize:31*chunkSize])
			m[30][23] = 30
			return m
		}, ErrCorrupt, 1},
		"short chunk": {func(x *liar, s []byte, m [][]byte) [][]byte {
			m[30] = x.box().seal(30, false, s[30*chunkSize:31*chunkSize-1])
			return m
		}, ErrProtocol, 1},
		"long chunk": {func(x *liar, s []byte, m [][]byte) [][]byte {
			m[30] = x.box().seal(30, false, s[30*chunkSize:31*chunkSize+1])
			return m
		}, ErrProtocol, 1},
		"longer than the channel takes": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30] = append(m[30], make([]byte, 1<<20)...)
			return m
		}, ErrProtocol, 1},
		"header alone": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30] = m[30][:chunkHeader+tagSize]
			return m
		}, ErrProtocol, 1},
		"nothing": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30] = nil
			return m
		}, ErrProtocol, 1},
		"bit of the ciphertext": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30][chunkHeader+7] ^= 1
			return m
		}, ErrCorrupt, 1},
		"key of the other direction": {func(x *liar, s []byte, m [][]byte) [][]byte {
			other, err := newBox(x.key, labelFileR2I, x.manifest.id, x.manifest.attempt, x.manifest.size)
			if err != nil {
				x.t.Fatal(err)
			}
			m[30] = other.seal(30, false, s[30*chunkSize:31*chunkSize])
			return m
		}, ErrCorrupt, 1},
		"another size in the associated data": {func(x *liar, s []byte, m [][]byte) [][]byte {
			other, err := newBox(x.key, labelFileI2R, x.manifest.id, x.manifest.attempt, x.manifest.size+1)
			if err != nil {
				x.t.Fatal(err)
			}
			m[30] = other.seal(30, false, s[30*chunkSize:31*chunkSize])
			return m
		}, ErrCorrupt, 1},
		"attempt that nobody offered": {func(_ *liar, _ []byte, m [][]byte) [][]byte {
			m[30][0] ^= 1
			return m
		}, ErrProtocol, 1},
		"unit with another hash": {func(x *liar, s []byte, _ [][]byte) [][]byte {
			s[unitSize+hashSize+9] ^= 1
			return x.seal(s, 0)
		}, ErrCorrupt, 1},
		"hash of a unit": {func(x *liar, s []byte, _ [][]byte) [][]byte {
			s[2*recordSize-1] ^= 1
			return x.seal(s, 0)
		}, ErrCorrupt, 1},
		"padding that is not zero": {func(x *liar, s []byte, _ [][]byte) [][]byte {
			s[len(s)-hashSize-1] = 1
			return x.seal(s, 0)
		}, ErrCorrupt, units},
		"root at the end": {func(x *liar, s []byte, _ [][]byte) [][]byte {
			s[len(s)-1] ^= 1
			return x.seal(s, 0)
		}, ErrCorrupt, 0},
		"units that are not those of the root": {func(x *liar, s []byte, _ [][]byte) [][]byte {
			s[9] ^= 1
			sum := sha256.Sum256(s[:unitSize])
			copy(s[unitSize:], sum[:])
			return x.seal(s, 0)
		}, ErrCorrupt, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newLiar(t, b, nil)
			x.accepted()
			stream := x.stream()
			var err error
			for _, msg := range c.change(x, stream, x.seal(stream, 0)) {
				if err = x.engine.HandleData(msg); err != nil {
					break
				}
			}
			if !errors.Is(err, c.want) {
				t.Fatalf("the session ends with %v, not with %v", err, c.want)
			}
			if m := x.answer().GetCancel(); m.GetReason() != pb.Reason_REASON_CORRUPT {
				t.Errorf("the sender hears %v", m)
			}
			if r := <-x.bob.received; !errors.Is(r.Err, c.want) || r.Path != "" {
				t.Errorf("told %+v", r)
			}
			shown, hidden := x.bob.files(t)
			if len(shown) != 0 {
				t.Errorf("shown: %q", shown)
			}
			if c.kept == 0 && len(hidden) != 0 {
				t.Errorf("a file that can never be right is kept: %q", hidden)
			}
			// The same file from an honest sender.
			fillRandom(x.manifest.attempt[:])
			unit := x.accepted()
			if unit != c.kept {
				t.Fatalf("goes on with unit %d, not %d", unit, c.kept)
			}
			for _, msg := range x.seal(x.stream(), unit) {
				if err := x.engine.HandleData(msg); err != nil {
					t.Fatal(err)
				}
			}
			whole(t, <-x.bob.received, b)
		})
	}
}

// A stream that stops at the border of a chunk, of a unit, or before the root alone, shows
// nothing.
func Test14_71_TruncatedAtAChunkBorder(t *testing.T) {
	t.Parallel()
	b := content(2*unitSize, 12)
	for _, left := range []int{1, 2, chunksPerUnit + 1} {
		x := newLiar(t, b, nil)
		x.accepted()
		msgs := x.seal(x.stream(), 0)
		for _, msg := range msgs[:len(msgs)-left] {
			if err := x.engine.HandleData(msg); err != nil {
				t.Fatal(err)
			}
		}
		msg, err := cancelMessage(x.manifest.attempt, pb.Reason_REASON_STOPPED)
		if err == nil {
			err = x.engine.HandleControl(msg)
		}
		if err != nil {
			t.Fatal(err)
		}
		if r := <-x.bob.received; !errors.Is(r.Err, ErrCanceled) {
			t.Errorf("told %+v", r)
		}
		if shown, hidden := x.bob.files(t); len(shown) != 0 || len(hidden) != 1 {
			t.Errorf("shown %q, hidden %q", shown, hidden)
		}
		// What is still on its way is let pass, what belongs to nobody is not.
		if err := x.engine.HandleData(msgs[len(msgs)-1]); err != nil {
			t.Errorf("straggler: %v", err)
		}
		msgs[0][0] ^= 1
		if err := x.engine.HandleData(msgs[0]); !errors.Is(err, ErrProtocol) {
			t.Errorf("chunk of nobody: %v", err)
		}
	}
}

// A record that was tampered with cannot make the receiver write or remove elsewhere.
func TestTamperedRecord(t *testing.T) {
	t.Parallel()
	b := content(unitSize, 3)
	x := newLiar(t, b, nil)
	victim := filepath.Join(filepath.Dir(x.bob.dir), "victim")
	if err := os.WriteFile(victim, b, 0o600); err != nil {
		t.Fatal(err)
	}
	rec := &record{size: x.manifest.size, root: x.manifest.root, part: "../victim"}
	raw, err := rec.marshal()
	if err == nil {
		err = x.bob.state.Save(x.manifest.id, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	if unit := x.accepted(); unit != 0 {
		t.Errorf("goes on with unit %d", unit)
	}
	if got, err := os.ReadFile(victim); err != nil || !bytes.Equal(got, b) {
		t.Errorf("the file outside was touched: %v", err)
	}
}

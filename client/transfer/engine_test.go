package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestNewChecksItsConfig(t *testing.T) {
	t.Parallel()
	good := func() Config {
		return Config{FileKey: [32]byte{1}, Channel: newLine(), Dir: "x", State: &DirState{}}
	}
	for name, spoil := range map[string]func(*Config){
		"channel":  func(c *Config) { c.Channel = nil },
		"key":      func(c *Config) { c.FileKey = [32]byte{} },
		"state":    func(c *Config) { c.State = nil },
		"negative": func(c *Config) { c.MaxSize = -1 },
		"too much": func(c *Config) { c.MaxSize = maxSize + 1 },
	} {
		c := good()
		if _, err := New(c); err != nil {
			t.Fatal(err)
		}
		spoil(&c)
		if _, err := New(c); err == nil {
			t.Errorf("taken: %s", name)
		}
	}
}

// The end of the session ends everything, wherever it is.
func TestEndOfSession(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	asked := make(chan struct{})
	s := connect(t, alice, bob, options{bob: func(c *Config) {
		c.Accept = func(ctx context.Context, _ Offer) bool {
			close(asked)
			<-ctx.Done()
			return false
		}
	}})
	path := write(t, "a", content(10, 1))
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.alice.Send(context.Background(), path, "")
		first <- err
	}()
	<-asked
	go func() { // waits for its turn
		_, err := s.alice.Send(context.Background(), path, "")
		second <- err
	}()
	s.cancel()
	s.running.Wait()
	for _, c := range []chan error{first, second} {
		if err := <-c; !errors.Is(err, ErrClosed) {
			t.Errorf("sender: %v", err)
		}
	}
	if _, err := s.alice.Send(context.Background(), path, ""); !errors.Is(err, ErrClosed) {
		t.Errorf("sender after the end: %v", err)
	}
	if err := s.bob.HandleData([]byte("whatever")); err != nil {
		t.Errorf("data after the end: %v", err)
	}
	m := manifestOf("a", nil)
	if err := s.bob.HandleControl(must(m.marshal())); err != nil {
		t.Errorf("offer after the end: %v", err)
	}
	if err := s.bob.Run(context.Background()); err == nil {
		t.Error("Run runs twice")
	}
	if len(bob.received) != 0 {
		t.Error("a file that was never accepted is reported")
	}
}

// A turn that is waited for ends with the caller's context.
func TestWaitingForATurn(t *testing.T) {
	t.Parallel()
	alice := newPerson(t)
	cfg := alice.config()
	cfg.FileKey, cfg.Channel = [32]byte{1}, newLine()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	e.turn <- struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := e.Send(ctx, "x", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	cfg := Config{FileKey: [32]byte{0xab, 0xcd}, Channel: newLine()}
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBox(cfg.FileKey, labelFileI2R, FileID{}, attemptID{}, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{cfg, e, b} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if got := fmt.Sprintf(verb, v); got != "[redacted]" {
				t.Errorf("%s of %T prints %q", verb, v, got)
			}
		}
	}
}

// The stream's length says no more than the padded size, and a full unit is 18 chunks.
func TestLayout(t *testing.T) {
	t.Parallel()
	if chunkSize*chunksPerUnit != recordSize || maxData > 65535 {
		t.Fatalf("%d chunks of %d for a record of %d", chunksPerUnit, chunkSize, recordSize)
	}
	lengths := map[int64]int64{}
	for _, size := range []int64{0, 1, 2, 3, 1000, 65535, 65537, unitSize - 1, unitSize, unitSize + 1, 9*unitSize + 5, 10 * unitSize, 1<<36 + 1, 1 << 36, maxSize - 1, maxSize} {
		for _, size := range []int64{size, max(0, size-1), min(maxSize, size+100)} {
			l := layoutOf(size)
			padded := padme(size)
			if padded < size || size > 0 && (padded-size)*100 > 12*size || padme(padded) != padded {
				t.Errorf("%d is padded to %d", size, padded)
			}
			if l.zeros < 0 || l.length != size+l.zeros+hashSize*(l.units+1) {
				t.Errorf("%d: %+v", size, l)
			}
			if before, ok := lengths[padded]; ok && before != l.length {
				t.Errorf("padded size %d has streams of %d and %d", padded, before, l.length)
			}
			lengths[padded] = l.length
			chunks := uint64((l.length + chunkSize - 1) / chunkSize)
			n, last := l.chunkAt(chunks - 1)
			if n < 1 || n > chunkSize || !last || int64(chunks-1)*chunkSize+int64(n) != l.length {
				t.Errorf("%d: the last chunk has %d", size, n)
			}
			if n, _ := l.chunkAt(chunks); n != 0 {
				t.Errorf("%d: a chunk of %d behind the last", size, n)
			}
			index, skip := l.start(l.units)
			if at := int64(index)*chunkSize + int64(skip); at != size+hashSize*l.units || at >= l.length {
				t.Errorf("%d: begins at %d when all units are there", size, at)
			}
		}
	}
}

const (
	vectorID    = "2268b87e87699049ae94661a4fcf8a0e"
	vectorChunk = "a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7" + "0000000000000000" + "01" +
		"c2aee3dab5c5aa1b90ba7e31296906bec4e19272de8e55aedb664f534a8985e708e149636f5c02fa39b2cb99de30469e" +
		"087491177684f9962584c368e3d30d9f0a6352f66f3479ebdefdfdc1574d85f5" + "8986a4041381739c9dab8f327d14d52d"
)

// A known answer, made by another program too, so that another implementation, and this one next year, agrees byte for byte.
func TestVector(t *testing.T) {
	t.Parallel()
	var key [32]byte
	for i := range key {
		key[i] = byte(i)
	}
	m := manifestOf("hello.txt", []byte("hello, trunkline"))
	m.attempt = attemptID(bytes.Repeat([]byte{0xa7}, 16))
	b, err := newBox(key, labelFileI2R, m.id, m.attempt, m.size)
	if err != nil {
		t.Fatal(err)
	}
	x := &liar{t: t, key: key, manifest: m, layout: layoutOf(m.size), content: []byte("hello, trunkline")}
	msgs := x.seal(x.stream(), 0)
	if len(msgs) != 1 || !bytes.Equal(msgs[0], b.seal(0, true, x.stream())) {
		t.Fatal("one chunk is enough for 16 bytes")
	}
	if got := fmt.Sprintf("%x", m.id); got != vectorID {
		t.Errorf("file id %s", got)
	}
	if got := fmt.Sprintf("%x", msgs[0]); got != vectorChunk {
		t.Errorf("chunk %s", got)
	}
}

// More units than one record holds.
func TestSegments(t *testing.T) {
	t.Parallel()
	p := newPerson(t)
	b := books{p.state}
	id := FileID{1}
	units := int64(2*segmentUnits + 7)
	p0 := &part{books: b, id: id, layout: layout{size: units * unitSize, units: units}}
	want := make([]byte, 0, units*hashSize)
	for i := range units {
		want = append(want, bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 16)...)
	}
	for k := int64(0); k*segmentUnits < units; k++ {
		seg := want[k*segmentUnits*hashSize : min((k+1)*segmentUnits, units)*hashSize]
		if err := b.state.Save(segmentKey(id, k), seg); err != nil {
			t.Fatal(err)
		}
	}
	for ask, have := range map[int64]int64{units: units, 3: 3, segmentUnits: segmentUnits, segmentUnits + 1: segmentUnits + 1, 9999: units} {
		if n, err := b.verified(id, ask); err != nil || n != have {
			t.Errorf("%d of %d units, %v", n, ask, err)
		}
	}
	if err := b.forgetUnits(p0.id, 1); err != nil {
		t.Fatal(err)
	}
	if n, err := b.verified(id, units); err != nil || n != segmentUnits {
		t.Errorf("%d units are left, %v", n, err)
	}
}

// A file of more than 256 units, interrupted behind the first segment. Its source is a hole.
func TestResumeBehindASegment(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	size := int64(segmentUnits+3) * unitSize
	path := write(t, "big", nil)
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	interrupted(t, alice, bob, path, segmentUnits+1)
	s := connect(t, alice, bob, options{})
	sent, err := s.alice.Send(context.Background(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	if r := <-bob.received; r.Err != nil || r.SHA256 != sent.SHA256 || sent.Resumed != (segmentUnits+1)*unitSize {
		t.Errorf("received %+v, sent %+v", r, sent)
	}
}

// A contact's list of files has a bound: the oldest unfinished one goes, with its hidden file.
func TestOldestIsForgotten(t *testing.T) {
	t.Parallel()
	alice, bob := newPerson(t), newPerson(t)
	old := write(t, "old", content(2*unitSize, 1))
	interrupted(t, alice, bob, old, 1)
	_, hidden := bob.files(t)
	if len(hidden) != 1 {
		t.Fatalf("hidden: %q", hidden)
	}
	s := connect(t, alice, bob, options{bob: func(c *Config) { c.Received = nil }})
	for i := range maxFiles {
		if _, err := s.alice.Send(context.Background(), write(t, "new", []byte{byte(i)}), ""); err != nil {
			t.Fatal(err)
		}
	}
	shown, hidden := bob.files(t)
	if len(shown) != maxFiles || len(hidden) != 0 {
		t.Errorf("%d shown, hidden %q", len(shown), hidden)
	}
	entries, err := os.ReadDir(bob.state.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != maxFiles+1 {
		t.Errorf("%d records", len(entries))
	}
}

func TestDirState(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, err := NewDirState(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := [16]byte{1}
	if _, found, err := s.Load(key); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	for _, want := range []string{"one", "", "three"} {
		if err := s.Save(key, []byte(want)); err != nil {
			t.Fatal(err)
		}
		again, err := NewDirState(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got, found, err := again.Load(key); !found || string(got) != want || err != nil {
			t.Errorf("%q, %v, %v", got, found, err)
		}
	}
	// Left by a kill long ago, and being written by another session right now.
	for name, age := range map[string]time.Duration{unfinished + "1": 2 * time.Hour, unfinished + "2": 0} {
		path := filepath.Join(dir, name)
		at := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chtimes(path, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := NewDirState(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, unfinished+"1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a kill left is still there: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, unfinished+"2")); err != nil {
		t.Errorf("what another session writes is gone: %v", err)
	}
	if err := s.Save(key, make([]byte, maxRecord+1)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Load(key); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("long record: %v", err)
	}
	for range 2 {
		if err := s.Delete(key); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := s.Load(key); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
	}
}

func BenchmarkTransfer(b *testing.B) {
	const size = 64 << 20
	path := filepath.Join(b.TempDir(), "big")
	if err := os.WriteFile(path, content(size, 1), 0o600); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		alice, bob := newPerson(b), newPerson(b)
		s := connect(b, alice, bob, options{})
		b.StartTimer()
		if _, err := s.alice.Send(context.Background(), path, ""); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.kill()
		b.StartTimer()
	}
}

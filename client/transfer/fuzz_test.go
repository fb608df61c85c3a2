package transfer

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
)

// One control message from outside, to an engine that offers nothing and takes nothing.
func FuzzControl(f *testing.F) {
	m := manifestOf("film.mkv", content(100, 1))
	f.Add(must(m.marshal()))
	f.Add(must(acceptMessage(m.attempt, 3)))
	f.Add(must(refuseMessage(m.attempt, pb.Reason_REASON_BUSY)))
	f.Add(must(cancelMessage(m.attempt, 99)))
	f.Add(must(doneMessage(m.attempt)))
	f.Add(must(waitMessage(m.attempt)))
	f.Fuzz(func(t *testing.T, msg []byte) {
		e, err := New(Config{FileKey: [32]byte{1}, Channel: newLine()})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.HandleControl(msg); err != nil && !errors.Is(err, ErrProtocol) {
			t.Errorf("an error that does not say whose fault it is: %v", err)
		}
		got, attempt, err := parseControl(msg)
		if err != nil {
			return
		}
		k := got.GetManifest()
		if k == nil {
			return
		}
		offer, err := parseManifest(k)
		if err != nil {
			return
		}
		if again := must(offer.marshal()); !bytes.Equal(again, msg) || offer.attempt != attempt {
			t.Error("an offer has two encodings")
		}
		checkName(t, offer.name, CleanName(offer.name))
	})
}

// The decoder of chunk messages: what parses was sealed that way.
func FuzzChunk(f *testing.F) {
	id := FileID{1}
	seal, err := newBox([32]byte{1}, labelFileI2R, id, attemptID{2}, 5)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seal.seal(0, false, []byte("plain")))
	f.Add(seal.seal(1<<63, true, make([]byte, chunkSize)))
	f.Add(make([]byte, chunkHeader+tagSize))
	f.Add(make([]byte, maxData+1))
	f.Fuzz(func(t *testing.T, msg []byte) {
		c, err := parseChunk(msg)
		if err != nil {
			if !errors.Is(err, ErrProtocol) {
				t.Errorf("%v", err)
			}
			return
		}
		open, err := newBox([32]byte{1}, labelFileI2R, id, c.attempt, 5)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := open.open(nil, c)
		if err != nil {
			return
		}
		if again := open.seal(c.index, c.last, plain); !bytes.Equal(again, msg) {
			t.Error("a chunk has two encodings")
		}
	})
}

// memoryState and unsynced spare the fuzzer the disk's pace.
type memoryState struct{ records map[[16]byte][]byte }

func (m *memoryState) Load(key [16]byte) ([]byte, bool, error) {
	b, ok := m.records[key]
	return b, ok, nil
}

func (m *memoryState) Save(key [16]byte, record []byte) error {
	m.records[key] = bytes.Clone(record)
	return nil
}

func (m *memoryState) Delete(key [16]byte) error {
	delete(m.records, key)
	return nil
}

type unsynced struct{ partFile }

func (unsynced) Sync() error { return nil }

// A whole plaintext stream from a sender that has the keys. Whatever it says, the file is
// shown only when it is the one that was offered.
func FuzzStream(f *testing.F) {
	f.Add([]byte{}, []byte{}, uint16(0))
	f.Add([]byte("content"), []byte{}, uint16(0))
	f.Add([]byte("content"), []byte{1}, uint16(3))
	f.Add(content(2*chunkSize, 1), []byte{0xff}, uint16(1000))
	f.Fuzz(func(t *testing.T, b, damage []byte, at uint16) {
		if len(b) > 1<<18 {
			return
		}
		x := newLiar(t, b, func(c *Config) { c.State = &memoryState{records: map[[16]byte][]byte{}} })
		x.engine.open = func(path string, flag int) (partFile, error) { // before the offer: nobody looks yet
			f, err := openPart(path, flag)
			return unsynced{f}, err
		}
		x.accepted()
		stream := x.stream()
		changed := false
		for i, d := range damage {
			if n := int(at) + i; n < len(stream) {
				stream[n] ^= d
				changed = changed || d != 0
			}
		}
		var err error
		for _, msg := range x.seal(stream, 0) {
			if err = x.engine.HandleData(msg); err != nil {
				break
			}
		}
		if changed != errors.Is(err, ErrCorrupt) {
			t.Errorf("changed: %v, error: %v", changed, err)
		}
		r := <-x.bob.received
		if shown, _ := x.bob.files(t); changed != (len(shown) == 0) || changed != (r.Err != nil) {
			t.Errorf("changed: %v, shown: %q, told %v", changed, shown, r.Err)
		}
	})
}

// Records that something else wrote.
func FuzzRecord(f *testing.F) {
	f.Add(must((&record{size: 5, root: [32]byte{1}, part: ".a.part", owner: attemptID{1}}).marshal()))
	f.Add(must((&record{part: ".a.part", final: "a", done: true, modified: -5}).marshal()))
	f.Add(must((&record{part: "../a"}).marshal()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := parseRecord(raw)
		if err != nil {
			return
		}
		if again := must(r.marshal()); !bytes.Equal(again, raw) {
			t.Error("a record has two encodings")
		}
		if !plainName(r.part) || r.final != "" && !plainName(r.final) {
			t.Errorf("names outside the folder: %q, %q", r.part, r.final)
		}
	})
}

// Lists and segments that something else wrote do not stop a transfer.
func TestForeignRecordsAreForgotten(t *testing.T) {
	t.Parallel()
	b := content(unitSize+1, 1)
	m := manifestOf("film.mkv", b)
	alice, bob := newPerson(t), newPerson(t)
	for _, key := range [][16]byte{m.id, filesKey(), segmentKey(m.id, 0), segmentKey(m.id, 1)} {
		if err := bob.state.Save(key, content(1000, 2)); err != nil {
			t.Fatal(err)
		}
	}
	s := connect(t, alice, bob, options{})
	if _, err := s.alice.Send(context.Background(), write(t, "film.mkv", b), ""); err != nil {
		t.Fatal(err)
	}
	whole(t, <-bob.received, b)
}

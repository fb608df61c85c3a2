package transfer

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
)

var update = flag.Bool("update", false, "write docs/spec/vectors/files.json anew")

const vectorsFile = "../../docs/spec/vectors/files.json"

type vectorFile struct {
	Comment string          `json:"comment"`
	Layouts []layoutVector  `json:"layouts"`
	Files   []fileVector    `json:"files"`
	Words   []wordVector    `json:"control"`
	Names   []cleanedVector `json:"names"`
}

// wordVector is a control message that has an attempt and a number at most.
type wordVector struct {
	Kind    string `json:"kind"`
	Attempt string `json:"attempt"`
	Number  int64  `json:"number"` // unit or reason
	Bytes   string `json:"bytes"`
}

func wordVectors(t *testing.T) []wordVector {
	t.Helper()
	var a attemptID
	for i := range a {
		a[i] = byte(i + 1)
	}
	var out []wordVector
	add := func(kind string, number int64, msg []byte, err error) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, wordVector{kind, hex.EncodeToString(a[:]), number, hex.EncodeToString(msg)})
	}
	for _, unit := range []int64{0, 3, 1 << 20} {
		msg, err := acceptMessage(a, unit)
		add("accept", unit, msg, err)
	}
	for _, unit := range []int64{1, 300} {
		msg, err := keptMessage(a, unit)
		add("kept", unit, msg, err)
	}
	for _, r := range []pb.Reason{pb.Reason_REASON_REFUSED, pb.Reason_REASON_DISK} {
		msg, err := refuseMessage(a, r)
		add("refuse", int64(r), msg, err)
	}
	msg, err := cancelMessage(a, pb.Reason_REASON_PAUSED)
	add("cancel", int64(pb.Reason_REASON_PAUSED), msg, err)
	msg, err = doneMessage(a)
	add("done", 0, msg, err)
	msg, err = waitMessage(a)
	add("wait", 0, msg, err)
	return out
}

type layoutVector struct {
	Size       int64         `json:"size"`
	Padded     int64         `json:"padded"`
	Units      int64         `json:"units"`
	Zeros      int64         `json:"zeros"`
	Length     int64         `json:"length"`
	LastChunk  uint64        `json:"last_chunk"`
	LastLength int           `json:"last_length"`
	Starts     []startVector `json:"starts"`
}

type startVector struct {
	Unit  int64  `json:"unit"`
	Index uint64 `json:"index"`
	Skip  int    `json:"skip"`
}

type fileVector struct {
	Name     string        `json:"name"`
	Size     int           `json:"size"`
	Fill     int           `json:"fill"` // every byte of the content
	Root     string        `json:"root"`
	FileID   string        `json:"file_id"`
	FileKey  string        `json:"file_key"`
	Attempt  string        `json:"attempt"`
	Sender   string        `json:"sender"` // initiator or responder
	From     int64         `json:"from_unit"`
	Chunks   int           `json:"chunks"`
	Messages []chunkVector `json:"messages"`
}

type chunkVector struct {
	At     int    `json:"at"`
	SHA256 string `json:"sha256"`
	Bytes  string `json:"bytes_b64,omitempty"` // of the shorter ones
}

type cleanedVector struct {
	Name    string `json:"name"`
	Cleaned string `json:"cleaned"`
}

func makeVectors(t *testing.T) vectorFile {
	t.Helper()
	f := vectorFile{Comment: "Bytes are lower-case hexadecimal, or base64 where the name ends in _b64. The stream of a file, its chunks and " +
		"what becomes of a stranger's file name: docs/spec/files.md, sections 1 to 4 and 7. Names are what a parser of UTF-8 gives; " +
		"those that are none cannot stand in JSON."}
	f.Words = wordVectors(t)
	for _, size := range []int64{0, 1, 2, 9, 1000, chunkSize - hashSize, unitSize - 1, unitSize, unitSize + 1, 3*unitSize + 5, 1 << 30, 1<<40 - 1, 1 << 40} {
		l := layoutOf(size)
		v := layoutVector{Size: size, Padded: padme(size), Units: l.units, Zeros: l.zeros, Length: l.length}
		v.LastChunk = uint64((l.length+chunkSize-1)/chunkSize) - 1
		v.LastLength, _ = l.chunkAt(v.LastChunk)
		for _, unit := range []int64{0, 1, l.units} {
			if unit <= l.units && (len(v.Starts) == 0 || v.Starts[len(v.Starts)-1].Unit != unit) {
				index, skip := l.start(unit)
				v.Starts = append(v.Starts, startVector{unit, index, skip})
			}
		}
		f.Layouts = append(f.Layouts, v)
	}
	for i, c := range []struct {
		name, sender string
		size         int
		from         int64
	}{
		{"empty", "initiator", 0, 0}, {"Grüße.txt", "responder", 11, 0}, {"two units.bin", "initiator", unitSize + 100, 0},
		{"two units.bin", "initiator", unitSize + 100, 1}, {"two units.bin", "responder", unitSize + 100, 2},
	} {
		f.Files = append(f.Files, makeFile(t, byte(i+1), c.name, c.sender, c.size, c.from))
	}
	for _, name := range []string{
		"report.pdf", "Grüße an 東京 🎉.txt", "", "..", " . . ", "../../etc/passwd", `..\..\boot.ini`, `C:\Users\x\a.txt`, "C:evil.exe", "what?.txt",
		"a\x00b.txt", "a\r\nb\tc\x1b[31m", "photo\u202egpj.exe", "\ufeffa\u200bb", "nul", "NUL.txt", "com1.tar.gz", "COM\u00b2", "con .txt", "trailing. . ",
		".hidden", "a\u00a0b", "\u3164", "\U000f0000x", strings.Repeat("a", 300) + ".txt", strings.Repeat("é", 200) + ".tar.gz", strings.Repeat("x", 300),
	} {
		f.Names = append(f.Names, cleanedVector{name, CleanName(name)})
	}
	return f
}

func makeFile(t *testing.T, n byte, name, sender string, size int, from int64) fileVector {
	t.Helper()
	l := layoutOf(int64(size))
	content := bytes.Repeat([]byte{n}, size)
	var hashes []byte
	for u := range l.units {
		h := sha256.Sum256(content[l.contentAt(u) : l.contentAt(u)+int64(l.unitLen(u))])
		hashes = append(hashes, h[:]...)
	}
	root := sha256.Sum256(hashes)
	key := [32]byte(bytes.Repeat([]byte{0x40 + n}, 32))
	attempt := attemptID(bytes.Repeat([]byte{0x80 + n}, 16))
	id := fileID(name, int64(size), root)
	label := labelFileI2R
	if sender == "responder" {
		label = labelFileR2I
	}
	b, err := newBox(key, label, id, attempt, int64(size))
	if err != nil {
		t.Fatal(err)
	}
	v := fileVector{
		Name: name, Size: size, Fill: int(n), Root: hex.EncodeToString(root[:]), FileID: hex.EncodeToString(id[:]), FileKey: hex.EncodeToString(key[:]),
		Attempt: hex.EncodeToString(attempt[:]), Sender: sender, From: from,
	}
	c := &cutter{layout: l, box: b, emit: func(msg []byte) error {
		sum := sha256.Sum256(msg)
		m := chunkVector{At: v.Chunks, SHA256: hex.EncodeToString(sum[:])}
		if len(msg) < 1024 {
			m.Bytes = base64.StdEncoding.EncodeToString(msg)
		}
		v.Messages = append(v.Messages, m)
		v.Chunks++
		return nil
	}}
	c.index, c.skip = l.start(from)
	var stream []byte
	for u := from; u < l.units; u++ {
		at := l.contentAt(u)
		stream = append(append(stream, content[at:at+int64(l.unitLen(u))]...), hashes[u*hashSize:(u+1)*hashSize]...)
	}
	stream = append(append(stream, make([]byte, l.zeros)...), root[:]...)
	if err := c.write(stream); err != nil {
		t.Fatal(err)
	}
	return v
}

// What stands in the specification's vectors is what this code makes; the SDK reads the same
// file (web/sdk/test/files.test.ts).
func TestVectors(t *testing.T) {
	t.Parallel()
	got, err := json.MarshalIndent(makeVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(filepath.FromSlash(vectorsFile), got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(filepath.FromSlash(vectorsFile))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("files.json is not what this code makes: a change of the format changes the specification too (go test ./client/transfer -run TestVectors -update)")
	}
}

package transfer

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/trunkline-net/trunkline/client/transfer/pb"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// What a receiver keeps in State (docs/spec/files.md, section 6):
//
//	file id                        Record: what the file is, where it lies, whether it is done
//	SHA-256("units" | id | k)[:16] hashes of the verified units 256k to 256k+255
//	SHA-256("files")[:16]          ids of the files there are records of, oldest first
//
// The hashes lie apart in segments, so that a unit costs one small write however big the file.
const (
	segmentUnits  = 256
	maxMainRecord = 2048 // two names, two hashes and some numbers
	maxFiles      = 128  // then the oldest is forgotten, with its hidden file
)

func segmentKey(id FileID, k int64) [16]byte {
	b := append([]byte("units"), id[:]...)
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(k)))
	return [16]byte(sum[:16])
}

func filesKey() [16]byte {
	sum := sha256.Sum256([]byte("files"))
	return [16]byte(sum[:16])
}

// record is the main record of one file.
type record struct {
	size     int64
	root     [hashSize]byte
	part     string
	final    string
	done     bool
	modified int64
	sha256   [hashSize]byte
	owner    attemptID // the attempt that may write
}

func (r *record) marshal() ([]byte, error) {
	m := &pb.Record{
		Size: uint64(r.size), Root: r.root[:], Part: r.part, Final: r.final, Done: r.done,
		Modified: r.modified, Owner: r.owner[:],
	}
	if r.done {
		m.Sha256 = r.sha256[:]
	}
	return canon.Marshal(m)
}

// parseRecord reads what lay on the disk. The names are checked again: whoever can write the
// State must not gain a write elsewhere by it.
func parseRecord(b []byte) (*record, error) {
	var m pb.Record
	if err := canon.Unmarshal(b, maxMainRecord, &m); err != nil {
		return nil, fmt.Errorf("transfer: record: %w", err)
	}
	if len(m.GetRoot()) != hashSize || len(m.GetOwner()) != 16 || m.GetSize() > maxSize ||
		!plainName(m.GetPart()) || m.GetFinal() != "" && !plainName(m.GetFinal()) ||
		m.GetDone() && (m.GetFinal() == "" || len(m.GetSha256()) != hashSize) ||
		!m.GetDone() && len(m.GetSha256()) != 0 {
		return nil, errors.New("transfer: record is malformed")
	}
	r := &record{
		size: int64(m.GetSize()), root: [hashSize]byte(m.GetRoot()), part: m.GetPart(), final: m.GetFinal(),
		done: m.GetDone(), modified: m.GetModified(), owner: attemptID(m.GetOwner()),
	}
	if r.done {
		r.sha256 = [hashSize]byte(m.GetSha256())
	}
	return r, nil
}

// plainName says that name is one element of a path.
func plainName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, `/\`) && len(name) <= maxFileName
}

// books reads and writes the records of one contact's files.
type books struct{ state State }

// load returns nil when nothing is known of the file. A record that cannot be read is as good
// as none: the file comes again from its beginning.
func (b books) load(id FileID) (*record, error) {
	raw, found, err := b.state.Load(id)
	if err != nil || !found {
		return nil, err
	}
	r, err := parseRecord(raw)
	if err != nil {
		return nil, b.state.Delete(id)
	}
	return r, nil
}

func (b books) save(id FileID, r *record) error {
	raw, err := r.marshal()
	if err != nil {
		return err
	}
	return b.state.Save(id, raw)
}

// segment returns the hashes of up to 256 units, nil when there are none.
func (b books) segment(id FileID, k int64) ([]byte, error) {
	raw, found, err := b.state.Load(segmentKey(id, k))
	if err != nil || !found {
		return nil, err
	}
	if len(raw) > maxRecord {
		return nil, nil
	}
	return raw[:len(raw)/hashSize*hashSize], nil
}

// verified counts the units whose hashes are recorded.
func (b books) verified(id FileID, units int64) (int64, error) {
	for k := int64(0); ; k++ {
		hashes, err := b.segment(id, k)
		if err != nil {
			return 0, err
		}
		if n := int64(len(hashes) / hashSize); n < segmentUnits || (k+1)*segmentUnits >= units {
			return min(k*segmentUnits+n, units), nil
		}
	}
}

// forgetUnits deletes the segments from k on.
func (b books) forgetUnits(id FileID, k int64) error {
	for ; ; k++ {
		key := segmentKey(id, k)
		_, found, err := b.state.Load(key)
		if err != nil || !found {
			return err
		}
		if err := b.state.Delete(key); err != nil {
			return err
		}
	}
}

// forget deletes all of a file's records; the list of files keeps its id until it falls out.
func (b books) forget(id FileID) error {
	if err := b.forgetUnits(id, 0); err != nil {
		return err
	}
	return b.state.Delete(id)
}

// enlist puts a file at the end of the list and returns the ones that fell off its beginning.
func (b books) enlist(id FileID) (gone []FileID, err error) {
	raw, _, err := b.state.Load(filesKey())
	if err != nil {
		return nil, err
	}
	var list []FileID
	for ; len(raw) >= len(id) && len(list) < 2*maxFiles; raw = raw[len(id):] {
		if old := FileID(raw[:len(id)]); old != id {
			list = append(list, old)
		}
	}
	list = append(list, id)
	if n := len(list) - maxFiles; n > 0 {
		gone, list = list[:n], list[n:]
	}
	out := make([]byte, 0, len(list)*len(id))
	for _, f := range list {
		out = append(out, f[:]...)
	}
	return gone, b.state.Save(filesKey(), out)
}

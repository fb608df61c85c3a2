package transfer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// partFile is the hidden file of a transfer. *os.File is one; tests have one on a full disk.
type partFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
}

func openPart(path string, flag int) (partFile, error) { return os.OpenFile(path, flag, 0o600) }

// part is a file on its way: only whole, verified units are ever in it.
type part struct {
	books  books
	dir    string
	id     FileID
	name   string // cleaned
	layout layout
	rec    *record
	file   partFile

	units   int64 // verified, synced and recorded
	segment []byte
	root    hash.Hash // over the units' hashes
	content hash.Hash
}

// errTaken says that another session of the same contact has taken the file up.
var errTaken = errors.New("transfer: the file goes on in another session")

// known is what there is of an offered file.
type known struct {
	rec    *record
	units  int64 // recorded
	done   bool
	agreed bool // by the person
}

// look finds out what there is of a file, reading no content unless a shown file may be it.
func (e *Engine) look(ctx context.Context, m manifest) (known, error) {
	rec, err := e.books.load(m.id)
	if err != nil || rec == nil {
		return known{}, err
	}
	if rec.final != "" {
		shown, err := e.shown(ctx, m.id, rec)
		if err != nil {
			return known{}, err
		}
		if shown {
			return known{rec: rec, done: true}, e.removePart(rec)
		}
	}
	units, err := e.books.verified(m.id, unitsIn(rec.size))
	if err != nil {
		return known{}, err
	}
	if info, err := os.Lstat(filepath.Join(e.cfg.Dir, rec.part)); rec.done || err != nil || !info.Mode().IsRegular() {
		// Shown once and gone since, or its beginning is gone: all of it has to come.
		return known{}, e.books.forget(m.id)
	}
	return known{rec: rec, units: units}, nil
}

// shown says whether the file lies there under its final name: because the record says so and
// nobody has touched it since, or because its content is that of the root. The latter also
// finds a file whose receiver was killed between showing it and writing that down.
func (e *Engine) shown(ctx context.Context, id FileID, rec *record) (bool, error) {
	path := filepath.Join(e.cfg.Dir, rec.final)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != rec.size {
		return false, nil //nolint:nilerr // what cannot be looked at is not shown
	}
	if rec.done && info.ModTime().UnixNano() == rec.modified {
		return true, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return false, nil //nolint:nilerr // as above
	}
	defer f.Close()
	sums, err := hashFile(ctx, f, rec.size, false, nil)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if err != nil || sums.root != rec.root {
		return false, nil //nolint:nilerr // as above
	}
	rec.done, rec.sha256, rec.modified = true, sums.content, info.ModTime().UnixNano()
	return true, e.books.save(id, rec)
}

// removePart removes the hidden file; there need not be one.
func (e *Engine) removePart(rec *record) error {
	if err := os.Remove(filepath.Join(e.cfg.Dir, rec.part)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// drop removes all that there is of an unfinished file.
func (e *Engine) drop(id FileID, rec *record) error {
	return errors.Join(e.removePart(rec), e.books.forget(id))
}

// openPart opens or creates the hidden file, and makes this attempt the only one that may go
// on writing: it reads and hashes the units that are there and cuts off what lies behind.
func (e *Engine) openPart(ctx context.Context, m manifest, k known, checked func(int64)) (_ *part, err error) {
	p := &part{
		books: e.books, dir: e.cfg.Dir, id: m.id, name: CleanName(m.name), layout: layoutOf(m.size),
		rec: k.rec, root: sha256.New(), content: sha256.New(),
	}
	flag := os.O_RDWR
	if p.rec == nil {
		var mark [4]byte
		fillRandom(mark[:])
		p.rec = &record{size: m.size, root: m.root, part: partName(p.name, mark)}
		flag |= os.O_CREATE | os.O_EXCL
	}
	p.rec.owner = m.attempt
	// The record comes first: a kill in between leaves a record without a file, which is
	// forgotten, and not a hidden file that nobody knows of.
	if err := p.books.save(p.id, p.rec); err != nil {
		return nil, err
	}
	gone, err := p.books.enlist(p.id)
	if err != nil {
		return nil, err
	}
	for _, id := range gone {
		if err := e.evict(id); err != nil {
			return nil, err
		}
	}
	if p.file, err = e.open(filepath.Join(p.dir, p.rec.part), flag); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.file.Close()
		}
	}()
	if k.rec == nil {
		if err := syncDir(p.dir); err != nil {
			return nil, err
		}
	}
	return p, p.verify(ctx, k.units, checked)
}

// evict forgets a file that fell off the list. One that is shown stays, of course.
func (e *Engine) evict(id FileID) error {
	rec, err := e.books.load(id)
	if err != nil {
		return err
	}
	if rec == nil {
		return e.books.forget(id)
	}
	return e.drop(id, rec)
}

// verify reads the recorded units back. The first that is not what was recorded, and all
// behind it, are cut off.
func (p *part) verify(ctx context.Context, recorded int64, checked func(int64)) error {
	buf := make([]byte, unitSize)
	var hashes []byte
	for p.units < recorded {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.units%segmentUnits == 0 {
			var err error
			if hashes, err = p.books.segment(p.id, p.units/segmentUnits); err != nil {
				return err
			}
			p.segment = p.segment[:0]
		}
		unit := buf[:p.layout.unitLen(p.units)]
		err := readUnit(p.file, unit, p.units)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
		sum := sha256.Sum256(unit)
		at := len(p.segment)
		if at+hashSize > len(hashes) || sum != [hashSize]byte(hashes[at:]) {
			break
		}
		p.add(sum, unit)
		checked(p.layout.contentAt(p.units))
	}
	if err := p.file.Truncate(p.layout.contentAt(p.units)); err != nil {
		return err
	}
	if p.units == recorded {
		return nil
	}
	k := p.units / segmentUnits
	if p.units%segmentUnits == 0 {
		p.segment = p.segment[:0]
	} else if err := p.books.state.Save(segmentKey(p.id, k), p.segment); err != nil {
		return err
	} else {
		k++
	}
	return p.books.forgetUnits(p.id, k)
}

// add counts a verified unit in.
func (p *part) add(sum [hashSize]byte, content []byte) {
	p.segment = append(p.segment, sum[:]...)
	p.root.Write(sum[:])
	p.content.Write(content)
	p.units++
}

// own fails when another attempt has taken the file since.
func (p *part) own() error {
	rec, err := p.books.load(p.id)
	if err != nil {
		return err
	}
	if rec == nil || rec.owner != p.rec.owner {
		return errTaken
	}
	return nil
}

// keep writes the next unit. When it returns the unit survives a power cut, and so does the
// knowledge of it, in this order.
func (p *part) keep(content []byte, sum [hashSize]byte) error {
	if err := p.own(); err != nil {
		return err
	}
	if _, err := p.file.WriteAt(content, p.units*unitSize); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	k := p.units / segmentUnits
	if p.units%segmentUnits == 0 {
		p.segment = p.segment[:0]
	}
	p.add(sum, content)
	return p.books.state.Save(segmentKey(p.id, k), p.segment)
}

// show gives the file its name, never over another file. A hard link does that in one step on
// every usual file system; where there are none the name is looked at before the rename.
func (p *part) show() error {
	if err := p.own(); err != nil {
		return err
	}
	if err := p.file.Sync(); err != nil {
		return err
	}
	hidden := filepath.Join(p.dir, p.rec.part)
	mine, err := p.file.Stat()
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		if n > maxNumber {
			return fmt.Errorf("transfer: %d files of that name are there already", n-1)
		}
		p.rec.final = numberedName(p.name, n)
		path := filepath.Join(p.dir, p.rec.final)
		if info, err := os.Lstat(path); err == nil {
			if os.SameFile(mine, info) {
				break // linked by an attempt that was killed right after
			}
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Written before the name is there: after a kill it is the place to look.
		if err := p.books.save(p.id, p.rec); err != nil {
			return err
		}
		err := os.Link(hidden, path)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			err = os.Rename(hidden, path)
		}
		if err != nil {
			return err
		}
		break
	}
	info, err := os.Lstat(filepath.Join(p.dir, p.rec.final))
	if err != nil {
		return err
	}
	if err := syncDir(p.dir); err != nil {
		return err
	}
	p.rec.done, p.rec.modified = true, info.ModTime().UnixNano()
	p.rec.sha256 = [hashSize]byte(p.content.Sum(nil))
	if err := p.books.save(p.id, p.rec); err != nil {
		return err
	}
	if err := os.Remove(hidden); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.books.forgetUnits(p.id, 0)
}

// maxNumber is how many names are tried.
const maxNumber = 9999

// sums are the hashes of a file's content.
type sums struct {
	units   [][hashSize]byte // only when they were asked for: 32 bytes a unit, 2 MiB for 64 GiB
	root    [hashSize]byte
	content [hashSize]byte
}

// hashFile reads size bytes of r once and tells checked, if there is one, how far it is.
func hashFile(ctx context.Context, r io.ReaderAt, size int64, keepUnits bool, checked func(int64)) (sums, error) {
	var s sums
	buf := make([]byte, unitSize)
	root, content := sha256.New(), sha256.New()
	l := layoutOf(size)
	for i := range l.units {
		if ctx.Err() != nil {
			return sums{}, ctx.Err()
		}
		unit := buf[:l.unitLen(i)]
		if err := readUnit(r, unit, i); err != nil {
			return sums{}, err
		}
		sum := sha256.Sum256(unit)
		root.Write(sum[:])
		content.Write(unit)
		if keepUnits {
			s.units = append(s.units, sum)
		}
		if checked != nil {
			checked(l.contentAt(i + 1))
		}
	}
	s.root, s.content = [hashSize]byte(root.Sum(nil)), [hashSize]byte(content.Sum(nil))
	return s, nil
}

// readUnit fills buf with the beginning of unit i.
func readUnit(r io.ReaderAt, buf []byte, i int64) error {
	n, err := r.ReadAt(buf, i*unitSize)
	if n == len(buf) {
		return nil // with or without io.EOF
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

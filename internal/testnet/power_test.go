package testnet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
)

// power is the electricity of one data folder. Cut during a commit, it leaves on the disk
// what a disk may have by then: pages in any choice, the page that makes them count whole,
// torn or not at all.
type power struct {
	dir, db string   // the folder, the database in it
	rings   []string // key files, which grow at their end just before a commit
	lost    func()   // takes the owner off the network; nothing leaves it from then on

	mu      sync.Mutex // guards all below
	rng     *rand.Rand
	fuse    int    // commits until the power goes; 0: it does not
	gone    bool   // it has gone; the owner only does not know yet
	image   string // where the disk as it was left is kept
	what    string // how much of the last write arrived
	sizes   map[string]int64
	commits int
	cutAt   func(what string) // told once, on the writer's goroutine

	// lying makes the disk say that a commit is durable when it is not: the image is the one
	// of before the commit that burnt the fuse, and the power goes only after it was answered.
	lying  bool
	before []byte
}

func newPower(dir, db string, rings []string, rng *rand.Rand) *power {
	return &power{dir: dir, db: db, rings: rings, rng: rng, sizes: map[string]int64{}}
}

const page = 4096

// commit is kv.Options.Commit.
func (p *power) commit(path string, commit func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return commit() // whatever it writes now is on no disk
	}
	p.commits++
	burns := false
	if p.fuse > 0 {
		p.fuse--
		burns = p.fuse == 0
	}
	if !burns {
		err := commit()
		p.measureLocked()
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil {
		panic(err) // the simulation's own folder
	}
	if p.lying {
		p.before = before
		err := commit()
		p.measureLocked()
		return err
	}
	p.gone = true
	p.lost()
	err = commit()
	after, rerr := os.ReadFile(path)
	if rerr != nil {
		panic(rerr)
	}
	left, what := tear(before, after, p.rng)
	p.saveLocked(left, what == "nothing")
	p.what = what
	if p.cutAt != nil {
		p.cutAt(what)
	}
	return err
}

func (p *power) measureLocked() {
	for _, r := range p.rings {
		if info, err := os.Stat(filepath.Join(p.dir, r)); err == nil {
			p.sizes[r] = info.Size()
		}
	}
}

func (p *power) armed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fuse > 0
}

// arm lets the power go at one of the next commits.
func (p *power) arm(commits int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fuse = commits
}

// cutNow lets the power go between two commits. It says whether it was there until now.
func (p *power) cutNow() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return false
	}
	p.gone = true
	p.lost()
	left := p.before
	if left == nil {
		b, err := os.ReadFile(filepath.Join(p.dir, p.db))
		if err != nil {
			panic(err)
		}
		left = b
	}
	p.saveLocked(left, false)
	p.what = "between writes"
	return true
}

// saveLocked copies the folder as it is, with the database as it was left.
func (p *power) saveLocked(db []byte, early bool) {
	p.image = p.dir + ".left"
	if err := errors.Join(os.RemoveAll(p.image), os.MkdirAll(p.image, 0o700)); err != nil {
		panic(err)
	}
	err := filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(p.dir, path)
		if err != nil {
			return err
		}
		to := filepath.Join(p.image, rel)
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		b := db
		if rel != p.db {
			if b, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		if old, ok := p.sizes[rel]; ok && early && int64(len(b)) > old && p.rng.IntN(2) == 0 {
			// Its new end was being written when the power went.
			b = b[:old+p.rng.Int64N(int64(len(b))-old+1)]
		}
		return os.WriteFile(to, b, 0o600)
	})
	if err != nil {
		panic(err)
	}
}

// restore puts the disk as it was left in the place of the folder.
func (p *power) restore() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		return errors.New("the power was not gone")
	}
	p.gone, p.fuse, p.before = false, 0, nil
	p.sizes = map[string]int64{}
	return errors.Join(os.RemoveAll(p.dir), os.Rename(p.image, p.dir))
}

// tear makes what a disk may hold when the power goes during a commit that leads from before
// to after. A database writes its pages, waits for the disk, writes one of the two meta pages
// at the beginning, and waits again.
func tear(before, after []byte, rng *rand.Rand) (left []byte, what string) {
	var changed []int
	meta := -1
	for at := 0; at < len(after); at += page {
		end := min(at+page, len(after))
		if at < len(before) && end <= len(before) && bytes.Equal(before[at:end], after[at:end]) {
			continue
		}
		if at < 2*page {
			meta = at
		} else {
			changed = append(changed, at)
		}
	}
	put := func(at int) {
		copy(left[at:], after[at:min(at+page, len(after))])
	}
	grow := func() {
		left = append([]byte(nil), before...)
		if len(after) > len(left) {
			left = append(left, make([]byte, len(after)-len(left))...)
		}
	}
	switch n := rng.IntN(10); {
	case n < 2:
		return append([]byte(nil), before...), "nothing"
	case n < 5:
		grow()
		some := 0
		for _, at := range changed {
			if rng.IntN(2) == 0 {
				put(at)
				some++
			}
		}
		return left, fmt.Sprintf("%d of %d pages", some, len(changed))
	case n < 7 && meta >= 0:
		grow()
		for _, at := range changed {
			put(at)
		}
		cut := 16 + rng.IntN(80)
		copy(left[meta:meta+cut], after[meta:])
		return left, fmt.Sprintf("%d pages and %d bytes of the last", len(changed), cut)
	}
	return append([]byte(nil), after...), "everything"
}

package transfer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// maxRecord is the longest record that is ever kept: a segment of 256 hashes.
const maxRecord = segmentUnits * hashSize

// DirState is a State in a folder, one file per record.
type DirState struct{ dir string }

// unfinished begins the names of records that are being written.
const unfinished = ".new-"

// NewDirState makes the folder if it is not there, and clears away what a kill has left in it.
func NewDirState(dir string) (*DirState, error) {
	s := &DirState{dir: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("transfer: state: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("transfer: state: %w", err)
	}
	for _, e := range entries {
		// A young one may belong to another session that is writing it now.
		info, err := e.Info()
		if err != nil || !strings.HasPrefix(e.Name(), unfinished) || time.Since(info.ModTime()) < time.Hour {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("transfer: state: %w", err)
		}
	}
	return s, nil
}

func (s *DirState) path(key [16]byte) string {
	return filepath.Join(s.dir, hex.EncodeToString(key[:]))
}

// Load reads a record; found is false when there is none.
func (s *DirState) Load(key [16]byte) ([]byte, bool, error) {
	f, err := os.Open(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("transfer: state: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err == nil && len(b) > maxRecord {
		err = errors.New("record is too long")
	}
	if err != nil {
		return nil, false, fmt.Errorf("transfer: state: %w", err)
	}
	return b, true, nil
}

// Save replaces a record; a kill leaves the old one or the new one, whole.
func (s *DirState) Save(key [16]byte, record []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("transfer: state: %w", err)
		}
	}()
	f, err := os.CreateTemp(s.dir, unfinished+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(record)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path(key))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(s.dir)
}

// Delete removes a record; there need not be one.
func (s *DirState) Delete(key [16]byte) error {
	if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("transfer: state: %w", err)
	}
	return nil
}

// syncDir makes new names in dir survive a power cut.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil // it cannot open a folder for that; NTFS keeps a journal of names
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL) {
		err = nil // some network file systems do not know it for folders
	}
	if e := d.Close(); err == nil {
		err = e
	}
	return err
}

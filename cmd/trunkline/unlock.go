package main

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
	"github.com/spf13/cobra"
)

// Two passphrases must not be mixed up. The one of --passphrase-file is part of the key
// (BIP39): another one, or none, makes another identity out of the same words. The one of
// --unlock-file only protects the root key and the phrase on this computer's disk.

// unlockFlag adds --unlock-file to a command that makes or needs the root key.
func unlockFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "unlock-file", "", `file with the passphrase that protects the root key on this computer, "-" for standard input`)
}

// unlock is the passphrase that opens what this folder protects: from the file, or asked for
// on a terminal when needed is true.
func (a *app) unlock(file string, needed bool) (string, error) {
	if file != "" {
		return a.readPassphrase(file)
	}
	if !needed {
		return "", nil
	}
	if !a.inTerminal {
		return "", usageError("the root key is protected by a passphrase", "give it with --unlock-file FILE")
	}
	return a.ask("Passphrase of this computer: ")
}

// newUnlock is the passphrase to protect a new identity with; empty means that only the
// permissions of the files protect it, and says so.
func (a *app) newUnlock(file string) (string, error) {
	if file != "" {
		s, err := a.readPassphrase(file)
		if err == nil && s == "" {
			err = usageError("the passphrase is empty", "write one into the file, or leave --unlock-file out")
		}
		return s, err
	}
	if a.inTerminal && !a.json {
		first, err := a.ask("Passphrase to protect the key on this computer (empty for none): ")
		if err != nil {
			return "", err
		}
		if first != "" {
			second, err := a.ask("The same again: ")
			if err != nil {
				return "", err
			}
			if subtle.ConstantTimeCompare([]byte(first), []byte(second)) != 1 {
				return "", usageError("the two passphrases differ", "run it again")
			}
			return first, nil
		}
	}
	a.warning("only file permissions protect the root key and the phrase in the data folder: whoever can read your files can become you; --unlock-file protects them with a passphrase")
	return "", nil
}

// ask reads a line from the terminal without showing it.
func (a *app) ask(prompt string) (string, error) {
	fmt.Fprint(a.err, prompt)
	line, err := a.readHidden()
	fmt.Fprintln(a.err)
	if err != nil {
		return "", failed(err, "cannot read from the terminal", "give it in a file")
	}
	return string(line), nil
}

// The phrase is kept beside the root key, under the same protection, until its owner has
// written it down and says "id phrase --forget". The root key alone cannot give it back.
const (
	phrasePlain   = "phrase"
	phraseWrapped = "phrase.age"
	maxPhraseFile = 8192
)

var errNoPhrase = errors.New("the phrase is not kept here")

// stagePhrase writes the phrase into the folder under a name that means nothing yet. The
// caller commits it when the profile exists, or drops it, so that a failure leaves nothing.
func (a *app) stagePhrase(dir, phrase, unlock string) (commit func() error, drop func(), err error) {
	name, content := phrasePlain, []byte(phrase+"\n")
	if unlock != "" {
		name = phraseWrapped
		if content, err = a.wrap(content, unlock); err != nil {
			return nil, nil, failed(err, "cannot protect the phrase", "run it again")
		}
	}
	_, statErr := os.Stat(dir)
	made := errors.Is(statErr, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, failed(err, "cannot make the data folder", "name a folder that can be written with --data DIR")
	}
	f, err := os.CreateTemp(dir, "phrase-*.new") // mode 0600
	if err != nil {
		return nil, nil, failed(err, "cannot write to the data folder", "name a folder that can be written with --data DIR")
	}
	drop = func() {
		// Best effort: an error was already met, and that one is what is told.
		if os.Remove(f.Name()) == nil && made {
			os.Remove(dir) //nolint:errcheck // fails where somebody else has put something in it
		}
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		drop()
		return nil, nil, failed(err, "cannot write to the data folder", "free some space and run it again")
	}
	commit = func() error {
		if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
			return failed(err, "the identity was made, but its phrase could not be kept", "move what you have away and make another one")
		}
		return nil
	}
	return commit, drop, nil
}

// keptPhrase reads the phrase of the folder. It asks for the passphrase only if there is one.
func (a *app) keptPhrase(dir, unlockFile string) (string, error) {
	data, err := readLimited(filepath.Join(dir, phrasePlain), maxPhraseFile)
	if err == nil {
		return strings.TrimSuffix(string(data), "\n"), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	data, err = readLimited(filepath.Join(dir, phraseWrapped), maxPhraseFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errNoPhrase
	} else if err != nil {
		return "", err
	}
	unlock, err := a.unlock(unlockFile, true)
	if err != nil {
		return "", err
	}
	identity, err := age.NewScryptIdentity(unlock)
	if err != nil {
		return "", wrongUnlock(err)
	}
	identity.SetMaxWorkFactor(maxScryptWork)
	r, err := age.Decrypt(bytes.NewReader(data), identity)
	if err != nil {
		return "", wrongUnlock(err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxPhraseFile))
	if err != nil {
		return "", wrongUnlock(err)
	}
	return strings.TrimSuffix(string(plain), "\n"), nil
}

func wrongUnlock(err error) error {
	return &exitError{code: exitUsage, what: "the passphrase does not open the phrase", do: "check --unlock-file and run it again", err: err}
}

// hasPhrase says whether the folder keeps the phrase.
func hasPhrase(dir string) bool {
	for _, name := range []string{phrasePlain, phraseWrapped} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// forgetPhrase removes the phrase and says whether there was one.
func forgetPhrase(dir string) (bool, error) {
	found := false
	for _, name := range []string{phrasePlain, phraseWrapped} {
		err := os.Remove(filepath.Join(dir, name))
		if err == nil {
			found = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return found, failed(err, "cannot remove the phrase", "remove it from the data folder by hand")
		}
	}
	return found, nil
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}

// A second or so of work for one try, and a bound on what a planted file can ask for.
const (
	scryptWork    = 18
	maxScryptWork = 20
)

func (a *app) wrap(plain []byte, passphrase string) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(a.scryptWork)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

func newIDCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "id",
		Short: "Make, recover and show your identity",
		Long: `An identity is a public key, written as an id that starts with tl1. It is made from a
phrase of 24 words. There is no account: whoever has the phrase is you, and without
it nobody can bring the identity back.

The identity of a data folder is used by all commands with the same --data DIR.`,
	}
	cmd.AddCommand(newIDNewCommand(a), newIDRecoverCommand(a), newIDShowCommand(a), newIDPhraseCommand(a))
	return cmd
}

// shownIdentity is what id show, id new and id recover print with --json.
type shownIdentity struct {
	ID          string        `json:"id"`
	PeerID      string        `json:"peer_id"`
	PublicKey   string        `json:"public_key"` // hexadecimal
	Fingerprint string        `json:"fingerprint"`
	Addresses   []string      `json:"addresses"` // one for each home node
	Devices     []shownDevice `json:"devices"`
	Custody     string        `json:"custody"` // how the root key is kept
}

type shownDevice struct {
	ID        string     `json:"id"`
	PublicKey string     `json:"public_key"`
	This      bool       `json:"this"`                 // the device of this data folder
	NotBefore *time.Time `json:"not_before,omitempty"` // of its certificate; absent before registration
	NotAfter  *time.Time `json:"not_after,omitempty"`
}

func newIDNewCommand(a *app) *cobra.Command {
	var words int
	var account uint32
	var passphraseFile, unlockFile string
	cmd := &cobra.Command{
		Use:   "new",
		Short: "Make a new identity",
		Long: `Draws a new phrase, makes the identity and a key for this device out of it, and keeps
both in the data folder. On a terminal it shows the phrase: write it down on paper.
Elsewhere it never prints the phrase; trunkline id phrase --reveal shows it later.

With --passphrase-file the passphrase becomes part of the key: the words alone do not
bring the identity back then. With --unlock-file a passphrase protects the root key
and the phrase on this computer; without it, file permissions alone do.`,
		Example: `  trunkline id new
  trunkline id new --data ~/work-identity --unlock-file secret.txt --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if words != 12 && words != 24 {
				return usageError(fmt.Sprintf("a phrase has 12 or 24 words, not %d", words), "use --words 24, or leave it out")
			}
			phrase, err := identity.GenerateMnemonic(words)
			if err != nil {
				return failed(err, "cannot draw a phrase", "run it again")
			}
			shown, err := a.makeIdentity(phrase, passphraseFile, unlockFile, account)
			if err != nil {
				return err
			}
			return a.result(shown, func(w io.Writer) {
				a.printIdentity(w, shown)
				if !a.outTerminal {
					a.hint("The phrase is kept in the data folder. Show it with: trunkline id phrase --reveal")
					return
				}
				fmt.Fprintf(w, "\nThis phrase is the identity. Write it down on paper and keep it where nobody finds it:\n\n")
				printPhrase(w, phrase)
				fmt.Fprintf(w, "\nWhen it is on paper: trunkline id phrase --forget\nNext: trunkline register INVITE\n")
			})
		},
	}
	f := cmd.Flags()
	f.IntVar(&words, "words", 24, "length of the phrase: 24 or 12")
	identityFlags(cmd, &passphraseFile, &unlockFile, &account)
	return cmd
}

func newIDRecoverCommand(a *app) *cobra.Command {
	var account uint32
	var phraseFile, passphraseFile, unlockFile string
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Bring an identity back from its phrase",
		Long: `Reads a phrase of 12 or 24 words, makes the identity out of it again, and keeps it in
the data folder with a new key for this device. It prints the same as id show.

The phrase is asked for on a terminal, or read from standard input, or from
--phrase-file. It never stands on the command line, where other users could see it.
With a passphrase that was part of the key, --passphrase-file is needed as well.`,
		Example: `  trunkline id recover
  trunkline id recover --phrase-file phrase.txt --data ~/restored --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			phrase, err := a.readPhrase(phraseFile)
			if err != nil {
				return err
			}
			shown, err := a.makeIdentity(phrase, passphraseFile, unlockFile, account)
			if err != nil {
				return err
			}
			return a.result(shown, func(w io.Writer) {
				a.printIdentity(w, shown)
				a.hint("Next: trunkline register INVITE")
			})
		},
	}
	cmd.Flags().StringVar(&phraseFile, "phrase-file", "", `file with the phrase, "-" for standard input`)
	identityFlags(cmd, &passphraseFile, &unlockFile, &account)
	return cmd
}

func identityFlags(cmd *cobra.Command, passphraseFile, unlockFile *string, account *uint32) {
	f := cmd.Flags()
	f.StringVar(passphraseFile, "passphrase-file", "", `file with a BIP39 passphrase that is part of the key; one newline at its end is dropped`)
	f.Uint32Var(account, "account", 0, "which identity of the phrase, for several from one phrase")
	unlockFlag(cmd, unlockFile)
}

// readPhrase reads the words from where they are. What they are worth is checked later, by
// the one function that knows.
func (a *app) readPhrase(file string) (string, error) {
	if file == "" && a.inTerminal {
		return a.ask("Phrase (it is not shown): ")
	}
	if file == "" {
		file = "-"
	}
	data, err := a.readInput(file, 4096)
	return string(data), err
}

// makeIdentity derives the identity and writes it into the data folder, whole or not at all.
func (a *app) makeIdentity(phrase, passphraseFile, unlockFile string, account uint32) (shownIdentity, error) {
	var none shownIdentity
	dir, err := a.clientData()
	if err != nil {
		return none, err
	}
	passphrase := ""
	if passphraseFile != "" {
		if passphrase, err = a.readPassphrase(passphraseFile); err != nil {
			return none, err
		}
	}
	phrase, err = identity.NormalizeMnemonic(phrase)
	if err != nil {
		return none, wrongPhrase(err)
	}
	root, err := identity.DeriveRoot(phrase, passphrase, account)
	if err != nil {
		return none, &exitError{code: exitUsage, what: withCause("cannot derive the identity", err), do: "check the passphrase and the account", err: err}
	}
	device, err := identity.GenerateDevice()
	if err != nil {
		return none, failed(err, "cannot draw a device key", "run it again")
	}
	// Asked before anything is written, and after the phrase is known to be good.
	unlock, err := a.newUnlock(unlockFile)
	if err != nil {
		return none, err
	}
	commit, drop, err := a.stagePhrase(dir, phrase, unlock)
	if err != nil {
		return none, err
	}
	k, err := keep.Create(dir, keep.NewProfile{Root: root.Public(), Device: device, RootSeed: root, Passphrase: unlock}, a.keepOptions())
	if err != nil {
		drop()
		return none, keepError(err)
	}
	shown, err := show(k)
	if err = errors.Join(err, k.Close()); err != nil {
		drop()
		return none, failed(err, "cannot read the identity that was just made", "check the data folder")
	}
	return shown, commit()
}

func wrongPhrase(err error) error {
	do := "type the words as they are on the paper, in their order, with ordinary spaces between them"
	var word *identity.WordError
	if errors.As(err, &word) {
		do = fmt.Sprintf("look at word %d on the paper and type it again", word.Position)
	}
	return &exitError{code: exitUsage, what: withCause("this is not a phrase", err), do: do, err: err}
}

func newIDShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show your identity",
		Long: `Shows the id, the fingerprint, the addresses under which others reach you, and the
devices that speak for you. None of it is secret.`,
		Example: "  trunkline id show\n  trunkline id show --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			dir, err := a.clientData()
			if err != nil {
				return err
			}
			k, err := keep.Open(dir, a.keepOptions())
			if err != nil {
				return keepError(err)
			}
			shown, err := show(k)
			if err = errors.Join(err, k.Close()); err != nil {
				return keepError(err)
			}
			return a.result(shown, func(w io.Writer) { a.printIdentity(w, shown) })
		},
	}
}

// show reads what is shown out of a profile.
func show(k *keep.Keep) (shownIdentity, error) {
	p := k.Profile()
	s := shownIdentity{
		ID:          p.Root.ID(),
		PeerID:      p.Root.PeerID().String(),
		PublicKey:   hex.EncodeToString(p.Root[:]),
		Fingerprint: p.Root.Fingerprint(),
		Addresses:   []string{},
		Devices:     []shownDevice{},
		Custody:     p.Custody.String(),
	}
	homes, err := k.Homes()
	if err != nil {
		return s, err
	}
	for _, h := range homes {
		s.Addresses = append(s.Addresses, identity.Address{Root: p.Root, Domain: h.Domain, Home: h.PeerID}.String())
	}
	list, err := k.OwnList()
	if errors.Is(err, keep.ErrNotFound) {
		// Before the first registration there is no list, and this device is the only one.
		s.Devices = append(s.Devices, shownDevice{ID: identity.DeviceIDOf(p.Device).Hex(), PublicKey: hex.EncodeToString(p.Device[:]), This: true})
		return s, nil
	} else if err != nil {
		return s, err
	}
	for _, c := range list.Devices {
		notBefore, notAfter := c.NotBefore.UTC(), c.NotAfter.UTC()
		s.Devices = append(s.Devices, shownDevice{
			ID: c.DeviceID().Hex(), PublicKey: hex.EncodeToString(c.Device[:]), This: c.Device == p.Device,
			NotBefore: &notBefore, NotAfter: &notAfter,
		})
	}
	return s, nil
}

func (a *app) printIdentity(w io.Writer, s shownIdentity) {
	rows := [][]string{{"id", s.ID}, {"fingerprint", s.Fingerprint}, {"root key", s.Custody}}
	for _, address := range s.Addresses {
		rows = append(rows, []string{"address", address})
	}
	for _, d := range s.Devices {
		text := d.ID
		if d.This {
			text += " (this one)"
		}
		if d.NotAfter == nil {
			text += ", not registered yet"
		} else {
			text += ", until " + d.NotAfter.Format(time.DateOnly)
		}
		rows = append(rows, []string{"device", text})
	}
	table(w, rows...)
}

func newIDPhraseCommand(a *app) *cobra.Command {
	var reveal, forget bool
	var unlockFile string
	cmd := &cobra.Command{
		Use:   "phrase",
		Short: "Show the phrase of your identity, or forget it here",
		Long: `With --reveal, prints the phrase that the data folder keeps: see to it that nobody
looks over your shoulder and that nothing records the terminal. With --forget, removes
it from the data folder, once it is on paper; the identity goes on working here.
Without either, says whether the phrase is kept here.`,
		Example: "  trunkline id phrase --reveal\n  trunkline id phrase --forget",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if reveal && forget {
				return usageError("--reveal and --forget together", "use one of them")
			}
			if reveal && a.json {
				return usageError("a phrase is never written as JSON", "leave --json out")
			}
			dir, err := a.clientData()
			if err != nil {
				return err
			}
			if forget {
				return a.forgetPhrase(dir)
			}
			kept := hasPhrase(dir)
			if !reveal {
				return a.result(struct {
					Kept bool `json:"kept"`
				}{kept}, func(w io.Writer) {
					if kept {
						fmt.Fprintln(w, "The phrase is kept here. Show it with --reveal; remove it with --forget once it is on paper.")
					} else {
						fmt.Fprintln(w, "The phrase is not kept here.")
					}
				})
			}
			phrase, err := a.keptPhrase(dir, unlockFile)
			if errors.Is(err, errNoPhrase) {
				return failed(nil, "the phrase is not kept here", "look for the paper; the root key cannot give it back")
			} else if err != nil {
				return err
			}
			if a.outTerminal {
				printPhrase(a.out, phrase)
			} else {
				fmt.Fprintln(a.out, phrase)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVar(&reveal, "reveal", false, "print the phrase")
	f.BoolVar(&forget, "forget", false, "remove the phrase from the data folder")
	unlockFlag(cmd, &unlockFile)
	return cmd
}

func (a *app) forgetPhrase(dir string) error {
	found, err := forgetPhrase(dir)
	if err != nil {
		return err
	}
	return a.result(struct {
		Forgotten bool `json:"forgotten"`
	}{found}, func(w io.Writer) {
		if found {
			fmt.Fprintln(w, "The phrase is gone from here. The paper is now the only way back.")
		} else {
			fmt.Fprintln(w, "The phrase was not kept here.")
		}
	})
}

// printPhrase writes the words numbered, in columns that are read downwards.
func printPhrase(w io.Writer, phrase string) {
	words := strings.Fields(phrase)
	const columns = 3
	rows := (len(words) + columns - 1) / columns
	for r := range rows {
		for c := range columns {
			if i := c*rows + r; i < len(words) {
				fmt.Fprintf(w, "  %2d %-10s", i+1, words[i])
			}
		}
		fmt.Fprintln(w)
	}
}

func (a *app) keepOptions() keep.Options {
	return keep.Options{Now: a.now, Logger: a.logger(levelSilent), ScryptWork: a.scryptWork}
}

// keepError says what to do about an error of the client's data folder.
func keepError(err error) error {
	switch {
	case errors.Is(err, keep.ErrNoProfile):
		return &exitError{code: exitFailure, what: "there is no identity in the data folder", do: "make one with trunkline id new, or name another folder with --data DIR", err: err}
	case errors.Is(err, keep.ErrExists):
		return failed(nil, "there is an identity in the data folder already", "see it with trunkline id show, or name another folder with --data DIR")
	case errors.Is(err, keep.ErrInUse):
		return failed(nil, "another trunkline command uses this data folder", "wait for it or stop it, or name another folder with --data DIR")
	case errors.Is(err, keep.ErrPassphrase):
		return &exitError{code: exitUsage, what: "the passphrase does not open the root key", do: "check --unlock-file and run it again", err: err}
	default:
		return failed(err, "cannot use the data folder", "check its permissions and the space on the disk")
	}
}

package identity

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tyler-smith/go-bip39"
	"github.com/tyler-smith/go-bip39/wordlists"
	"golang.org/x/text/unicode/norm"
)

const (
	maxMnemonic   = 1024 // bytes before normalisation; 24 words have at most 215
	maxPassphrase = 1024 // bytes before normalisation
)

// WordError names a word of a mnemonic that is not in the list, so that a person can look
// at that word on the paper. Its text shows the word: print it to the person who typed it
// and nowhere else.
type WordError struct {
	Position int // from 1
	Word     string
}

func (e *WordError) Error() string {
	return fmt.Sprintf("word %d, %q, is not in the English word list", e.Position, e.Word)
}

// ErrChecksum says that every word is in the list but the phrase as a whole is not a
// mnemonic: a word is wrong, missing or in another place.
var ErrChecksum = errors.New("the words are known but do not belong together: check their order and spelling")

// GenerateMnemonic draws a new mnemonic of 12 or 24 words.
func GenerateMnemonic(words int) (string, error) {
	if words != 12 && words != 24 {
		return "", fmt.Errorf("mnemonic of %d words: 12 or 24", words)
	}
	if err := checkWordList(); err != nil {
		return "", err
	}
	entropy, err := bip39.NewEntropy(words / 3 * 32)
	if err != nil {
		return "", fmt.Errorf("draw entropy: %w", err)
	}
	return bip39.NewMnemonic(entropy)
}

// NormalizeMnemonic returns the one form of a mnemonic that derivation uses: NFKD, lower
// case, single spaces. It accepts 12 or 24 English words whose checksum holds. A word
// outside the list is a *WordError.
//
// A space that is not ASCII is refused before NFKD could turn it into one: text with a
// no-break space in it was copied from a formatted page, where other invisible damage is
// likely, and another implementation may read it as part of a word.
func NormalizeMnemonic(s string) (string, error) {
	words, err := mnemonicWords(s)
	if err != nil {
		return "", err
	}
	if len(words) != 12 && len(words) != 24 {
		return "", fmt.Errorf("mnemonic of %d words: 12 or 24", len(words))
	}
	return checkedMnemonic(words)
}

func mnemonicWords(s string) ([]string, error) {
	if len(s) > maxMnemonic {
		return nil, fmt.Errorf("mnemonic of %d bytes: at most %d", len(s), maxMnemonic)
	}
	if !utf8.ValidString(s) {
		return nil, errors.New("mnemonic is not UTF-8 text")
	}
	for _, r := range s {
		if r > unicode.MaxASCII && unicode.IsSpace(r) {
			return nil, fmt.Errorf("mnemonic has a space that is not plain (U+%04X): type the words with ordinary spaces", r)
		}
	}
	return strings.FieldsFunc(asciiLower(norm.NFKD.String(s)), func(r rune) bool {
		return r == ' ' || r == '\t' || r == '\n' || r == '\r'
	}), nil
}

func checkedMnemonic(words []string) (string, error) {
	if err := checkWordList(); err != nil {
		return "", err
	}
	for i, word := range words {
		if _, ok := bip39.GetWordIndex(word); !ok {
			if len(word) > 32 {
				word = word[:32]
			}
			return "", &WordError{Position: i + 1, Word: word}
		}
	}
	phrase := strings.Join(words, " ")
	if _, err := bip39.EntropyFromMnemonic(phrase); err != nil {
		return "", ErrChecksum
	}
	return phrase, nil
}

// checkWordList guards against the library's word list being a package variable: some
// other code in the process that set another language would make us derive other keys.
func checkWordList() error {
	list := bip39.GetWordList()
	if len(list) != 2048 || &list[0] != &wordlists.English[0] {
		return errors.New("the process uses another BIP39 word list than English")
	}
	return nil
}

// mnemonicSeed is the 64-byte BIP39 seed of a normalised phrase. The passphrase is NFKD
// and nothing else: spaces in it count.
func mnemonicSeed(phrase, passphrase string) ([]byte, error) {
	if len(passphrase) > maxPassphrase {
		return nil, fmt.Errorf("passphrase of %d bytes: at most %d", len(passphrase), maxPassphrase)
	}
	if !utf8.ValidString(passphrase) {
		return nil, errors.New("passphrase is not UTF-8 text")
	}
	return bip39.NewSeed(phrase, norm.NFKD.String(passphrase)), nil
}

package identity

import (
	"crypto/ed25519"
	"fmt"
)

// The path is m / 1953656427' / 1' / account' / role'. The purpose is "trnk" in ASCII: a
// number of our own, so that a wallet's seed typed in by mistake gives an unrelated key.
const (
	derivationPurpose = 0x74726e6b
	derivationVersion = 1
)

// role is the last step of the derivation path. Role 3 is not used: the recovery key is
// random and on its own paper, because a key that the same mnemonic gives recovers nothing
// when the mnemonic is stolen.
type role uint32

const (
	roleRoot    role = 0
	roleBackup  role = 1
	roleStorage role = 2
)

// Secret is a 32-byte secret that is derived from the mnemonic. It prints as [redacted].
type Secret struct {
	redacted
	b [32]byte
}

// Bytes returns the secret itself.
func (s Secret) Bytes() [32]byte { return s.b }

// Root is the identity's Ed25519 key. It signs device certificates and device lists and
// nothing else: it never encrypts, never signs messages and is never a host key.
type Root struct {
	redacted
	key    ed25519.PrivateKey
	public PublicKey
}

// DeriveRoot turns a mnemonic into the root key of an account. It normalises the mnemonic
// first; a BIP39 passphrase may be empty.
func DeriveRoot(mnemonic, passphrase string, account uint32) (*Root, error) {
	seed, err := derive(mnemonic, passphrase, account, roleRoot)
	if err != nil {
		return nil, err
	}
	return RootFromSeed(seed.b), nil
}

// DeriveBackupSeed gives the seed of the age hybrid identity that opens the owner's
// backups.
func DeriveBackupSeed(mnemonic, passphrase string, account uint32) (Secret, error) {
	return derive(mnemonic, passphrase, account, roleBackup)
}

// DeriveStorageKey gives the symmetric key of the owner's self-storage.
func DeriveStorageKey(mnemonic, passphrase string, account uint32) (Secret, error) {
	return derive(mnemonic, passphrase, account, roleStorage)
}

func derive(mnemonic, passphrase string, account uint32, r role) (Secret, error) {
	phrase, err := NormalizeMnemonic(mnemonic)
	if err != nil {
		return Secret{}, err
	}
	if account >= hardened {
		return Secret{}, fmt.Errorf("account %d: at most %d", account, uint32(hardened-1))
	}
	seed, err := mnemonicSeed(phrase, passphrase)
	if err != nil {
		return Secret{}, err
	}
	node, err := slip10Derive(seed, derivationPurpose|hardened, derivationVersion|hardened,
		account|hardened, uint32(r)|hardened)
	if err != nil {
		return Secret{}, err
	}
	return Secret{b: node.key}, nil
}

// RootFromSeed restores a root key from the seed that Seed returned.
func RootFromSeed(seed [32]byte) *Root {
	key := ed25519.NewKeyFromSeed(seed[:])
	return &Root{key: key, public: publicOf(key)}
}

// Seed returns the secret that RootFromSeed takes. Keep it wrapped or nowhere.
func (r *Root) Seed() [32]byte { return [32]byte(r.key.Seed()) }

// Public returns the key that names the identity.
func (r *Root) Public() PublicKey { return r.public }

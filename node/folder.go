package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/policy"
)

// What stands in the data folder. The two long-lived keys are files of their own, so that
// an administrator can back them up and take the domain key off the machine. Everything
// that is deleted for secrecy's sake (routing keys) lives in the store's Blobs, whose
// deletion is real; TURN secrets are never written at all.
const (
	fileHostKey   = "host.key"        // 0600, PKCS #8 PEM: the node's libp2p key
	fileDomainKey = "domain.key"      // 0600, PKCS #8 PEM: signs the domain document; may be taken away
	fileDocument  = "domain.document" // 0600, the newest signed domain document
	filePolicy    = "policy.toml"     // unless Config.PolicyFile says another
	fileStore     = "node.db"         // 0600, the store
	fileSocket    = "admin.sock"      // 0600, while the node runs

	folderAuthority = "ca" // 0700, the local authority, when http.tls is local
)

// maxKeyFile is far above an Ed25519 key in PEM.
const maxKeyFile = 4096

// Made says what Init found or made.
type Made struct {
	Domain    string   `json:"domain"`
	DomainKey string   `json:"domain_key"` // as policy.toml of a partner writes it; empty when the key is elsewhere
	PeerID    string   `json:"peer_id"`
	Data      string   `json:"data"`
	Policy    string   `json:"policy"`
	Created   []string `json:"created,omitempty"` // files that were not there before
}

// Init makes the data folder, the keys and a closed policy where they are missing, and
// changes nothing that is there. It does not need the node to be stopped.
func Init(cfg Config) (Made, error) {
	f, err := openFolder(cfg)
	if err != nil {
		return Made{}, err
	}
	return f.made(), nil
}

// folder is the data folder with its two keys.
type folder struct {
	cfg       Config
	dir       string
	policyAt  string
	hostKey   ed25519.PrivateKey
	domainKey ed25519.PrivateKey // nil when it is kept elsewhere
	self      identity.PeerID
	created   []string
}

func openFolder(cfg Config) (*folder, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	f := &folder{cfg: cfg, dir: dir, policyAt: cfg.PolicyFile}
	if f.policyAt == "" {
		f.policyAt = f.path(filePolicy)
	}
	if err := ownFolder(dir); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	if f.hostKey, err = f.key(fileHostKey); err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	// A domain document without its key means that the key was taken away on purpose. A new
	// one would be a new domain key, which every partner would refuse.
	_, err = os.Stat(f.path(fileDocument))
	if hasDocument := err == nil; hasDocument && !f.has(fileDomainKey) {
		f.domainKey = nil
	} else if f.domainKey, err = f.key(fileDomainKey); err != nil {
		return nil, fmt.Errorf("domain key: %w", err)
	}
	pub, err := identity.CheckKey(f.hostKey.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	f.self = pub.PeerID()
	if cfg.PolicyFile == "" && !f.has(filePolicy) {
		if err := f.write(filePolicy, policy.Default()); err != nil {
			return nil, fmt.Errorf("policy: %w", err)
		}
	}
	return f, nil
}

// ownFolder makes dir, or makes sure that nobody else on the machine can look into it.
func ownFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "open", Path: dir, Err: errors.New("not a folder")}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return os.Chmod(dir, 0o700)
	}
	return nil
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) has(name string) bool {
	_, err := os.Stat(f.path(name))
	return err == nil
}

func (f *folder) write(name string, data []byte) error {
	if !f.has(name) {
		f.created = append(f.created, f.path(name))
	}
	return writeFile(f.path(name), data)
}

// key reads an Ed25519 key, or makes it.
func (f *folder) key(name string) (ed25519.PrivateKey, error) {
	data, err := readLimited(f.path(name), maxKeyFile)
	if errors.Is(err, fs.ErrNotExist) {
		_, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(priv)
		if err != nil {
			return nil, err
		}
		return priv, f.write(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s is not a private key in PEM", f.path(name))
	}
	// The library's error may quote what it read; a key file's content goes nowhere.
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	priv, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is not an Ed25519 key in PKCS #8", f.path(name))
	}
	return priv, os.Chmod(f.path(name), 0o600)
}

func (f *folder) made() Made {
	m := Made{Domain: f.cfg.Domain, PeerID: f.self.String(), Data: f.dir, Policy: f.policyAt, Created: f.created}
	if f.domainKey != nil {
		m.DomainKey = KeyText(f.domainKey.Public().(ed25519.PublicKey))
	}
	return m
}

// KeyText is a public key as policy.toml writes it.
func KeyText(pub ed25519.PublicKey) string {
	return "ed25519:" + base64.StdEncoding.EncodeToString(pub)
}

// writeFile replaces a file so that a crash leaves the old one or the new one, whole.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // no-op after the rename
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

package envelope

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/trunkline-net/trunkline/identity"
)

func load(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	must(t, err)
	must(t, json.Unmarshal(b, into))
}

// hexBytes is a JSON string in hexadecimal.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var err error
	*h, err = hex.DecodeString(s)
	return err
}

func (h hexBytes) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(h)) }

func TestCCTVAgeHybridVectors(t *testing.T) {
	var vectors []struct {
		Name, Expect string
		Payload      hexBytes
		Identity     json.RawMessage
		File         string `json:"file_b64"`
	}
	load(t, "cctv_age_hybrid.json", &vectors)
	if len(vectors) != 27 {
		t.Fatalf("%d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			var one string
			var many []string
			if json.Unmarshal(v.Identity, &one) == nil {
				many = []string{one}
			} else {
				must(t, json.Unmarshal(v.Identity, &many))
			}
			var identities []age.Identity
			for _, s := range many {
				ids, err := age.ParseIdentities(strings.NewReader(s))
				must(t, err)
				identities = append(identities, ids...)
			}
			file, err := base64.StdEncoding.DecodeString(v.File)
			must(t, err)
			r, err := age.Decrypt(bytes.NewReader(file), identities...)
			var plain []byte
			if err == nil {
				plain, err = io.ReadAll(r)
			}
			if (v.Expect == "success") != (err == nil) {
				t.Fatalf("expect %s: %v", v.Expect, err)
			}
			if err != nil {
				// Ours says as little as possible about why.
				if _, err := openSealed(file, identities...); !errors.Is(err, ErrDecrypt) {
					t.Fatalf("our opening: %v", err)
				}
				return
			}
			if sum := sha256.Sum256(plain); !bytes.Equal(sum[:], v.Payload) {
				t.Fatal("another plaintext")
			}
			// What age opens is for us only if there is one hybrid stanza and nothing else. The
			// plaintext of these files is not padded, which is the step after.
			_, err = openSealed(file, identities...)
			if one := v.Name == "hybrid"; one != !errors.Is(err, ErrOverhead) {
				t.Fatalf("our opening: %v", err)
			}
		})
	}
}

type wycheproof[T any] struct {
	TestGroups []struct {
		IVSize int `json:"ivSize"`
		Tests  []T `json:"tests"`
	} `json:"testGroups"`
}

func TestWycheproofX25519(t *testing.T) {
	var v wycheproof[struct {
		ID                      int `json:"tcId"`
		Flags                   []string
		Public, Private, Shared hexBytes
		Result                  string
	}]
	load(t, "wycheproof_x25519.json", &v)
	n, zero := 0, 0
	for _, g := range v.TestGroups {
		for _, c := range g.Tests {
			n++
			priv, err := ecdh.X25519().NewPrivateKey(c.Private)
			must(t, err)
			var shared []byte
			pub, err := ecdh.X25519().NewPublicKey(c.Public)
			if err == nil {
				shared, err = priv.ECDH(pub)
			}
			if bytes.Equal(c.Shared, make([]byte, 32)) {
				zero++
				if err == nil {
					t.Errorf("%d: all-zero secret without an error", c.ID)
				}
				if identity.CheckX25519(c.Public) == nil {
					t.Errorf("%d: a key of low order passes the check on receipt", c.ID)
				}
				continue
			}
			if (c.Result == "invalid") != (err != nil) || err == nil && !bytes.Equal(shared, c.Shared) {
				t.Errorf("%d: %v", c.ID, err)
			}
		}
	}
	if n != 179 || zero != 31 {
		t.Fatalf("%d vectors, %d of them with an all-zero secret", n, zero)
	}
}

// The same 31 keys, through the code that would use them.
func Test14_11_AllZeroX25519SecretIsAnError(t *testing.T) {
	var v wycheproof[struct {
		ID             int `json:"tcId"`
		Public, Shared hexBytes
	}]
	load(t, "wycheproof_x25519.json", &v)
	zero := 0
	k := routingKey(t, 1)
	e, err := NewEnvelope(k.Public(), peer(2), Live, someHop, make([]byte, 1024))
	must(t, err)
	for _, g := range v.TestGroups {
		for _, c := range g.Tests {
			if !bytes.Equal(c.Shared, make([]byte, 32)) {
				continue
			}
			zero++
			if _, err := SealHop([32]byte(c.Public), peer(2), Live, make([]byte, 1024), someHop); err == nil {
				t.Errorf("%d: a hop was sealed to it", c.ID)
			}
			copy(e.Hop[:], c.Public)
			if _, err := k.OpenHop(e, peer(2)); !errors.Is(err, ErrDecrypt) {
				t.Errorf("%d: as an encapsulation: %v", c.ID, err)
			}
			enc := append(make([]byte, 1088), c.Public...)
			if CheckXWingEnc(enc) == nil {
				t.Errorf("%d: passes as part of an encapsulation", c.ID)
			}
		}
	}
	if zero != 31 {
		t.Fatalf("%d vectors", zero)
	}
}

// Wycheproof ed25519 tcId 151: R is y = 1 with the sign of x set, which is no encoding. A
// verifier with the rules of ZIP 215 accepts it.
func Test14_10_SignatureWithAnEncodingThatIsNoneIsRefused(t *testing.T) {
	pub, err := identity.CheckKey(unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"))
	must(t, err)
	msg := unhex("313233343030")
	sig := unhex("0100000000000000000000000000000000000000000000000000000000000080c803ee1f2342aa96ff698a393d1ab5e66f3eda101d6d120b394c3fd32c117d0a")
	if err := identity.VerifySignature(pub, "", msg, sig); !errors.Is(err, identity.ErrSignature) {
		t.Fatalf("verified: %v", err)
	}
	if ed25519.Verify(pub.Ed25519(), msg, sig) {
		t.Fatal("the library verified it")
	}
}

func TestWycheproofChaCha20Poly1305(t *testing.T) {
	var v wycheproof[struct {
		ID                         int `json:"tcId"`
		Key, IV, AAD, Msg, CT, Tag hexBytes
		Result                     string
	}]
	load(t, "wycheproof_chacha20_poly1305.json", &v)
	n := 0
	for _, g := range v.TestGroups {
		for _, c := range g.Tests {
			n++
			aead, err := chacha20poly1305.New(c.Key)
			must(t, err)
			if len(c.IV) != aead.NonceSize() {
				if c.Result != "invalid" {
					t.Errorf("%d: a valid vector with a nonce of %d bytes", c.ID, len(c.IV))
				}
				continue
			}
			box := append(bytes.Clone(c.CT), c.Tag...)
			plain, err := aead.Open(nil, c.IV, box, c.AAD)
			if (c.Result == "invalid") != (err != nil) {
				t.Errorf("%d: %v", c.ID, err)
				continue
			}
			if err != nil {
				continue
			}
			if !bytes.Equal(plain, c.Msg) || !bytes.Equal(aead.Seal(nil, c.IV, c.Msg, c.AAD), box) {
				t.Errorf("%d: another text", c.ID)
			}
		}
	}
	if n != 211 {
		t.Fatalf("%d vectors", n)
	}
}

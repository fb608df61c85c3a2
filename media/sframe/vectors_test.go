package sframe

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"os"
	"strconv"
	"testing"
)

// vectors is the published file. Its integers exceed 2^53, hence json.Number.
type vectors struct {
	Header []struct {
		KID     json.Number `json:"kid"`
		CTR     json.Number `json:"ctr"`
		Encoded hexBytes    `json:"encoded"`
	} `json:"header"`
	CTRHMAC    []ctrHMACVector `json:"aes_ctr_hmac"`
	CTRHMAC256 []ctrHMACVector `json:"aes_256_ctr_hmac"`
	SFrame     []struct {
		Suite     uint16      `json:"cipher_suite"`
		KID       json.Number `json:"kid"`
		CTR       json.Number `json:"ctr"`
		BaseKey   hexBytes    `json:"base_key"`
		KeyLabel  hexBytes    `json:"sframe_key_label"`
		SaltLabel hexBytes    `json:"sframe_salt_label"`
		Key       hexBytes    `json:"sframe_key"`
		Salt      hexBytes    `json:"sframe_salt"`
		Metadata  hexBytes    `json:"metadata"`
		Nonce     hexBytes    `json:"nonce"`
		PT        hexBytes    `json:"pt"`
		CT        hexBytes    `json:"ct"`
	} `json:"sframe"`
}

type ctrHMACVector struct {
	Suite uint16   `json:"cipher_suite"`
	Key   hexBytes `json:"key"`
	Nonce hexBytes `json:"nonce"`
	AAD   hexBytes `json:"aad"`
	PT    hexBytes `json:"pt"`
	CT    hexBytes `json:"ct"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(b []byte) error {
	d, err := hex.DecodeString(string(b))
	*h = d
	return err
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	data, err := os.ReadFile("testdata/sframe_rfc9605.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func number(t *testing.T, n json.Number) uint64 {
	t.Helper()
	v, err := strconv.ParseUint(n.String(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ctrHMAC is the AEAD of RFC 9605, 4.5.1, which the product does not use.
type ctrHMAC struct {
	block   cipher.Block
	auth    []byte
	hash    func() hash.Hash
	tagSize int
}

var errTag = errors.New("tag differs")

func newCTRHMAC(keySize, tagSize int, h func() hash.Hash) func([]byte) (cipher.AEAD, error) {
	return func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key[:keySize])
		if err != nil {
			return nil, err
		}
		return &ctrHMAC{block: block, auth: key[keySize:], hash: h, tagSize: tagSize}, nil
	}
}

func (c *ctrHMAC) NonceSize() int { return nonceSize }
func (c *ctrHMAC) Overhead() int  { return c.tagSize }

func (c *ctrHMAC) stream(nonce []byte) cipher.Stream {
	iv := make([]byte, aes.BlockSize)
	copy(iv, nonce)
	return cipher.NewCTR(c.block, iv)
}

func (c *ctrHMAC) tag(nonce, aad, ct []byte) []byte {
	m := hmac.New(c.hash, c.auth)
	var n [8]byte
	for _, l := range []int{len(aad), len(ct), c.tagSize} {
		binary.BigEndian.PutUint64(n[:], uint64(l))
		m.Write(n[:])
	}
	m.Write(nonce)
	m.Write(aad)
	m.Write(ct)
	return m.Sum(nil)[:c.tagSize]
}

func (c *ctrHMAC) Seal(dst, nonce, plain, aad []byte) []byte {
	ct := make([]byte, len(plain))
	c.stream(nonce).XORKeyStream(ct, plain)
	return append(append(dst, ct...), c.tag(nonce, aad, ct)...)
}

func (c *ctrHMAC) Open(dst, nonce, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < c.tagSize {
		return nil, errTag
	}
	ct := sealed[:len(sealed)-c.tagSize]
	if subtle.ConstantTimeCompare(c.tag(nonce, aad, ct), sealed[len(ct):]) != 1 {
		return nil, errTag
	}
	pt := make([]byte, len(ct))
	c.stream(nonce).XORKeyStream(pt, ct)
	return append(dst, pt...), nil
}

// suites are those of the vector file. 6 to 8 are not in the RFC.
var suites = map[uint16]suite{
	1: {1, sha256.New, 16 + 32, newCTRHMAC(16, 10, sha256.New)},
	2: {2, sha256.New, 16 + 32, newCTRHMAC(16, 8, sha256.New)},
	3: {3, sha256.New, 16 + 32, newCTRHMAC(16, 4, sha256.New)},
	4: {4, sha256.New, 16, newGCM},
	5: aes256GCM,
	6: {6, sha512.New, 32 + 64, newCTRHMAC(32, 10, sha512.New)},
	7: {7, sha512.New, 32 + 64, newCTRHMAC(32, 8, sha512.New)},
	8: {8, sha512.New, 32 + 64, newCTRHMAC(32, 4, sha512.New)},
}

func TestHeaderVectors(t *testing.T) {
	v := readVectors(t)
	if len(v.Header) != 289 {
		t.Fatalf("the file has %d header vectors, not 289", len(v.Header))
	}
	for _, h := range v.Header {
		kid, ctr := number(t, h.KID), number(t, h.CTR)
		if got := appendHeader(nil, kid, ctr); !bytes.Equal(got, h.Encoded) {
			t.Errorf("header(%d, %d) = %x, want %x", kid, ctr, got, h.Encoded)
		}
		gotKID, gotCTR, n, err := parseHeader(append(bytes.Clone(h.Encoded), 0xaa))
		if err != nil || gotKID != kid || gotCTR != ctr || n != len(h.Encoded) {
			t.Errorf("parse %x = %d, %d, %d, %v", h.Encoded, gotKID, gotCTR, n, err)
		}
		for cut := range len(h.Encoded) {
			if _, _, _, err := parseHeader(h.Encoded[:cut]); err == nil {
				t.Errorf("the first %d bytes of %x were taken for a header", cut, h.Encoded)
			}
		}
	}
}

func TestCTRHMACVectors(t *testing.T) {
	v := readVectors(t)
	for _, c := range append(v.CTRHMAC, v.CTRHMAC256...) {
		aead, err := suites[c.Suite].newAEAD(c.Key)
		if err != nil {
			t.Fatal(err)
		}
		if got := aead.Seal(nil, c.Nonce, c.PT, c.AAD); !bytes.Equal(got, c.CT) {
			t.Errorf("suite %d: sealed %x, want %x", c.Suite, got, c.CT)
		}
		if got, err := aead.Open(nil, c.Nonce, c.CT, c.AAD); err != nil || !bytes.Equal(got, c.PT) {
			t.Errorf("suite %d: opened %x, %v", c.Suite, got, err)
		}
	}
}

func TestSuiteVectors(t *testing.T) {
	v := readVectors(t)
	if len(v.SFrame) != 5 {
		t.Fatalf("the file has %d suite vectors, not 5", len(v.SFrame))
	}
	for _, c := range v.SFrame {
		s := suites[c.Suite]
		kid, ctr := number(t, c.KID), number(t, c.CTR)
		if got := s.label("SFrame 1.0 Secret key ", kid); got != string(c.KeyLabel) {
			t.Errorf("suite %d: key label %x", c.Suite, got)
		}
		if got := s.label("SFrame 1.0 Secret salt ", kid); got != string(c.SaltLabel) {
			t.Errorf("suite %d: salt label %x", c.Suite, got)
		}
		k, err := s.derive(kid, c.BaseKey)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(k.salt[:], c.Salt) {
			t.Errorf("suite %d: salt %x, want %x", c.Suite, k.salt, c.Salt)
		}
		var nonce [nonceSize]byte
		if k.nonce(&nonce, ctr); !bytes.Equal(nonce[:], c.Nonce) {
			t.Errorf("suite %d: nonce %x, want %x", c.Suite, nonce, c.Nonce)
		}
		// The product's own sealing path, with the vector's counter and metadata.
		sender := &Sender{kid: kid, key: k, ctr: ctr}
		if got := sealWith(sender, c.Metadata, c.PT); !bytes.Equal(got, c.CT) {
			t.Errorf("suite %d: sealed %x, want %x", c.Suite, got, c.CT)
		}
		_, _, n, err := parseHeader(c.CT)
		if err != nil {
			t.Fatal(err)
		}
		aad := append(bytes.Clone(c.CT[:n]), c.Metadata...)
		got, err := k.aead.Open(nil, nonce[:], c.CT[n:], aad)
		if err != nil || !bytes.Equal(got, c.PT) {
			t.Errorf("suite %d: opened %x, %v", c.Suite, got, err)
		}
	}
}

// sealWith is Seal without a codec: the vectors' metadata is longer than any clear prefix.
func sealWith(s *Sender, metadata, plain []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealLocked(nil, metadata, plain)
}

package turn

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

// A user name is
//
//	expiry ":" key id (4 hex digits) handle (32 hex digits)
//
// and its password base64(HMAC-SHA1(secret, user name)), the shape of draft-uberti-behave-turn-rest, so that every
// stock TURN client can use it. The secrets live in memory only: after a restart every allocation is gone anyway,
// and a client asks for new credentials.
const (
	startTTL   = 5 * time.Minute // from minting to the last moment an allocation may be started
	startLeast = 1               // seconds of life a credential must still have beyond the current second
	rotateKeys = 24 * time.Hour
	keyOverlap = time.Hour // how long the retired secret still verifies; several times startTTL

	maxExpiryDigits = 11
	namePart        = 4 + 32
)

type username struct {
	expiry int64
	keyID  uint16
	handle media.Handle
}

func (u username) String() string {
	var tail [18]byte
	binary.BigEndian.PutUint16(tail[:], u.keyID)
	copy(tail[2:], u.handle[:])
	return strconv.FormatInt(u.expiry, 10) + ":" + hex.EncodeToString(tail[:])
}

// parseUsername accepts exactly what String writes: one encoding per value.
func parseUsername(b []byte) (username, bool) {
	if len(b) < 1+1+namePart || len(b) > maxExpiryDigits+1+namePart {
		return username{}, false
	}
	digits, part, ok := strings.Cut(string(b), ":")
	if !ok || len(part) != namePart || digits == "" || digits[0] == '0' || len(digits) > maxExpiryDigits {
		return username{}, false
	}
	var u username
	for _, d := range []byte(digits) {
		if d < '0' || d > '9' {
			return username{}, false
		}
		u.expiry = u.expiry*10 + int64(d-'0')
	}
	var tail [18]byte
	if part != strings.ToLower(part) {
		return username{}, false
	}
	if _, err := hex.Decode(tail[:], []byte(part)); err != nil {
		return username{}, false
	}
	u.keyID = binary.BigEndian.Uint16(tail[:])
	copy(u.handle[:], tail[2:])
	return u, true
}

// startable says whether the credential may start something new: not expired, not about to, and not from a clock
// or a forger far ahead.
func (u username) startable(now time.Time) bool {
	left := u.expiry - now.Unix()
	return left > startLeast && left <= int64((startTTL+time.Minute)/time.Second)
}

type secret struct {
	id      uint16
	key     [32]byte
	created time.Time
}

// keyring holds the secret that signs and the one before it, which still verifies for a while.
type keyring struct {
	mu       sync.Mutex // guards what follows
	current  secret
	previous secret
	retired  time.Time // when previous was retired; zero: there is none
	decoy    secret    // does the work for key ids that do not exist
}

func newKeyring(now time.Time) *keyring {
	k := &keyring{}
	rand.Read(k.decoy.key[:]) // crypto/rand.Read never fails
	k.current = k.fresh(now)
	return k
}

func (k *keyring) fresh(now time.Time) secret {
	s := secret{created: now}
	rand.Read(s.key[:])
	for s.id == k.current.id || s.id == k.previous.id {
		var id [2]byte
		rand.Read(id[:])
		s.id = binary.BigEndian.Uint16(id[:])
	}
	return s
}

// turn rotates when it is due, and forgets the retired secret after the overlap.
func (k *keyring) turn(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.retired.IsZero() && now.Sub(k.retired) >= keyOverlap {
		k.previous, k.retired = secret{}, time.Time{}
	}
	if now.Sub(k.current.created) >= rotateKeys {
		next := k.fresh(now)
		k.previous, k.retired = k.current, now
		k.current = next
	}
}

func (k *keyring) signing() secret {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// lookup returns the secret with this id, or a decoy that costs as much to use.
func (k *keyring) lookup(id uint16, now time.Time) (secret, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case id == k.current.id:
		return k.current, true
	case id == k.previous.id && !k.retired.IsZero() && now.Sub(k.retired) < keyOverlap:
		return k.previous, true
	}
	return k.decoy, false
}

func password(s secret, name []byte) string {
	h := hmac.New(sha1.New, s.key[:])
	h.Write(name)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// longTermKey is the key of RFC 8489 section 9.2.2 (MD5, the algorithm every client has).
func longTermKey(name []byte, realm, password string) [16]byte {
	h := md5.New()
	h.Write(name)
	h.Write([]byte(":" + realm + ":" + password))
	return [16]byte(h.Sum(nil))
}

// nonces are stateless: a second count and a MAC over it and the client's address. Nothing is stored for a client
// that has not authenticated, and a nonce that was overheard is of no use from elsewhere (RFC 8489 section 9.2).
//
//	4 bytes seconds since the server was made, 8 bytes of HMAC-SHA256; as 16 characters of base64url
type nonces struct {
	key   [32]byte
	start time.Time
}

const (
	nonceLife = time.Hour
	nonceSize = 12
	nonceText = 16
)

func newNonces(now time.Time) *nonces {
	n := &nonces{start: now}
	rand.Read(n.key[:])
	return n
}

func (n *nonces) mac(seconds uint32, who tuple) [nonceSize]byte {
	var in [4 + 16 + 2 + 1]byte
	binary.BigEndian.PutUint32(in[:], seconds)
	ip := who.addr.Addr().As16()
	copy(in[4:], ip[:])
	binary.BigEndian.PutUint16(in[20:], who.addr.Port())
	if who.tcp {
		in[22] = 1
	}
	h := hmac.New(sha256.New, n.key[:])
	h.Write(in[:])
	var out [nonceSize]byte
	binary.BigEndian.PutUint32(out[:], seconds)
	copy(out[4:], h.Sum(nil))
	return out
}

func (n *nonces) make(who tuple, now time.Time) string {
	b := n.mac(uint32(now.Sub(n.start)/time.Second), who)
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (n *nonces) valid(text []byte, who tuple, now time.Time) bool {
	if len(text) != nonceText {
		return false
	}
	var b [nonceSize]byte
	if _, err := base64.RawURLEncoding.Strict().Decode(b[:], text); err != nil {
		return false
	}
	seconds := binary.BigEndian.Uint32(b[:])
	want := n.mac(seconds, who)
	age := now.Sub(n.start.Add(time.Duration(seconds) * time.Second))
	return subtle.ConstantTimeCompare(b[:], want[:]) == 1 && age >= -time.Minute && age <= nonceLife
}

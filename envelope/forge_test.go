package envelope

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/canon"
)

// inner signs m as p for q and returns the signed bytes.
func (p *party) inner(body Body, q *party) []byte {
	p.t.Helper()
	_, signed, err := SealMessage(p.device, p.cert, q.bundle(), p.message(body, q))
	must(p.t, err)
	return signed
}

// forge changes what p signed for q, and signs it again with p's device: what a hostile but
// real device can make.
func (p *party) forge(q *party, change func(*pb.Inner)) []byte {
	p.t.Helper()
	var m pb.Inner
	must(p.t, canon.Unmarshal(p.inner(&Note{Text: "hello"}, q)[identity.SignatureSize:], MaxSigned, &m))
	change(&m)
	msg, err := canon.Marshal(&m)
	must(p.t, err)
	return p.device.SignObject(identity.ContextInner, msg)
}

// countingReplay counts what is written.
type countingReplay struct {
	Replay
	n, strangers int
}

func (r *countingReplay) Seen(dev identity.DeviceID, id MessageID, until time.Time, stranger bool) (bool, error) {
	dup, err := r.Replay.Seen(dev, id, until, stranger)
	if err == nil && !dup {
		r.n++
		if stranger {
			r.strangers++
		}
	}
	return dup, err
}

// count puts a counter before p's replay store.
func (p *party) count() *countingReplay {
	p.t.Helper()
	c := &countingReplay{Replay: p.replay}
	p.replay = c
	p.restart()
	return c
}

// drops checks that p drops the payload for the given reason and that nothing was written.
func drops(t *testing.T, p *party, payload []byte, want error) {
	t.Helper()
	before := p.count()
	opened, err := p.open(payload)
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want %v", err, want)
	}
	if opened != nil || before.n != 0 {
		t.Fatalf("a dropped message left %d entries", before.n)
	}
}

// hidden is a recipient without labels, so that age mixes it with others as a hostile sender's
// library would.
type hidden struct{ age.Recipient }

func (h hidden) Wrap(fileKey []byte) ([]*age.Stanza, error) { return h.Recipient.Wrap(fileKey) }

// grease is a stanza that nobody reads.
type grease struct{}

func (grease) Wrap([]byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: "joint-grease", Args: []string{"x"}, Body: []byte("padding")}}, nil
}

// sealWith seals to a bucket exactly, whatever the recipients cost.
func sealWith(t *testing.T, size int, signed []byte, recipients ...age.Recipient) []byte {
	t.Helper()
	encrypt := func(plain []byte) []byte {
		var out bytes.Buffer
		w, err := age.Encrypt(&out, recipients...)
		must(t, err)
		_, err = w.Write(plain)
		must(t, err)
		must(t, w.Close())
		return out.Bytes()
	}
	plain := make([]byte, size-len(encrypt(nil)))
	must(t, Pad(plain, signed))
	payload := encrypt(plain)
	if len(payload) != size {
		t.Fatalf("payload of %d bytes", len(payload))
	}
	return payload
}

// sealPlain seals a padded block as it is.
func sealPlain(t *testing.T, plain []byte, to *party) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to.bundle().recipient)
	must(t, err)
	_, err = io.Copy(w, bytes.NewReader(plain))
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

// answerWith is AnswerRing with anything in it changed: what a hostile callee can make.
func (p *party) answerWith(ring *Opened, kind pb.Type, signer *party, change func(*pb.RingAnswer, *pb.Inner), enc func([]byte)) []byte {
	p.t.Helper()
	body := ring.Content.(*RingBody)
	kem, kdf, aead := suiteXWing()
	pub, err := kem.NewPublicKey(body.Ephemeral)
	must(p.t, err)
	e, ctx, err := hpke.NewSender(pub, kdf, aead, sessionInfo(ring.Hash))
	must(p.t, err)
	c := AnswerConfig{Kind: kind, Now: p.now, OwnList: signer.list, CallerList: p.contacts[ring.SenderRoot].List,
		Reply: ReplyAddress{Home: p.home, Tag: p.tag, Token: p.token}}
	signed, err := signAnswer(signer.device, signer.cert, ring, c, sha256.Sum256(e))
	must(p.t, err)
	if change != nil {
		var m pb.Inner
		var a pb.RingAnswer
		must(p.t, canon.Unmarshal(signed[identity.SignatureSize:], MaxSigned, &m))
		must(p.t, canon.Unmarshal(m.Body, maxBody, &a))
		before, err := canon.Marshal(&a)
		must(p.t, err)
		change(&a, &m)
		after, err := canon.Marshal(&a)
		must(p.t, err)
		if !bytes.Equal(before, after) {
			m.Body = after
		}
		msg, err := canon.Marshal(&m)
		must(p.t, err)
		signed = signer.device.SignObject(identity.ContextInner, msg)
	}
	var plain [ringAnswerPlain]byte
	must(p.t, Pad(plain[:], signed))
	ct, err := ctx.Seal(body.Reply.Tag[:], plain[:])
	must(p.t, err)
	if enc != nil {
		enc(e)
	}
	return slices.Concat(body.Reply.Handle[:], e, ct)
}

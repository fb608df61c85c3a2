package envelope

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/envelope/pb"
	"github.com/trunkline-net/trunkline/identity"
)

// The part of test 74 that this package can show: whatever is printed of its values, and every
// error that it gives, holds no key, tag, token, id or text.
func Test14_74_NothingPrintedHoldsASecret(t *testing.T) {
	a, b := pair(t)
	ring := a.ring(b)
	opened, err := b.open(ring.Payload)
	must(t, err)
	payload, callee := b.answer(opened, pb.Type_TYPE_ACCEPT, a)
	answered, err := ring.Finish(payload, a.opener)
	must(t, err)
	code, err := NewCallCode(callee)
	must(t, err)
	prekey := b.prekeys.Current()
	key := routingKey(t, 1)
	box, pending, err := SealQuery(key.Public(), peer(2), pb.Operation_OPERATION_DESCRIPTOR, nil)
	must(t, err)
	query, err := key.OpenQuery(box, peer(2))
	must(t, err)
	env, err := NewEnvelope(key.Public(), peer(2), Week, Hop{Tag: b.tag, Token: b.token, Hint: prekey.Hint()}, ring.Payload)
	must(t, err)
	note := &Note{Text: "meet me at the harbour"}
	seed, media := prekey.Seed(), callee.keys.media

	secrets := map[string][]byte{
		"prekey": seed[:], "routing key": key.seed[:], "tag": b.tag[:], "token": b.token[:], "message id": opened.ID[:],
		"session id": ring.Session[:], "handle": ring.Handle[:], "collapse key": ring.Collapse[:], "media key": media[:],
		"binding key": callee.keys.binding[:], "frame handle": callee.out.handle[:], "nonce": code.own[:],
		"response key": query.responseKey[:], "text": []byte(note.Text), "ring hash": ring.Hash[:],
	}
	var out strings.Builder
	text, json := slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))
	id := env.ID()
	values := []any{
		prekey, PrekeySecret{ID: prekey.ID(), Seed: seed}, b.prekeys, key, query, pending, env, Hop{Tag: b.tag, Token: b.token},
		ring, opened, *opened, opened.Message, opened.Content, answered.Session, callee, code, b.opener, b.bundle(), b.bundle().Route,
		*a.grant(), a.grant(), *b.grant(), ReplyAddress{Tag: b.tag, Token: b.token}, note, &Knock{Text: note.Text},
		b.tag, b.token, opened.ID, ring.Session, ring.Handle, ring.Collapse, prekey.ID(), id,
		&Read{IDs: []MessageID{opened.ID}}, &Cancel{RingHash: ring.Hash}, *answered, callee.Handles(), []Token{b.token}, struct{ T Token }{b.token},
	}
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		text.Info("event", "value", v)
		json.Info("event", "value", v)
		json.Info("event", "value", []any{v}, "map", map[string]any{"v": v})
	}
	// Errors of every kind of bad input.
	for _, bad := range [][]byte{
		a.sealSignedTo(a.forge(b, func(m *pb.Inner) { m.RouteTag = make([]byte, 16) }), b),
		a.sealSignedTo(a.forge(b, func(m *pb.Inner) { m.Suite = 2 }), b),
		a.sealSignedTo(a.forge(b, func(m *pb.Inner) { m.Body = []byte(note.Text) }), b),
		a.sealSignedTo(b.inner(note, a), b),
		append(bytes.Clone(ring.Payload[:4095]), 1),
		ring.Payload, ring.Payload[:100],
	} {
		_, err := b.open(bad)
		if err == nil {
			t.Fatal("a bad message was opened")
		}
		fmt.Fprintf(&out, "%v %+v %s\n", err, err, DropReason(err))
	}
	for _, name := range leaks(out.String(), secrets) {
		t.Errorf("the output holds the %s", name)
	}
	if strings.Contains(out.String(), "AGE-SECRET") || strings.Contains(out.String(), a.root.Public().ID()) {
		t.Error("the output holds a key's text or an identity")
	}
	// The control: the same search finds a tag that is printed on purpose.
	if got := leaks(out.String()+fmt.Sprint([16]byte(b.tag)), secrets); len(got) != 1 || got[0] != "tag" {
		t.Errorf("the search finds %v where a tag was planted", got)
	}
}

// leaks names the secrets that text holds in any of the forms in which Go prints bytes.
func leaks(text string, secrets map[string][]byte) (found []string) {
	for name, secret := range secrets {
		for _, form := range []string{
			string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)),
			base64.StdEncoding.EncodeToString(secret), strings.Trim(fmt.Sprint(secret), "[]"),
			strings.Trim(strings.ReplaceAll(fmt.Sprint(secret), " ", ","), "[]"),
			strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte{"), "}"),
		} {
			if strings.Contains(text, form) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

func TestEveryDropHasAWordForTheCounter(t *testing.T) {
	for err, want := range map[error]string{
		ErrRate: "rate", ErrSize: "size", ErrNoPrekey: "prekey", ErrDecrypt: "decrypt", ErrOverhead: "recipients",
		fmt.Errorf("%w: %w", ErrSender, identity.ErrNotListed): "sender", ErrRecipient: "recipient", ErrTime: "time",
		&ReplayError{}: "replay", ErrReplayFull: "full", ErrPolicy: "policy", ErrMalformed: "malformed", ErrNoSession: "session",
	} {
		if got := DropReason(err); got != want {
			t.Errorf("%v: %q", err, got)
		}
	}
}

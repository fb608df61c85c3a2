package envelope

import (
	"bytes"
	"errors"
	"testing"
)

func Test14_58_CallCodeWithAnotherNonceAborts(t *testing.T) {
	caller, callee := twin(t)
	begin := func() (a, b *CallCode, nonceA []byte) {
		a, err := NewCallCode(caller)
		must(t, err)
		b, err = NewCallCode(callee)
		must(t, err)
		commitment, err := a.Commit()
		must(t, err)
		nonceB, err := b.Answer(commitment)
		must(t, err)
		nonceA, _, err = a.Reveal(nonceB)
		must(t, err)
		return a, b, nonceA
	}
	_, b, nonceA := begin()
	bad := bytes.Clone(nonceA)
	bad[0] ^= 1
	if code, err := b.Finish(bad); !errors.Is(err, ErrCallCode) || code != "" {
		t.Fatalf("another nonce: %q, %v", code, err)
	}
	// There is no second try.
	if _, err := b.Finish(nonceA); !errors.Is(err, ErrCallCode) {
		t.Fatalf("the right nonce afterwards: %v", err)
	}
	_, b, nonceA = begin()
	if _, err := b.Finish(nonceA[:31]); !errors.Is(err, ErrCallCode) {
		t.Fatalf("short nonce: %v", err)
	}
}

func TestBothSidesSeeTheSameSixDigits(t *testing.T) {
	seen := make(map[string]bool)
	for range 20 {
		caller, callee := twin(t)
		a, err := NewCallCode(caller)
		must(t, err)
		b, err := NewCallCode(callee)
		must(t, err)
		commitment, err := a.Commit()
		must(t, err)
		nonceB, err := b.Answer(commitment)
		must(t, err)
		nonceA, codeA, err := a.Reveal(nonceB)
		must(t, err)
		codeB, err := b.Finish(nonceA)
		must(t, err)
		if codeA != codeB || len(codeA) != 6 {
			t.Fatalf("%q and %q", codeA, codeB)
		}
		seen[codeA] = true
	}
	if len(seen) < 15 {
		t.Fatalf("%d codes in 20 runs", len(seen))
	}
}

func TestCallCodeStepsComeOnceAndInOrder(t *testing.T) {
	caller, callee := twin(t)
	fresh := func(s *Session) *CallCode {
		c, err := NewCallCode(s)
		must(t, err)
		return c
	}
	steps := map[string]func() error{
		"responder commits":        func() error { _, err := fresh(callee).Commit(); return err },
		"initiator answers":        func() error { _, err := fresh(caller).Answer(make([]byte, 32)); return err },
		"reveal before the commit": func() error { _, _, err := fresh(caller).Reveal(make([]byte, 32)); return err },
		"finish before the answer": func() error { _, err := fresh(callee).Finish(make([]byte, 32)); return err },
		"commitment of 31 bytes":   func() error { _, err := fresh(callee).Answer(make([]byte, 31)); return err },
		"second commitment": func() error {
			c := fresh(callee)
			if _, err := c.Answer(make([]byte, 32)); err != nil {
				return nil
			}
			_, err := c.Answer(make([]byte, 32))
			return err
		},
		"second reveal": func() error {
			c := fresh(caller)
			if _, err := c.Commit(); err != nil {
				return nil
			}
			if _, _, err := c.Reveal(make([]byte, 32)); err != nil {
				return nil
			}
			_, _, err := c.Reveal(make([]byte, 32))
			return err
		},
	}
	for name, step := range steps {
		if err := step(); !errors.Is(err, ErrCallCode) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

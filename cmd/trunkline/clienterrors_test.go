package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
)

// TestAnAlarmEndsWithTheCodeOfVerification tells an alarm that was noticed here from one that is
// the other side's word, wherever it comes up.
func TestAnAlarmEndsWithTheCodeOfVerification(t *testing.T) {
	t.Parallel()
	away := &client.UnreachableError{What: "the call ended before the file was whole"}
	for _, c := range []struct {
		err   error
		their bool
	}{
		{fmt.Errorf("%w: %w", client.ErrVerification, rtc.ErrBinding), false},
		{rtc.ErrFingerprint, false},
		{client.ErrPeerAlarm, true},
		{fmt.Errorf("%w: %w", away, client.ErrPeerAlarm), true},
	} {
		var e *exitError
		if !errors.As(clientError(c.err), &e) || e.code != exitUnverified {
			t.Errorf("%v ends as %v", c.err, e)
			continue
		}
		if strings.Contains(e.what, "it says") != c.their || !strings.Contains(e.do, "compare safety numbers") {
			t.Errorf("%v is told as %q, %q", c.err, e.what, e.do)
		}
	}
}

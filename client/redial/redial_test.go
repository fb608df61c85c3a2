package redial

import (
	"net/http"
	"testing"
	"time"
)

func TestPausesGrowAndBeginAnewAfterALinkThatLasted(t *testing.T) {
	var p Pauses
	want := First
	for range 12 {
		if got := p.After(time.Second, 0); got < want/2 || got >= want/2+want {
			t.Fatalf("%v, want %v to %v", got, want/2, want/2+want)
		}
		want = min(2*want, Last)
	}
	if got := p.After(Last+1, 0); got >= First/2+First {
		t.Errorf("after a link that lasted: %v", got)
	}
}

func TestANodeThatAsksForAPauseGetsItAndNoLongerOnes(t *testing.T) {
	var p Pauses
	for range 10 {
		if got := p.After(time.Second, 3*time.Second); got < 3*time.Second || got >= 3*time.Second+Spread {
			t.Fatalf("with a hint of three seconds: %v", got)
		}
	}
	if got := p.After(time.Second, 0); got >= First/2+First {
		t.Errorf("after a node that asked: %v", got)
	}
}

func TestHintsAreSecondsWithinABound(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 0, "3": 3 * time.Second, "0": 0, "-1": 0, "60000": maxHint, "99999999999999999999": 0, "Wed, 21 Oct 2026 07:28:00 GMT": 0, " 3": 0,
	} {
		h := http.Header{}
		h.Set("Retry-After", text)
		if got := Hint(h); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestPausesAreSpread(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		var p Pauses
		seen[p.After(0, 0)] = true
	}
	if len(seen) < 50 {
		t.Errorf("100 clients draw %d different pauses", len(seen))
	}
}

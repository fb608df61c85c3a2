package redial

import (
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
	if got := p.After(0, time.Hour); got != time.Hour {
		t.Errorf("with a hint of an hour: %v", got)
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

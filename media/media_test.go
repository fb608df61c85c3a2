package media

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTightenTakesTheTighterOfEachFieldAndTreatsZeroAsUnset(t *testing.T) {
	a := Limits{Allocations: 4, BytesPerSecond: 100}
	b := Limits{Allocations: 2, PacketsPerSecond: 50, BytesPerSecond: 200}
	want := Limits{Allocations: 2, PacketsPerSecond: 50, BytesPerSecond: 100}
	if got := a.Tighten(b); got != want {
		t.Errorf("a.Tighten(b) = %+v, want %+v", got, want)
	}
	if got := b.Tighten(a); got != want {
		t.Errorf("b.Tighten(a) = %+v, want %+v", got, want)
	}
}

func TestCredentialsNeverPrintThemselves(t *testing.T) {
	c := Credentials{Username: "1790000000:user-part", Password: "pass-part", Handle: Handle{0xab, 0xcd}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("minted", "credentials", c, "pointer", &c)
	for _, text := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), fmt.Sprintf("%v %+v", &c, []Credentials{c}), log.String(),
	} {
		for _, secret := range []string{"user-part", "pass-part", "171 205", "171,205", "0xab, 0xcd", "abcd"} {
			if strings.Contains(text, secret) {
				t.Errorf("printed credentials contain %q: %s", secret, text)
			}
		}
	}
}

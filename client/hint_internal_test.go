package client

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
)

func TestANodeThatTakesNobodyNowSaysWhenToComeBack(t *testing.T) {
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	_, err := dialWire(t.Context(), nil, nil, busy.URL, identity.PeerID{}, nil, nil)
	if err == nil || retryHint(err) != 7*time.Second {
		t.Errorf("%v, hint %v", err, retryHint(err))
	}
	if got := retryHint(codeError(link.CodeRate, 3*time.Second)); got != 3*time.Second {
		t.Errorf("a refused link: hint %v", got)
	}
	if got := retryHint(errEnding); got != 0 {
		t.Errorf("an end of another kind: hint %v", got)
	}
}

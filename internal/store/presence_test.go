package store_test

import (
	"errors"
	"testing"

	"github.com/trunkline-net/trunkline/internal/store"
)

func TestANewerClaimTakesADeviceOver(t *testing.T) {
	var m store.Memory
	ctx, device := t.Context(), store.MailboxID{1}
	if _, err := m.Lookup(ctx, device); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("lookup before any claim: %v", err)
	}
	old, err := m.Claim(ctx, device, "link 1")
	if err != nil {
		t.Fatal(err)
	}
	ended, err := m.Watch(ctx, old)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Renew(ctx, old); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Fatal("ended before anything happened")
	default:
	}
	newer, err := m.Claim(ctx, device, "link 2")
	if err != nil || newer.Number <= old.Number {
		t.Fatalf("claim %d after %d, %v", newer.Number, old.Number, err)
	}
	<-ended
	if err := m.Renew(ctx, old); !errors.Is(err, store.ErrReplaced) {
		t.Fatalf("renewing a replaced claim: %v", err)
	}
	if err := m.Release(ctx, old); err != nil { // too late to change anything
		t.Fatal(err)
	}
	if c, err := m.Lookup(ctx, device); err != nil || c != newer {
		t.Fatalf("lookup: %+v, %v", c, err)
	}
	late, err := m.Watch(ctx, old)
	if err != nil {
		t.Fatal(err)
	}
	<-late
	if err := m.Release(ctx, newer); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Lookup(ctx, device); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("lookup after release: %v", err)
	}
}

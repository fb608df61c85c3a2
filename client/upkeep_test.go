package client

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/identity"
)

// A device that was away for longer than its list lives comes back with a list that a node
// takes.
func TestAListThatEndedWhileAwayIsRenewedBeforeTheLink(t *testing.T) {
	t.Parallel()
	words, err := identity.GenerateMnemonic(12)
	if err != nil {
		t.Fatal(err)
	}
	root, err := identity.DeriveRoot(words, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c, err := Create(Config{Dir: filepath.Join(t.TempDir(), "away"), Now: func() time.Time { return now }}, root)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := c.renewEnded(); err != nil {
		t.Fatalf("before the first list: %v", err)
	}
	node, err := identity.GenerateDevice()
	if err != nil {
		t.Fatal(err)
	}
	homes := []identity.Home{{PeerID: node.Public().PeerID(), Domain: "acme.example"}}
	first, err := root.NewList(c.device.Public(), homes, [32]byte{}, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.keep.SetOwnList(first); err != nil {
		t.Fatal(err)
	}
	for _, away := range []struct {
		days  int
		epoch uint64
	}{{1, 1}, {40, 2}, {200, 3}} {
		now = first.Issued.Add(time.Duration(away.days) * 24 * time.Hour)
		if err := c.renewEnded(); err != nil {
			t.Fatalf("after %d days: %v", away.days, err)
		}
		list, err := c.keep.OwnList()
		if err != nil {
			t.Fatal(err)
		}
		cert, listed := list.Device(c.device.ID())
		if list.Epoch != away.epoch || !now.Before(list.Expires) || !listed || cert.ValidAt(now) != nil {
			t.Errorf("after %d days: epoch %d, ends %v, listed %v", away.days, list.Epoch, list.Expires, listed)
		}
	}
}

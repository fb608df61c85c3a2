package storetest

import (
	"bytes"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/store"
)

// person is an identity with its newest list.
type person struct {
	f    *fixture
	root *identity.Root
	list *identity.DeviceList
	devs []*identity.Device
}

func (f *fixture) person(n byte) *person {
	f.Helper()
	p := &person{f: f, root: identity.RootFromSeed([32]byte{n, 1}), devs: []*identity.Device{identity.DeviceFromSeed([32]byte{n, 2})}}
	var err error
	homes := []identity.Home{{PeerID: identity.RootFromSeed([32]byte{9}).Public().PeerID(), Domain: "acme.example"}}
	p.list, err = p.root.NewList(p.devs[0].Public(), homes, [32]byte{}, f.o.Now())
	f.ok(err)
	return p
}

// next makes the list after the newest.
func (p *person) next(l *identity.DeviceList, err error) *identity.DeviceList {
	p.f.Helper()
	p.f.ok(err)
	p.list = l
	return l
}

func (p *person) add(n byte) identity.DeviceID {
	p.f.Helper()
	d := identity.DeviceFromSeed([32]byte{n, 3})
	p.devs = append(p.devs, d)
	p.next(p.root.AddDevice(p.list, d.Public(), p.f.o.Now()))
	return d.ID()
}

func (p *person) publish() store.Published {
	p.f.Helper()
	out, err := p.f.PutAccount(p.f.Context(), p.list)
	p.f.ok(err)
	return out
}

func (p *person) id(i int) identity.DeviceID { return p.devs[i].ID() }

func route(n byte) store.Route {
	return store.Route{Tag: envelope.RouteTag{n, 1}, TokenHash: [32]byte{n, 2}, PreviousHash: [32]byte{n, 3}, TokenEpoch: uint64(n)}
}

var directoryCases = []testCase{
	{"an account is what its identity last published", func(f *fixture) {
		p := f.person(1)
		if out := p.publish(); !out.New || !out.Changed || len(out.Removed) != 0 {
			f.Fatalf("first: %+v", out)
		}
		if out := p.publish(); out.New || out.Changed {
			f.Fatalf("again: %+v", out)
		}
		first := f.o.Now()
		f.pass(time.Hour)
		second := p.add(1)
		if out := p.publish(); out.New || !out.Changed || len(out.Removed) != 0 {
			f.Fatalf("next: %+v", out)
		}
		f.reopen()
		a, err := f.Account(f.Context(), p.root.Public())
		f.ok(err)
		if a.Root != p.root.Public() || !bytes.Equal(a.List, p.list.Bytes()) || a.Epoch != 2 || a.Hash != p.list.Hash() ||
			!slices.Equal(a.Devices, []identity.DeviceID{p.id(0), second}) || !a.Registered.Equal(first) {
			f.Fatalf("account %+v", a)
		}
		if epoch, err := f.Epoch(f.Context(), p.root.Public()); err != nil || epoch != 2 {
			f.Fatalf("epoch %d, %v", epoch, err)
		}
		_, err = f.Account(f.Context(), f.person(2).root.Public())
		f.is(err, store.ErrNotFound)
		_, err = f.Epoch(f.Context(), f.person(2).root.Public())
		f.is(err, store.ErrNotFound)
	}},
	{"a lower epoch is refused, and a second list of one epoch is a conflict", func(f *fixture) {
		p := f.person(1)
		old := p.list
		rival, err := p.root.AddDevice(p.list, identity.DeviceFromSeed([32]byte{77}).Public(), f.o.Now())
		f.ok(err)
		p.add(1)
		p.publish()
		_, err = f.PutAccount(f.Context(), old)
		f.is(err, store.ErrEpochLower)
		_, err = f.PutAccount(f.Context(), rival)
		f.is(err, store.ErrEpochConflict)
		a, err := f.Account(f.Context(), p.root.Public())
		f.ok(err)
		if a.Hash != p.list.Hash() {
			f.Fatal("a refused list was stored")
		}
		devices, err := f.Devices(f.Context(), p.root.Public())
		f.ok(err)
		if len(devices) != 2 {
			f.Fatalf("%d devices", len(devices))
		}
	}},
	{"a device that the newest list lacks is gone with its bundle and route", func(f *fixture) {
		p := f.person(1)
		second := p.add(1)
		p.publish()
		root := p.root.Public()
		for i, id := range []identity.DeviceID{p.id(0), second} {
			f.ok(f.PutBundle(f.Context(), root, id, []byte("bundle")))
			f.ok(f.SetRoute(f.Context(), root, id, route(byte(i+1))))
		}
		p.next(p.root.Revoke(p.list, second, f.o.Now()))
		if out := p.publish(); !slices.Equal(out.Removed, []identity.DeviceID{second}) {
			f.Fatalf("%+v", out)
		}
		f.reopen()
		_, err := f.Device(f.Context(), second)
		f.is(err, store.ErrNotFound)
		_, err = f.ByTag(f.Context(), route(2).Tag)
		f.is(err, store.ErrNotFound)
		f.is(f.PutBundle(f.Context(), root, second, []byte("x")), store.ErrNotListed)
		f.is(f.SetRoute(f.Context(), root, second, route(2)), store.ErrNotListed)
		d, err := f.ByTag(f.Context(), route(1).Tag)
		f.ok(err)
		if d.ID != p.id(0) {
			f.Fatal("the other device is not what it was")
		}
	}},
	{"bundles and routes are replaced, and found by device, account and tag", func(f *fixture) {
		p := f.person(1)
		root, id := p.root.Public(), p.id(0)
		f.is(f.PutBundle(f.Context(), root, id, []byte("early")), store.ErrNotListed)
		p.publish()
		_, err := f.Device(f.Context(), id)
		f.is(err, store.ErrNotFound) // listed, but it has not come yet
		f.ok(f.PutBundle(f.Context(), root, id, []byte("one")))
		f.ok(f.PutBundle(f.Context(), root, id, []byte("two")))
		f.ok(f.SetRoute(f.Context(), root, id, route(1)))
		newer := route(1)
		newer.TokenHash, newer.PreviousHash, newer.TokenEpoch = [32]byte{8}, [32]byte{}, 2
		f.ok(f.SetRoute(f.Context(), root, id, newer))
		f.reopen()
		want := store.Device{ID: id, Root: root, Bundle: []byte("two"), Route: newer}
		byID, err := f.Device(f.Context(), id)
		f.ok(err)
		byTag, err := f.ByTag(f.Context(), newer.Tag)
		f.ok(err)
		all, err := f.Devices(f.Context(), root)
		f.ok(err)
		for _, got := range append(all, byID, byTag) {
			if got.ID != want.ID || got.Root != want.Root || got.Route != want.Route || !bytes.Equal(got.Bundle, want.Bundle) {
				f.Fatalf("got %+v", got)
			}
		}
		if len(all) != 1 {
			f.Fatalf("%d devices", len(all))
		}
		_, err = f.ByTag(f.Context(), envelope.RouteTag{99})
		f.is(err, store.ErrNotFound)
		if err := f.SetRoute(f.Context(), root, id, store.Route{}); err == nil {
			f.Fatal("a route without a tag was taken")
		}
	}},
	{"a route tag stays with the device that first published it", func(f *fixture) {
		a, b := f.person(1), f.person(2)
		a.publish()
		b.publish()
		f.ok(f.SetRoute(f.Context(), a.root.Public(), a.id(0), route(1)))
		f.is(f.SetRoute(f.Context(), b.root.Public(), b.id(0), route(1)), store.ErrTagTaken)
		f.ok(f.SetRoute(f.Context(), a.root.Public(), a.id(0), route(2)))
		_, err := f.ByTag(f.Context(), route(1).Tag)
		f.is(err, store.ErrNotFound) // nothing arrives there any more
		f.is(f.SetRoute(f.Context(), b.root.Public(), b.id(0), route(1)), store.ErrTagTaken)
		f.reopen()
		f.is(f.SetRoute(f.Context(), b.root.Public(), b.id(0), route(1)), store.ErrTagTaken)
		_, err = f.Device(f.Context(), b.id(0))
		f.is(err, store.ErrNotFound)
		f.ok(f.SetRoute(f.Context(), a.root.Public(), a.id(0), route(1))) // and back
		d, err := f.ByTag(f.Context(), route(1).Tag)
		f.ok(err)
		if d.ID != a.id(0) {
			f.Fatal("another device")
		}
	}},
	{"naming somebody's device in a list of one's own takes nothing from it", func(f *fixture) {
		victim, thief := f.person(1), f.person(2)
		victim.publish()
		root, id := victim.root.Public(), victim.id(0)
		f.ok(f.PutBundle(f.Context(), root, id, []byte("victim's")))
		f.ok(f.SetRoute(f.Context(), root, id, route(1)))
		thief.next(thief.root.AddDevice(thief.list, victim.devs[0].Public(), f.o.Now()))
		thief.publish()
		d, err := f.Device(f.Context(), id)
		f.ok(err)
		tagged, err := f.ByTag(f.Context(), route(1).Tag)
		f.ok(err)
		if d.Root != root || tagged.Root != root || string(d.Bundle) != "victim's" {
			f.Fatal("the device changed hands")
		}
		stolen, err := f.Devices(f.Context(), thief.root.Public())
		f.ok(err)
		for _, d := range stolen {
			if d.ID == id && (d.Bundle != nil || d.Route != (store.Route{})) {
				f.Fatal("the thief's account answers with the victim's bundle")
			}
		}
		gone, err := f.RemoveAccount(f.Context(), thief.root.Public())
		f.ok(err)
		if slices.Contains(gone, id) {
			f.Fatal("the caller is told to remove the victim's mailbox")
		}
		if d, err = f.Device(f.Context(), id); err != nil || d.Root != root {
			f.Fatalf("after the thief has gone: %v", err)
		}
	}},
	{"a list that leaves out somebody else's device ends nothing of it", func(f *fixture) {
		victim, thief := f.person(1), f.person(2)
		victim.publish()
		root, id := victim.root.Public(), victim.id(0)
		f.ok(f.SetRoute(f.Context(), root, id, route(1)))
		thief.publish()
		f.ok(f.SetRoute(f.Context(), thief.root.Public(), thief.id(0), route(2)))
		thief.next(thief.root.AddDevice(thief.list, victim.devs[0].Public(), f.o.Now()))
		thief.publish()
		thief.next(thief.root.Revoke(thief.list, id, f.o.Now()))
		if got := thief.publish(); !got.Changed || len(got.Removed) != 0 {
			f.Fatalf("the caller is told to remove %d mailboxes", len(got.Removed))
		}
		if d, err := f.Device(f.Context(), id); err != nil || d.Root != root || d.Route != route(1) {
			f.Fatalf("the victim's device: %v", err)
		}
		// Nor does the identity that a device has left, once it speaks for another.
		second := f.person(3)
		second.next(second.root.AddDevice(second.list, victim.devs[0].Public(), f.o.Now()))
		second.publish()
		f.ok(f.SetRoute(f.Context(), second.root.Public(), id, route(1)))
		victim.next(victim.root.AddDevice(victim.list, f.person(4).devs[0].Public(), f.o.Now()))
		victim.next(victim.root.Revoke(victim.list, id, f.o.Now()))
		if got := victim.publish(); len(got.Removed) != 0 {
			f.Fatal("the identity that the device has left takes its mailbox")
		}
		if d, err := f.Device(f.Context(), id); err != nil || d.Root != second.root.Public() {
			f.Fatalf("the device that moved: %v", err)
		}
	}},
	{"accounts are listed in pages and removed whole", func(f *fixture) {
		var roots []identity.PublicKey
		for n := range byte(5) {
			p := f.person(n + 1)
			p.publish()
			f.ok(f.SetRoute(f.Context(), p.root.Public(), p.id(0), route(n+1)))
			roots = append(roots, p.root.Public())
		}
		slices.SortFunc(roots, func(a, b identity.PublicKey) int { return bytes.Compare(a[:], b[:]) })
		var got []identity.PublicKey
		var after identity.PublicKey
		for {
			page, err := f.Accounts(f.Context(), after, 2)
			f.ok(err)
			if len(page) == 0 {
				break
			}
			for _, a := range page {
				got = append(got, a.Root)
			}
			after = got[len(got)-1]
		}
		if !slices.Equal(got, roots) {
			f.Fatalf("%d accounts, or another order", len(got))
		}
		p := f.person(3)
		gone, err := f.RemoveAccount(f.Context(), p.root.Public())
		f.ok(err)
		if !slices.Equal(gone, []identity.DeviceID{p.id(0)}) {
			f.Fatalf("removed %d devices", len(gone))
		}
		_, err = f.RemoveAccount(f.Context(), p.root.Public())
		f.is(err, store.ErrNotFound)
		_, err = f.ByTag(f.Context(), route(3).Tag)
		f.is(err, store.ErrNotFound)
		q := f.person(4)
		f.ok(f.SetRoute(f.Context(), q.root.Public(), q.id(0), route(3))) // the tag is free again
	}},
}

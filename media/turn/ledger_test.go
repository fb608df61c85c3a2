package turn

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media"
)

// A5 case 32: each quota by itself, and its return on each way an allocation can end.
func TestA5Case32QuotasPerHandleOwnerPrefixAndNode(t *testing.T) {
	for name, c := range map[string]struct {
		quotas  Quotas
		owners  [3]byte // of the three allocations
		oneCred bool
		why     string
	}{
		"handle": {Quotas{PerHandle: 2}, [3]byte{1, 1, 1}, true, "refused/quota-handle"},
		"owner":  {Quotas{PerOwner: 2}, [3]byte{1, 1, 1}, false, "refused/quota-owner"},
		"prefix": {Quotas{PerPrefix: 2}, [3]byte{1, 2, 3}, false, "refused/quota-prefix"},
		"node":   {Quotas{Total: 2}, [3]byte{1, 2, 3}, false, "refused/quota-total"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(cfg *Config) { cfg.Quotas = c.quotas })
			creds := [3]media.Credentials{mint(t, s, c.owners[0])}
			for i := 1; i < 3; i++ {
				creds[i] = creds[0]
				if !c.oneCred {
					creds[i] = mint(t, s, c.owners[i])
				}
			}
			one := dial(t, s, "udp").login(creds[0])
			one.allocate()
			two := dial(t, s, "tcp").login(creds[1])
			two.allocate()
			three := dial(t, s, "udp").login(creds[2])
			three.request(methodAllocate, udpTransport).wantCode(486)
			if n := s.Stats().Counters[c.why]; n != 1 {
				t.Errorf("%s counted %d times", c.why, n)
			}
			one.refresh(0).wantCode(0)
			three.allocate()
		})
	}
}

func TestA5Case32QuotasComeBackOnEveryWayAnAllocationEnds(t *testing.T) {
	for name, c := range map[string]struct {
		network string
		end     func(t *testing.T, s *Server, c *rawClient)
		why     string
	}{
		"the client ends it":          {"udp", func(t *testing.T, _ *Server, c *rawClient) { c.refresh(0).wantCode(0) }, "ended/client"},
		"the client ends it over TCP": {"tcp", func(t *testing.T, _ *Server, c *rawClient) { c.refresh(0).wantCode(0) }, "ended/client"},
		"its lifetime passes":         {"udp", func(t *testing.T, s *Server, c *rawClient) { c.refresh(1).wantCode(0) }, "ended/expiry"},
		"its connection closes":       {"tcp", func(t *testing.T, _ *Server, c *rawClient) { c.conn.Close() }, "ended/disconnect"},
		"its handle is released":      {"udp", func(t *testing.T, s *Server, c *rawClient) { s.Release(c.creds.Handle) }, "ended/release"},
		"its handle is released, TCP": {"tcp", func(t *testing.T, s *Server, c *rawClient) { s.Release(c.creds.Handle) }, "ended/release"},
		"its owner is killed":         {"tcp", func(t *testing.T, s *Server, c *rawClient) { s.ReleaseOwner(media.Owner{1}) }, "ended/release"},
		"its connection breaks":       {"tcp", func(t *testing.T, _ *Server, c *rawClient) { c.send([]byte("POST / HTTP/1.1\r\n\r\n")) }, "ended/disconnect"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(cfg *Config) { cfg.leastLifetime = time.Second })
			client := dial(t, s, c.network).login(mint(t, s, 1))
			relayed := client.allocate()
			c.end(t, s, client)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := s.Drain(ctx); err != nil {
				t.Fatal(err)
			}
			if n := s.Stats().Counters[c.why]; n != 1 {
				t.Errorf("%s counted %d times, want once: %v", c.why, n, s.Stats().Counters)
			}
			s.ledger.mu.Lock()
			defer s.ledger.mu.Unlock()
			if n := s.ledger.accounts[media.Owner{1}].allocations; s.ledger.total != 0 || n != 0 || len(s.ledger.byPrefix) != 0 {
				t.Errorf("still taken: %d, %d, %v", s.ledger.total, n, s.ledger.byPrefix)
			}
			// A5 case 35: the port rests.
			if s.ports.take(relayed.Port(), time.Now()) {
				t.Error("the port could be had again at once")
			}
			if !s.ports.take(relayed.Port(), time.Now().Add(2*portRest)) {
				t.Error("the port is lost")
			}
		})
	}
}

// A5 case 19: the credential works from elsewhere up to its quota, and not at all once the call was revoked.
func TestA5Case19ReleaseEndsAllAllocationsOfTheCallAtOnce(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	creds, p := mint(t, s, 1), newPeer(t)
	udp, tcp, bystander := dial(t, s, "udp").login(creds), dial(t, s, "tcp").login(creds), dial(t, s, "udp").login(mint(t, s, 1))
	udp.allocate()
	tcp.allocate()
	bystander.allocate()
	for _, c := range []*rawClient{udp, tcp, bystander} {
		c.bind(0x4000, p.at).wantCode(0)
	}
	s.Release(creds.Handle)
	if n := s.Stats().Allocations; n != 1 {
		t.Fatalf("%d allocations are left, want the bystander's", n)
	}
	udp.sendChannel(0x4000, []byte("released"))
	udp.refresh(600).wantCode(401)
	udp.request(methodAllocate, udpTransport).wantCode(401)
	if _, err := tcp.tryRecv(); err == nil {
		t.Error("the TCP connection of a released handle is open")
	}
	bystander.sendChannel(0x4000, []byte("bystander"))
	p.want([]byte("bystander"))
	s.Release(creds.Handle) // again: nothing happens
}

// protocol.md 20.8, GG.
func TestALostClientLinkLeavesFiveMinutesOfGrace(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	lost, back := dial(t, s, "udp").login(mint(t, s, 1)), dial(t, s, "udp").login(mint(t, s, 1))
	lost.allocate()
	back.allocate()
	s.ReleaseAfter(lost.creds.Handle, Grace)
	s.ReleaseAfter(back.creds.Handle, Grace)
	clk.add(Grace - time.Second)
	s.Keep(back.creds.Handle)
	s.tick()
	if n := s.Stats().Allocations; n != 2 {
		t.Fatalf("%d allocations during the grace, want 2", n)
	}
	clk.add(time.Second)
	s.tick()
	lost.refresh(600).wantCode(401)
	back.refresh(600).wantCode(0)
}

func TestHandlesThatNobodyUsedAreForgotten(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), func(c *Config) { c.Quotas.GrantsPerOwner, c.Quotas.Grants = 2, 3 })
	mint(t, s, 1)
	mint(t, s, 1)
	if _, err := s.Mint(media.Owner{1}, media.Limits{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a third handle of one owner: %v", err)
	}
	mint(t, s, 2)
	if _, err := s.Mint(media.Owner{3}, media.Limits{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a fourth handle in all: %v", err)
	}
	clk.add(startTTL + time.Minute + time.Second)
	s.tick()
	if n := s.Stats().Grants; n != 0 {
		t.Errorf("%d handles are kept", n)
	}
	mint(t, s, 1)
}

func TestAGrantMayTightenAllocationsButNotWidenThem(t *testing.T) {
	s := start(t, func(c *Config) { c.Quotas.PerHandle = 2 })
	for limit, want := range map[int]int{1: 1, 0: 2, 100: 2} {
		creds, err := s.Mint(media.Owner{byte(limit)}, media.Limits{Allocations: limit})
		if err != nil {
			t.Fatal(err)
		}
		for range want {
			dial(t, s, "udp").login(creds).allocate()
		}
		dial(t, s, "udp").login(creds).request(methodAllocate, udpTransport).wantCode(486)
	}
}

// A5 case 32: a full range is 508, not 486.
func TestA5Case32AnExhaustedPortRangeIs508(t *testing.T) {
	clk := newClock()
	first := newPeer(t) // a port that is taken by another program, and the ones behind it
	lo := max(first.at.Port(), 2000)
	s := start(t, onClock(clk), func(c *Config) { c.PortMin, c.PortMax = lo, min(lo+3, 65535) })
	got := map[uint16]bool{}
	var last *rawClient
	for range 5 {
		c := dial(t, s, "udp").login(mint(t, s, 1))
		r := c.request(methodAllocate, udpTransport)
		if r.code() == 508 {
			break
		}
		port := r.wantCode(0).address(attrXORRelayedAddress).Port()
		if port <= lo || port > lo+3 || got[port] {
			t.Fatalf("port %d of %d-%d, after %v", port, lo, lo+3, got)
		}
		got[port], last = true, c
	}
	if len(got) == 0 || len(got) > 3 {
		t.Fatalf("%d allocations in a range of four ports, one of them taken", len(got))
	}
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.request(methodAllocate, udpTransport).wantCode(508)
	last.refresh(0).wantCode(0)
	c.request(methodAllocate, udpTransport).wantCode(508) // A5 case 35
	clk.add(portRest)
	c.allocate()
}

// A5 case 34.
func TestA5Case34PeersPerAllocationAreBounded(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), func(c *Config) { c.Quotas.Permissions, c.Quotas.Channels = 4, 2 })
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	at := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, 8, n}), 50000) }
	c.permit(at(1), at(2), at(3), at(4), at(5)).wantCode(508)
	c.permit(at(1), at(2), at(3)).wantCode(0)
	c.bind(0x4000, at(1)).wantCode(0)
	c.bind(0x4001, at(2)).wantCode(0)
	c.bind(0x4002, at(3)).wantCode(508)
	c.permit(at(4)).wantCode(0)
	c.permit(at(5)).wantCode(508)
	c.permit(at(1), at(2), at(3), at(4)).wantCode(0) // a refresh is no new peer
	clk.add(permissionLife)
	// All have expired; new ones come at their rate only.
	c.permit(at(11), at(12), at(13), at(14)).wantCode(0)
	clk.add(permissionLife)
	c.permit(at(21), at(22), at(23), at(24)).wantCode(0)
	clk.add(time.Second / 10)
	if n := s.Stats().Counters["refused/peer-quota"]; n != 3 {
		t.Errorf("%d refused, want 3", n)
	}
}

// Releases, requests, packets and closing connections at the same time: whatever comes first, nothing breaks and
// nothing is left. (pion by itself does not survive this; see control.go.)
func TestReleasesRaceWithEverythingElse(t *testing.T) {
	s := start(t, allowing(loopbackRule))
	p := newPeer(t)
	var rounds sync.WaitGroup
	for worker := range 4 {
		network := []string{"udp", "tcp"}[worker%2]
		rounds.Go(func() {
			for range 40 {
				creds, err := s.Mint(media.Owner{byte(worker)}, media.Limits{})
				if err != nil {
					t.Error(err)
					return
				}
				c := dial(t, s, network).login(creds)
				relayed := c.allocate()
				var release sync.WaitGroup
				release.Go(func() { s.Release(creds.Handle) })
				requests := bytes.Join([][]byte{
					c.signed(methodCreatePermission, func(w *writer) { w.address(attrXORPeerAddress, p.at) }),
					c.signed(methodChannelBind, func(w *writer) {
						w.attr(attrChannelNumber, []byte{0x40, 0, 0, 0}).address(attrXORPeerAddress, p.at)
					}),
					c.signed(methodRefresh, func(w *writer) { w.uint32(attrLifetime, 600) }),
					channelData(0x4000, []byte("x"), true),
				}, nil)
				for at := 0; at < len(requests); {
					size, err := frameSize(requests[at:])
					if err != nil {
						t.Error(err)
						return
					}
					// A closed connection is one of the outcomes.
					if _, err := c.conn.Write(requests[at : at+size]); err != nil {
						break
					}
					at += size
				}
				p.conn.WriteToUDPAddrPort([]byte("y"), relayed)
				release.Wait()
				c.conn.Close()
			}
		})
	}
	rounds.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if s.ledger.total != 0 || len(s.ledger.grants) != 0 || len(s.ledger.byPrefix) != 0 {
		t.Errorf("left in the ledger: %d, %v, %v", s.ledger.total, s.ledger.grants, s.ledger.byPrefix)
	}
	for _, acc := range s.ledger.accounts {
		if acc.allocations != 0 || acc.minted != 0 {
			t.Errorf("left in an account: %+v", acc)
		}
	}
}

// Ending an allocation and starting the next leaves a resting port each time; one owner must not use them all up.
func TestStartsPerOwnerAreLimited(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk), func(c *Config) { c.Quotas.PerOwner = 2; c.Quotas.StartsPerSecond = 1 })
	c := dial(t, s, "udp").login(mint(t, s, 1))
	for range 4 {
		c.allocate()
		c.refresh(0).wantCode(0)
	}
	c.request(methodAllocate, udpTransport).wantCode(486)
	// Another handle of the same owner does not help, nor does a new one after a release; another owner is free.
	s.Release(c.creds.Handle)
	s.tick()
	dial(t, s, "udp").login(mint(t, s, 1)).request(methodAllocate, udpTransport).wantCode(486)
	dial(t, s, "udp").login(mint(t, s, 2)).allocate()
	clk.add(time.Second)
	dial(t, s, "udp").login(mint(t, s, 1)).allocate()
	// In the end the owner is forgotten.
	s.ReleaseOwner(media.Owner{1})
	s.ReleaseOwner(media.Owner{2})
	clk.add(time.Minute)
	s.tick()
	s.ledger.mu.Lock()
	defer s.ledger.mu.Unlock()
	if len(s.ledger.accounts) != 0 {
		t.Errorf("accounts are kept: %v", s.ledger.accounts)
	}
}

func TestRequestsOfAnAuthenticatedClientAreLimited(t *testing.T) {
	clk := newClock()
	s := start(t, onClock(clk))
	c := dial(t, s, "udp").login(mint(t, s, 1))
	c.allocate()
	for range requestBurst {
		c.refresh(600).wantCode(0)
	}
	c.send(c.signed(methodRefresh, nil))
	c.nothing("one request too many")
	if n := s.Stats().Counters["dropped/requests"]; n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}
	clk.add(time.Second)
	c.refresh(600).wantCode(0)
}

package rtc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sframe"
	"github.com/trunkline-net/trunkline/media/sfu"
)

// lossyPath stands between one client and the SFU on this machine, and loses every so-manieth large packet of either way.
type lossyPath struct {
	t      *testing.T
	front  *net.UDPConn
	server *net.UDPAddr
	every  int
	lost   [2]atomic.Int64 // to the server, to the client
}

func newLossyPath(t *testing.T, server int, every int) *lossyPath {
	t.Helper()
	front, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p := &lossyPath{t: t, front: front, server: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: server}, every: every}
	var both sync.WaitGroup
	both.Go(func() {
		backs := map[string]*net.UDPConn{} // a client has several sockets
		defer func() {
			for _, b := range backs {
				b.Close()
			}
		}()
		p.pump(front, 0, func(from *net.UDPAddr) func([]byte) {
			back := backs[from.String()]
			if back == nil {
				var err error
				if back, err = net.DialUDP("udp4", nil, p.server); err != nil {
					t.Error(err)
					return func([]byte) {}
				}
				backs[from.String()] = back
				both.Go(func() {
					p.pump(back, 1, func(*net.UDPAddr) func([]byte) {
						return func(b []byte) { _, _ = front.WriteToUDP(b, from) } // the client may have gone
					})
				})
			}
			return func(b []byte) { _, _ = back.Write(b) } // the server may have gone
		})
	})
	t.Cleanup(func() {
		front.Close()
		both.Wait()
	})
	return p
}

func (p *lossyPath) pump(from *net.UDPConn, way int, to func(*net.UDPAddr) func([]byte)) {
	b := make([]byte, 2048)
	for media := 0; ; {
		n, sender, err := from.ReadFromUDP(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an earlier packet found nobody
		}
		if n > 600 { // media, and no check or handshake
			if media++; media%p.every == 0 {
				p.lost[way].Add(1)
				continue
			}
		}
		to(sender)(b[:n])
	}
}

var udpPort = regexp.MustCompile(`(a=candidate:\S+ \d+ (?i:udp) \d+ \S+) \d+`)

// through puts the path into an answer in place of the server.
func (p *lossyPath) through(answer string) string {
	return udpPort.ReplaceAllString(answer, fmt.Sprintf("${1} %d", p.front.LocalAddr().(*net.UDPAddr).Port))
}

// TestPicturesThatAPathLosesAreRepaired publishes pictures over the SFU from one participant to another, each behind a path
// that loses one large packet of sixteen: all come.
func TestPicturesThatAPathLosesAreRepaired(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	server, err := sfu.New(sfu.Config{Listen: "127.0.0.1:0", Limits: sfu.Limits{NewRooms: 100, Joins: 100}}) // a busy machine is no reason
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(serving) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	key := sframe.NewGroupKey()
	sender, receiver := sframe.NewGroupSender(1, key), sframe.NewGroupReceiver(1)
	if err := receiver.Give(key); err != nil {
		t.Fatal(err)
	}
	const pictures = 150
	var mu sync.Mutex // guards came
	came := map[uint32]bool{}
	all := make(chan struct{})
	var full sync.Once
	join := func(index uint16, cfg LegConfig, streams []Stream) (*Leg, *lossyPath) {
		cfg.IncludeLoopback = true
		up := make(chan struct{})
		var once sync.Once
		cfg.OnState = func(s State) {
			if s == StateBound {
				once.Do(func() { close(up) })
			}
		}
		leg, err := NewLeg(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := leg.Close(); err != nil {
				t.Error(err)
			}
		})
		offer, err := leg.Offer(streams, false)
		if err != nil {
			t.Fatal(err)
		}
		seat, answer, err := server.Join(ctx, sfu.RoomKey{1}, sfu.Grant{Index: index, Publish: cfg.Video}, sfu.Description{SDP: offer})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for range seat.Events() { // until the seat ends
			}
		}()
		path := newLossyPath(t, int(server.Addr().Port()), 16)
		if err := leg.Answer(path.through(answer.SDP)); err != nil {
			t.Fatal(err)
		}
		var wants sfu.Wants
		for s, mid := range leg.Sections() {
			wants.Subscriptions = append(wants.Subscriptions, sfu.Subscription{Mid: mid, Publisher: s.Publisher, Slot: sfu.Slot(s.Slot)})
		}
		if err := seat.Want(wants); err != nil {
			t.Fatal(err)
		}
		select {
		case <-up:
		case <-ctx.Done():
			t.Fatal("no path")
		}
		return leg, path
	}
	viewer, second := join(2, LegConfig{
		Opener: func(uint64) Opener { return receiver },
		OnFrame: func(_ uint64, f Frame) {
			mu.Lock()
			defer mu.Unlock()
			came[binary.BigEndian.Uint32(f.Data[10:])] = true
			if len(came) == pictures {
				full.Do(func() { close(all) })
			}
		},
	}, []Stream{{Publisher: 1, Slot: sframe.Camera}})
	publisher, first := join(1, LegConfig{Video: true, VideoCodec: sframe.VP8, Opener: func(uint64) Opener { return nil }}, nil)

	// More than are waited for: what nothing newer follows is missed by nobody.
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for n := uint32(0); ; n++ {
		picture := make([]byte, 2500) // 1 Mbit/s: less than the SFU takes a path for at first
		picture[0] = 1                // as one that rests on another
		if n == 0 {
			picture[0] = 0
		}
		binary.BigEndian.PutUint32(picture[10:], n)
		sealed, err := sender.Seal(sframe.Camera, sframe.VP8, picture)
		if err != nil {
			t.Fatal(err)
		}
		if err := publisher.SendSealed(sealed, 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		select {
		case <-pace.C:
			continue
		case <-all:
		case <-ctx.Done():
			t.Fatalf("%d pictures are too few", n)
		}
		break
	}
	mu.Lock()
	var missing []uint32
	for n := range slices.Max(slices.Collect(maps.Keys(came))) {
		if !came[n] {
			missing = append(missing, n)
		}
	}
	mu.Unlock()
	t.Logf("lost %d and %d packets; %d repeated; pictures lost: %d; did not come: %v", first.lost[0].Load(), second.lost[1].Load(), server.Stats().Repeated, viewer.Stats().FramesLost, missing)
	if first.lost[0].Load() == 0 || second.lost[1].Load() == 0 {
		t.Error("the paths lost nothing")
	}
	if n := viewer.Stats().FramesLost; n != 0 {
		t.Errorf("%d pictures were lost", n)
	}
}

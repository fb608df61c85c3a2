package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Direction of a wire, seen from its host.
type Direction uint8

const (
	Out Direction = iota // from the host
	In                   // to the host
)

// Quality is what a wire does to packets in one direction. The zero value does nothing.
type Quality struct {
	// Cut lets nothing through.
	Cut bool
	// Loss is the share of packets that are lost, 0 to 1.
	Loss float64
	// Delay is for every packet, and Jitter the most that is drawn on top of it. Packets keep
	// their order.
	Delay, Jitter time.Duration
	// Rate is in bytes a second; 0: no limit.
	Rate int
	// Queue is how many bytes wait for the rate; what comes on top is lost. 0: 64 KiB.
	Queue int
}

// Counts says what became of the packets of one direction.
type Counts struct {
	Taken    uint64 // came in at one end
	Lost     uint64 // by Loss
	Cut      uint64 // by Cut
	Overflow uint64 // by Queue
	Passed   uint64 // went out at the other end
	Bytes    uint64 // of those
	Queued   int    // bytes that wait for the rate now
}

// Wire attaches a host by two TUN devices, one in the host and one in its router. This
// process carries the packets between them, because netem is missing on many machines.
type Wire struct {
	ends [2]*os.File // host, router
	ways [2]*way     // Out, In
	wait sync.WaitGroup
	stop chan struct{}
}

// way is one direction.
type way struct {
	from, to *os.File
	queue    chan parcel

	mu      sync.Mutex // guards what follows
	quality Quality
	random  *rand.Rand
	counts  Counts
	free    time.Time // when the rate lets the next packet begin
	last    time.Time // when the last one is due
}

type parcel struct {
	b      []byte
	due    time.Time
	queued bool
}

const (
	wireMTU   = 1500
	wireQueue = 64 << 10
	// wireHolds bounds the packets that are on their way: a second of a fast line.
	wireHolds = 1 << 14
)

// attachWire is attach with TUN devices. Other hosts of the network find this one through the
// router, which answers for it.
func (n *Net) attachWire(s *space, f families) (w *Wire, v4, v6 netip.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ports++
	port := fmt.Sprintf("port%d", n.ports)
	w = &Wire{stop: make(chan struct{})}
	if w.ends[0], err = openTUN(s, "eth0"); err != nil {
		return nil, v4, v6, err
	}
	if w.ends[1], err = openTUN(n.router, port); err != nil {
		return nil, v4, v6, errors.Join(err, w.ends[0].Close())
	}
	// Without link-local addresses there is no talk about neighbours on the wire.
	silent := func(dev string) []string {
		return []string{"link set " + dev + " addrgenmode none", "link set " + dev + " up"}
	}
	inside, outside := silent("eth0"), silent(port)
	sysctls := []string{}
	v4, v6 = n.nextLocked(f)
	if v4.IsValid() {
		inside = append(inside, fmt.Sprintf("addr add %s/32 dev eth0", v4), "route add default dev eth0")
		outside = append(outside, fmt.Sprintf("route add %s/32 dev %s", v4, port))
		sysctls = append(sysctls, "ipv4/conf/lan/proxy_arp=1", "ipv4/neigh/lan/proxy_delay=0")
	}
	if v6.IsValid() {
		inside = append(inside, fmt.Sprintf("addr add %s/128 dev eth0 nodad", v6), "route add ::/0 dev eth0")
		outside = append(outside, fmt.Sprintf("route add %s/128 dev %s", v6, port), fmt.Sprintf("neigh add proxy %s dev lan", v6))
		sysctls = append(sysctls, "ipv6/conf/lan/proxy_ndp=1", "ipv6/neigh/lan/proxy_delay=0")
	}
	if err := errors.Join(s.ip(inside...), n.router.ip(outside...), n.router.sysctl(sysctls...)); err != nil {
		return nil, v4, v6, errors.Join(err, w.ends[0].Close(), w.ends[1].Close())
	}
	seed := rand.Uint64()
	n.l.t.Logf("the wire of %s: seed %d", s.name, seed)
	w.begin(seed)
	n.l.ends(func() {
		if err := w.close(); err != nil {
			n.l.t.Error(err)
		}
	})
	return w, v4, v6, nil
}

func openTUN(s *space, name string) (file *os.File, err error) {
	err = s.do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq(name)
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			// Before the file is: a TUN file that has no device yet cannot be polled.
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("make the device %s: %w", name, err), unix.Close(fd))
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	return file, err
}

func (w *Wire) begin(seed uint64) {
	for d := range w.ways {
		y := &way{
			from: w.ends[d], to: w.ends[1-d], queue: make(chan parcel, wireHolds),
			random: rand.New(rand.NewPCG(seed, uint64(d))),
		}
		w.ways[d] = y
		w.wait.Go(y.takeLoop)
		w.wait.Go(func() { y.giveLoop(w.stop) })
	}
}

// Set changes one direction from now on. What is on its way arrives as it was sent.
func (w *Wire) Set(d Direction, q Quality) {
	y := w.ways[d]
	y.mu.Lock()
	defer y.mu.Unlock()
	y.quality = q
	if q.Rate == 0 {
		y.free = time.Time{}
	}
}

// SetBoth changes both directions.
func (w *Wire) SetBoth(q Quality) {
	w.Set(Out, q)
	w.Set(In, q)
}

// Counts of one direction so far.
func (w *Wire) Counts(d Direction) Counts {
	y := w.ways[d]
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.counts
}

func (w *Wire) close() error {
	close(w.stop)
	err := errors.Join(w.ends[0].Close(), w.ends[1].Close())
	w.wait.Wait()
	return err
}

func (y *way) takeLoop() {
	defer close(y.queue)
	for {
		b := make([]byte, wireMTU+64)
		n, err := y.from.Read(b)
		if err != nil {
			return // closed, or its namespace has ended
		}
		if toGroup(b[:n]) {
			continue
		}
		if p, ok := y.take(b[:n], time.Now()); ok {
			select {
			case y.queue <- p:
			default:
				y.count(func(c *Counts) { c.Overflow++ })
			}
		}
	}
}

// toGroup: for a multicast group. Only the kernels at both ends send such, about groups that
// they join, and counts would not be of what was sent.
func toGroup(b []byte) bool {
	return len(b) >= 40 && b[0]>>4 == 6 && b[24] == 0xff || len(b) >= 20 && b[0]>>4 == 4 && b[16]>>4 == 0xe
}

func (y *way) count(f func(*Counts)) {
	y.mu.Lock()
	defer y.mu.Unlock()
	f(&y.counts)
}

// take decides what becomes of a packet.
func (y *way) take(b []byte, now time.Time) (p parcel, ok bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	q := y.quality
	y.counts.Taken++
	switch {
	case q.Cut:
		y.counts.Cut++
		return p, false
	case q.Loss > 0 && y.random.Float64() < q.Loss:
		y.counts.Lost++
		return p, false
	}
	p = parcel{b: b, due: now}
	if q.Rate > 0 {
		room := q.Queue
		if room == 0 {
			room = wireQueue
		}
		if y.counts.Queued+len(b) > room {
			y.counts.Overflow++
			return p, false
		}
		y.counts.Queued += len(b)
		p.queued = true
		if y.free.Before(now) {
			y.free = now
		}
		y.free = y.free.Add(time.Duration(float64(len(b)) / float64(q.Rate) * float64(time.Second)))
		p.due = y.free
	}
	p.due = p.due.Add(q.Delay)
	if q.Jitter > 0 {
		p.due = p.due.Add(time.Duration(y.random.Int64N(int64(q.Jitter))))
	}
	if p.due.Before(y.last) {
		p.due = y.last
	}
	y.last = p.due
	return p, true
}

func (y *way) giveLoop(stop <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for p := range y.queue {
		if wait := time.Until(p.due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-stop:
				return
			}
		}
		_, err := y.to.Write(p.b)
		y.count(func(c *Counts) {
			if p.queued {
				c.Queued -= len(p.b)
			}
			if err == nil {
				c.Passed++
				c.Bytes += uint64(len(p.b))
			}
		})
	}
}

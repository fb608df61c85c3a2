package stage

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/internal/lab"
	"github.com/trunkline-net/trunkline/media/sfu/congestion"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

// estimated is a sender on a wire whose rate the test sets, who sends what it estimates the wire to take; the
// receiver tells it each 50 ms what came, as the SFU's clients do.
type estimated struct {
	t    testing.TB
	wire *lab.Wire
	out  *net.UDPConn
	to   netip.AddrPort

	mu   sync.Mutex // guards the rest
	e    *congestion.Estimator
	most int64 // bit/s that there is to send
	debt float64
}

const (
	datagram = 1100
	headers  = 28 // of IPv4 and UDP: the wire counts them too
)

func newEstimated(t testing.TB) *estimated {
	t.Helper()
	l := lab.New(t)
	near, far := l.Host("sender", lab.OverWire, lab.OnlyIPv4), l.Public("receiver.example", lab.OnlyIPv4)
	open := func(h *lab.Host) (c *net.UDPConn) {
		if err := h.Do(func() (err error) {
			c, err = net.ListenUDP("udp4", &net.UDPAddr{IP: h.Addr().AsSlice()})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return c
	}
	s := &estimated{t: t, wire: near.Wire(), out: open(near), e: congestion.New(20_000_000), most: 20_000_000}
	in := open(far)
	s.to = in.LocalAddr().(*net.UDPAddr).AddrPort()
	stop := make(chan struct{})
	var sends, loops sync.WaitGroup
	loops.Go(func() { s.receiveLoop(in) })
	loops.Go(s.feedbackLoop)
	sends.Go(func() { s.sendLoop(stop) })
	t.Cleanup(func() {
		close(stop)
		sends.Wait()
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if err := s.out.Close(); err != nil {
			t.Error(err)
		}
		loops.Wait()
	})
	return s
}

// sendLoop sends in steps of 5 ms, and catches up with what a busy machine made it miss.
func (s *estimated) sendLoop(stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := time.Now()
		s.mu.Lock()
		s.debt += min(0.97*float64(s.e.Estimate()), float64(s.most)) * min(now.Sub(last), 50*time.Millisecond).Seconds()
		last = now
		for s.debt >= 8*(datagram+headers) {
			s.debt -= 8 * (datagram + headers)
			s.sendLocked(now)
		}
		for n := s.e.Probe(s.most, now); n > 0; n -= datagram {
			s.sendLocked(now)
		}
		s.mu.Unlock()
	}
}

func (s *estimated) sendLocked(now time.Time) {
	b := make([]byte, datagram)
	binary.BigEndian.PutUint16(b, s.e.Next())
	s.e.Sent(datagram+headers, now)
	if _, err := s.out.WriteToUDPAddrPort(b, s.to); err != nil {
		s.t.Errorf("a packet was not sent: %v", err)
	}
}

// feedbackLoop takes what the receiver tells.
func (s *estimated) feedbackLoop() {
	b := make([]byte, 2048)
	for {
		n, err := s.out.Read(b)
		if err != nil {
			return // closed
		}
		c := wire.NewCompound(b[:n])
		q, _ := c.Next()
		_, fci, ok := q.Feedback()
		s.mu.Lock()
		if !ok || s.e.Feedback(fci, time.Now()) != nil {
			s.t.Error("a feedback is not one")
		}
		s.mu.Unlock()
	}
}

func (s *estimated) receiveLoop(in *net.UDPConn) {
	var (
		at    []int64
		base  uint16
		began time.Time
		told  time.Time
		count uint8
		b     = make([]byte, 2048)
	)
	for {
		n, from, err := in.ReadFromUDPAddrPort(b)
		if err != nil {
			return // closed
		}
		now := time.Now()
		if n != datagram {
			continue
		}
		seq := binary.BigEndian.Uint16(b)
		if began.IsZero() {
			began, told, base = now.Add(-time.Second), now, seq
		}
		i := int(int16(seq - base))
		for len(at) <= i {
			at = append(at, -1)
		}
		if i >= 0 {
			at[i] = now.Sub(began).Microseconds()
		}
		if now.Sub(told) < 50*time.Millisecond {
			continue
		}
		told = now
		for len(at) > 0 {
			out, n := wire.AppendTWCC(nil, 1, 2, base, at[:min(len(at), 300)], count)
			if n == 0 {
				break
			}
			count++
			at, base = append(at[:0], at[n:]...), base+uint16(n)
			if _, err := in.WriteToUDPAddrPort(out, from); err != nil {
				return // closed
			}
		}
	}
}

func (s *estimated) estimate() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.e.Estimate()
}

// has lets the sender have so much to send.
func (s *estimated) has(bits int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = bits
}

// rate sets the wire's, in bit/s, with 20 ms each way and a queue of 200 ms.
func (s *estimated) rate(bits int) {
	s.wire.Set(lab.Out, lab.Quality{Rate: bits / 8, Queue: bits / 8 / 5, Delay: 20 * time.Millisecond})
}

// watch takes the estimate at the end of each second, in kbit/s.
func (s *estimated) watch(seconds int) (row []int64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range seconds {
		<-tick.C
		row = append(row, s.estimate()/1000)
	}
	return row
}

// BenchmarkEstimateOnAWire changes the rate of a wire eight times and counts after how many of these steps the estimate is
// within 15 % of the new one three seconds later; then there is little to send, and the estimate should stay where it was.
// It is a figure and no test, since the seconds are real ones: the test of the same in virtual time is that of package
// media/sfu.
func BenchmarkEstimateOnAWire(b *testing.B) {
	s := newEstimated(b)
	s.wire.Set(lab.In, lab.Quality{Delay: 20 * time.Millisecond})
	s.rate(2_000_000)
	s.watch(6)
	followed, steps := 0, []int{1_000_000, 2_000_000, 4_000_000, 1_000_000, 500_000, 1_500_000, 3_000_000, 2_000_000}
	for range b.N {
		for _, step := range steps {
			s.rate(step)
			row := s.watch(5)
			if row[2] >= int64(step)*85/100_000 && row[2] <= int64(step)*115/100_000 {
				followed++
			}
			b.Logf("a wire of %d kbit/s: %v at the end of each second", step/1000, row)
		}
	}
	full := s.estimate()
	s.has(200_000)
	row := s.watch(10)
	b.ReportMetric(float64(followed)/float64(b.N), "steps-of-8")
	b.ReportMetric(1000*float64(slices.Min(row))/float64(full), "least-when-idle")
	b.ReportMetric(1000*float64(slices.Max(row))/float64(full), "most-when-idle")
}

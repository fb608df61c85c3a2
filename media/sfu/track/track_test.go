package track_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/track"
	"github.com/trunkline-net/trunkline/media/sfu/wire"
)

type stream struct {
	t    *testing.T
	s    *track.Source
	pool track.Pool
	now  int64
}

func newStream(t *testing.T, audio bool) *stream {
	st := &stream{t: t, now: 1_000_000}
	st.s = track.NewSource(7, audio, 90000, &st.pool)
	return st
}

// come gives the source a packet of one frame's size, and time passes.
func (st *stream) come(seq uint16, ts uint32, size int) bool {
	st.now += 1000
	h := wire.Header{PayloadType: 96, Sequence: seq, Timestamp: ts, SSRC: 7}
	p := st.pool.Get(append(h.Append(nil), make([]byte, size)...), st.now)
	if err := p.Parse(); err != nil {
		st.t.Fatal(err)
	}
	return st.s.Push(p)
}

func TestWhatIsMissingIsAskedForAndGivenUpInTheEnd(t *testing.T) {
	st := newStream(t, false)
	for _, seq := range []uint16{65533, 65534, 1, 2, 5} {
		st.come(seq, 0, 100)
	}
	if got := st.s.Missing(st.now, nil); got != nil {
		t.Errorf("%v is asked for at once: it may only be late", got)
	}
	if got := st.s.Missing(st.now+10_000, nil); !slices.Equal(got, []uint16{65535, 0, 3, 4}) {
		t.Errorf("%v is asked for", got)
	}
	if got := st.s.Missing(st.now+15_000, nil); got != nil {
		t.Errorf("%v is asked for again at once", got)
	}
	if !st.come(0, 0, 100) || st.come(0, 0, 100) {
		t.Error("a packet that was missing must be taken, once")
	}
	asked := 0
	for at := st.now; at < st.now+3_000_000; at += 10_000 {
		got := st.s.Missing(at, nil)
		if slices.Contains(got, 0) {
			t.Fatal("what came is asked for")
		}
		asked += len(got)
	}
	if asked != 3*7 || st.s.Lost() != 3 {
		t.Errorf("asked %d times for three packets, %d given up", asked, st.s.Lost())
	}
}

func TestAGapOfThousandsIsNotAskedFor(t *testing.T) {
	st := newStream(t, false)
	st.come(1, 0, 100)
	st.come(10_000, 0, 100)
	if got := st.s.Missing(st.now+20_000, nil); len(got) != 0 {
		t.Errorf("%d packets are asked for", len(got))
	}
	st.come(10_300, 0, 100)
	if got := st.s.Missing(st.now+20_000, nil); len(got) > 128 {
		t.Errorf("%d packets are asked for", len(got))
	}
}

func TestASenderThatBeginsAnewIsFollowed(t *testing.T) {
	st := newStream(t, false)
	for seq := range uint16(100) {
		st.come(30_000+seq, 0, 100)
	}
	taken := 0
	for seq := range uint16(100) {
		if st.come(5_000+seq, 0, 100) {
			taken++
		}
	}
	if taken < 80 {
		t.Errorf("%d of 100 were taken", taken)
	}
}

func TestReportsCountWhatWasLost(t *testing.T) {
	st := newStream(t, false)
	for seq := range uint16(100) {
		if seq%10 != 9 {
			st.come(seq, uint32(seq)*90, 100)
		}
	}
	st.come(100, 9000, 100)
	st.s.SenderReport(wire.SenderReport{SSRC: 7, NTP: 0x1234_5678_9abc_def0}, st.now)
	r := st.s.Report(st.now + 500_000)
	if r.Lost != 10 || r.FractionLost != 10*256/101 || r.LastSR != 0x5678_9abc || r.Delay != 32768 || uint16(r.Highest) != 100 {
		t.Errorf("%+v", r)
	}
	if r = st.s.Report(st.now); r.FractionLost != 0 || r.Lost != 10 {
		t.Errorf("the next one is %+v", r)
	}
}

func TestRepairStreamsGiveBackThePacket(t *testing.T) {
	for _, size := range []int{0, 30, 1100} {
		var pool track.Pool
		h := wire.Header{Marker: true, PayloadType: 97, Sequence: 4, Timestamp: 5, SSRC: 8, Extensions: [4]wire.Extension{{ID: 1, Value: []byte("mid")}}}
		payload := bytes.Repeat([]byte{9}, size)
		b := append(append(h.Append(nil), 0x12, 0x34), payload...)
		p := pool.Get(b, 1)
		if err := p.Parse(); err != nil || !p.Repaired(7, 96) {
			t.Fatal("no packet", err)
		}
		v, _ := p.Extension(1)
		if p.SSRC() != 7 || p.PayloadType() != 96 || p.Sequence() != 0x1234 || p.Timestamp() != 5 || !p.Marker() ||
			!bytes.Equal(p.Payload(), payload) || string(v) != "mid" {
			t.Errorf("%d bytes came back as %x", size, p.Raw())
		}
	}
	var pool track.Pool
	padding := pool.Get((&wire.Header{PayloadType: 97}).Append(nil), 1)
	if padding.Parse() != nil || padding.Repaired(7, 96) {
		t.Error("padding was taken for a packet")
	}
}

func TestRatesFollowAndDeadLayersHaveNone(t *testing.T) {
	st := newStream(t, false)
	if st.s.Rate(0, 0, st.now) != 0 {
		t.Error("a rate of nothing")
	}
	for seq := range uint16(3000) { // 1012 bytes each millisecond
		st.come(seq, uint32(seq)*90, 1000)
		st.s.Roll(st.now)
	}
	if got := st.s.Rate(0, 0, st.now); got < 7_900_000 || got > 8_300_000 {
		t.Errorf("%d bit/s", got)
	}
	if got := st.s.Rate(0, 0, st.now+1_500_000); got != 0 {
		t.Errorf("%d bit/s after a second and a half of nothing", got)
	}
}

func TestKeyFramesAreAskedForOnceForAll(t *testing.T) {
	st := newStream(t, false)
	st.come(1, 0, 100)
	sent := 0
	for at := int64(0); at < 5_000_000; at += 10_000 {
		st.s.AskKey()
		if st.s.KeyDue(st.now + at) {
			sent++
		}
	}
	if sent != 10 {
		t.Errorf("%d requests in five seconds of asking", sent)
	}
}

// Without descriptors a large frame after a request is taken for the key frame.
func TestALargeFrameAfterARequestIsTakenForAKeyFrame(t *testing.T) {
	st := newStream(t, false)
	seq, ts := uint16(0), uint32(0)
	frame := func(packets int) uint16 {
		first := seq
		for range packets {
			st.come(seq, ts, 1000)
			seq++
		}
		ts += 3000
		return first
	}
	for range 30 {
		frame(2)
	}
	frame(12)
	if _, ok := st.s.KeyBegins(); ok {
		t.Error("a large frame that nobody asked for is none")
	}
	frame(2)
	st.s.AskKey()
	st.s.KeyDue(st.now)
	frame(2)
	if _, ok := st.s.KeyBegins(); ok {
		t.Error("a small frame is none")
	}
	first := frame(12)
	if at, ok := st.s.KeyBegins(); !ok || uint16(at) != first {
		t.Errorf("it begins at %d, %v; should be %d", uint16(at), ok, first)
	}
}

package rtc

import (
	"testing"

	"github.com/pion/interceptor"
	"github.com/pion/rtp"
)

// sink counts what goes to the network.
type sink struct{ first, again, bytes int }

func (s *sink) writer(newest *uint16) interceptor.RTPWriter {
	return interceptor.RTPWriterFunc(func(h *rtp.Header, payload []byte, _ interceptor.Attributes) (int, error) {
		if int16(h.SequenceNumber-*newest) > 0 {
			*newest = h.SequenceNumber
			s.first++
		} else {
			s.again++
			s.bytes += h.MarshalSize() + len(payload)
		}
		return h.MarshalSize() + len(payload), nil
	})
}

// asked sends so many packets and, with each, the last 100 of them again.
func asked(t testing.TB, full func() bool, packets int) (got sink) {
	t.Helper()
	made, err := againFactory{full}.NewInterceptor("")
	if err != nil {
		t.Fatal(err)
	}
	newest := uint16(64999) // the numbers wrap on the way
	w := made.BindLocalStream(&interceptor.StreamInfo{}, got.writer(&newest))
	payload := make([]byte, 988)
	send := func(seq uint16) {
		if n, err := w.Write(&rtp.Header{Version: 2, SequenceNumber: seq}, payload, nil); n != 1000 || err != nil {
			t.Fatalf("a packet of 1000 bytes: %d, %v", n, err)
		}
	}
	for i := range packets {
		seq := uint16(65000 + i)
		send(seq)
		for back := range 100 {
			send(seq - uint16(back))
		}
	}
	return got
}

// TestWhatIsSentAgainHasABudget: whoever asks for everything again, all the time, gets half as much again as there is to
// send, and a seventh where the path is full; and what is sent for the first time always goes.
func TestWhatIsSentAgainHasABudget(t *testing.T) {
	const packets = 2000
	for name, c := range map[string]struct {
		full        func() bool
		least, most float64
	}{
		"a path that nobody measures": {nil, 0.45, 0.55},
		"a path that takes it":        {func() bool { return false }, 0.45, 0.55},
		"a full path":                 {func() bool { return true }, 0.13, 0.17},
	} {
		got := asked(t, c.full, packets)
		if got.first != packets {
			t.Errorf("%s: %d of %d packets were sent", name, got.first, packets)
		}
		if part := float64(got.again) / packets; part < c.least || part > c.most {
			t.Errorf("%s: %.2f of what was sent is sent again", name, part)
		}
	}
}

func TestALossAtTheBeginningIsMended(t *testing.T) {
	if got := asked(t, nil, 1); got.again < 4 {
		t.Errorf("%d packets are sent again after the first", got.again)
	}
}

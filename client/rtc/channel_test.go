package rtc

import (
	"runtime"
	"sync"
	"testing"
)

// narrow has room for one message at a time, like the library's way from a number to the wire.
type narrow struct {
	t      *testing.T
	inside sync.Mutex
	passed int
}

func (n *narrow) Send([]byte) error {
	if !n.inside.TryLock() {
		n.t.Error("two messages at the same time")
		return nil
	}
	defer n.inside.Unlock()
	for range 8 {
		runtime.Gosched()
	}
	n.passed++
	return nil
}

func TestMessagesEnterAChannelOneAfterTheOther(t *testing.T) {
	n := &narrow{t: t}
	out := outlet{into: n}
	const senders, each = 8, 200
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for range each {
				if err := out.send([]byte("hello")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n.passed != senders*each {
		t.Fatalf("%d of %d", n.passed, senders*each)
	}
}

package rtc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"
)

// Whole messages of up to 65,535 bytes cross in order, both ways, and a sender has to wait for
// a receiver that does not read.
func TestFileChannel(t *testing.T) {
	const count = 200
	gate := make(chan struct{})
	got := make(chan [32]byte, count)
	small := make(chan string, 4)
	b := testConfig(Responder)
	b.OnFileData = func(m []byte) {
		<-gate
		got <- sha256.Sum256(m)
	}
	b.OnFileControl = func(m []byte) { small <- string(m) }
	alice, bob := connect(t, testConfig(Initiator), b)
	ctx := context.Background()

	message := func(i int) []byte {
		return bytes.Repeat([]byte{byte(i)}, maxMessage-i%3)
	}
	sent := make(chan error, 1)
	go func() {
		for i := range count {
			if err := alice.SendData(ctx, message(i)); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	// 13 MB cannot be on their way: the sender is held up. The control channel still works.
	if err := bob.SendControl(ctx, []byte("to Alice")); err != nil {
		t.Fatal(err)
	}
	if err := alice.SendControl(ctx, bytes.Repeat([]byte("x"), maxFileControl)); err != nil {
		t.Fatal(err)
	}
	if m := wait(t, small, "control message"); len(m) != maxFileControl {
		t.Errorf("%d bytes of control message", len(m))
	}
	select {
	case err := <-sent:
		t.Fatalf("everything was sent although nobody read: %v", err)
	default:
	}
	if n := alice.file.dc.BufferedAmount(); n > highWater+maxMessage {
		t.Errorf("%d bytes wait in memory", n)
	}
	close(gate)
	for i := range count {
		if wait(t, got, "message") != sha256.Sum256(message(i)) {
			t.Fatalf("message %d is another one", i)
		}
	}
	if err := wait(t, sent, "end of sending"); err != nil {
		t.Error(err)
	}
	hangUp(t, alice, bob)
	noGoroutines(t)
}

// A sender that waits is released by its context and by the end of the call.
func TestWaitingSenderIsReleased(t *testing.T) {
	gate := make(chan struct{})
	b := testConfig(Responder)
	b.OnFileData = func([]byte) { <-gate }
	alice, bob := connect(t, testConfig(Initiator), b)
	fill := func(ctx context.Context) error {
		for {
			if err := alice.SendData(ctx, make([]byte, maxMessage)); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := fill(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting sender: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- fill(context.Background()) }()
	alice.Close()
	if err := wait(t, ended, "release"); err == nil {
		t.Error("sending went on after the end")
	}
	close(gate)
	if err := alice.result(); err != nil {
		t.Error(err)
	}
	wait(t, bob.done, "Bob's end")
	noGoroutines(t)
}

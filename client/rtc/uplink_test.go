package rtc

import (
	"testing"
	"time"

	"github.com/trunkline-net/trunkline/media/sframe"
)

// In a room the other side tells what came, so that a sender knows what its path takes.
func TestARoomsConnectionTellsWhatItTakes(t *testing.T) {
	key := sframe.NewGroupKey()
	sender, receiver := sframe.NewGroupSender(1, key), sframe.NewGroupReceiver(1)
	if err := receiver.Give(key); err != nil {
		t.Fatal(err)
	}
	a, b := testConfig(Initiator), testConfig(Responder)
	a.Group, b.Group = sframe.NewGroupReceiver(2), receiver
	alice, bob := connect(t, a, b)
	if _, _, told := alice.Uplink(); told {
		t.Error("something is told before anything was sent")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(testTime)
	for {
		sealed, err := sender.Seal(sframe.Microphone, sframe.Opus, make([]byte, 500))
		if err != nil {
			t.Fatal(err)
		}
		if err := alice.SendSealed(sealed, 10*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		takes, sent, told := alice.Uplink()
		if told && sent > 100_000 && takes > sent {
			break
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("takes %d, sent %d, told %v", takes, sent, told)
		}
	}
	if _, _, told := bob.Uplink(); told {
		t.Error("who sends nothing is told something")
	}
	hangUp(t, alice, bob)
}

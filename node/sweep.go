package node

import (
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/ws"
)

// tickLoop moves the coarse clock and looks after what has no timer of its own: one loop
// instead of two timers for each of ten thousand links.
func (n *Node) tickLoop() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for i := 1; ; i++ {
		select {
		case <-n.background.Done():
			return
		case <-ticker.C:
		}
		now := n.now()
		n.coarse.Store(now.Unix())
		if i%5 == 0 {
			n.sweep(now)
			n.turnGrants.expire(now)
			n.endDenied() // rules end by themselves, too
		}
		if i%10 == 0 {
			n.expire(now)
			n.expireRooms(now)
		}
		if i%3600 == 0 {
			n.renewKeys()
			n.reloading.Lock()
			n.renewCertificate()
			n.reloading.Unlock()
		}
	}
}

// settleAfter is the silence, in seconds, after which a link is taken for an idle one.
const settleAfter = 15

// sweep closes links that are silent or hold a message back, and asks those that have been
// silent for a while.
func (n *Node) sweep(now time.Time) {
	for _, l := range n.hub.all() {
		silent := now.Unix() - l.heard.Load()
		began := l.began.Load()
		switch {
		case began != 0 && now.Unix()-began > int64(link.FrameTimeout/time.Second),
			silent > int64(link.IdleTimeout/time.Second):
			n.metrics.swept.Inc()
			l.close()
		case silent > int64(link.PingInterval/time.Second):
			l.ask()
		}
		if silent >= settleAfter {
			l.settle()
		}
		l.acknowledgeAgain()
	}
}

// ask sends a ping of the WebSocket, which every client's library answers.
func (l *clientLink) ask() {
	ping := getBuffer(2)
	ping.b = ws.AppendFrame(ping.b, ws.Ping, nil)
	l.send(ping)
}

// expire ends what has outlived its class; the outcome is recorded with it.
func (n *Node) expire(now time.Time) {
	const batch = 4096
	for {
		count, err := n.db.Expire(n.background, now, batch)
		if err != nil {
			if n.background.Err() == nil {
				n.metrics.storeErrors.Inc()
				n.log.Error("mailbox expiry failed", "error", err)
			}
			return
		}
		n.metrics.expired.Add(float64(count))
		if count < batch {
			return
		}
	}
}

// renewKeys rotates the routing key and renews the domain document when their time comes.
func (n *Node) renewKeys() {
	changed, err := n.routing.rotate(n.background)
	if err != nil {
		n.log.Error("routing key not rotated", "error", err)
	}
	if changed {
		n.metrics.routingKeyRotations.Inc()
		n.log.Info("routing keys rotated")
	}
	if renewed, err := n.documents.renew(documentAddresses(n.fed.Addrs())); err != nil {
		n.log.Error("domain document not renewed", "error", err)
	} else if renewed {
		n.log.Info("domain document renewed", "epoch", n.documents.current.Load().Epoch)
	}
}

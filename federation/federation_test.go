package federation

import (
	"encoding/base64"
	"testing"

	"github.com/trunkline-net/trunkline/envelope"
	envelopepb "github.com/trunkline-net/trunkline/envelope/pb"
)

func b64(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

var delivered = Outcome{Fate: envelopepb.Fate_FATE_DELIVERED}

func TestTwoNodesExchangeOverEachTransport(t *testing.T) {
	for _, kind := range []string{"tcp", "quic"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := newTestNode(t, "acme.example", partnerOf("globex.example"))
			b := newTestNode(t, "globex.example", partnerOf("acme.example"))
			only(kind)(a)
			only(kind)(b)
			web(t, a, b)
			b.start()
			a.start()
			a.knows(b)
			const n = 200
			out := newOutcomes()
			var ids []envelope.ID
			for range n {
				e := envelopeTo(t, b, envelope.Live, 1024)
				ids = append(ids, e.ID())
				if _, err := a.Send(e, out.of(e.ID())); err != nil {
					t.Fatal(err)
				}
			}
			await(t, "outcomes", out.c, n)
			out.each(t, ids, delivered)
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, id := range ids {
				if b.delivered[id] != 1 {
					t.Fatalf("an envelope was delivered %d times", b.delivered[id])
				}
			}
			for _, s := range b.sources {
				if s != (Source{Peer: a.id(), Domain: "acme.example"}) {
					t.Fatalf("source %v", s)
				}
			}
		})
	}
}

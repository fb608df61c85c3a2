package memory_test

import (
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/peer/memory"
	"github.com/trunkline-net/trunkline/media/sfu/peer/peertest"
)

type harness struct{ *memory.Wire }

func (h harness) Transport(_ *testing.T, r peer.Receiver) (peer.Transport, func() error) {
	return h.Wire.Transport(r), func() error { return nil }
}

func (h harness) Client(t *testing.T, sections []light.Section, rtp, rtcp func([]byte)) peertest.Client {
	c, err := h.Wire.Client(light.Options{Sections: sections, OnRTP: rtp, OnRTCP: rtcp})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) { peertest.Run(t, harness{memory.New()}) }

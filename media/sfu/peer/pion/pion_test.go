package pion_test

import (
	"testing"

	"github.com/pion/dtls/v3"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/peer/peertest"
	"github.com/trunkline-net/trunkline/media/sfu/peer/pion"
)

type harness struct {
	tcp      bool
	profiles []dtls.SRTPProtectionProfile
}

func (h harness) Transport(t *testing.T, r peer.Receiver) (peer.Transport, func() error) {
	port, err := pion.Listen(pion.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	port.Start()
	lane := port.Lane()
	transport, err := port.New(lane, r, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
	return transport, lane.Flush
}

func (h harness) Client(t *testing.T, sections []light.Section, rtp, rtcp func([]byte)) peertest.Client {
	c, err := light.New(light.Options{Sections: sections, TCP: h.tcp, Profiles: h.profiles, OnRTP: rtp, OnRTCP: rtcp})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConformance(t *testing.T) {
	t.Run("udp", func(t *testing.T) { peertest.Run(t, harness{}) })
	t.Run("tcp", func(t *testing.T) { peertest.Run(t, harness{tcp: true}) })
	// What a client has that knows no GCM, as Firefox once did.
	t.Run("counter mode", func(t *testing.T) {
		peertest.Run(t, harness{profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}})
	})
}

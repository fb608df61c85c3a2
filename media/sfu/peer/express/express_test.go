package express_test

import (
	"testing"

	"github.com/pion/dtls/v3"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/peer"
	"github.com/trunkline-net/trunkline/media/sfu/peer/express"
	"github.com/trunkline-net/trunkline/media/sfu/peer/peertest"
)

type harness struct {
	tcp      bool
	profiles []dtls.SRTPProtectionProfile
}

func (h harness) Transport(t *testing.T, r peer.Receiver) (peer.Transport, func() error) {
	port := listen(t)
	lane := port.Lane()
	return port.New(lane, r, false), lane.Flush
}

func listen(t *testing.T) *express.Port {
	t.Helper()
	port, err := express.Listen(express.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	port.Start()
	t.Cleanup(func() {
		if err := port.Close(); err != nil {
			t.Error(err)
		}
	})
	return port
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
	t.Run("256 bits", func(t *testing.T) {
		peertest.Run(t, harness{profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_256_GCM}})
	})
	// What a client has that knows no GCM, as Firefox once did.
	t.Run("counter mode", func(t *testing.T) {
		peertest.Run(t, harness{profiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AES128_CM_HMAC_SHA1_80}})
	})
}

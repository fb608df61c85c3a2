package peer_test

import (
	_ "embed"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/trunkline-net/trunkline/media/sfu/peer"
)

// text is what a light client offers: the numbers below are its. The package does not import it, so that fuzzing here
// builds nothing of WebRTC.
//
//go:embed testdata/offer.sdp
var text string

const (
	vp8 = 96
	av1 = 45
)

func offer(testing.TB) string { return text }

func TestAnOfferIsReadAsItIsMeant(t *testing.T) {
	o, err := peer.ParseOffer(offer(t) + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n")
	if err != nil {
		t.Fatal(err)
	}
	if o.Extensions != (peer.Extensions{MID: 1, RID: 2, RepairRID: 3, Transport: 4, Descriptor: 5, Allocation: 6, AudioLevel: 7}) || !o.Mixed {
		t.Errorf("extensions %+v, mixed %v", o.Extensions, o.Mixed)
	}
	if strings.Contains(o.SDP, "192.0.2.1") {
		t.Error("the server was told of a candidate of the client's")
	}
	camera := o.Section("1")
	if camera == nil || camera.Audio || camera.Direction != peer.Sends || !slices.Equal(camera.RIDs, []string{"q", "h", "f"}) {
		t.Fatalf("%+v", camera)
	}
	if c, repair := camera.Codec(vp8 + 1); c == nil || !repair || c.Name != "VP8" || !c.NACK || !c.PLI {
		t.Errorf("%+v, %v", c, repair)
	}
	screen := o.Section("2")
	if !slices.Equal(screen.Sources, []uint32{7}) || screen.Repairs[8] != 7 || len(screen.Codecs) != 1 || screen.Named("AV1", 90000) == nil {
		t.Errorf("%+v", screen)
	}
	if s := o.Section("3"); s.Direction != peer.Receives || !s.Audio || s.Codecs[0].Name != "OPUS" || s.Codecs[0].RTX != 0 || !s.Codecs[0].NACK {
		t.Errorf("%+v", s)
	}
}

func TestOffersThatAreRefused(t *testing.T) {
	good := offer(t)
	line := func(add string) string { return good + add + "\r\n" }
	for name, text := range map[string]string{
		"nothing":               "",
		"no section":            good[:strings.Index(good, "m=")],
		"no fingerprint":        strings.ReplaceAll(good, "a=fingerprint", "a=finger"),
		"lite":                  strings.Replace(good, "t=0 0", "t=0 0\r\na=ice-lite", 1),
		"a data channel":        line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel"),
		"both directions":       strings.Replace(good, "a=sendonly", "a=sendrecv", 1),
		"no direction":          strings.Replace(good, "a=sendonly\r\n", "", 1),
		"two with one mid":      strings.Replace(good, "a=mid:1", "a=mid:0", 1),
		"no mid":                strings.Replace(good, "a=mid:1\r\n", "", 1),
		"a long line":           line("a=x:" + strings.Repeat("x", 1100)),
		"a control character":   line("a=x:\x00"),
		"four streams":          strings.Replace(good, "a=rid:q send", "a=rid:q send\r\na=rid:x send", 1),
		"an extension twice":    line("a=extmap:9 " + peer.ExtMID),
		"extension number 15":   line("a=extmap:15 " + peer.ExtMID),
		"a source without name": line("a=ssrc:x cname:y"),
		"a payload type of 200": strings.Replace(good, "SAVPF 111", "SAVPF 200", 1),
		"too long":              good + strings.Repeat("a=x\r\n", 30_000),
		"too many lines":        good + strings.Repeat("a=x\r\n", 9000),
		"too many sections":     good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n", 200),
	} {
		if _, err := peer.ParseOffer(text); !errors.Is(err, peer.ErrOffer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOffer(f *testing.F) {
	f.Add(offer(f))
	f.Fuzz(func(t *testing.T, text string) {
		o, err := peer.ParseOffer(text)
		if err != nil {
			return
		}
		if len(o.SDP) > 2*len(text)+2 || strings.Contains(o.SDP, "a=candidate:") {
			t.Fatal("more was kept than came, or a candidate")
		}
		for i := range o.Sections {
			s := &o.Sections[i]
			if s.Mid == "" || o.Section(s.Mid) != s || len(s.Sources) > 3 || len(s.RIDs) > 3 || len(s.Repairs) > 3 {
				t.Fatalf("%+v", s)
			}
		}
	})
}

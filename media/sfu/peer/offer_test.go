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
	o, err := peer.ParseOffer(offer(t))
	if err != nil {
		t.Fatal(err)
	}
	if o.Extensions != (peer.Extensions{MID: 1, RID: 2, RepairRID: 3, Transport: 4, Descriptor: 5, Allocation: 6, AudioLevel: 7}) || !o.Mixed {
		t.Errorf("extensions %+v, mixed %v", o.Extensions, o.Mixed)
	}
	if o.Terms.Ufrag != "JLOFM5HJ" || o.Terms.Pwd != "PJQNYCOT7G7PPKENZ4WCEA42OX" {
		t.Errorf("credentials %q and %q", o.Terms.Ufrag, o.Terms.Pwd)
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

// TestAttributesHaveNoOrder: in Firefox's offers feedback stands before the codec that it is of.
func TestAttributesHaveNoOrder(t *testing.T) {
	want, err := peer.ParseOffer(offer(t))
	if err != nil {
		t.Fatal(err)
	}
	var sections []string
	for i, s := range strings.Split(offer(t), "m=") {
		lines := strings.SplitAfter(s, "\r\n")
		if i > 0 { // the first line of each section stays where it is
			slices.Sort(lines[1:]) // rtcp-fb before rtpmap, as the alphabet has it
		}
		sections = append(sections, strings.Join(lines, ""))
	}
	text := strings.Join(sections, "m=")
	if strings.Index(text, "a=rtcp-fb:96") > strings.Index(text, "a=rtpmap:96") {
		t.Fatal("the order is the one of before")
	}
	got, err := peer.ParseOffer(text)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want.Sections {
		if w, g := want.Sections[i].Codecs, got.Sections[i].Codecs; !slices.Equal(w, g) {
			t.Errorf("section %d: %+v, want %+v", i, g, w)
		}
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
		"another bundle":        strings.Replace(good, "BUNDLE 0 1 2", "BUNDLE 0 1", 1),
		"no bundle":             strings.Replace(good, "a=group", "a=grape", 1),
		"no rtcp-mux":           strings.Replace(good, "a=rtcp-mux\r\n", "", 1),
		"a passive client":      strings.Replace(good, "a=setup:actpass", "a=setup:passive", 1),
		"no credentials":        strings.ReplaceAll(good, "a=ice-", "a=nice-"),
		"a short password":      strings.Replace(good, "a=ice-pwd:PJQNYCOT7G7", "a=ice-pwd:", 1),
		"a weak digest":         strings.ReplaceAll(good, "a=fingerprint:sha-256", "a=fingerprint:sha-1"),
		"half a digest":         strings.Replace(good, "sha-256 8D:CB", "sha-256 8D", 1),
		"two fingerprints":      strings.Replace(good, "a=setup:actpass", "a=fingerprint:sha-256 "+strings.Repeat("00:", 31)+"00", 1),
		"a rid of two":          strings.Replace(good, "a=rid:q send", "a=rid:q;h send", 1),
		"too long":              good + strings.Repeat("a=x\r\n", 30_000),
		"too many lines":        good + strings.Repeat("a=x\r\n", 9000),
		"too many sections":     good + strings.Repeat("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n", 200),
	} {
		if _, err := peer.ParseOffer(text); !errors.Is(err, peer.ErrOffer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// given is a server's side.
func given(o *peer.Offer) *peer.Answer {
	a := &peer.Answer{
		Session: 5, Version: 2, Ufrag: "ours", Pwd: "secret", Print: peer.PrintOf([]byte("certificate")),
		Candidates: []string{"candidate:1 1 udp 9 192.0.2.1 7422 typ host"},
	}
	for i := range o.Sections {
		if s := &o.Sections[i]; s.Taken() && s.Direction == peer.Receives {
			a.Out = append(a.Out, peer.Outgoing{Mid: s.Mid, SSRC: uint32(100 + i), Repair: uint32(200 + i)})
		}
	}
	return a
}

func TestAnAnswerSaysWhatTheOfferSaidAndNothingElse(t *testing.T) {
	// A data codec, a section that is over and one without a codec that is forwarded stand between the others.
	text := strings.Replace(offer(t), "SAVPF 111", "SAVPF 111 9", 1)
	text = strings.Replace(text, "a=rtpmap:111", "a=rtpmap:9 G722/8000\r\na=rtpmap:111", 1)
	text += "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:old\r\na=inactive\r\n"
	text += "m=video 9 UDP/TLS/RTP/SAVPF 102\r\na=mid:h\r\na=rtpmap:102 H264/90000\r\na=sendonly\r\n"
	o, err := peer.ParseOffer(text)
	if err != nil {
		t.Fatal(err)
	}
	answer := o.Answer(given(o))
	sections := strings.Split(answer, "\r\nm=")
	if len(sections) != 8 {
		t.Fatalf("%d sections: %s", len(sections)-1, answer)
	}
	for i, want := range [][]string{
		{"a=group:BUNDLE 0 1 2 3 4\r\n", "a=ice-lite", "a=extmap-allow-mixed"},
		{"audio 9 UDP/TLS/RTP/SAVPF 111\r\n", "a=recvonly", "a=setup:passive", "a=fmtp:111 minptime=10;useinbandfec=1", "a=candidate:1 1 udp", "a=end-of-candidates"},
		{"video 9 UDP/TLS/RTP/SAVPF 96 97 98 99 45 46\r\n", "a=recvonly", "a=rid:h recv", "a=simulcast:recv q;h;f", "a=fmtp:99 apt=98", "a=rtcp-fb:98 ccm fir", "a=extmap:5 " + peer.ExtDescriptor},
		{"video 9 UDP/TLS/RTP/SAVPF 45 46\r\n", "a=recvonly"},
		{"audio 9 ", "a=sendonly", "a=ssrc:103 cname:s3", "a=msid:s3 t3"},
		{"video 9 ", "a=sendonly", "a=ssrc-group:FID 104 204", "a=ssrc:204 "},
		{"video 0 UDP/TLS/RTP/SAVPF 96\r\n", "a=mid:old", "a=inactive"},
		{"video 0 UDP/TLS/RTP/SAVPF 102\r\n", "a=mid:h", "a=inactive"},
	} {
		for _, line := range want {
			if !strings.Contains(sections[i]+"\r\n", line) {
				t.Errorf("section %d lacks %q:\n%s", i, line, sections[i])
			}
		}
	}
	for _, never := range []string{"G722", "H264", "sendrecv", peer.ExtAudioLevel} {
		if strings.Contains(answer, never) {
			t.Errorf("the answer has %q", never)
		}
	}
	levels := given(o)
	levels.AudioLevels = true
	if !strings.Contains(o.Answer(levels), "a=extmap:7 "+peer.ExtAudioLevel) {
		t.Error("levels are allowed and not in the answer")
	}
}

func TestACertificateIsTheOneOfTheFingerprint(t *testing.T) {
	text := strings.ReplaceAll(offer(t), "sha-256 8D:CB:B1:3E:16:4E:54:10:5E:FF:40:FA:9A:B3:9D:11:75:A7:45:D0:59:36:94:69:40:B1:17:61:D5:57:2E:8E",
		strings.ToLower(peer.PrintOf([]byte("mine"))))
	o, err := peer.ParseOffer(text)
	if err != nil {
		t.Fatal(err)
	}
	if !o.Terms.Print.Matches([]byte("mine")) || o.Terms.Print.Matches([]byte("yours")) || (peer.Fingerprint{}).Matches([]byte("mine")) {
		t.Error("the wrong certificate matches")
	}
}

func TestASectionOfTheBundleAloneIsThere(t *testing.T) {
	text := strings.Replace(offer(t), "m=video 9 UDP", "m=video 0 UDP", 1)
	for bundled, add := range map[bool]string{false: "", true: "a=bundle-only\r\n"} {
		o, err := peer.ParseOffer(strings.Replace(text, "a=mid:1\r\n", "a=mid:1\r\n"+add, 1))
		if err != nil {
			t.Fatal(err)
		}
		if s := o.Section("1"); s.Gone == bundled || (s.Direction == peer.Sends) != bundled {
			t.Errorf("bundle-only %v: %+v", bundled, s)
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
		for i := range o.Sections {
			s := &o.Sections[i]
			if s.Mid == "" || o.Section(s.Mid) != s || len(s.Sources) > 3 || len(s.RIDs) > 3 || len(s.Repairs) > 3 {
				t.Fatalf("%+v", s)
			}
		}
		// An answer has the offer's sections and no line of its making.
		answer := o.Answer(given(o))
		if n := strings.Count(answer, "\r\nm="); n != len(o.Sections) {
			t.Fatalf("%d sections answered with %d", len(o.Sections), n)
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(answer, "\r\n"), "\r\n") {
			if len(line) < 2 || line[1] != '=' || !strings.Contains("vostacm", line[:1]) || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("a line %q", line)
			}
		}
	})
}

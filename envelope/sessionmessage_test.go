package envelope

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/envelope/pb"
)

func aDescription(kind pb.SessionType) *pb.SessionMessage {
	return &pb.SessionMessage{
		Type: kind, Sdp: []byte("v=0\r\n"), Fingerprint: bytes.Repeat([]byte{7}, 32), Ufrag: "abcd", Setup: 3,
	}
}

func TestSessionMessagesSurviveARoundTrip(t *testing.T) {
	t.Parallel()
	for _, m := range []*pb.SessionMessage{
		{Type: pb.SessionType_SESSION_CONFIRM},
		aDescription(pb.SessionType_SESSION_OFFER),
		aDescription(pb.SessionType_SESSION_ANSWER),
		{Type: pb.SessionType_SESSION_ICE, Candidates: []string{"candidate:1 1 udp 1 192.0.2.1 9 typ host"}, Generation: 1},
		{Type: pb.SessionType_SESSION_ICE_END},
		{Type: pb.SessionType_SESSION_BYE, Reason: pb.Reason_REASON_ENDED},
		{Type: pb.SessionType_SESSION_BYE, Reason: pb.Reason_REASON_ALARM},
		{Type: pb.SessionType_SESSION_BYE, Reason: 99}, // of a later version
	} {
		b, err := MarshalSessionMessage(m)
		if err != nil {
			t.Fatalf("%v: %v", m.Type, err)
		}
		got, err := ParseSessionMessage(b)
		if err != nil || !proto.Equal(got, m) {
			t.Errorf("%v came back as %v, %v", m.Type, got, err)
		}
	}
}

func TestASessionMessageWithForeignOrOverlongFieldsIsRefused(t *testing.T) {
	t.Parallel()
	change := func(f func(*pb.SessionMessage)) *pb.SessionMessage {
		m := aDescription(pb.SessionType_SESSION_OFFER)
		f(m)
		return m
	}
	for name, m := range map[string]*pb.SessionMessage{
		"no type":              {},
		"unknown type":         {Type: 99},
		"offer without sdp":    change(func(m *pb.SessionMessage) { m.Sdp = nil }),
		"short fingerprint":    change(func(m *pb.SessionMessage) { m.Fingerprint = m.Fingerprint[1:] }),
		"no ufrag":             change(func(m *pb.SessionMessage) { m.Ufrag = "" }),
		"setup 4":              change(func(m *pb.SessionMessage) { m.Setup = 4 }),
		"long sdp":             change(func(m *pb.SessionMessage) { m.Sdp = make([]byte, MaxSDP+1) }),
		"offer with candidate": change(func(m *pb.SessionMessage) { m.Candidates = []string{"candidate"} }),
		"offer with reason":    change(func(m *pb.SessionMessage) { m.Reason = pb.Reason_REASON_ENDED }),
		"ice without line":     {Type: pb.SessionType_SESSION_ICE},
		"ice with long line":   {Type: pb.SessionType_SESSION_ICE, Candidates: []string{strings.Repeat("x", MaxCandidate+1)}},
		"ice with many lines":  {Type: pb.SessionType_SESSION_ICE, Candidates: make([]string, MaxCandidates+1)},
		"bye without reason":   {Type: pb.SessionType_SESSION_BYE},
		"bye for less than no": {Type: pb.SessionType_SESSION_BYE, Reason: -1},
		"confirm with sdp":     {Type: pb.SessionType_SESSION_CONFIRM, Sdp: []byte("v=0")},
	} {
		if _, err := MarshalSessionMessage(m); err == nil {
			t.Errorf("%s: was written", name)
		}
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseSessionMessage(b); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
}

func TestAGoodbyeOfALaterVersionSaysThatSomethingFailed(t *testing.T) {
	t.Parallel()
	for r, want := range map[pb.Reason]pb.Reason{
		pb.Reason_REASON_ENDED: pb.Reason_REASON_ENDED, pb.Reason_REASON_ALARM: pb.Reason_REASON_ALARM,
		pb.Reason_REASON_ALARM + 1: pb.Reason_REASON_FAILED, 1<<31 - 1: pb.Reason_REASON_FAILED,
	} {
		if got := ByeReason(r); got != want {
			t.Errorf("%d is read as %v, want %v", r, got, want)
		}
	}
}

func FuzzParseSessionMessage(f *testing.F) {
	b, err := MarshalSessionMessage(aDescription(pb.SessionType_SESSION_OFFER))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{8, 5})
	for _, reason := range []byte{0, 6, 7, 8, 0x7f} {
		f.Add([]byte{8, byte(pb.SessionType_SESSION_BYE), 7 << 3, reason})
	}
	f.Add([]byte{8, byte(pb.SessionType_SESSION_BYE), 7 << 3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1}) // -1
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseSessionMessage(b)
		if err != nil {
			return
		}
		again, err := MarshalSessionMessage(m)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("accepted bytes have another form: %v", err)
		}
	})
}

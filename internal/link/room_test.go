package link

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

type roomLinkVectors struct {
	About     string      `json:"about"`
	Gate      string      `json:"gate_seed"`
	Steward   string      `json:"steward_seed"`
	Challenge string      `json:"challenge"`
	Room      string      `json:"room"`
	JoinID    string      `json:"join_id"`
	GateSig   string      `json:"gate_signature"`
	GateText  string      `json:"gate_signed"`
	StewSig   string      `json:"steward_signature"`
	Control   string      `json:"control"`
	ContText  string      `json:"control_signed"`
	Host      string      `json:"host_seed"`
	Holder    string      `json:"holder_seed"`
	PassTime  int64       `json:"pass_made"`
	Pass      string      `json:"pass"`
	HolderSig string      `json:"holder_signature"`
	Passes    []frameCase `json:"passes_refused"`
	Client    []frameCase `json:"client_frames"`
	Node      []frameCase `json:"node_frames"`
	Commands  []frameCase `json:"commands"`
	Refused   []frameCase `json:"client_frames_refused"`
	RefusedN  []frameCase `json:"node_frames_refused"`
	RefusedC  []frameCase `json:"commands_refused"`
}

// roomCommands has one of every kind.
func roomCommands() []*pb.RoomCommand {
	return []*pb.RoomCommand{
		{Kind: &pb.RoomCommand_Admit{Admit: &pb.RoomAdmit{Index: 3}}},
		{Kind: &pb.RoomCommand_Remove{Remove: &pb.RoomRemove{Index: 3}}},
		{Kind: &pb.RoomCommand_Gate{Gate: &pb.RoomGate{GateKey: fill(32, 1), Card: fill(RoomCardSize, 2), Keep: []uint32{1, 300}}}},
		{Kind: &pb.RoomCommand_Extend{Extend: &pb.RoomExtend{Expires: 1_793_702_100, Card: fill(RoomCardSize, 2)}}},
		{Kind: &pb.RoomCommand_Close{Close: &pb.RoomClose{}}},
	}
}

func roomChallenge() (*pb.Challenge, [32]byte, [16]byte, ed25519.PrivateKey, ed25519.PrivateKey) {
	node := identity.DeviceFromSeed([32]byte(fill(32, 0x31))).Public().PeerID()
	c := &pb.Challenge{Version: Version, Node: node[:], Domain: "acme.example", Nonce: fill(32, 1), TimeMs: 5}
	return c, [32]byte(fill(32, 7)), [16]byte(fill(16, 8)), ed25519.NewKeyFromSeed(fill(32, 0x41)), ed25519.NewKeyFromSeed(fill(32, 0x42))
}

func publicOf(t testing.TB, k ed25519.PrivateKey) identity.PublicKey {
	t.Helper()
	pub, err := identity.CheckKey(k.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// Nothing in the file is drawn at random: all of it comes out byte for byte.
func TestRoomLinkVectors(t *testing.T) {
	x := hex.EncodeToString
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c, room, join, gate, steward := roomChallenge()
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	must(err)
	control, err := SignCommand(steward, c, room, roomCommands()[2])
	must(err)
	controlBytes, err := MarshalClient(&pb.ClientFrame{Id: 4, Kind: &pb.ClientFrame_RoomControl{RoomControl: control}})
	must(err)
	sum := hashOf(control.Command)
	v := roomLinkVectors{
		About: "Frames of rooms on the client link (rooms.md, sections 3 and 4). Bytes are lower-case hexadecimal; seeds are Ed25519 " +
			"seeds of 32 bytes. challenge is a Challenge whose descriptor and signature are left out. gate_signed and control_signed are " +
			"what the signatures cover, context string first. A refused one is wrong in what its name says.",
		Gate: x(fill(32, 0x41)), Steward: x(fill(32, 0x42)), Challenge: x(plain), Room: x(room[:]), JoinID: x(join[:]),
		GateSig: x(SignGate(gate, c, room, join)), GateText: x(append([]byte(identity.ContextGate), roomMessage(c, room, join[:])...)),
		StewSig: x(SignSteward(steward, c, room, join)), Control: x(controlBytes),
		ContText: x(append([]byte(identity.ContextSteward), roomMessage(c, room, sum)...)),
	}
	host, holder, made := ed25519.NewKeyFromSeed(fill(32, 0x43)), ed25519.NewKeyFromSeed(fill(32, 0x44)), time.Unix(1_793_702_100, 0)
	own, at := publicOf(t, host).PeerID(), identity.PeerID(c.Node)
	pass := SignPass(host, own, at, publicOf(t, holder), made)
	v.Host, v.Holder, v.PassTime, v.Pass, v.HolderSig = x(fill(32, 0x43)), x(fill(32, 0x44)), made.Unix(), x(pass), x(SignHolder(holder, c, room, join))
	for _, r := range []frameCase{
		{"for another node", x(SignPass(host, own, own, publicOf(t, holder), made))},
		{"of another node's key", x(SignPass(holder, own, at, publicOf(t, holder), made))},
		{"over", x(SignPass(host, own, at, publicOf(t, holder), made.Add(-PassLife)))},
		{"good for an hour", x(SignPass(host, own, at, publicOf(t, holder), made.Add(time.Hour)))},
		{"for no key", x(SignPass(host, own, at, identity.PublicKey{}, made))},
		{"cut off", x(pass[:PassSize-1])},
		{"longer", x(append(bytes.Clone(pass), 0))},
	} {
		b, err := hex.DecodeString(r.Bytes)
		must(err)
		if _, _, err := OpenPass(b, at, made); err == nil {
			t.Errorf("a pass %s is taken", r.Name)
		}
		v.Passes = append(v.Passes, r)
	}
	for _, f := range clientFrames() {
		if name := kindName(f); len(name) > 4 && name[:4] == "room" {
			b, err := MarshalClient(f)
			must(err)
			v.Client = append(v.Client, frameCase{name, x(b)})
		}
	}
	for _, f := range nodeFrames() {
		if name := kindName(f); len(name) > 4 && name[:4] == "room" {
			b, err := MarshalNode(f)
			must(err)
			v.Node = append(v.Node, frameCase{name, x(b)})
		}
	}
	for _, cmd := range roomCommands() {
		b, err := marshal(cmd, commandShape)
		must(err)
		if _, err := ParseCommand(b); err != nil {
			t.Fatalf("%s: %v", kindName(cmd), err)
		}
		v.Commands = append(v.Commands, frameCase{kindName(cmd), x(b)})
	}
	field := func(n byte, body []byte) []byte {
		out := protowire.AppendTag(nil, protowire.Number(n), protowire.BytesType)
		return protowire.AppendBytes(out, body)
	}
	for _, r := range []frameCase{
		{"a payload of 16,385", x(field(16, append([]byte{0x12, 0x81, 0x80, 0x01}, fill(16385, 1)...)))},
		{"index 65,536", x(field(16, []byte{0x08, 0x80, 0x80, 0x04}))},
		{"index as a long varint", x(field(16, []byte{0x08, 0x81, 0x00}))},
		{"a room id of 31", x(field(15, append([]byte{0x0a, 31}, fill(31, 1)...)))},
		{"a flag of 2", x(field(14, []byte{0x38, 2}))},
		{"a leave with a field", x(field(18, []byte{0x08, 1}))},
		{"a section's name of 17", x(field(19, append([]byte{0x1a, 19, 0x0a, 17}, fill(17, 'a')...)))},
		{"a frame's kind that only the node has", x([]byte{0x6a, 0})},
	} {
		b, err := hex.DecodeString(r.Bytes)
		must(err)
		if _, err := ParseClient(b); err == nil {
			t.Errorf("%s: read", r.Name)
		}
		v.Refused = append(v.Refused, r)
	}
	for _, r := range []frameCase{
		{"an index of more than 16 bits among those present", x(field(15, []byte{0x12, 3, 0x80, 0x80, 0x04}))},
		{"51 present", x(field(15, append([]byte{0x12, 51}, fill(51, 1)...)))},
		{"an event with an unknown field", x(field(16, []byte{0x30, 1}))},
	} {
		b, err := hex.DecodeString(r.Bytes)
		must(err)
		if _, err := ParseNode(b); err == nil {
			t.Errorf("%s: read", r.Name)
		}
		v.RefusedN = append(v.RefusedN, r)
	}
	for _, r := range []frameCase{
		{"nothing", ""},
		{"two commands", "0a02080112020801"},
		{"an unknown command", "3200"},
		{"admit of nobody, with a zero", "0a020800"},
	} {
		b, err := hex.DecodeString(r.Bytes)
		must(err)
		if _, err := ParseCommand(b); err == nil {
			t.Errorf("%s: read", r.Name)
		}
		v.RefusedC = append(v.RefusedC, r)
	}
	got, err := json.MarshalIndent(v, "", " ")
	must(err)
	got = append(got, '\n')
	path := filepath.Join("..", "..", "docs", "spec", "vectors", "room_link.json")
	if *updateVectors {
		must(os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(err)
	if !bytes.Equal(got, want) {
		t.Fatal("docs/spec/vectors/room_link.json is not what the code gives; -update writes it anew")
	}
}

// kindName is the name of the kind that a frame or command has.
func kindName(m proto.Message) string {
	r := m.ProtoReflect()
	return string(r.WhichOneof(r.Descriptor().Oneofs().Get(0)).Name())
}

func hashOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func TestAGateOpensForOneLinkNodeRoomAndJoin(t *testing.T) {
	c, room, join, gate, steward := roomChallenge()
	pub, signature := publicOf(t, gate), SignGate(gate, c, room, join)
	if !VerifyGate(pub, c, room, join, signature) {
		t.Fatal("the gate does not open for its own signature")
	}
	other := func(change func(c *pb.Challenge, room *[32]byte, join *[16]byte)) bool {
		d := proto.Clone(c).(*pb.Challenge)
		r, j := room, join
		change(d, &r, &j)
		return VerifyGate(pub, d, r, j, signature)
	}
	for name, opens := range map[string]bool{
		"another link":  other(func(c *pb.Challenge, _ *[32]byte, _ *[16]byte) { c.Nonce = fill(32, 2) }),
		"another node":  other(func(c *pb.Challenge, _ *[32]byte, _ *[16]byte) { c.Node = fill(38, 2) }),
		"another room":  other(func(_ *pb.Challenge, r *[32]byte, _ *[16]byte) { r[0]++ }),
		"another join":  other(func(_ *pb.Challenge, _ *[32]byte, j *[16]byte) { j[0]++ }),
		"a foreign key": VerifyGate(publicOf(t, steward), c, room, join, signature),
		"as a steward":  VerifySteward(pub, c, room, join, signature),
		"cut off":       VerifyGate(pub, c, room, join, signature[:63]),
	} {
		if opens {
			t.Errorf("the gate opens for %s", name)
		}
	}
	if !VerifySteward(publicOf(t, steward), c, room, join, SignSteward(steward, c, room, join)) {
		t.Error("a steward's own signature does not verify")
	}
}

func TestACommandIsTheStewardsWordForOneRoomOnOneLink(t *testing.T) {
	c, room, _, gate, steward := roomChallenge()
	for _, want := range roomCommands() {
		control, err := SignCommand(steward, c, room, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := OpenCommand(publicOf(t, steward), c, control)
		if err != nil || !proto.Equal(got, want) {
			t.Fatalf("%s came back as %v, %v", kindName(want), got, err)
		}
		elsewhere := proto.Clone(c).(*pb.Challenge)
		elsewhere.Nonce = fill(32, 9)
		changed := proto.Clone(control).(*pb.RoomControl)
		changed.Room[0]++
		other := proto.Clone(control).(*pb.RoomControl)
		other.Command = append(bytes.Clone(control.Command), 0)
		for name, err := range map[string]error{
			"of another link": second(OpenCommand(publicOf(t, steward), elsewhere, control)),
			"of another room": second(OpenCommand(publicOf(t, steward), c, changed)),
			"of another key":  second(OpenCommand(publicOf(t, gate), c, control)),
			"changed":         second(OpenCommand(publicOf(t, steward), c, other)),
		} {
			if err == nil {
				t.Errorf("a command %s is taken", name)
			}
		}
	}
}

func TestAPassIsForOneNodeKeyAndJoin(t *testing.T) {
	c, room, join, gate, holder := roomChallenge()
	host, now := ed25519.NewKeyFromSeed(fill(32, 0x43)), time.Unix(1_793_702_100, 0)
	own, at := publicOf(t, host).PeerID(), identity.PeerID(c.Node)
	got, key, err := OpenPass(SignPass(host, own, at, publicOf(t, holder), now), at, now)
	if err != nil || got != own || key != publicOf(t, holder) {
		t.Fatalf("the pass is not taken: %v", err)
	}
	signature := SignHolder(holder, c, room, join)
	if !VerifyHolder(key, c, room, join, signature) {
		t.Error("its holder's signature does not verify")
	}
	other := room
	other[0]++
	if VerifyHolder(key, c, other, join, signature) || VerifyHolder(publicOf(t, gate), c, room, join, signature) || VerifyGate(key, c, room, join, signature) {
		t.Error("its holder's signature is good for something else")
	}
}

func FuzzOpenPass(f *testing.F) {
	c, _, _, _, holder := roomChallenge()
	host, now := ed25519.NewKeyFromSeed(fill(32, 0x43)), time.Unix(1_793_702_100, 0)
	own, at := identity.PublicKey(host.Public().(ed25519.PublicKey)).PeerID(), identity.PeerID(c.Node)
	pass := SignPass(host, own, at, identity.PublicKey(holder.Public().(ed25519.PublicKey)), now)
	f.Add(pass)
	f.Fuzz(func(t *testing.T, b []byte) {
		if node, _, err := OpenPass(b, at, now); err == nil && node == own && !bytes.Equal(b, pass) {
			t.Fatalf("a pass that was not made is taken: %x", b)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func FuzzParseCommand(f *testing.F) {
	for _, c := range roomCommands() {
		b, err := marshal(c, commandShape)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil {
			return
		}
		if again, err := marshal(c, commandShape); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("read %x, wrote %x (%v)", b, again, err)
		}
	})
}

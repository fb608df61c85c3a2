package link

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link/pb"
)

var updateVectors = flag.Bool("update", false, "write docs/spec/vectors/link.json anew")

type linkVectors struct {
	About     string      `json:"about"`
	HostSeed  string      `json:"host_seed"`
	RootSeed  string      `json:"root_seed"`
	Device    string      `json:"device_seed"`
	NowMS     int64       `json:"now_ms"`
	Host      string      `json:"host"`
	Challenge string      `json:"challenge"`
	Signed    string      `json:"challenge_signed"`
	Answer    string      `json:"authenticate"`
	LinkHash  string      `json:"link_signed"`
	Client    []frameCase `json:"client_frames"`
	Node      []frameCase `json:"node_frames"`
	Refused   []frameCase `json:"client_frames_refused"`
}

type frameCase struct {
	Name  string `json:"name"`
	Bytes string `json:"bytes"`
}

// Nothing in the file is drawn at random: all of it comes out byte for byte.
func TestLinkVectors(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	x := hex.EncodeToString
	fill := func(n byte, size int) []byte { return bytes.Repeat([]byte{n}, size) }
	now := time.Date(2026, 11, 3, 10, 30, 0, 0, time.UTC)
	hostSeed, rootSeed, deviceSeed := [32]byte(fill(0x31, 32)), [32]byte(fill(0x32, 32)), [32]byte(fill(0x33, 32))
	host, root, device := ed25519.NewKeyFromSeed(hostSeed[:]), identity.RootFromSeed(rootSeed), identity.DeviceFromSeed(deviceSeed)
	node := identity.DeviceFromSeed(hostSeed).Public().PeerID()
	descriptor, err := identity.SignDescriptor(host, identity.NodeDescriptor{
		Domain: "acme.example", RoutingKey: [32]byte(append([]byte{9}, make([]byte, 31)...)),
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(7 * 24 * time.Hour),
	})
	must(err)
	cert, err := root.CertifyDevice(device.Public(), 1, now.Add(-time.Hour), now.Add(24*time.Hour))
	must(err)
	list, err := root.SignList(identity.DeviceList{Epoch: 1, Issued: now, Expires: now.Add(24 * time.Hour), Devices: []*identity.DeviceCert{cert},
		LowestSuite: 1, Homes: []identity.Home{{PeerID: node, Domain: "acme.example"}}})
	must(err)

	c := &pb.Challenge{Version: Version, Node: node[:], Domain: "acme.example", Nonce: fill(1, 32), TimeMs: uint64(now.UnixMilli()), Descriptor_: descriptor.Bytes()}
	message := append([]byte(identity.ContextChallenge), challengeMessage(c)...)
	c.Signature = identity.SignObject(host, identity.ContextChallenge, challengeMessage(c))[:64]
	if _, err := VerifyChallenge(c); err != nil {
		t.Fatal(err)
	}
	const dialled = "node.acme.example:7443"
	answer, err := Authenticate(c, dialled, device, cert)
	must(err)
	if _, err := VerifyAuthenticate(c, answer, now); err != nil {
		t.Fatal(err)
	}
	inner, err := linkMessage(c, dialled)
	must(err)
	plain := func(m proto.Message) string {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		must(err)
		return x(b)
	}
	v := linkVectors{
		About: "Bytes are lower-case hexadecimal; seeds are Ed25519 seeds of 32 bytes. challenge and authenticate are the messages " +
			"themselves, challenge_signed and link_signed what their signatures cover, context string first (client-link.md, section 3). " +
			"Frames are whole WebSocket messages (section 2); a refused one is wrong in what its name says.",
		HostSeed: x(hostSeed[:]), RootSeed: x(rootSeed[:]), Device: x(deviceSeed[:]), NowMS: now.UnixMilli(), Host: dialled,
		Challenge: plain(c), Signed: x(message), Answer: plain(answer), LinkHash: x(append([]byte(identity.ContextLink), inner...)),
	}
	client := func(name string, f *pb.ClientFrame) []byte {
		b, err := MarshalClient(f)
		must(err)
		if _, err := ParseClient(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v.Client = append(v.Client, frameCase{name, x(b)})
		return b
	}
	client("Authenticate", &pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: answer}})
	client("Authenticate without a device", &pb.ClientFrame{Id: 1, Kind: &pb.ClientFrame_Authenticate{Authenticate: &pb.Authenticate{Host: dialled}}})
	client("Publish", &pb.ClientFrame{Id: 2, Kind: &pb.ClientFrame_Publish{Publish: &pb.Publish{List: list.Bytes(), Invitation: "welcome"}}})
	client("Register", &pb.ClientFrame{Id: 3, Kind: &pb.ClientFrame_Register{Register: &pb.Register{RouteTag: fill(2, 16), TokenHash: fill(3, 32), TokenEpoch: 1, After: 300}}})
	client("Register with the previous token", &pb.ClientFrame{Id: 3, Kind: &pb.ClientFrame_Register{Register: &pb.Register{
		RouteTag: fill(2, 16), TokenHash: fill(3, 32), PreviousHash: fill(4, 32), TokenEpoch: 2}}})
	ack := client("Ack", &pb.ClientFrame{Kind: &pb.ClientFrame_Ack{Ack: &pb.Ack{StoredIds: []uint64{1, 2, 300}}}})
	client("Query", &pb.ClientFrame{Id: 4, Kind: &pb.ClientFrame_Query{Query: &pb.Query{Destination: node[:], Box: fill(5, sizeQueryBox)}}})
	client("Domain", &pb.ClientFrame{Id: 5, Kind: &pb.ClientFrame_Domain{Domain: &pb.DomainRequest{Domain: "globex.example"}}})
	client("Turn", &pb.ClientFrame{Id: 6, Kind: &pb.ClientFrame_Turn{Turn: &pb.TurnRequest{Purpose: "call"}}})
	client("TurnRelease", &pb.ClientFrame{Id: 7, Kind: &pb.ClientFrame_TurnRelease{TurnRelease: &pb.TurnRelease{Handle: fill(6, 16)}}})
	ping := client("Ping", &pb.ClientFrame{Id: 8, Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{Nonce: 7}}})
	client("Ping without a number", &pb.ClientFrame{Kind: &pb.ClientFrame_Ping{Ping: &pb.Ping{}}})

	fromNode := func(name string, f *pb.NodeFrame) {
		b, err := MarshalNode(f)
		must(err)
		if _, err := ParseNode(b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		v.Node = append(v.Node, frameCase{name, x(b)})
	}
	fromNode("Challenge", &pb.NodeFrame{Kind: &pb.NodeFrame_Challenge{Challenge: c}})
	fromNode("Authenticated", &pb.NodeFrame{Id: 1, Kind: &pb.NodeFrame_Authenticated{Authenticated: &pb.Authenticated{Epoch: 1, IdleMs: 100_000}}})
	fromNode("Published", &pb.NodeFrame{Id: 2, Kind: &pb.NodeFrame_Published{Published: &pb.Published{Epoch: 1}}})
	fromNode("Registered", &pb.NodeFrame{Id: 3, Kind: &pb.NodeFrame_Registered{Registered: &pb.Registered{Waiting: 2, MaxEnvelopes: 128, MaxBytes: 4 << 20}}})
	v.Node = append(v.Node,
		frameCase{"Receipt, accepted and durable", x(AppendReceipt(nil, 9, fill(7, 16), pb.ReceiptClass_RECEIPT_ACCEPTED, true, "", 0))},
		frameCase{"Receipt, refused", x(AppendReceipt(nil, 9, fill(7, 16), pb.ReceiptClass_RECEIPT_REFUSED, false, CodeRefused, 1500))},
		frameCase{"Deliver, stored knock", x(AppendDeliver(nil, 17, true, []byte{8, 9}, fill(8, 4096), fill(9, 16)))},
		frameCase{"Deliver, live", x(AppendDeliver(nil, 0, false, []byte{0, 0}, fill(8, 1024), fill(9, 16)))})
	for _, f := range v.Node[4:] {
		b, err := hex.DecodeString(f.Bytes)
		must(err)
		if _, err := ParseNode(b); err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	fromNode("Answer with a code", &pb.NodeFrame{Id: 4, Kind: &pb.NodeFrame_Answer{Answer: &pb.Answer{Code: CodeUnreachable}}})
	fromNode("TurnCredentials", &pb.NodeFrame{Id: 6, Kind: &pb.NodeFrame_Turn{Turn: &pb.TurnCredentials{
		Urls: []string{"turn:node.acme.example:3478?transport=udp"}, Username: "1793702100:aa", Credential: "secret", TtlSeconds: 300, Handle: fill(6, 16)}}})
	fromNode("Pong", &pb.NodeFrame{Id: 8, Kind: &pb.NodeFrame_Pong{Pong: &pb.Ping{Nonce: 7}}})
	fromNode("Drain", &pb.NodeFrame{Kind: &pb.NodeFrame_Drain{Drain: &pb.Drain{ReconnectAfterMs: 500, JitterMs: 2000, Reason: "restart"}}})
	fromNode("Error", &pb.NodeFrame{Id: 2, Kind: &pb.NodeFrame_Error{Error: &pb.Error{Code: CodeEpochConflict}}})

	for _, r := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"two kinds", append(bytes.Clone(ack), ping[2:]...)},
		{"unknown kind", []byte{0x08, 1, 0x62, 0}},
		{"number behind the kind", append(bytes.Clone(ping[2:]), ping[:2]...)},
		{"number as a long varint", append([]byte{0x08, 0x88, 0x00}, ping[2:]...)},
		{"number zero, present", append([]byte{0x08, 0x00}, ping[2:]...)},
		{"Ack of nothing", []byte{0x32, 0x02, 0x0a, 0x00}},
		{"TurnRelease of 15 bytes", append([]byte{0x52, 17, 0x0a, 15}, fill(6, 15)...)},
		{"cut off", ack[:len(ack)-1]},
	} {
		if _, err := ParseClient(r.b); err == nil {
			t.Errorf("%s: read", r.name)
		}
		v.Refused = append(v.Refused, frameCase{r.name, x(r.b)})
	}

	got, err := json.MarshalIndent(v, "", " ")
	must(err)
	got = append(got, '\n')
	path := filepath.Join("..", "..", "docs", "spec", "vectors", "link.json")
	if *updateVectors {
		must(os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	must(err)
	if !bytes.Equal(got, want) {
		t.Fatalf("docs/spec/vectors/link.json is not what the code gives; -update writes it anew")
	}
}

// Package bench is the client side of the benchmark `trunkline bench signaling`: light clients
// that speak the client link as real ones do, without a disk and without sessions, so that
// thousands fit into one process; and the bare WebSocket relay that a node is compared with.
//
// Make people with [NewPerson], connect them with [Dial] and [Client.Join], and let pairs of
// them talk with [NewTraffic]. The package never prints or keeps what it sends.
package bench

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
)

// Person is one identity with one device and a mailbox at one node.
type Person struct {
	home   identity.Home
	device *identity.Device
	list   *identity.DeviceList
	cert   *identity.DeviceCert
	bundle []byte
	tag    envelope.RouteTag
	token  envelope.Token
	key    [32]byte // the home's routing key, once a link has shown it
}

// NewPerson draws an identity whose home is a node.
func NewPerson(home identity.Home, now time.Time) (*Person, error) {
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails on supported systems
	root := identity.RootFromSeed(seed)
	device, err := identity.GenerateDevice()
	if err != nil {
		return nil, err
	}
	list, err := root.NewList(device.Public(), []identity.Home{home}, [32]byte{}, now)
	if err != nil {
		return nil, err
	}
	cert, listed := list.Device(device.ID())
	if !listed {
		return nil, fmt.Errorf("a new device list lacks its device")
	}
	p := &Person{home: home, device: device, list: list, cert: cert, tag: envelope.NewRouteTag()}
	_, _ = rand.Read(p.token[:])
	prekey, err := envelope.GeneratePrekey(now)
	if err != nil {
		return nil, err
	}
	bundle, err := prekey.Bundle(device, root.Public(), list.Epoch, envelope.Route{Home: home, Tag: p.tag, TokenEpoch: 1})
	if err != nil {
		return nil, err
	}
	p.bundle = bundle.Bytes()
	return p, nil
}

func (p *Person) tokenHash() [32]byte { return sha256.Sum256(p.token[:]) }

// hop is what an envelope to the person carries for its home node.
func (p *Person) hop() envelope.Hop { return envelope.Hop{Tag: p.tag, Token: p.token} }

// sealProbe makes one live envelope to the person, sealed by itself, as the Submit frame of a
// request.
func (p *Person) sealProbe(request uint64) (*flying, error) {
	payload := make([]byte, 1024)
	_, _ = rand.Read(payload)
	e, err := envelope.NewEnvelope(p.key, p.home.PeerID, envelope.Live, p.hop(), payload)
	if err != nil {
		return nil, err
	}
	return &flying{id: e.ID(), frame: link.AppendSubmit(nil, request, e.Marshal())}, nil
}

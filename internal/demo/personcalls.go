package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/demo/clip"
)

// seenSecrets collects what calls carried that no node may see, and the addresses that the
// other side's node may not see.
type seenSecrets struct {
	mu        sync.Mutex // guards texts, addresses
	texts     []string
	addresses []string
}

func (s *seenSecrets) add(texts, addresses []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, texts...)
	s.addresses = append(s.addresses, addresses...)
}

func (p *person) options(a callArgs) (client.CallOptions, error) {
	o := client.CallOptions{RelayOnly: a.RelayOnly, Media: client.Video}
	if a.Clip {
		source, err := client.NewClipSource(clip.Ogg, clip.IVF)
		if err != nil {
			return o, err
		}
		o.Source = source
	}
	if a.Record != "" {
		sink, err := client.NewRecorder(a.Record)
		if err != nil {
			return o, err
		}
		o.Sink = sink
	}
	return o, nil
}

func (p *person) call(ctx context.Context, a callArgs) (any, error) {
	key, err := identity.ParseID(a.ID)
	if err != nil {
		return nil, err
	}
	o, err := p.options(a)
	if err != nil {
		return nil, err
	}
	call, err := p.get().Ring(ctx, key, o)
	if err != nil {
		return nil, err
	}
	if err := call.Played(ctx); err != nil {
		return nil, errors.Join(err, call.Hangup(ctx))
	}
	facts := p.facts(call)
	return facts, call.Hangup(ctx)
}

// answerNext says yes to the next call and plays it to its end, which the caller makes.
func (p *person) answerNext(ctx context.Context, a callArgs) (any, error) {
	ringing, err := waitFor(ctx, p.events, func(client.Ringing) bool { return true })
	if err != nil {
		return nil, err
	}
	o, err := p.options(a)
	if err != nil {
		return nil, err
	}
	call, err := ringing.Answer(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := call.Played(ctx); err != nil {
		return nil, err
	}
	facts := p.facts(call)
	select {
	case <-call.Done():
		return facts, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *person) facts(call *client.Call) callFacts {
	i := call.Info()
	addresses, err := ownAddresses()
	if err != nil {
		p.log.Warn("the own addresses could not be listed", "error", err)
	}
	p.seen.add(call.Secrets(), addresses)
	f := callFacts{
		Connected: i.Connected, SetupMS: i.Setup.Milliseconds(), LocalRoute: i.Route.Local,
		ChannelBinding: i.ChannelBinding, SFrame: i.SFrame,
		AudioSent: i.Media.AudioSent, AudioReceived: i.Media.AudioReceived,
	}
	for _, h := range i.Media.VideoSentHashes {
		f.VideoSent = append(f.VideoSent, h[:])
	}
	for _, h := range i.Media.VideoReceivedHash {
		f.VideoReceived = append(f.VideoReceived, h[:])
	}
	return f
}

func (p *person) sendFile(ctx context.Context, a fileArgs) (any, error) {
	key, err := identity.ParseID(a.ID)
	if err != nil {
		return nil, err
	}
	_, err = p.get().SendFile(ctx, key, a.Path, client.CallOptions{RelayOnly: true}, nil)
	return struct{}{}, err
}

// receiveUntil takes files and reports when so much of one is on the disk. It goes on
// receiving: the demo kills this process then.
func (p *person) receiveUntil(ctx context.Context, a receiveArgs) (any, error) {
	far := make(chan int64, 1)
	files := &client.FileOptions{Dir: a.Dir, Progress: func(t transfer.Progress) {
		if t.Done >= a.Pause {
			select {
			case far <- t.Done:
			default:
			}
		}
	}}
	call, err := p.answerFiles(ctx, files)
	if err != nil {
		return nil, err
	}
	select {
	case n := <-far:
		return fileProgress{Bytes: n}, nil
	case <-call.Done():
		return nil, errors.Join(errors.New("the call of the file ended"), call.Err())
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// receive takes one file to its end.
func (p *person) receive(ctx context.Context, a receiveArgs) (any, error) {
	got := make(chan transfer.Received, 1)
	files := &client.FileOptions{Dir: a.Dir, Received: func(r transfer.Received) {
		select {
		case got <- r:
		default:
		}
	}}
	for {
		call, err := p.answerFiles(ctx, files)
		if err != nil {
			return nil, err
		}
		select {
		case r := <-got:
			if r.Err != nil {
				return nil, r.Err
			}
			return fileResult{Path: r.Path, Bytes: r.Size, Resumed: r.Resumed > 0}, nil
		case <-call.Done(): // the sender rings again
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (p *person) answerFiles(ctx context.Context, files *client.FileOptions) (*client.Call, error) {
	if err := os.MkdirAll(files.Dir, 0o700); err != nil {
		return nil, err
	}
	for {
		ringing, err := waitFor(ctx, p.events, func(client.Ringing) bool { return true })
		if err != nil {
			return nil, err
		}
		call, err := ringing.Answer(ctx, client.CallOptions{RelayOnly: true, Files: files})
		if err == nil {
			return call, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		// A ring of before the kill may still be in the mailbox; its caller has given up.
		p.log.Info("a ring was over when it was answered")
	}
}

// secrets lists what this side's calls carried.
func (p *person) secrets(context.Context, json.RawMessage) (any, error) {
	p.seen.mu.Lock()
	defer p.seen.mu.Unlock()
	needles := needlesOf(p.seen.texts)
	for i, a := range p.seen.addresses {
		needles = append(needles, secret{Name: fmt.Sprintf("address %d", i+1), Forms: [][]byte{[]byte(a)}, Own: true})
	}
	return secretsResult{Needles: needles}, nil
}

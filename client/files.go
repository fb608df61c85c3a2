package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/client/transfer"
	"github.com/trunkline-net/trunkline/envelope"
	"github.com/trunkline-net/trunkline/identity"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// FileOptions say what becomes of files that the other side offers.
type FileOptions struct {
	Dir      string                                           // where they go
	Accept   func(ctx context.Context, o transfer.Offer) bool // nil: every file of an accepted contact
	Progress func(transfer.Progress)
	Received func(transfer.Received)
}

// newEngine makes the file side of a call. What a receiver remembers of unfinished files
// lies in the data folder, apart for each contact, and survives a kill.
func (call *Call) newEngine(key [32]byte, peer *rtc.Peer) (*transfer.Engine, error) {
	sum := sha256.Sum256(append([]byte("transfers of "), call.contact.Root[:]...))
	state, err := transfer.NewDirState(filepath.Join(call.c.cfg.Dir, "transfers", hex.EncodeToString(sum[:8])))
	if err != nil {
		return nil, err
	}
	cfg := transfer.Config{
		Initiator: call.session.Role == envelope.Initiator, FileKey: key, Channel: peer, State: state, Logger: call.c.log,
		Progress: func(p transfer.Progress) { call.onProgress(p) },
	}
	if f := call.opts.Files; f != nil {
		cfg.Dir, cfg.Accept, cfg.Received = f.Dir, f.Accept, f.Received
		if cfg.Accept == nil {
			cfg.Accept = func(context.Context, transfer.Offer) bool { return true }
		}
	}
	return transfer.New(cfg)
}

func (call *Call) onProgress(p transfer.Progress) {
	call.mu.Lock()
	tell := call.sending
	call.mu.Unlock()
	if !p.Incoming && tell != nil {
		tell(p)
	}
	if f := call.opts.Files; p.Incoming && f != nil && f.Progress != nil {
		f.Progress(p)
	}
}

func (call *Call) onFileControl(msg []byte) {
	if err := call.engine.HandleControl(msg); err != nil {
		call.fail(err)
	}
}

func (call *Call) onFileData(msg []byte) {
	if err := call.engine.HandleData(msg); err != nil {
		call.fail(err)
	}
}

// broken reports whether the path of a connected call does not answer at the moment.
func (call *Call) broken() bool {
	call.mu.Lock()
	peer := call.peer
	call.mu.Unlock()
	if peer == nil {
		return false
	}
	s := peer.State()
	return s == rtc.StateDisconnected || s == rtc.StateFailed
}

// SendFile sends a file over this call and returns when the other side has it whole.
func (call *Call) SendFile(ctx context.Context, path string, progress func(transfer.Progress)) (transfer.Sent, error) {
	if err := call.Connected(ctx); err != nil {
		return transfer.Sent{}, err
	}
	call.mu.Lock()
	call.sending = progress
	engine := call.engine
	call.mu.Unlock()
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-call.done:
			cancel(&UnreachableError{What: "the call ended before the file was whole", err: call.Err()})
		case <-sending.Done():
		}
	}()
	sent, err := engine.Send(sending, path, "")
	if errors.Is(err, rtc.ErrClosed) {
		<-sending.Done() // the call is about to know why it ends
	}
	if err != nil && context.Cause(sending) != nil {
		err = context.Cause(sending)
	}
	return sent, err
}

// Times of a file that goes over several calls.
const (
	fileStall = 5 * time.Second  // a broken path without a byte: try a new call
	fileStuck = 60 * time.Second // the same on a path that seems whole, slow as it may be
	fileAgain = 700 * time.Millisecond
	// ringAgain is how long a ring to go on with a file waits. A device that was killed leaves
	// one without an answer.
	ringAgain = 10 * time.Second
)

// filesTries is how often a file is tried again without one byte of progress in between.
const filesTries = 30

// SendFile rings a contact for its files alone and sends one. When the connection breaks it
// rings again and goes on where the other side has got to, until the file is whole, the
// other side refuses, nothing moves any more or ctx ends.
func (c *Client) SendFile(ctx context.Context, root identity.PublicKey, path string, opts CallOptions, progress func(transfer.Progress)) (transfer.Sent, error) {
	opts.Media = DataOnly
	var furthest atomic.Int64
	patience := envelope.RingTime // a person may have to say yes
	for try := 1; ; try++ {
		before := furthest.Load()
		sent, err := c.sendFileOnce(ctx, root, path, opts, patience, func(p transfer.Progress) {
			furthest.Store(max(furthest.Load(), p.Done)) // one file, one caller
			if progress != nil {
				progress(p)
			}
		})
		if furthest.Load() > before {
			try = 1
		}
		if furthest.Load() > 0 {
			patience = ringAgain
		}
		if err == nil || final(err) || try >= filesTries {
			return sent, err
		}
		if ctx.Err() == nil {
			c.log.Info("the connection of a file broke; ringing again", "error", errorKind(err))
		}
		timer := time.NewTimer(fileAgain)
		select {
		case <-ctx.Done():
			timer.Stop()
			return sent, fmt.Errorf("%w (the last attempt: %w)", ctx.Err(), err)
		case <-timer.C:
		}
	}
}

// final says that another attempt would end the same way: somebody said no, or this side
// cannot. Whatever else ends an attempt is a connection that broke.
func final(err error) bool {
	for _, e := range []error{
		ErrNoContact, ErrNotAccepted, ErrAlarm, ErrVerification, ErrPeerAlarm, ErrDeclined, ErrNotRegistered, ErrRemoved, errEnding,
		transfer.ErrRefused, transfer.ErrCanceled, transfer.ErrChanged, transfer.ErrCorrupt, transfer.ErrTooLarge,
		transfer.ErrPeerDisk, transfer.ErrProtocol,
		fs.ErrNotExist, fs.ErrPermission, fs.ErrInvalid, keep.ErrUnavailable,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		// The other device may be restarting: its live frames are refused meanwhile.
		return !refused.Temporary() && refused.Code != link.CodeRefused
	}
	return false
}

func (c *Client) sendFileOnce(ctx context.Context, root identity.PublicKey, path string, opts CallOptions, patience time.Duration, progress func(transfer.Progress)) (transfer.Sent, error) {
	ringing, stopRinging := context.WithTimeout(ctx, patience)
	defer stopRinging()
	call, err := c.Ring(ringing, root, opts)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = ErrNoAnswer
		}
		return transfer.Sent{}, err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := call.Hangup(end); err != nil {
			c.log.Debug("a file's call did not end in good order", "error", errorKind(err))
		}
	}()
	sending, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	go func() {
		tick := time.NewTicker(fileStall / 5)
		defer tick.Stop()
		for {
			select {
			case <-sending.Done():
				return
			case <-tick.C:
				idle := time.Since(time.Unix(0, last.Load()))
				if idle >= fileStuck || idle >= fileStall && call.broken() {
					cancel(&UnreachableError{What: "the other side stopped taking the file"})
				}
			}
		}
	}()
	sent, err := call.SendFile(sending, path, func(p transfer.Progress) {
		last.Store(time.Now().UnixNano())
		if progress != nil {
			progress(p)
		}
	})
	if err != nil && ctx.Err() == nil && context.Cause(sending) != nil {
		err = context.Cause(sending)
	}
	return sent, err
}

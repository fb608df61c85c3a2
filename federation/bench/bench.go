// Package bench is both ends of the benchmark's case "frames": envelopes over a federation link
// with all that it does (queue, credit, policy, limits, dedupe, outcomes), and frames of the
// same size over a bare libp2p stream. Each end runs in a process of its own.
//
// [Ends] has one function for each kind of process. It says when it is ready, and then answers
// one line for each line that it reads: a sender is told how long to send, a receiver is asked
// what it has.
package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// Window is how many frames are on the way at most, and Size that of their payload.
const (
	Window = 256
	Size   = 1024
)

// Setup is what both ends of a pair are told.
type Setup struct {
	Seed     string `json:"seed"`     // of all keys
	Document string `json:"document"` // file with the receiver's domain document
	Address  string `json:"address"`  // of the bare receiver, for the bare sender
	Noise    bool   `json:"noise"`    // the bare stream is encrypted by Noise, else by TLS as links are
}

// Ready is an end's first line.
type Ready struct {
	Address string `json:"address,omitempty"`
}

// Order tells a sender how long to send; a receiver does not look at it.
type Order struct {
	Seconds float64 `json:"seconds"`
}

// Told is what came of it. All are counts since the order, but for those of a receiver, which
// are since its start.
type Told struct {
	Sent    int64   `json:"sent"`
	Frames  int64   `json:"frames"` // delivered, to a receiver or as a sender was told
	Refused int64   `json:"refused"`
	Seconds float64 `json:"seconds"`
}

// End is one process. It reads its Setup from in, says a Ready, and then a Told for each Order
// until there are no more.
type End func(ctx context.Context, in io.Reader, say func(any) error) error

// Ends are the four by the names of their parts.
func Ends() map[string]End {
	ends := map[string]End{}
	for name, run := range map[string]func(context.Context, Setup, *talk) error{
		"link-receiver":   receiveLink,
		"link-sender":     sendLink,
		"stream-receiver": receiveStream,
		"stream-sender":   sendStream,
	} {
		ends[name] = func(ctx context.Context, in io.Reader, say func(any) error) error {
			t := &talk{in: json.NewDecoder(bufio.NewReader(in)), say: say}
			var setup Setup
			if err := t.in.Decode(&setup); err != nil {
				return err
			}
			return run(ctx, setup, t)
		}
	}
	return ends
}

// talk is the conversation with the benchmark.
type talk struct {
	in  *json.Decoder
	say func(any) error
}

// serve says that the end is ready and then does one order after the other, until there are no
// more.
func (t *talk) serve(ctx context.Context, ready Ready, do func(context.Context, time.Duration) (Told, error)) error {
	if err := t.say(ready); err != nil {
		return err
	}
	for {
		var o Order
		if err := t.in.Decode(&o); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		told, err := do(ctx, time.Duration(o.Seconds*float64(time.Second)))
		if err != nil {
			return err
		}
		if err := t.say(told); err != nil {
			return err
		}
	}
}

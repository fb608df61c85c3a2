// Command crowd brings many people into one meeting from one process, for the journeys of browsers: each is a
// participant with an identity, keys, a link and media of its own, and what thirty processes cost beside that is saved.
// They have no microphone; they hear whoever talks.
//
//	crowd LINK PEOPLE
//
// It prints a line of JSON for what happens to each of them. They leave with SIGINT.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
)

// line is what happened to one of them: in, sfu, mesh, hears (a way for media to somebody works), rekeyed, left.
type line struct {
	Name  string `json:"name"`
	Event string `json:"event"`
	Of    string `json:"of,omitempty"`   // whom it hears
	Code  string `json:"code,omitempty"` // why it left, in the node's word; empty for by itself
}

type crowd struct {
	end context.CancelCauseFunc
	mu  sync.Mutex // one line at a time
	out *json.Encoder
}

// goodbye is how long one of them tries to say that it leaves.
const goodbye = 5 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("usage: crowd LINK PEOPLE")
	}
	people, err := strconv.Atoi(args[1])
	if err != nil || people < 1 || people > room.MaxSeats {
		return fmt.Errorf("%q is no number of people from 1 to %d", args[1], room.MaxSeats)
	}
	ctx, end := context.WithCancelCause(ctx)
	c := &crowd{end: end, out: json.NewEncoder(out)}
	var all sync.WaitGroup
	defer all.Wait()
	for i := range people {
		name := fmt.Sprintf("Guest %d", i+1)
		r, err := client.JoinRoomAsGuest(ctx, client.Config{Loopback: true}, args[0], client.RoomOptions{Name: name, Media: client.Audio})
		if err != nil {
			end(nil)
			return fmt.Errorf("%s: %w", name, err)
		}
		c.say(line{Name: name, Event: "in"})
		all.Go(func() { c.follow(ctx, name, r) })
	}
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// follow tells what happens to one of them until it has left.
func (c *crowd) follow(ctx context.Context, name string, r *client.Room) {
	for {
		select {
		case e := <-r.Events():
			switch e := e.(type) {
			case client.RoomTopology:
				c.say(line{Name: name, Event: map[bool]string{true: "sfu", false: "mesh"}[e.SFU]})
			case client.RoomRekeyed:
				c.say(line{Name: name, Event: "rekeyed"})
			case client.MemberConnected:
				c.say(line{Name: name, Event: "hears", Of: e.Name})
			}
			continue
		case <-r.Done():
		case <-ctx.Done():
			bye, cancel := context.WithTimeout(context.Background(), goodbye)
			_ = r.Leave(bye) // who does not get its goodbye through has left too
			cancel()
		}
		var over *client.RoomOverError
		if errors.As(r.Err(), &over) {
			c.say(line{Name: name, Event: "left", Code: over.Code})
		} else {
			c.say(line{Name: name, Event: "left"})
		}
		return
	}
}

// say prints a line. When nobody reads them any more all leave.
func (c *crowd) say(l line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.out.Encode(l); err != nil {
		c.end(err)
	}
}

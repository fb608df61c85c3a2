package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/client/rtc"
	"github.com/trunkline-net/trunkline/envelope/room"
)

// Whoever is in a room with trunkline room join runs it from another terminal: the command that is
// in the room holds the folder's identity, and takes orders over a socket in that folder. There is
// one such command for a folder, so the orders need not name the room.

const (
	roomSocket = "room.sock"
	// maxRoomOrder bounds an order, and maxRoomWord what is answered.
	maxRoomOrder = 32 << 10
	maxRoomWord  = 1 << 20
)

// roomOrder is what is asked of the command that is in the room.
type roomOrder struct {
	Do   string       `json:"do"` // members, admit, remove, say, react, hand
	Who  string       `json:"who,omitempty"`
	Text string       `json:"text,omitempty"`
	Sign rtc.Reaction `json:"sign,omitempty"`
	Up   bool         `json:"up,omitempty"`
}

// roomWord is its answer: what was done, or an error as the program ends with one.
type roomWord struct {
	Room    string        `json:"room,omitempty"`
	Title   string        `json:"title,omitempty"`
	SFU     bool          `json:"sfu,omitempty"`
	Members []memberFacts `json:"members,omitempty"`
	Waiting []memberFacts `json:"waiting,omitempty"`
	Index   int           `json:"index,omitempty"`

	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	What   string `json:"what,omitempty"`
	Advice string `json:"advice,omitempty"`
}

// desk takes orders until the returned function is called. A guest has no folder and gets none.
func (j *joining) desk(ctx context.Context) (stop func() error, err error) {
	if j.c == nil {
		return func() error { return nil }, nil
	}
	dir, err := j.a.clientData()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, roomSocket)
	// The folder is ours, so a socket that is there belongs to a command that was killed.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, failed(err, "cannot take orders for the room", "check the data folder")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, failed(err, "cannot take orders for the room", "use a data folder with a shorter path")
	}
	// Between the two calls only the owner gets into the folder, which is 0700.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /room", func(w http.ResponseWriter, r *http.Request) {
		var o roomOrder
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRoomOrder))
		d.DisallowUnknownFields()
		if err := d.Decode(&o); err != nil {
			http.Error(w, "not an order", http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(j.obey(r.Context(), o)) // the other side may be gone
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: readyPatience, BaseContext: func(net.Listener) context.Context { return ctx }}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	return func() error {
		err := server.Close()
		if serr := <-ended; !errors.Is(serr, http.ErrServerClosed) {
			err = errors.Join(err, serr)
		}
		return err
	}, nil
}

// obey does one order.
func (j *joining) obey(ctx context.Context, o roomOrder) (w roomWord) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	err := func() error {
		switch o.Do {
		case "say":
			return j.r.Note(ctx, o.Text)
		case "react":
			return j.r.React(ctx, o.Sign)
		case "hand":
			return j.r.SetHand(ctx, o.Up)
		}
		waiting, err := j.r.Waiting(ctx)
		if err != nil {
			return err
		}
		members := j.r.Members()
		switch o.Do {
		case "members":
			w.Room, w.Title, w.SFU, w.Index = j.r.Link().Room.Text(), j.r.Card().Title, j.r.OverSFU(), int(j.r.Index())
			for _, m := range members {
				w.Members = append(w.Members, j.member(m))
			}
			for _, m := range waiting {
				w.Waiting = append(w.Waiting, j.member(m))
			}
			return nil
		case "admit":
			m, err := oneOf(waiting, o.Who)
			if err != nil {
				return err
			}
			w.Index = int(m.Index)
			return j.r.Admit(ctx, m.Index)
		case "remove":
			if m, err := oneOf(waiting, o.Who); err == nil {
				w.Index = int(m.Index)
				return j.r.Refuse(ctx, m.Index)
			}
			m, err := oneOf(members, o.Who)
			if err != nil {
				return err
			}
			w.Index = int(m.Index)
			return j.r.Remove(ctx, m.Index)
		}
		return usageError("there is no such order", "use the same version of the program")
	}()
	if err != nil {
		e := j.a.classify(clientError(err))
		return roomWord{Code: e.code, Reason: e.reason, What: e.what, Advice: e.do}
	}
	return w
}

// oneOf finds somebody by number, id, or a name that only one has. Names are their own word.
func oneOf(all []client.RoomMember, who string) (client.RoomMember, error) {
	var found []client.RoomMember
	for _, m := range all {
		if strconv.Itoa(int(m.Index)) == who || m.Root.ID() == who {
			return m, nil
		}
		if m.Name == who && who != "" {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return client.RoomMember{}, usageError("there is nobody like that", "trunkline room members lists who is in and who waits")
	}
	return client.RoomMember{}, usageError("more than one is called that", "name them by the number: trunkline room members lists it")
}

// order speaks to the command that is in the room.
func (a *app) order(ctx context.Context, o roomOrder) (w roomWord, err error) {
	dir, err := a.clientData()
	if err != nil {
		return w, err
	}
	path := filepath.Join(dir, roomSocket)
	h := &http.Client{Timeout: 2 * readyPatience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	b, err := json.Marshal(o)
	if err != nil {
		return w, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://room/room", bytes.NewReader(b))
	if err != nil {
		return w, err
	}
	resp, err := h.Do(req)
	var cause *url.Error
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return w, unreachable(nil, "nobody is in a room with this data folder", "go in first, in another terminal: trunkline room join LINK")
	case errors.As(err, &cause):
		return w, unreachable(cause.Err, "the command that is in the room does not answer", "see what it says")
	case err != nil:
		return w, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return w, failed(nil, "the command that is in the room does not understand", "use the same version of the program")
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxRoomWord)).Decode(&w); err != nil {
		return w, failed(err, "the command that is in the room answered with something else", "use the same version of the program")
	}
	if w.Code != 0 {
		return w, &exitError{code: w.Code, what: w.What, do: w.Advice, reason: w.Reason}
	}
	return w, nil
}

func newRoomMembersCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "members",
		Short: "List who is in the room that you are in",
		Long: `Lists who is in the room that "trunkline room join" is in, in another terminal, and who
waits in its lobby: by the number that admit and remove take.`,
		Example: `  trunkline room members
  trunkline room members --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := a.order(cmd.Context(), roomOrder{Do: "members"})
			if err != nil {
				return err
			}
			facts := struct {
				Room    string        `json:"room"`
				Title   string        `json:"title"`
				Index   int           `json:"index"`
				SFU     bool          `json:"sfu"`
				Members []memberFacts `json:"members"`
				Waiting []memberFacts `json:"waiting"`
			}{w.Room, w.Title, w.Index, w.SFU, append([]memberFacts{}, w.Members...), append([]memberFacts{}, w.Waiting...)}
			return a.result(facts, func(out io.Writer) {
				rows := [][]string{{"NUMBER", "NAME", "ID", "WHERE"}}
				for where, all := range map[string][]memberFacts{"in": w.Members, "waits": w.Waiting} {
					for _, m := range all {
						rows = append(rows, []string{strconv.Itoa(m.Index), orDash(oneLine(m.Name)), m.ID, where})
					}
				}
				if len(rows) == 1 {
					fmt.Fprintln(out, "Nobody else is there.")
					return
				}
				table(out, rows...)
			})
		},
	}
}

func newRoomAdmitCommand(a *app) *cobra.Command {
	return a.newRoomOrder("admit", "Let somebody in who waits in the lobby", `Lets somebody in who waits in the lobby of the room that "trunkline room join" is in, in
another terminal.`, "admitted", "%s is let in.\n")
}

func newRoomRemoveCommand(a *app) *cobra.Command {
	return a.newRoomOrder("remove", "Send somebody away from the room", `Sends somebody away from the room that "trunkline room join" is in, in another terminal.
Who is sent away hears nothing more: everybody who stays goes on under new keys, and the
room gets another link. Of who waits in the lobby it only ends the waiting.`, "removed", "%s is sent away.\n")
}

func (a *app) newRoomOrder(do, short, long, done, words string) *cobra.Command {
	return &cobra.Command{
		Use:   do + " WHO",
		Short: short,
		Long: strings.TrimSpace(long) + `

WHO is the number that "trunkline room members" shows, an id, or a name that only one has.
Only the room's owner and its moderators can do this.`,
		Example: "  trunkline room " + do + " 7\n  trunkline room " + do + " Carol --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args[0]) == 0 || len(args[0]) > room.MaxName {
				return usageError("this is nobody's name", "give a number, an id or a name")
			}
			w, err := a.order(cmd.Context(), roomOrder{Do: do, Who: args[0]})
			if err != nil {
				return err
			}
			return a.result(map[string]int{done: w.Index}, func(out io.Writer) { fmt.Fprintf(out, words, oneLine(args[0])) })
		},
	}
}

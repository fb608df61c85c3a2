package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/identity"
)

func newRoomCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "room",
		Short: "Meet several people in a room",
		Long: `A room is a place that people reach by a link, at the node of whoever made it. What
stands behind the "#" of the link never leaves your computer: the node passes on what
it cannot read, and knows of a room how many are in it, not who, nor what it is called.

Whoever has the link gets in, also without an identity. A room can have a lobby, or be
for a list of contacts. It ends by itself.`,
	}
	cmd.AddCommand(newRoomCreateCommand(a), newRoomJoinCommand(a), newRoomMembersCommand(a), newRoomAdmitCommand(a), newRoomRemoveCommand(a),
		newRoomSayCommand(a), newRoomReactCommand(a), newRoomHandCommand(a), newRoomListCommand(a), newRoomCloseCommand(a))
	return cmd
}

// roomFacts is what the commands print of a room.
type roomFacts struct {
	Link    string    `json:"link"`
	Room    string    `json:"room"`
	Title   string    `json:"title"`
	Entry   string    `json:"entry"` // open, lobby, members
	Owner   bool      `json:"owner"`
	Runs    bool      `json:"runs"` // this device may admit, send away and close
	Expires time.Time `json:"expires"`
	Over    bool      `json:"over"`
}

func factsOfRoom(i client.RoomInfo) roomFacts {
	return roomFacts{
		Link: i.Link.Text(), Room: i.Link.Room.Text(), Title: i.Title, Entry: entryWord(i.Entry),
		Owner: i.Owner, Runs: i.Runs, Expires: i.Expires, Over: i.Over,
	}
}

func entryWord(e room.Entry) string {
	switch e {
	case room.Lobby:
		return "lobby"
	case room.Members:
		return "members"
	}
	return "open"
}

const maxRoomLife = 366 * 24 * time.Hour

func newRoomCreateCommand(a *app) *cobra.Command {
	var title, life, topology string
	var lobby bool
	var members, moderators []string
	var seats, mesh int
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a room and print its link",
		Long: `Makes a room at your node and prints its link. Send it over a channel that you trust:
whoever reads it can get in. Whether you may make rooms is your node's policy.

Without further words the room is open to whoever has the link. With --lobby they wait
until you, or a moderator, let them in (trunkline room join --admit). With --member, only
those contacts get in. A moderator takes your place while you are not there.`,
		Example: `  trunkline room create --title "Plans for the mill"
  trunkline room create --lobby --for 2h --moderator bob
  trunkline room create --member bob --member tl1…@globex.example --json`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&title, "title", "", "what the room is called; those who have the link see it, the node does not")
	f.StringVar(&life, "for", "24h", "how long it lasts, like 2h or 30d")
	f.BoolVar(&lobby, "lobby", false, "who comes waits until a moderator lets them in")
	f.StringArrayVar(&members, "member", nil, "only this contact gets in; may be given several times")
	f.StringArrayVar(&moderators, "moderator", nil, "this contact runs the room as well; may be given several times")
	f.IntVar(&seats, "seats", 0, "how many may be in at one time, 2 to 50 (default 50)")
	f.StringVar(&topology, "topology", "auto", "how media goes: auto, mesh (everybody to everybody), sfu (over the node)")
	f.IntVar(&mesh, "mesh", 0, "how many are in a mesh at most, 2 to 10 (default 4)")
	completeWith(cmd, "topology", "auto", "mesh", "sfu")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s := client.RoomSettings{Title: title, Seats: seats, MeshMost: mesh}
		var err error
		if s.Life, err = parseSpan(life); err != nil || s.Life < time.Minute || s.Life > maxRoomLife {
			return usageError(fmt.Sprintf("%q is not how long a room can last", life), "give --for from 1m to 366d, for example 2h or 30d")
		}
		switch topology {
		case "auto":
		case "mesh":
			s.Topology = room.Mesh
		case "sfu":
			s.Topology = room.SFU
		default:
			return usageError(fmt.Sprintf("%q is no topology", topology), "give --topology auto, mesh or sfu")
		}
		switch {
		case len(title) > room.MaxTitle || oneLine(title) != title:
			return usageError("the title is too long or has more than one line", fmt.Sprintf("give --title one line of at most %d bytes", room.MaxTitle))
		case seats != 0 && (seats < 2 || seats > room.MaxSeats):
			return usageError(fmt.Sprintf("a room cannot have %d seats", seats), fmt.Sprintf("give --seats from 2 to %d", room.MaxSeats))
		case mesh != 0 && (mesh < 2 || mesh > room.MeshMost):
			return usageError(fmt.Sprintf("a mesh cannot be of %d", mesh), fmt.Sprintf("give --mesh from 2 to %d", room.MeshMost))
		case lobby && len(members) > 0:
			return usageError("a room has a lobby or a list of members, not both", "leave out --lobby or --member")
		case len(members) > room.MaxMembers || len(moderators) > room.MaxModerators:
			return usageError("too many people are listed", fmt.Sprintf("at most %d --member and %d --moderator", room.MaxMembers, room.MaxModerators))
		case lobby:
			s.Entry = room.Lobby
		case len(members) > 0:
			s.Entry = room.Members
		}
		return a.online(cmd.Context(), func(ctx context.Context, c *client.Client) error {
			var err error
			if s.Members, err = roots(c, members); err != nil {
				return err
			}
			if s.Moderators, err = roots(c, moderators); err != nil {
				return err
			}
			info, err := c.CreateRoom(ctx, s)
			if err != nil {
				return err
			}
			facts := factsOfRoom(info)
			return a.result(facts, func(w io.Writer) {
				fmt.Fprintln(w, facts.Link)
				a.hint("Until %s. Whoever gets the link runs:\n  trunkline room join %s", until(&facts.Expires), shellQuote(facts.Link))
			})
		})
	}
	return cmd
}

func roots(c *client.Client, who []string) (out []identity.PublicKey, err error) {
	for _, w := range who {
		k, err := contact(c, w)
		if err != nil {
			return nil, err
		}
		out = append(out, k.ID)
	}
	return out, nil
}

func newRoomListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the rooms that this device knows",
		Long: `Lists the rooms that you have made or been in on this device, with their links. Nobody
else has this list; the node has no names for rooms.`,
		Example: `  trunkline room list
  trunkline room list --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.offline(func(c *client.Client) error {
				all, err := c.Rooms()
				if err != nil {
					return err
				}
				rooms := []roomFacts{}
				for _, r := range all {
					rooms = append(rooms, factsOfRoom(r))
				}
				return a.result(struct {
					Rooms []roomFacts `json:"rooms"`
				}{rooms}, func(w io.Writer) { printRooms(w, rooms) })
			})
		},
	}
}

func printRooms(w io.Writer, rooms []roomFacts) {
	if len(rooms) == 0 {
		fmt.Fprintln(w, "You know no rooms. Make one with: trunkline room create")
		return
	}
	rows := [][]string{{"TITLE", "ENTRY", "YOURS", "UNTIL", "LINK"}}
	for _, r := range rooms {
		end := until(&r.Expires)
		if r.Over {
			end = "over"
		}
		rows = append(rows, []string{orDash(r.Title), r.Entry, yesNo(r.Runs), end, r.Link})
	}
	table(w, rows...)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func newRoomCloseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "close ROOM",
		Short: "End a room for everybody",
		Long: `Ends a room that you run, for all who are in it and for good. ROOM is its link, the part
of the link behind /r/, or its title where only one room has it.`,
		Example: `  trunkline room close "Plans for the mill"
  trunkline room close 'https://node.example/r/…#…' --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.offline(func(c *client.Client) error {
				info, err := roomByName(c, args[0])
				if err != nil {
					return err
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), readyPatience)
				defer cancel()
				if err := c.CloseRoom(ctx, info.Link.Room); err != nil {
					return err
				}
				return a.result(struct {
					Closed string `json:"closed"`
				}{info.Link.Room.Text()}, func(w io.Writer) { fmt.Fprintln(w, "The room is closed.") })
			})
		},
	}
}

// roomByName finds a room that this device knows: by link, id, or a title that only one has.
func roomByName(c *client.Client, name string) (client.RoomInfo, error) {
	all, err := c.Rooms()
	if err != nil {
		return client.RoomInfo{}, err
	}
	id := name
	if strings.Contains(name, "://") {
		l, err := room.ParseLink(name)
		if err != nil {
			return client.RoomInfo{}, err
		}
		id = l.Room.Text()
	}
	var found []client.RoomInfo
	for _, r := range all {
		if r.Link.Room.Text() == id {
			return r, nil
		}
		if r.Title == name && name != "" {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return client.RoomInfo{}, usageError("this device knows no such room", "see trunkline room list; only who runs a room can close it")
	}
	return client.RoomInfo{}, usageError(fmt.Sprintf("%s are called that", count(len(found), "room")), "name it by its link")
}

func newRoomJoinCommand(a *app) *cobra.Command {
	j := &joining{a: a}
	cmd := &cobra.Command{
		Use:   "join LINK",
		Short: "Go into a room",
		Long: `Goes into the room of a link. This command has no microphone: it sends the files of
--audio and --video to everybody who is there, and records what each of them sends into
a folder of its own below --record, named by its number in the room.

It leaves when everybody has played what they have (not with --loop), after --seconds,
when the room ends, or with Ctrl-C. All media is sealed from end to end, each sender under a key of its own,
which changes when somebody goes.

Without an identity, or with --guest, it goes in as a guest under an identity that ends
with the command. In a room with a lobby it waits until it is let in. Whoever runs the
room says with --admit who is: nobody, contacts, or all; and in another terminal with
"trunkline room admit" and "trunkline room remove".

With --json the output is a stream, one object per line: "event" is in, waiting, admitted,
waits, came, connected, went, topology, link, rekeyed, again, alarm, counts (with
--counts), and at last left.`,
		Example: `  trunkline room join 'https://node.example/r/…#…' --audio hello.ogg --record /tmp/room
  trunkline room join 'https://node.example/r/…#…' --guest --as Carol --seconds 60
  trunkline room join 'https://node.example/r/…#…' --admit contacts --json`,
		Args: cobra.ExactArgs(1),
	}
	j.media = addMediaFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&j.name, "as", "", "what the others are shown as your name")
	f.BoolVar(&j.guest, "guest", false, "go in without your identity")
	f.Float64Var(&j.seconds, "seconds", 0, "leave after so many seconds (0: see above)")
	f.IntVar(&j.wait, "wait", 1, "begin to play when so many others are connected")
	f.BoolVar(&j.media.loop, "loop", false, "play the files again and again, until you leave")
	f.BoolVar(&j.counts, "counts", false, "say each second what has come from whom, and which way")
	f.StringVar(&j.admit, "admit", "none", "whom to let in from the lobby: none, contacts or all")
	completeWith(cmd, "admit", "none", "contacts", "all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := j.check(args[0]); err != nil {
			return err
		}
		return clientError(j.run(cmd.Context(), args[0]))
	}
	return cmd
}

func (j *joining) check(link string) error {
	if _, err := room.ParseLink(link); err != nil {
		return clientError(err)
	}
	switch {
	case j.seconds < 0 || j.seconds > 7*24*3600 || j.seconds != j.seconds:
		return usageError(fmt.Sprintf("%v is not a number of seconds", j.seconds), "use --seconds with 0 or more")
	case j.wait < 1 || j.wait >= room.MaxSeats:
		return usageError(fmt.Sprintf("%d others cannot be waited for", j.wait), fmt.Sprintf("give --wait from 1 to %d", room.MaxSeats-1))
	case j.admit != "none" && j.admit != "contacts" && j.admit != "all":
		return usageError(fmt.Sprintf("%q says nothing about whom to admit", j.admit), "give --admit none, contacts or all")
	case len(j.name) > room.MaxName || oneLine(j.name) != j.name:
		return usageError("the name is too long or has more than one line", fmt.Sprintf("give --as one line of at most %d bytes", room.MaxName))
	}
	return j.media.check()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/trunkline-net/trunkline/client"
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/link"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// joining is trunkline room join from the link to the last word.
type joining struct {
	a       *app
	media   *mediaFlags
	name    string
	guest   bool
	seconds float64
	wait    int
	admit   string
	counts  bool

	c       *client.Client // nil: a guest
	r       *client.Room
	members map[room.Index]memberFacts

	recording map[room.Index]bool // by their word
	hands     map[room.Index]bool
}

// memberFacts is what the command prints of another member.
type memberFacts struct {
	Index     int    `json:"index"`
	ID        string `json:"id"`
	Name      string `json:"name"` // its own word
	Owner     bool   `json:"owner"`
	Moderator bool   `json:"moderator"`
	Connected bool   `json:"connected"`
	Route     string `json:"route"`
	Audio     int    `json:"audio_received"`
	Video     int    `json:"video_received"`
	Unopened  int    `json:"unopened"` // frames that no key opened
	Record    string `json:"record,omitempty"`

	// What it says that it sends and does.
	Microphone  bool `json:"microphone"`
	Camera      bool `json:"camera"`
	Screen      bool `json:"screen"`
	ScreenAudio bool `json:"screen_audio"`
	Hand        bool `json:"hand"`
	Recording   bool `json:"recording"`

	Frames []frameFacts `json:"frames"`
}

// saidFacts is what a member told everybody beside media.
type saidFacts struct {
	Index    int    `json:"index"`
	ID       string `json:"id"`
	Name     string `json:"name"`
	Text     string `json:"text,omitempty"`
	Reaction string `json:"reaction,omitempty"`
}

// frameFacts counts what opened of one slot, by the way on which it came.
type frameFacts struct {
	Slot string `json:"slot"`
	Mesh uint64 `json:"mesh"`
	SFU  uint64 `json:"sfu"`
}

// streamFacts is what the node's SFU says of one slot of a member.
type streamFacts struct {
	Index  int    `json:"index"`
	Slot   string `json:"slot"`
	Codec  string `json:"codec"`
	Sent   bool   `json:"sent"`
	Reason string `json:"reason"`
	Ended  bool   `json:"ended"`
}

// wayFacts is how media goes, and why.
type wayFacts struct {
	SFU    bool   `json:"sfu"`
	Cause  string `json:"cause"`
	Need   string `json:"need,omitempty"`
	Member int    `json:"member,omitempty"` // who needs it
	With   int    `json:"with,omitempty"`   // of a pair
}

// words say it to people.
func (f wayFacts) words() string {
	if !f.SFU && f.Cause == "" {
		return "Media goes from everybody to everybody."
	}
	need := map[string]string{
		"uplink":    fmt.Sprintf("the line of number %d does not carry a copy for everybody", f.Member),
		"processor": fmt.Sprintf("the machine of number %d does not keep up with a copy for everybody", f.Member),
		"pair":      fmt.Sprintf("numbers %d and %d do not get a connection", f.Member, f.With),
	}
	why := need[f.Need]
	switch f.Cause {
	case "pinned":
		if f.SFU {
			return "Media goes over the node, which cannot open it, as the room wants it."
		}
		return "Media goes from everybody to everybody, as the room wants it, though " + why + "."
	case "no_sfu":
		if why == "" {
			why = "the room is large"
		}
		return "Media goes from everybody to everybody, since the node forwards none, though " + why + "."
	case "count":
		why = "the room is too large for connections from everybody to everybody"
	}
	if why == "" {
		return "Media goes over the node for a moment more."
	}
	return "Media goes over the node, which cannot open it: " + why + "."
}

// stayFacts is the last word.
type stayFacts struct {
	Room    string        `json:"room"`
	Title   string        `json:"title"`
	Index   int           `json:"index"`
	Audio   int           `json:"audio_sent"`
	Video   int           `json:"video_sent"`
	Members []memberFacts `json:"members"`
	Ended   string        `json:"ended"`
}

func (j *joining) run(ctx context.Context, text string) error {
	if err := j.open(text); err != nil {
		return err
	}
	if j.c != nil {
		defer func() { _ = j.c.Close() }() // nothing is written any more
	}
	if err := j.enter(ctx, text); err != nil {
		return err
	}
	j.members, j.recording, j.hands = map[room.Index]memberFacts{}, map[room.Index]bool{}, map[room.Index]bool{}
	stop, err := j.desk(ctx)
	if err == nil {
		err = errors.Join(j.stay(ctx), stop())
	}
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), hangupPatience)
	defer cancel()
	facts := j.facts(err)
	if lerr := j.r.Leave(bye); err == nil && !errors.Is(lerr, client.ErrRoomOver) {
		err = lerr
	}
	if err == nil {
		err = j.r.MediaErr()
	}
	if errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C is an ordinary end
	}
	var over *client.RoomOverError
	if errors.As(err, &over) && (over.Code == link.CodeClosed || over.Code == link.CodeExpired) {
		err = nil // and so is the end of the room
	}
	return errors.Join(j.last(facts), err)
}

// open takes the identity of the data folder, where there is one and it is wanted.
func (j *joining) open(text string) error {
	if j.guest {
		return nil
	}
	c, err := j.a.openClient("", false)
	if errors.Is(err, keep.ErrNoProfile) {
		j.a.hint("There is no identity here; you go in as a guest.")
		return nil
	}
	if err != nil {
		return err
	}
	j.c = c
	return nil
}

func (j *joining) enter(ctx context.Context, text string) error {
	o := client.RoomOptions{Name: j.name, RelayOnly: j.media.relayOnly, Wait: j.wait, Media: client.Audio}
	if j.media.video != "" || j.media.record != "" {
		o.Media = client.Video
	}
	if j.media.record != "" {
		o.Sink = func(m client.RoomMember) (client.Sink, error) { return client.NewRecorder(j.folder(m.Index)) }
	}
	var err error
	if o.Source, err = j.media.source(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, j.a.patience)
	defer cancel()
	if j.c != nil {
		j.r, err = j.c.JoinRoom(bounded, text, o)
		return err
	}
	dir, err := j.a.clientData()
	if err != nil {
		return errors.Join(err, o.Source.Close())
	}
	l, err := room.ParseLink(text)
	if err != nil {
		return errors.Join(err, o.Source.Close())
	}
	cfg := client.Config{Logger: j.a.logger(levelSilent), Now: j.a.now, Loopback: loopbackURL(l.Base)}
	if cfg.RootCAs, err = trustedAuthorities(dir); err != nil {
		return errors.Join(err, o.Source.Close())
	}
	j.r, err = client.JoinRoomAsGuest(bounded, cfg, text, o)
	return err
}

func (j *joining) folder(i room.Index) string {
	return filepath.Join(j.media.record, strconv.Itoa(int(i)))
}

// stay follows what happens until it is time to leave.
func (j *joining) stay(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	word := "in"
	if j.r.Lobby() {
		word = "waiting" // "admitted" follows, maybe at once
	}
	if err := j.show(word, map[string]any{"index": j.r.Index(), "title": j.r.Card().Title}); err != nil {
		return err
	}
	var end <-chan time.Time
	if j.seconds > 0 {
		timer := time.NewTimer(time.Duration(j.seconds * float64(time.Second)))
		defer timer.Stop()
		end = timer.C
	}
	played := make(chan error, 1)
	if j.media.sends() && j.seconds == 0 && !j.media.loop {
		go func() { played <- j.r.Played(ctx) }()
	}
	var second <-chan time.Time
	if j.counts {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		second = ticker.C
	}
	for {
		select {
		case e := <-j.r.Events():
			if err := j.event(ctx, e); err != nil {
				return err
			}
		case <-second:
			if err := j.showCounts(); err != nil {
				return err
			}
		case err := <-played:
			if err != nil {
				return err
			}
			// What this side sent last may still be on its way to the others.
			timer := time.NewTimer(lastWords)
			defer timer.Stop()
			end = timer.C
		case <-end:
			return nil
		case <-j.r.Done():
			return j.r.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (j *joining) event(ctx context.Context, e client.RoomEvent) error {
	switch e := e.(type) {
	case client.RoomAdmitted:
		return j.show("admitted", nil)
	case client.MemberWaits:
		if err := j.show("waits", j.member(e.RoomMember)); err != nil {
			return err
		}
		return j.decide(ctx, e.RoomMember)
	case client.MemberCame:
		return j.show("came", j.keepFacts(e.RoomMember))
	case client.MemberConnected:
		return j.show("connected", j.keepFacts(e.RoomMember))
	case client.MemberPresence:
		return j.presence(e.RoomMember)
	case client.MemberNote:
		return j.show("note", saidFacts{Index: int(e.Index), ID: e.Root.ID(), Name: e.Name, Text: e.Text})
	case client.MemberReaction:
		return j.show("reaction", saidFacts{Index: int(e.Index), ID: e.Root.ID(), Name: e.Name, Reaction: signWord(e.Reaction)})
	case client.MemberWent:
		return j.show("went", j.keepFacts(e.RoomMember))
	case client.RoomLinkReplaced:
		return j.show("link", map[string]any{"link": j.r.Link().Text()})
	case client.RoomRekeyed:
		return j.show("rekeyed", map[string]any{"generation": e.Generation})
	case client.RoomAgain:
		return j.show("again", map[string]any{"index": e.Index})
	case client.RoomTopology:
		return j.show("topology", wayFacts{e.SFU, string(e.Cause), string(e.Need.Cause), int(e.Need.Member), int(e.Need.With)})
	case client.MemberStream:
		return j.show("stream", streamFacts{int(e.Index), e.Slot.String(), e.Codec, e.Sent, e.Reason, e.Ended})
	case client.RoomSpeakers:
		return j.show("speakers", map[string]any{"order": e.Order})
	case client.RoomAlarm:
		j.a.warning("%s", e.What)
		return j.show("alarm", map[string]any{"what": e.What})
	}
	return nil
}

// presence shows what somebody sends and does: to people, that it begins or ends to record, and its hand.
func (j *joining) presence(m client.RoomMember) error {
	recorded, raised := j.recording[m.Index], j.hands[m.Index]
	records, hand := m.Presence.Recording, !m.Presence.Hand.IsZero()
	j.recording[m.Index], j.hands[m.Index] = records, hand
	f := j.keepFacts(m)
	if j.a.json {
		return j.show("presence", f)
	}
	var err error
	for _, change := range []struct {
		is   bool
		word string
	}{{records && !recorded, "records"}, {recorded && !records, "records no more"}, {hand && !raised, "hand"}, {raised && !hand, "hand down"}} {
		if change.is {
			err = errors.Join(err, j.show(change.word, f))
		}
	}
	return err
}

// decide lets somebody in, if that was said beforehand.
func (j *joining) decide(ctx context.Context, m client.RoomMember) error {
	switch j.admit {
	case "all":
	case "contacts":
		if j.c == nil {
			return nil
		}
		all, err := j.c.Contacts()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(all, func(k client.Contact) bool { return k.ID == m.Root && k.State == keep.ContactAccepted }) {
			return nil
		}
	default:
		return nil
	}
	if err := j.r.Admit(ctx, m.Index); err != nil && !errors.Is(err, client.ErrNoMember) {
		return err
	}
	return nil
}

func (j *joining) member(m client.RoomMember) memberFacts {
	f := memberFacts{
		Index: int(m.Index), ID: m.Root.ID(), Name: m.Name, Owner: m.Owner, Moderator: m.Moderator, Connected: m.Connected, Route: m.Route.Path,
		Audio: m.Media.AudioReceived, Video: len(m.Media.VideoReceivedHash), Unopened: int(m.Stats.SFrameFailed), Frames: []frameFacts{},
		Microphone: m.Presence.Microphone, Camera: m.Presence.Camera, Screen: m.Presence.Screen, ScreenAudio: m.Presence.ScreenAudio,
		Hand: !m.Presence.Hand.IsZero(), Recording: m.Presence.Recording,
	}
	for _, c := range m.Frames {
		f.Frames = append(f.Frames, frameFacts{c.Slot.String(), c.Mesh, c.SFU})
	}
	if j.media.record != "" {
		f.Record = j.folder(m.Index)
	}
	return f
}

// keepFacts remembers a member for the last word.
func (j *joining) keepFacts(m client.RoomMember) memberFacts {
	f := j.member(m)
	if old, known := j.members[m.Index]; known && f.Route == "" {
		f.Route = old.Route
	}
	f.Connected = f.Connected || j.members[m.Index].Connected
	j.members[m.Index] = f
	return f
}

func (j *joining) facts(err error) stayFacts {
	for _, m := range j.r.Members() {
		j.keepFacts(m)
	}
	// Whoever went meanwhile stands in an event that was not read.
	for unread := true; unread; {
		select {
		case e := <-j.r.Events():
			if e, went := e.(client.MemberWent); went {
				j.keepFacts(e.RoomMember)
			}
		default:
			unread = false
		}
	}
	sent := j.r.Sent()
	f := stayFacts{
		Room: j.r.Link().Room.Text(), Title: j.r.Card().Title, Index: int(j.r.Index()), Audio: sent.AudioSent, Video: len(sent.VideoSentHashes),
		Members: []memberFacts{}, Ended: "left",
	}
	for _, m := range j.members {
		f.Members = append(f.Members, m)
	}
	slices.SortFunc(f.Members, func(a, b memberFacts) int { return a.Index - b.Index })
	var over *client.RoomOverError
	switch {
	case errors.As(err, &over):
		f.Ended = over.Code
	case err != nil && !errors.Is(err, context.Canceled):
		f.Ended = err.Error()
	}
	return f
}

// showCounts tells what has come so far, and from whom.
func (j *joining) showCounts() error {
	members := []memberFacts{}
	for _, m := range j.r.Members() {
		members = append(members, j.keepFacts(m))
	}
	if j.a.json {
		sent := j.r.Sent()
		return j.show("counts", map[string]any{
			"index": j.r.Index(), "sfu": j.r.OverSFU(), "audio_sent": sent.AudioSent, "video_sent": len(sent.VideoSentHashes), "members": members,
		})
	}
	for _, m := range members {
		j.a.hint("%s: %d of sound, %d pictures, %s", orDash(oneLine(m.Name)), m.Audio, m.Video, orDash(m.Route))
	}
	return nil
}

// show tells what happened: a line of the stream, or a hint.
func (j *joining) show(event string, what any) error {
	if j.a.json {
		return j.a.line(struct {
			Event string `json:"event"`
			What  any    `json:"what,omitempty"`
		}{event, what})
	}
	if f, ok := what.(saidFacts); ok {
		if name := nameOf(f.Name, f.ID); event == "note" {
			j.a.hint("%s: %s", name, oneLine(f.Text))
		} else {
			j.a.hint("%s: (%s)", name, f.Reaction)
		}
		return nil
	}
	if m, ok := what.(memberFacts); ok {
		words := map[string]string{
			"came": "%s is here.", "connected": "Connected with %s.", "went": "%s has gone.", "waits": "%s waits in the lobby.",
			"records": "%s records what you say and show.", "records no more": "%s records no more.",
			"hand": "%s raises a hand.", "hand down": "%s takes the hand down.",
		}
		j.a.hint(words[event], nameOf(m.Name, m.ID))
		return nil
	}
	switch event {
	case "in":
		j.a.hint("You are in the room %s", titled(j.r.Card().Title))
	case "waiting":
		j.a.hint("You wait in the lobby of the room %s", titled(j.r.Card().Title))
	case "admitted":
		j.a.hint("You were let in.")
	case "link":
		j.a.hint("The room has another link now: %s", j.r.Link().Text())
	case "topology":
		if f, ok := what.(wayFacts); ok {
			j.a.hint("%s", f.words())
		}
	case "again":
		j.a.hint("The node was away; you are in again.")
	}
	return nil
}

// nameOf is what people are shown of somebody: its own word, or else its id.
func nameOf(name, id string) string {
	if name = oneLine(name); name == "" {
		return id
	}
	return name
}

func titled(t string) string {
	if t == "" {
		return "without a title."
	}
	return strconv.Quote(oneLine(t)) + "."
}

func (j *joining) last(f stayFacts) error {
	if j.a.json {
		return j.show("left", f)
	}
	w := j.a.out
	fmt.Fprintf(w, "You were in the room %s\n", titled(f.Title))
	rows := [][]string{{"  NUMBER", "NAME", "ROUTE", "AUDIO", "VIDEO", "RECORDED IN"}}
	for _, m := range f.Members {
		rows = append(rows, []string{"  " + strconv.Itoa(m.Index), orDash(m.Name), orDash(m.Route), strconv.Itoa(m.Audio), strconv.Itoa(m.Video), orDash(m.Record)})
	}
	if len(f.Members) == 0 {
		fmt.Fprintln(w, "Nobody else was there.")
	} else {
		table(w, rows...)
	}
	if f.Ended != "left" {
		fmt.Fprintf(w, "It ended: %s\n", link.LookupCode(f.Ended).Means)
	}
	return nil
}

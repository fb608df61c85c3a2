package client

import (
	"cmp"
	"slices"
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
)

// What a mesh does not carry, as far as this side can measure it, and what members say of theirs
// (docs/spec/rooms.md, section 10).

const (
	// needSeconds is how many seconds in a row something has to be so.
	needSeconds = 3
	// meshSettles is how long after a connection of the mesh began nothing is measured.
	meshSettles = 5 * time.Second
	// pairPatience is how long two members may be without a connection.
	pairPatience = 15 * time.Second
)

// meshSecond is what one second of the mesh was like.
type meshSecond struct {
	up            bool  // the SFU is in use
	settling      bool  // a connection has just begun
	others, slots int   // who is in besides us; what we send
	paths         int   // connections that we send over
	takes, sent   int64 // bit/s: what they take together as estimated, and what was to be sent; takes 0: not known
	frames, late  int   // that left; that left late
	broken        []room.Index
	in            func(room.Index) bool
}

// ownNeed is what this side needs. It is a pure state of the seconds it is shown.
type ownNeed struct {
	cause  RoomCause // uplink or processor, as long as it is needed
	copies int       // that were sent when it began
	pairs  []room.Index
	tight  int // seconds in a row
	late   int
}

// second takes one more and says what is needed, its member still open.
func (n *ownNeed) second(s meshSecond) RoomNeed {
	if n.cause != "" && s.others*s.slots < n.copies {
		n.cause = ""
	}
	n.pairs = slices.DeleteFunc(n.pairs, func(i room.Index) bool { return !s.in(i) })
	for _, i := range s.broken {
		if !s.up && !slices.Contains(n.pairs, i) {
			n.pairs = append(n.pairs, i)
		}
	}
	// One copy is what the SFU gets as well.
	if measured := !s.up && !s.settling && s.paths > 1; !measured {
		n.tight, n.late = 0, 0
	} else {
		n.tight = row(n.tight, s.takes > 0 && s.takes < s.sent)
		n.late = row(n.late, 2*s.late > s.frames)
	}
	if n.late >= needSeconds && n.cause == "" {
		n.cause, n.copies = CauseProcessor, s.others*s.slots
	}
	if n.tight >= needSeconds && n.cause != CauseUplink {
		n.cause, n.copies = CauseUplink, s.others*s.slots
	}
	switch {
	case n.cause != "":
		return RoomNeed{Cause: n.cause}
	case len(n.pairs) > 0:
		return RoomNeed{Cause: CausePair, With: slices.Min(n.pairs)}
	}
	return RoomNeed{}
}

func row(n int, holds bool) int {
	if holds {
		return n + 1
	}
	return 0
}

// measureMesh is asked each second.
func (s *stay) measureMesh() error {
	if s.lobby || s.r.opts.Media == DataOnly {
		return nil
	}
	now := s.r.a.now()
	m := meshSecond{up: s.up, others: s.count() - 1, slots: s.r.flow.slots(), in: func(i room.Index) bool { return s.members[i] != nil && s.members[i].in }}
	m.frames, m.late = s.r.flow.lateness()
	known := true
	for _, o := range sortedMembers(s.members) {
		if !o.in || o.pair == nil {
			continue
		}
		began, since := o.pair.times()
		if !since.IsZero() && now.Sub(since) >= pairPatience {
			m.broken = append(m.broken, o.Index)
		}
		peer := o.pair.sends.Load()
		if peer == nil || o.pair.muted.Load() {
			continue
		}
		m.settling = m.settling || now.Sub(began) < meshSettles
		m.paths++
		takes, sent, told := peer.Uplink()
		known = known && told
		m.takes, m.sent = m.takes+takes, m.sent+sent
	}
	if !known {
		m.takes = 0
	}
	need := s.needs.second(m)
	if need.Cause != "" {
		need.Member = s.own.Index
	}
	if need == s.need {
		return nil
	}
	s.need = need
	for _, o := range sortedMembers(s.members) {
		if o.in {
			if err := s.sayNeed(o); err != nil {
				return err
			}
		}
	}
	return nil
}

var needCauses = map[roompb.NeedCause]RoomCause{
	roompb.NeedCause_NEED_UPLINK: CauseUplink, roompb.NeedCause_NEED_PROCESSOR: CauseProcessor, roompb.NeedCause_NEED_PAIR: CausePair,
}

// sayNeed tells a member what we need.
func (s *stay) sayNeed(m *member) error {
	msg := &roompb.Need{With: uint32(s.need.With)}
	for cause, word := range needCauses {
		if word == s.need.Cause {
			msg.Cause = cause
		}
	}
	return s.say(m, &roompb.Message{Kind: &roompb.Message_Need{Need: msg}})
}

// gotNeed is what a member needs from now on.
func (s *stay) gotNeed(m *member, n *roompb.Need) error {
	if m.need = (RoomNeed{}); n.Cause != roompb.NeedCause_NEED_NOTHING {
		m.need = RoomNeed{Cause: needCauses[n.Cause], Member: m.Index, With: room.Index(n.With)}
	}
	return s.topology()
}

// needed is the first of what all members need, the same for everybody who knows the same.
func (s *stay) needed() (first RoomNeed) {
	all := []RoomNeed{s.need}
	for _, m := range s.members {
		if m.in {
			all = append(all, m.need)
		}
	}
	order := []RoomCause{CauseUplink, CauseProcessor, CausePair}
	for _, n := range all {
		here := n.With == 0 || n.With == s.own.Index || s.members[n.With] != nil && s.members[n.With].in
		if n.Cause == "" || !here {
			continue
		}
		before := cmp.Or(cmp.Compare(slices.Index(order, n.Cause), slices.Index(order, first.Cause)), cmp.Compare(n.Member, first.Member)) < 0
		if first.Cause == "" || before {
			first = n
		}
	}
	return first
}

package client

import (
	"time"

	"github.com/trunkline-net/trunkline/envelope/room"
	roompb "github.com/trunkline-net/trunkline/envelope/room/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// Who holds which media key (docs/spec/rooms.md, section 8).

const (
	// switchTime is how long the others have to say that they hold a fresh key before it is used
	// without.
	switchTime = 2 * time.Second
	// forgetTime is how long frames under the key before are taken once a fresh one has come: its
	// sender switches within switchTime, and what it had sent is on its way.
	forgetTime = 2 * switchTime
	// tellTime is how long a member has to say what it holds before it is told again: what the
	// node does not pass on it does not keep either.
	tellTime = 3 * time.Second
)

// telling is what a member was told last, and when. The same is not said again before the member
// had time to answer: in a room that fills, everybody would say everything to everybody each time.
type telling struct {
	at         time.Time
	epoch      uint64 // of the roster
	generation uint32 // of the key
	whole      bool   // the key itself, not that it has moved a step
}

func (t telling) covers(o telling) bool {
	return t.epoch == o.epoch && t.generation == o.generation && (t.whole || !o.whole) && !t.at.IsZero() && o.at.Sub(t.at) < tellTime
}

// roomKeys are this side's own.
type roomKeys struct {
	sender *sframe.GroupSender
	key    sframe.GroupKey  // in use
	next   *sframe.GroupKey // drawn because somebody went, and not used yet
	drawn  time.Time        // when the newest one was drawn: a step makes none fresh
	stale  bool             // somebody holds a newer roster: nothing is given before we have it
	wanted telling          // the roster that was asked for
	timer  *time.Timer      // until next is used in any case
}

func newRoomKeys(index room.Index, now time.Time) roomKeys {
	key := sframe.NewGroupKey()
	return roomKeys{sender: sframe.NewGroupSender(uint32(index), key), key: key, drawn: now}
}

// newest is the key that the others should hold.
func (k *roomKeys) newest() sframe.GroupKey {
	if k.next != nil {
		return *k.next
	}
	return k.key
}

// giveKey gives our key to those who came. If anything was sealed under it, it moves a step
// first, so that they cannot read what was; the others hear of the step.
func (s *stay) giveKey(came []*member) error {
	k := &s.sending
	if k.next == nil && k.sender.Used() {
		k.key = k.key.Ratchet()
		if err := k.sender.Use(k.key); err != nil {
			return err
		}
		for _, m := range sortedMembers(s.members) {
			if m.in && !contains(came, m) {
				m.held = false
				if err := s.tellKey(m, false); err != nil {
					return err
				}
			}
		}
	}
	for _, m := range came {
		if err := s.tellKey(m, true); err != nil {
			return err
		}
	}
	return nil
}

func contains(all []*member, m *member) bool {
	for _, o := range all {
		if o == m {
			return true
		}
	}
	return false
}

// tellKey gives one member our newest key, or its word that it has moved a step.
func (s *stay) tellKey(m *member, whole bool) error {
	if s.sending.stale {
		return nil // it is told once we know who is here
	}
	key := s.sending.newest()
	msg := &roompb.Key{Generation: key.Generation}
	if whole {
		msg.Key = key.Base[:]
	}
	if r := s.rosters.Current(); r != nil {
		msg.RosterEpoch, msg.RosterHash = r.Epoch, r.Hash[:]
	}
	m.gave++
	m.told = telling{s.r.a.now(), msg.RosterEpoch, key.Generation, whole}
	return s.say(m, &roompb.Message{Kind: &roompb.Message_Key{Key: msg}})
}

// tellAgain gives our key to everybody who does not hold it yet, unless it is on its way.
func (s *stay) tellAgain() error {
	for _, m := range sortedMembers(s.members) {
		if m.in && !m.held && !m.told.covers(s.telling()) {
			m.gave = 0
			if err := s.tellKey(m, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// telling is what would be told now with a whole key.
func (s *stay) telling() telling {
	t := telling{at: s.r.a.now(), generation: s.sending.newest().Generation, whole: true}
	if r := s.rosters.Current(); r != nil {
		t.epoch = r.Epoch
	}
	return t
}

// remind gives our key again to whoever has not said in time that it holds it, and asks again for
// a roster that did not come.
func (s *stay) remind() error {
	if s.sending.stale {
		for _, m := range sortedMembers(s.members) {
			if m.in {
				return s.askRoster(m, s.sending.wanted.epoch)
			}
		}
	}
	return s.tellAgain()
}

// askRoster asks a member for a roster that it is known to hold.
func (s *stay) askRoster(m *member, epoch uint64) error {
	asked := telling{at: s.r.a.now(), epoch: epoch}
	if s.sending.wanted.covers(asked) {
		return nil
	}
	s.sending.wanted = asked
	return s.say(m, &roompb.Message{Kind: &roompb.Message_RosterWanted{RosterWanted: &roompb.RosterWanted{}}})
}

// renew draws a fresh key once the newest one is a day old.
func (s *stay) renew() error {
	if s.r.a.now().Sub(s.sending.drawn) < keyLife {
		return nil
	}
	return s.rekey()
}

// rekey draws a fresh key because somebody went: all that remain get it, and it is used when
// all hold it. What was guessed of the others' keys is forgotten, since whoever went can guess
// as well.
func (s *stay) rekey() error {
	k := &s.sending
	fresh := k.newest().Fresh()
	k.next, k.drawn = &fresh, s.r.a.now()
	alone := true
	for _, m := range sortedMembers(s.members) {
		m.receiver.Expect()
		m.held = false
		if !m.in {
			continue
		}
		alone = false
		if err := s.tellKey(m, true); err != nil {
			return err
		}
	}
	if alone {
		return s.switchKey()
	}
	k.timer.Reset(switchTime)
	return nil
}

// switchKey goes over to the key that was drawn.
func (s *stay) switchKey() error {
	k := &s.sending
	if k.next == nil {
		return nil
	}
	k.key, k.next = *k.next, nil
	if err := k.sender.Use(k.key); err != nil {
		return err
	}
	s.r.tell(RoomRekeyed{k.key.Generation})
	return nil
}

// gotKey is a member's own key.
func (s *stay) gotKey(m *member, k *roompb.Key) error {
	r := s.rosters.Current()
	newer := k.RosterEpoch > 0 && (r == nil || k.RosterEpoch > r.Epoch)
	// Test 68: not of somebody who may not be here, and not under an older roster than ours.
	if !s.rosters.Admits(&m.Member) {
		if newer {
			// In a lobby a moderator who comes again knows of nobody who was let in before it has the
			// roster, and there may be nobody with the chair who gives it.
			return s.askRoster(m, k.RosterEpoch)
		}
		return nil
	}
	if r != nil && k.RosterEpoch < r.Epoch {
		return s.giveRoster(m)
	}
	if newer {
		s.sending.stale = true
		if err := s.askRoster(m, k.RosterEpoch); err != nil {
			return err
		}
	}
	var err error
	if len(k.Key) == 0 {
		err = m.receiver.Step(k.Generation)
	} else {
		err = m.receiver.Give(sframe.GroupKey{Generation: k.Generation, Base: [32]byte(k.Key)})
		s.forgetLater(m)
	}
	if err != nil {
		s.r.log.Debug("a media key was not taken", "error", errorKind(err))
	}
	// What we hold, whether that is what was sent or not: its sender sees the difference.
	held, have := m.receiver.Generation()
	if !have {
		return nil
	}
	return s.say(m, &roompb.Message{Kind: &roompb.Message_KeyHeld{KeyHeld: &roompb.KeyHeld{Generation: held}}})
}

// forgetLater drops the keys before the newest once nothing under them can be on its way.
func (s *stay) forgetLater(m *member) {
	generation, _ := m.receiver.Generation()
	time.AfterFunc(forgetTime, func() {
		// A newer one has a timer of its own.
		if now, have := m.receiver.Generation(); have && now == generation {
			m.receiver.Forget()
		}
	})
}

// keyHeld says what a member holds of ours.
func (s *stay) keyHeld(m *member, generation uint32) error {
	if !m.in {
		return nil
	}
	if m.gave > 0 {
		m.gave--
	}
	if generation != s.sending.newest().Generation {
		if m.gave == 0 && !m.told.covers(s.telling()) { // it has seen all that was sent, and missed something
			return s.tellKey(m, true)
		}
		return nil
	}
	m.held = true
	if s.sending.next == nil {
		return nil
	}
	for _, o := range s.members {
		if o.in && !o.held {
			return nil
		}
	}
	return s.switchKey()
}

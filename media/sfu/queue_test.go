package sfu

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/trunkline-net/trunkline/media/sfu/light"
	"github.com/trunkline-net/trunkline/media/sfu/track"
)

// What waits for a room's goroutine, what is dropped when that has no time, and how busy it is.

func TestPicturesAreDroppedBeforeSound(t *testing.T) {
	t.Parallel()
	var pool track.Pool
	sound, picture := make([]byte, soundSize), make([]byte, soundSize+1)
	type fill struct{ seats, each int }
	type expect struct{ picture, sound, control bool }
	for name, c := range map[string]struct {
		fill
		expect
	}{
		"with room":          {fill{1, 10}, expect{true, true, true}},
		"just below half":    {fill{3, (queueMost/2 - 2) / 3}, expect{true, true, true}},
		"half full":          {fill{4, queueMost / 2 / 4}, expect{false, true, true}},
		"more than half":     {fill{5, 600}, expect{false, true, true}},
		"one packet is left": {fill{5, (queueMost - 1) / 5}, expect{false, true, false}},
		"full":               {fill{4, queueMost / 4}, expect{false, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := newQueue()
			for range c.seats {
				s := &Seat{}
				for range c.each {
					if !q.packet(s, pool.Get(sound, 0)) {
						t.Fatal("sound was dropped while the queue filled")
					}
				}
			}
			if n := len(q.items); n != c.seats*c.each {
				t.Fatalf("%d items wait, want %d", n, c.seats*c.each)
			}
			s := &Seat{}
			if got := q.packet(s, pool.Get(picture, 0)); got != c.picture {
				t.Errorf("a picture is taken: %v", got)
			}
			if got := q.packet(s, pool.Get(sound, 0)); got != c.sound {
				t.Errorf("sound is taken: %v", got)
			}
			// RTCP goes with sound, however long it is: what repairs a room must come through when it is needed most.
			if got := q.control(s, pool.Get(picture, 0), true); got != c.control {
				t.Errorf("RTCP is taken: %v", got)
			}
			// What is to be done is never dropped.
			before, did := len(q.items), 0
			for range queueMost {
				q.do(func() { did++ })
			}
			items := q.take()
			if len(items) != before+queueMost {
				t.Fatalf("%d items, want %d", len(items), before+queueMost)
			}
			for _, i := range items {
				if i.do != nil {
					i.do()
				}
			}
			if did != queueMost {
				t.Errorf("%d of %d were done", did, queueMost)
			}
			q.done(items)
			if s.queued != 0 {
				t.Errorf("%d packets of the seat are counted after all were taken", s.queued)
			}
			if !q.packet(s, pool.Get(picture, 0)) {
				t.Error("a picture was dropped by an empty queue")
			}
		})
	}
}

func TestASeatTakesNoMoreThanItsShareOfAQueue(t *testing.T) {
	t.Parallel()
	var pool track.Pool
	q, greedy, other := newQueue(), &Seat{}, &Seat{}
	taken := 0
	for range queueMost {
		if q.packet(greedy, pool.Get(make([]byte, 1000), 0)) {
			taken++
		}
	}
	if taken != queueSeatMost {
		t.Errorf("%d packets of one seat wait, want %d", taken, queueSeatMost)
	}
	if q.packet(greedy, pool.Get([]byte{1}, 0)) || q.control(greedy, pool.Get([]byte{1}, 0), true) {
		t.Error("sound or RTCP was taken beyond the seat's share")
	}
	if !q.packet(other, pool.Get(make([]byte, 1000), 0)) || !q.control(other, pool.Get([]byte{1}, 0), false) {
		t.Error("another seat's packets were dropped")
	}
	// Order is kept, whoever sent.
	items := q.take()
	if len(items) != queueSeatMost+2 || items[0].seat != greedy || items[queueSeatMost].seat != other || !items[queueSeatMost+1].rtcp {
		t.Errorf("%d items, in another order", len(items))
	}
}

// roomOf is a room that has begun.
func (w *world) roomOf(key RoomKey) *room {
	w.t.Helper()
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	r := w.s.rooms[key]
	if r == nil {
		w.t.Fatal("the room has not begun")
	}
	return r
}

// One room's goroutine has no time for a while, and five publishers go on sending. Another room notices nothing; in this
// one sound is whole afterwards, and so is what a client has asked for meanwhile.
func TestARoomWithoutTimeKeepsItsSoundAndHoldsNobodyElseUp(t *testing.T) {
	t.Parallel()
	inWorld(t, Config{}, func(w *world) {
		wide := Grant{Publish: true, MaxBitrate: 100_000_000, Receive: 400_000_000}
		enter := func(room RoomKey, index uint16, sections ...light.Section) *member {
			m := w.client(sections)
			must(t, m.tryJoin(room, index, wide))
			return m
		}
		listen := func(m *member) {
			must(t, m.seat.Want(Wants{Subscriptions: []Subscription{{Mid: "0", Publisher: 1, Slot: Microphone}, {Mid: "1", Publisher: 1, Slot: Camera}}}))
		}
		busy, calm := RoomKey{1}, RoomKey{2}
		bob, carol := enter(busy, 100, subscribes...), enter(calm, 100, subscribes...)
		dave := enter(calm, 1, publishes...)
		var voices, cameras []*sender
		for i := range uint16(3) {
			m := enter(busy, 1+i, publishes...)
			voices, cameras = append(voices, m.microphone("0", 11)), append(cameras, m.camera("1", 12))
		}
		listen(bob)
		listen(carol)
		voice, camera := dave.microphone("0", 11), dave.camera("1", 12)
		everybody := func(key bool) {
			for _, x := range append(voices, voice) {
				x.one(false)
			}
			for _, x := range append(cameras, camera) {
				x.one(key)
			}
			synctest.Wait()
		}
		everybody(true)
		if len(bob.got("1")) != 2 || len(carol.got("1")) != 2 {
			t.Fatalf("%d and %d packets of a key frame of 2", len(bob.got("1")), len(carol.got("1")))
		}
		gate := make(chan struct{})
		r := w.roomOf(busy)
		r.post(func() { <-gate })
		// Nothing of the room's queue has been taken for so long that it is more than half full.
		const rounds = 320
		for range rounds {
			everybody(false)
		}
		if n := len(carol.got("0")); n != 1+rounds {
			t.Errorf("%d packets of sound came in the other room, want %d", n, 1+rounds)
		}
		if n := len(carol.got("1")); n != 2*(1+rounds) {
			t.Errorf("%d packets of pictures came in the other room, want %d", n, 2*(1+rounds))
		}
		if n := len(bob.got("0")); n != 1 {
			t.Errorf("%d packets came out of a room that does not work", n)
		}
		dropped := w.s.Stats().Queue
		if dropped == 0 {
			t.Error("nothing was dropped")
		}
		asked := make(chan error, 1)
		go func() { asked <- bob.seat.Want(Wants{}) }() // it waits behind everything
		synctest.Wait()
		close(gate)
		must(t, <-asked)
		synctest.Wait()
		if n := len(bob.got("0")); n != 1+rounds {
			t.Errorf("%d packets of sound came once the room had time, want %d", n, 1+rounds)
		}
		whole(t, bob.got("0"))
		if n := len(bob.got("1")); n == 2 || n >= 2*(1+rounds) {
			t.Errorf("%d packets of pictures came of %d", n, 2*(1+rounds))
		}
		if n := w.s.Stats().Queue; n != dropped {
			t.Errorf("%d packets were dropped after the room had time", n-dropped)
		}
	})
}

func TestHeadroomIsMeasuredAndDecidesWhoComesIn(t *testing.T) {
	t.Parallel()
	inWorld(t, Config{}, func(w *world) {
		try := func(what string, want Reason, room byte, index uint16) {
			t.Helper()
			if err := w.client(subscribes).tryJoin(RoomKey{room}, index, Grant{}); ReasonOf(err) != want {
				t.Errorf("%s: %v, want %q", what, err, want)
			}
		}
		// One room for each processor: together they can fill the machine.
		processors := byte(min(runtime.GOMAXPROCS(0), 200))
		var rooms []*room
		for i := range processors {
			try("the first of a room", "", i, 1)
			rooms = append(rooms, w.roomOf(RoomKey{i}))
		}
		// work lets rooms work for two seconds, so many of each 100 ms. The measure ends in the middle of a piece of it:
		// each second has ten that were finished.
		// The time is the bubble's: nothing here waits.
		time.Sleep(50 * time.Millisecond)
		work := func(milliseconds int, rooms ...*room) {
			for range 20 {
				for _, r := range rooms {
					r.post(func() { time.Sleep(time.Duration(milliseconds) * time.Millisecond) })
				}
				time.Sleep(100 * time.Millisecond)
			}
			synctest.Wait()
		}
		about := func(what string, got, want float64) {
			t.Helper()
			if got < want-0.001 || got > want+0.001 {
				t.Errorf("%s: %.3f, want %.3f", what, got, want)
			}
		}
		work(0, rooms...)
		about("rooms without work", w.s.Stats().Busy, 0)

		work(90, rooms[0])
		about("one room that works", rooms[0].busy.share(), 0.9)
		about("the server with it", w.s.Stats().Busy, 0.9/float64(processors))
		try("into the room that fills its processor", ReasonFull, 0, 2)
		if processors > 1 {
			about("another room", rooms[1].busy.share(), 0)
			try("into another one", "", 1, 2)
			try("a new room", "", 250, 1)
		}

		work(70, rooms...)
		about("seven tenths of all", w.s.Stats().Busy, 0.7)
		try("a new room where all work", ReasonFull, 251, 1)
		try("into one that is there", "", 0, 3)

		work(90, rooms...)
		about("nine tenths of all", w.s.Stats().Busy, 0.9)
		for i := range processors {
			try(fmt.Sprint("into room ", i), ReasonFull, i, 4)
		}

		work(0, rooms...)
		about("afterwards", w.s.Stats().Busy, 0)
		try("a new room afterwards", "", 251, 1)
		try("into a room afterwards", "", 0, 4)

		// One piece of work that is longer than the measure is not more than everything.
		// In the bubble's time.
		rooms[0].post(func() { time.Sleep(3500 * time.Millisecond) })
		time.Sleep(4 * time.Second)
		synctest.Wait()
		about("a room after a long piece of work", rooms[0].busy.share(), 1)
	})
}

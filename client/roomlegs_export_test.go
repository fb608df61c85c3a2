package client

import (
	"context"
	"errors"

	"github.com/trunkline-net/trunkline/internal/link/pb"
	"github.com/trunkline-net/trunkline/media/sframe"
)

// LegSounds and LegPictures are how many streams are wanted of the SFU at once.
const LegSounds, LegPictures = legSounds, legPictures

// HasLeg says whether this side is connected with the SFU, or tries to be.
func (r *Room) HasLeg(ctx context.Context) (has bool, err error) {
	err = r.do(ctx, func(s *stay) error {
		has = s.leg != nil
		return nil
	})
	return has, err
}

// Wanted says how many streams of others this side wants of the SFU.
func (r *Room) Wanted(ctx context.Context) (n int, err error) {
	err = r.do(ctx, func(s *stay) error {
		n = len(s.streams())
		return nil
	})
	return n, err
}

// KeySettled says whether all others hold the key that this side seals under.
func (r *Room) KeySettled(ctx context.Context) (settled bool, err error) {
	err = r.do(ctx, func(s *stay) error {
		settled = s.sending.next == nil
		for _, m := range s.members {
			settled = settled && (!m.in || m.held)
		}
		return nil
	})
	return settled, err
}

// WantsPairs says with how many others this side wants a connection and has none.
func (r *Room) WantsPairs(ctx context.Context) (n int, err error) {
	err = r.do(ctx, func(s *stay) error {
		for _, m := range s.members {
			if m.pair != nil {
				if _, since := m.pair.times(); !since.IsZero() {
					n++
				}
			}
		}
		return nil
	})
	return n, err
}

// MeshWorks says with how many others this side has a connection of the mesh that works.
func (r *Room) MeshWorks(ctx context.Context) (n int, err error) {
	err = r.do(ctx, func(s *stay) error {
		for _, m := range s.members {
			if m.pair != nil && m.pair.sends.Load() != nil {
				n++
			}
		}
		return nil
	})
	return n, err
}

// OfferLeg lets a test make the leg to the SFU of who is in the room by itself, with whatever it
// wants to send there. The room's own options should be those of DataOnly.
func (r *Room) OfferLeg(ctx context.Context, sdp string) (answer string, err error) {
	err = r.do(ctx, func(s *stay) error {
		f, err := s.w.call(ctx, &pb.ClientFrame{Kind: &pb.ClientFrame_RoomLeg{RoomLeg: &pb.RoomLeg{Kind: pb.RoomLegKind_ROOM_LEG_OFFER, Sdp: sdp}}})
		if err != nil {
			return err
		}
		if f.GetRoomLeg() == nil {
			return errors.New("no answer to an offer")
		}
		answer = f.GetRoomLeg().Sdp
		return nil
	})
	return answer, err
}

// Seal seals one frame of a slot as this side's own, for who makes the leg by itself.
func (r *Room) Seal(slot sframe.Slot, c sframe.Codec, frame []byte) ([]byte, error) {
	r.flow.mu.Lock()
	sender := r.flow.sender
	r.flow.mu.Unlock()
	sealed, err := sender.Seal(slot, c, frame)
	return sealed.Bytes(), err
}

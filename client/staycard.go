package client

import (
	"github.com/trunkline-net/trunkline/envelope/room"
	"github.com/trunkline-net/trunkline/internal/store/keep"
)

// gotCard takes a newer card of the room. Who passes it on does not matter: its owner's device
// has signed it, and the room's id says which device that is.
func (s *stay) gotCard(signed []byte) error {
	card, err := room.ParseCard(signed)
	if err != nil || card.Room() != s.room || card.Serial <= s.card.Serial {
		return nil
	}
	s.card = card
	s.rosters.UseCard(card)
	s.r.card.Store(card)
	s.promotion.topology, s.promotion.limit = card.Topology, card.MeshLimit()
	err = s.r.a.remember(func(k *keep.Room) { k.Card, k.Expires = card.Bytes(), card.Expires }, s.room)
	if err != nil {
		return err
	}
	return s.changed()
}

package rtc

import (
	"errors"
	"strings"

	"github.com/pion/sctp"
	"github.com/pion/webrtc/v4"
)

// closeConnection ends a connection of the library and waits for everything of it.
func closeConnection(pc *webrtc.PeerConnection) error { return endError(pc.GracefulClose()) }

// endError is what of an end is an error. A channel that opened in the moment of the end has nothing any more over which
// to say that it closes, which the library reports; several errors are a line each.
func endError(err error) error {
	if errors.Is(err, sctp.ErrResetPacketInStateNotExist) && !strings.Contains(err.Error(), "\n") {
		return nil
	}
	return err
}

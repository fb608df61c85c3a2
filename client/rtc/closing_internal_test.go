package rtc

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pion/sctp"
)

func TestAChannelThatCannotSayItsEndIsNoError(t *testing.T) {
	late := fmt.Errorf("%w: state=Closed", sctp.ErrResetPacketInStateNotExist)
	if err := endError(late); err != nil {
		t.Errorf("a channel that closed late is an error: %v", err)
	}
	other := errors.New("the socket does not close")
	for _, err := range []error{other, errors.Join(late, other)} {
		if got := endError(err); !errors.Is(got, other) {
			t.Errorf("of %q is left %v", err, got)
		}
	}
	if err := endError(nil); err != nil {
		t.Error(err)
	}
}

package transfer

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
)

// Files of every size at a border cross whole, and nothing is left beside them.
func TestFilesCross(t *testing.T) {
	t.Parallel()
	sizes := []int{
		0, 1, 31, chunkSize - hashSize - 1, chunkSize - hashSize, chunkSize - 1, chunkSize, chunkSize + 1,
		2*chunkSize - hashSize, unitSize - hashSize, unitSize - 1, unitSize, unitSize + 1,
		unitSize + chunkSize - 2*hashSize, 2*unitSize - 1, 2 * unitSize, 5*unitSize + 12345,
	}
	for _, size := range sizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			alice, bob := newPerson(t), newPerson(t)
			s := connect(t, alice, bob, options{})
			b := content(size, 1)
			sent, err := s.alice.Send(context.Background(), write(t, "a file.bin", b), "")
			if err != nil {
				t.Fatal(err)
			}
			r := <-bob.received
			whole(t, r, b)
			if sent.SHA256 != sha256.Sum256(b) || sent.Size != int64(size) || sent.Resumed != 0 || r.Resumed != 0 || sent.ID != r.ID {
				t.Errorf("sent %+v, received %+v", sent, r)
			}
			shown, hidden := bob.files(t)
			if len(shown) != 1 || shown[0] != "a file.bin" || len(hidden) != 0 {
				t.Errorf("the folder has %q and hides %q", shown, hidden)
			}
			if last := alice.steps[len(alice.steps)-1]; last.Done != int64(size) {
				t.Errorf("the sender's last step is %+v", last)
			}
		})
	}
}

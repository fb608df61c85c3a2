package identity

import (
	"errors"
	"fmt"
	"time"
)

// Lifetimes and limits. docs/spec/identity.md has them in one table.
const (
	CertLifetime       = 90 * 24 * time.Hour // longest life of a device certificate
	ListLifetime       = 30 * 24 * time.Hour // longest life of a device list
	ListGrace          = 7 * 24 * time.Hour  // a list past its end is still read with a warning
	DescriptorLifetime = 8 * 24 * time.Hour  // longest life of a node descriptor
	RoutingKeyKept     = 48 * time.Hour      // the node keeps a routing secret past its descriptor's end
	DomainLifetime     = 35 * 24 * time.Hour // longest life of a domain document
	ClockAhead         = 5 * time.Minute     // how far ahead of ours the signer's clock may be

	MaxDeviceCert = 256  // bytes, signature included, as for all of these
	MaxDeviceList = 4096 //
	MaxDescriptor = 512
	MaxDomain     = 6144
	MaxHandover   = 512

	MaxDevices = 8
	MaxRevoked = 16
	MaxHomes   = 3
)

const (
	// maxUnix is the last second of the year 9999: above it, times do not print in RFC 3339.
	maxUnix = 253402300799
	// maxEpoch is 2^53-1: above it, a JavaScript number is not exact.
	maxEpoch = 1<<53 - 1
)

// span reads the begin and the end of an object's life.
func span(begin, end uint64, longest time.Duration) (time.Time, time.Time, error) {
	if begin == 0 || end > maxUnix || begin >= end {
		return time.Time{}, time.Time{}, errors.New("its times are not in order")
	}
	if end-begin > uint64(longest/time.Second) {
		return time.Time{}, time.Time{}, fmt.Errorf("it lives longer than %v", longest)
	}
	return time.Unix(int64(begin), 0).UTC(), time.Unix(int64(end), 0).UTC(), nil
}

// unix turns a time of ours into seconds; a time outside 1970 to 9999 becomes 0, which
// span then refuses.
func unix(t time.Time) uint64 {
	if s := t.Unix(); 0 < s && s <= maxUnix {
		return uint64(s)
	}
	return 0
}

// within checks now against a life. A clock that is a little behind the signer's is
// normal; an end is an end.
func within(now, begin, end time.Time) error {
	if now.Add(ClockAhead).Before(begin) {
		return ErrNotYetValid
	}
	if !now.Before(end) {
		return ErrExpired
	}
	return nil
}

func checkEpoch(epoch uint64) error {
	if epoch == 0 || epoch > maxEpoch {
		return errors.New("its epoch is out of range")
	}
	return nil
}

// checkPrevious reads the hash of the predecessor, absent at epoch 1 and only there.
func checkPrevious(epoch uint64, previous []byte) (hash [32]byte, err error) {
	if epoch == 1 {
		if len(previous) != 0 {
			return hash, errors.New("epoch 1 names a predecessor")
		}
		return hash, nil
	}
	if len(previous) != len(hash) || [32]byte(previous) == hash {
		return hash, errors.New("it names no predecessor")
	}
	return [32]byte(previous), nil
}

// orAbsent is b, or nil where b is all zero: zero means absent in a canonical object.
func orAbsent(b [32]byte) []byte {
	if b == [32]byte{} {
		return nil
	}
	return b[:]
}

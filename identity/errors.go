package identity

import "errors"

// Errors that callers branch on. All others mean that the input is malformed.
var (
	// ErrKey: the 32 bytes are not an acceptable Ed25519 public key.
	ErrKey = errors.New("not an acceptable public key")
	// ErrSignature: the signature does not verify under the expected key.
	ErrSignature = errors.New("signature does not verify")
	// ErrNotYetValid: the object's time has not begun.
	ErrNotYetValid = errors.New("not valid yet")
	// ErrExpired: the object's time has ended.
	ErrExpired = errors.New("expired")
	// ErrRollback: older than what was already seen. Refuse and keep what is pinned.
	ErrRollback = errors.New("older than what was already seen")
	// ErrEquivocation: two different signed objects claim the same place in a history.
	// Stop, raise an alarm, keep both as evidence.
	ErrEquivocation = errors.New("two different objects claim the same epoch")
	// ErrStale: a device list is past its end and past the grace. Refuse new sessions.
	ErrStale = errors.New("device list expired too long ago")
	// ErrRecoveryChanged: a list changes or drops a recovery commitment. Alarm.
	ErrRecoveryChanged = errors.New("recovery commitment changed")
	// ErrSuite: the other side offers less than it did before, or less than it demands.
	ErrSuite = errors.New("cryptographic suite lower than seen before")
	// ErrRevoked: the device was revoked.
	ErrRevoked = errors.New("device revoked")
	// ErrNotListed: the device is not in the identity's list.
	ErrNotListed = errors.New("device not in the list")
	// ErrOtherIdentity: the object belongs to another identity, domain or node.
	ErrOtherIdentity = errors.New("belongs to another identity")
	// ErrKeyChanged: a domain document names another key and no old key hands over to it.
	ErrKeyChanged = errors.New("domain key changed without a handover")
)

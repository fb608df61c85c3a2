package room

// Labels that only this package uses. docs/spec/identity.md has the table of all.
const (
	labelGate       = "trunkline/v1/room-gate\x00"        // HKDF: link secret to the seed of the gate key
	labelJoin       = "trunkline/v1/room-join\x00"        // HKDF: link secret to the key of the MACs
	labelHall       = "trunkline/v1/room-hall\x00"        // HKDF: link secret to what card and announcements are sealed under
	labelDoor       = "trunkline/v1/room-door\x00"        // HKDF: link secret to the handle of announcements
	labelCardBox    = "trunkline/v1/room-card-box\x00"    // HKDF: hall key to the key of one sealed card
	labelAnnounce   = "trunkline/v1/room-announce\x00"    // HKDF: hall key to the key of one announcement
	labelMAC        = "trunkline/v1/room-mac\x00"         // HMAC: a signed JOIN or WELCOME
	labelPair       = "trunkline/v1/room-pair\x00"        // HPKE info: X-Wing key of a JOIN
	labelPairSecret = "trunkline/v1/room-pair-secret\x00" // HPKE export: secret of a pair's session
	labelTranscript = "trunkline/v1/room-transcript\x00"  // hash: transcript of a pair's session
	labelSeat       = "trunkline/v1/room-seat\x00"        // hash: the seat a frame goes to
	contextCard     = "trunkline/v1/roomcard\x00"         // signature: owner's device key
	contextWelcome  = "trunkline/v1/welcome\x00"          // signature: device key
)

package identity

// Suite is the only cryptographic suite of version 1: Ed25519, age mlkem768x25519, HPKE
// X-Wing with HKDF-SHA256 and ChaCha20-Poly1305, SFrame suite 5.
const Suite = 1

// Every signature, hash and derived key has a context string of its own, so that none can
// stand for another. All end in a zero byte, which makes none the prefix of another. The
// table is in docs/spec/identity.md, "Context strings"; strings used by one other package
// only are still listed here, so that a clash is seen.
const (
	ContextFingerprint   = "trunkline/v1/fingerprint\x00"    // hash: fingerprint of a root key
	ContextSafety        = "trunkline/v1/safety\x00"         // hash: safety number
	ContextPrekeyID      = "trunkline/v1/prekeyid\x00"       // hash: prekey id
	ContextDeviceID      = "trunkline/v1/deviceid\x00"       // hash: device id
	ContextDeviceCert    = "trunkline/v1/devcert\x00"        // signature: root key
	ContextDeviceList    = "trunkline/v1/devicelist\x00"     // signature: root key
	ContextRecovery      = "trunkline/v1/recovery\x00"       // hash: recovery commitment
	ContextPrekey        = "trunkline/v1/prekey\x00"         // signature: device key
	ContextInner         = "trunkline/v1/inner\x00"          // signature: device key
	ContextSession       = "trunkline/v1/session\x00"        // HPKE info: session
	ContextSessionSecret = "trunkline/v1/session-secret\x00" // HPKE export: session secret
	ContextTranscript    = "trunkline/v1/transcript\x00"     // hash: session transcript
	ContextI2R           = "trunkline/v1/i2r\x00"            // HKDF: frames of the initiator
	ContextR2I           = "trunkline/v1/r2i\x00"            // HKDF: frames of the responder
	ContextHI            = "trunkline/v1/hi\x00"             // HKDF: handle of the initiator's frames
	ContextHR            = "trunkline/v1/hr\x00"             // HKDF: handle of the responder's frames
	ContextMedia         = "trunkline/v1/media\x00"          // HKDF: SFrame base keys
	ContextFile          = "trunkline/v1/file\x00"           // HKDF: file keys
	ContextBinding       = "trunkline/v1/channel-binding\x00"
	ContextSAS           = "trunkline/v1/sas\x00"          // HKDF: call code
	ContextCard          = "trunkline/v1/card\x00"         // signature: device key
	ContextCardSession   = "trunkline/v1/card-session\x00" // HPKE info: a card session's upgrade
	ContextDescriptor    = "trunkline/v1/descriptor\x00"   // signature: a node's host key
	ContextDomain        = "trunkline/v1/domain\x00"       // signature: domain key
	ContextHandover      = "trunkline/v1/handover\x00"     // signature: old domain key
	ContextLink          = "trunkline/v1/link\x00"         // signature: device key, client link
	ContextChallenge     = "trunkline/v1/challenge\x00"    // signature: host key, client link
	ContextGate          = "trunkline/v1/gate\x00"         // signature: gate key of a room
	ContextSteward       = "trunkline/v1/steward\x00"      // signature: steward key of a room
	ContextRoomPass      = "trunkline/v1/room-pass\x00"    // signature: a node's host key
	ContextRoomHolder    = "trunkline/v1/room-holder\x00"  // signature: the key that a pass names
	ContextRoom          = "trunkline/v1/room\x00"         // hash: room id
	ContextRoster        = "trunkline/v1/roster\x00"       // signature: chair's device key
	ContextJoin          = "trunkline/v1/join\x00"         // signature: device key
	ContextHop           = "trunkline/v1/hop\x00"          // HPKE info: hop
	ContextHopKey        = "trunkline/v1/hopkey\x00"       // HPKE export: key of an encapsulation's hops
	ContextQuery         = "trunkline/v1/query\x00"        // HPKE info: query
	ContextAnswer        = "trunkline/v1/answer\x00"       // HKDF: answer to a query
	ContextTransit       = "trunkline/v1/transit\x00"      // HPKE info: wrapping for a bridge
	ContextEnvelopeID    = "trunkline/v1/envid\x00"        // hash: envelope id
)

package envelope

// Labels that only this package uses, beside those that identity names. Each has one purpose
// and ends in a zero byte, so that none is the beginning of another.
const (
	labelStepI2R     = "trunkline/v1/step-i2r\x00"        // HKDF: frame key of the initiator after the step
	labelStepR2I     = "trunkline/v1/step-r2i\x00"        // HKDF: frame key of the responder after the step
	labelStepHI      = "trunkline/v1/step-hi\x00"         // HKDF: handle of the initiator after the step
	labelStepHR      = "trunkline/v1/step-hr\x00"         // HKDF: handle of the responder after the step
	labelMediaI2R    = "trunkline/v1/media-i2r\x00"       // HKDF: SFrame base key of the initiator
	labelMediaR2I    = "trunkline/v1/media-r2i\x00"       // HKDF: SFrame base key of the responder
	labelCardTH      = "trunkline/v1/card-transcript\x00" // hash: both cards
	labelCardBinding = "trunkline/v1/card-binding\x00"    // HKDF: channel binding before the upgrade
	labelCardUpgrade = "trunkline/v1/card-upgrade\x00"    // hash: both cards and the upgrade
	labelCardSecret  = "trunkline/v1/card-secret\x00"     // HKDF: secret of the session
	labelCallCode    = "trunkline/v1/call-code\x00"       // HKDF: the six digits
)

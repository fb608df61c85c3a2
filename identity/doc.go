// Package identity says who someone is: keys, the texts that name them, the devices that
// speak for them, and the documents by which domains and nodes name themselves
// (docs/spec/identity.md).
//
// Start with DeriveRoot, which turns a mnemonic into the root key that signs device
// certificates and lists, and with ParseDeviceList, which reads another identity's list;
// Pin.Check then says whether that list may replace the one seen before.
//
// The package does no input or output and knows no clock: the caller passes the time. It
// never returns a public key that did not pass the key check, and types that hold secrets
// print as [redacted].
package identity

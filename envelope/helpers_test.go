package envelope

import "encoding/hex"

// unhex is for constants of this package's tests.
func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

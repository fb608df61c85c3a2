// Package clip holds the demo's clip, a test picture and a tone. make-clip.sh made it.
package clip

import _ "embed"

// Ogg is six seconds of Opus, IVF six seconds of VP8 at 25 frames a second.
var (
	//go:embed clip.ogg
	Ogg []byte
	//go:embed clip.ivf
	IVF []byte
)

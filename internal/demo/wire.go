package demo

import "encoding/json"

// The demo and its participants speak JSON lines: one request, one reply with the same
// number, in any order. A participant is the same binary, started with a hidden command.

type request struct {
	ID   int             `json:"id"`
	Do   string          `json:"do"`
	Args json.RawMessage `json:"args,omitempty"`
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  string          `json:"error,omitempty"`
	Code   string          `json:"code,omitempty"` // the refusal's code, where a node refused
}

// Arguments and results, by verb.
type (
	idResult struct {
		ID        string `json:"id"`
		PublicKey []byte `json:"public_key"`
	}
	registerArgs   struct{ Invite string }
	registerResult struct{ Address string }
	addressArgs    struct{ Address, Text, Name string }
	contactArgs    struct{ ID, Text string }
	noteResult     struct{ Message, Fate string }
	messageArgs    struct{ Message string }
	knockResult    struct{ ID, Text string }
	callArgs       struct {
		ID        string
		RelayOnly bool
		Clip      bool
		Record    string
	}
	// CallFacts is what one side of the call knows when it is over.
	callFacts struct {
		Connected      bool
		SetupMS        int64
		LocalRoute     string
		ChannelBinding bool
		SFrame         bool
		AudioSent      int
		AudioReceived  int
		VideoSent      [][]byte // SHA-256 of each frame, in order
		VideoReceived  [][]byte
	}
	receiveArgs struct {
		Dir   string
		Pause int64 // report once when this many bytes are verified on disk; 0: never
	}
	fileArgs     struct{ ID, Path string }
	fileProgress struct{ Bytes int64 }
	fileResult   struct {
		Path    string
		Bytes   int64
		Resumed bool
	}
	secretsResult struct{ Needles []secret }
	secret        struct {
		Name  string
		Forms [][]byte
		// Own marks what the person's own node may know: where its own client is.
		Own bool
		of  string // who told it
	}
)

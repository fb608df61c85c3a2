package node

import (
	"bytes"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/trunkline-net/trunkline/internal/link"
)

// What a node costs, for whoever operates or measures it. Both stand on the admin socket
// alone: a profile names functions and counts, no bytes of anybody, but taking one costs
// processor time, and a collection stops the node for a moment.

// Memory is what the node's memory is made of, after a collection.
type Memory struct {
	Heap       uint64 `json:"heap"`   // bytes in use
	Stacks     uint64 `json:"stacks"` // of all goroutines
	System     uint64 `json:"system"` // taken from the system and not given back
	Goroutines int    `json:"goroutines"`
}

// collect frees what can be freed and gives it back to the system, so that what remains is
// what the node needs.
func collect() Memory {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Memory{Heap: m.HeapAlloc, Stacks: m.StackInuse, System: m.Sys - m.HeapReleased, Goroutines: runtime.NumGoroutine()}
}

// ProfileRequest asks for a profile: "cpu" over so many seconds, "heap" and "allocs" as they
// are now.
type ProfileRequest struct {
	Kind    string `json:"kind"`
	Seconds int    `json:"seconds,omitempty"`
}

// Profile is in the format of go tool pprof.
type Profile struct {
	Data []byte `json:"data"`
}

const maxProfile = 300 // seconds

func (n *Node) adminProfile(r *http.Request) (any, error) {
	var req ProfileRequest
	if err := adminBody(r, &req); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	switch req.Kind {
	case "heap", "allocs":
		runtime.GC()
		if err := pprof.Lookup(req.Kind).WriteTo(&out, 0); err != nil {
			return nil, err
		}
	case "cpu":
		if req.Seconds < 1 || req.Seconds > maxProfile {
			return nil, &AdminError{Status: http.StatusBadRequest, Code: "invalid", Message: "a profile takes 1 to 300 seconds"}
		}
		if err := pprof.StartCPUProfile(&out); err != nil {
			return nil, &AdminError{Status: http.StatusConflict, Code: link.CodeUnavailable, Message: "a profile is being taken already"}
		}
		timer := time.NewTimer(time.Duration(req.Seconds) * time.Second)
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-n.background.Done():
		}
		timer.Stop()
		pprof.StopCPUProfile()
	default:
		return nil, &AdminError{Status: http.StatusBadRequest, Code: "invalid", Message: "a profile is cpu, heap or allocs"}
	}
	return Profile{Data: out.Bytes()}, nil
}

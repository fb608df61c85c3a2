//go:build !unix

package federation

import (
	"testing"
	"time"
)

func cpuTime(testing.TB) time.Duration { return 0 }

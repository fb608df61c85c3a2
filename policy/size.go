package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

const allowedSize = `a number of bytes, with or without a unit in quotation marks: "512B", "64KiB", "2MiB", "1.5GiB", "100kB", "5MB", "1GB"`

var sizeUnits = []struct {
	suffix string
	bytes  float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1},
}

// ParseSize reads a number of bytes greater than 0, as it is written in configuration files:
// digits with an optional fraction and a unit (B, kB, MB, GB, TB for powers of 1000; KiB, MiB,
// GiB, TiB for powers of 1024), without spaces. Digits alone are bytes.
func ParseSize(s string) (int64, error) {
	bad := fmt.Errorf("%q is not a size; allowed: %s", clip(s), allowedSize)
	if len(s) > 32 {
		return 0, bad
	}
	number, unit := s, 1.0
	for _, u := range sizeUnits {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			number, unit = n, u.bytes
			break
		}
	}
	// ParseFloat reads more than digits: signs, exponents, "inf", "0x", underscores.
	if number == "" || strings.Trim(number, "0123456789.") != "" {
		return 0, bad
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0, bad
	}
	f *= unit
	if f < 1 || f >= math.MaxInt64 || f != math.Trunc(f) {
		return 0, bad
	}
	return int64(f), nil
}

// FormatSize writes a number of bytes so that ParseSize reads it back.
func FormatSize(n int64) string {
	for _, u := range []struct {
		suffix string
		shift  uint
	}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}} {
		if n >= 1<<u.shift && n&(1<<u.shift-1) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

package publish

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Duration is a time.Duration that is written with Go's units and, for whole
// numbers, d (24 hours) and w (7 days): 90m, 2h30m, 14d, 1w2d.
type Duration time.Duration

// ParseDuration reads a Duration. It is never negative.
func ParseDuration(s string) (Duration, error) {
	bad := fmt.Errorf("%q is not a duration such as 90m, 2h30m, 14d or 1w", s)
	if s == "0" {
		return 0, nil
	}
	var total time.Duration
	rest := s
	for rest != "" {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		unit, ok := map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour}[rest[i:min(i+1, len(rest))]]
		if !ok {
			break
		}
		n, err := strconv.ParseInt(rest[:i], 10, 64)
		if err != nil || n > int64((math.MaxInt64-total)/unit) {
			return 0, bad
		}
		total += time.Duration(n) * unit
		rest = rest[i+1:]
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.ContainsAny(rest, "+-") || d > math.MaxInt64-total {
			return 0, bad
		}
		total += d
	} else if s == "" {
		return 0, bad
	}
	return Duration(total), nil
}

func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalYAML writes a Duration.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML reads a Duration. Its error names the line.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := ParseDuration(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		return badValue(n, "is not a duration such as 90m, 2h30m, 14d or 1w")
	}
	*d = v
	return nil
}

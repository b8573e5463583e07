package publish

import (
	"fmt"
	"math"

	"github.com/dustin/go-humanize"
	"go.yaml.in/yaml/v3"
)

// Size is a number of bytes. It is written as a number, or with a unit: 4MiB, 64GiB.
type Size int64

func (s Size) String() string {
	if s == 0 {
		return "0"
	}
	for i, unit := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if n := Size(1) << (40 - 10*i); s%n == 0 {
			return fmt.Sprintf("%d%s", s/n, unit)
		}
	}
	return fmt.Sprint(int64(s))
}

// MarshalYAML writes a Size.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalYAML reads a Size. Its error names the line.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	v, err := humanize.ParseBytes(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode || v > math.MaxInt64 {
		return badValue(n, "is not a size such as 4MiB or 64GiB")
	}
	*s = Size(v)
	return nil
}

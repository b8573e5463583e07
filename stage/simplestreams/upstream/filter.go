package upstream

import (
	"regexp"
	"strings"

	"example.com/publish/stage/catalog"
)

// filter is what an item must have, as sstream-mirror writes it: FIELD=TEXT, FIELD!=TEXT,
// FIELD~PATTERN or FIELD!~PATTERN. The pattern is one of RE2. It is matched from the beginning
// of the value on, and need not match all of it: as Python's re.match does, which
// sstream-mirror uses.
type filter struct {
	field   string
	negated bool
	text    string
	pattern *regexp.Regexp // nil: the value must be text
}

// maxFilter bounds the length of a filter, in bytes.
const maxFilter = 1 << 10

func parseFilter(text string) (f filter, err error) {
	const hint = "such as arch=amd64, release~(noble|jammy) or ftype!=disk1.img"
	at := strings.IndexAny(text, "=~!")
	if at <= 0 || len(text) > maxFilter {
		return f, catalog.Usage(hint, "%s: is no filter of the form FIELD=TEXT or FIELD~PATTERN", shown(text))
	}
	f.field = strings.TrimSpace(text[:at])
	rest := text[at:]
	if after, ok := strings.CutPrefix(rest, "!"); ok {
		f.negated, rest = true, after
	}
	switch {
	case strings.HasPrefix(rest, "="):
		f.text = rest[1:]
	case strings.HasPrefix(rest, "~"):
		if f.pattern, err = regexp.Compile("^(?:" + rest[1:] + ")"); err != nil {
			_, bad := regexp.Compile(rest[1:]) // without what was added
			if bad == nil {
				bad = err
			}
			return f, catalog.Usage(hint, "%s: %v", shown(text), bad)
		}
	default:
		return f, catalog.Usage(hint, "%s: behind a ! stands = or ~", shown(text))
	}
	if f.field == "" {
		return f, catalog.Usage(hint, "%s: names no field", shown(text))
	}
	return f, nil
}

func parseFilters(list []string) (out []filter, err error) {
	for _, text := range list {
		f, err := parseFilter(text)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// CheckFilters implements [catalog.Selector].
func (u *Upstream) CheckFilters(list []string) error {
	_, err := parseFilters(list)
	return err
}

// takes reports whether an item passes. A field that it does not have is empty.
func (f filter) takes(field func(name string) string) bool {
	value := field(f.field)
	hit := value == f.text
	if f.pattern != nil {
		hit = f.pattern.MatchString(value)
	}
	return hit != f.negated
}

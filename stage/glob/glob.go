// Package glob matches names that have parts between slashes: paths, and the names of
// repositories. In a part * stands for any run of characters, ? for any one, [a-z] for
// one of these, as for [path.Match]. ** stands alone between slashes, for any number of
// parts.
package glob

import (
	"errors"
	"path"
	"strings"
)

// Pattern is a pattern, split at its slashes.
type Pattern []string

var (
	errEmptyPart = errors.New("has an empty part between slashes")
	errAlone     = errors.New("has ** beside other characters; it stands alone between slashes")
	errSyntax    = errors.New(`is not a pattern: a [ without its ], an empty or reversed range, or a \ at the end`)
	errNegated   = errors.New("negates a class with [!; write [^")
)

// Parse reads a pattern. The errors here go on where the pattern, in quotes, was printed.
func Parse(text string) (Pattern, error) {
	p := Pattern(strings.Split(text, "/"))
	for _, part := range p {
		switch {
		case part == "":
			return nil, errEmptyPart
		case part == "**":
		case strings.Contains(part, "**"):
			return nil, errAlone
		default:
			if err := CheckPart(part); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

// CheckPart returns an error for what is not the pattern of one part.
func CheckPart(part string) error {
	if _, err := path.Match(part, ""); err != nil {
		return errSyntax
	}
	if strings.Contains(part, "[!") {
		return errNegated
	}
	return nil
}

// Match reports whether a whole name, split at its slashes, matches. It goes back to the
// last ** only, as a match of characters goes back to the last *: the last one can also
// take what an earlier one could take. So the time is bounded by the product of both
// lengths.
func (p Pattern) Match(name []string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(name) {
		if i < len(p) && p[i] == "**" {
			star, mark = i, j
			i++
			continue
		}
		if i < len(p) {
			if ok, _ := path.Match(p[i], name[j]); ok {
				i, j = i+1, j+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		i, j = star+1, mark
	}
	for i < len(p) && p[i] == "**" {
		i++
	}
	return i == len(p)
}

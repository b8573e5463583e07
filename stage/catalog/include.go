package catalog

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// Globs are patterns of paths, relative to the tree. Between slashes * stands
// for any run of characters, ? for one, [a-z] for one of these; ** stands alone
// between slashes, for any number of folders, or at the end for all below.
type Globs struct {
	patterns [][]string // each split at its slashes
}

// ParseGlob adds a pattern. The error says what is wrong with it.
func (g *Globs) ParseGlob(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("is empty")
	case strings.HasPrefix(pattern, "/"):
		return errors.New("begins with a slash; paths are relative to the tree")
	case strings.HasSuffix(pattern, "/"):
		return fmt.Errorf("ends in a slash; %s** means all that is below", pattern)
	}
	if clean, problem, ok := Clean(pattern); !ok {
		return errors.New(problem)
	} else if clean != pattern {
		return fmt.Errorf("is not a clean path; write %s", clean)
	}
	parts := strings.Split(pattern, "/")
	for _, part := range parts {
		if part != "**" && strings.Contains(part, "**") {
			return errors.New("** stands alone between slashes")
		}
		if _, err := path.Match(part, ""); err != nil {
			return fmt.Errorf("%q has a bracket or backslash without its end", part)
		}
	}
	g.patterns = append(g.patterns, parts)
	return nil
}

// match reports whether a cleaned path matches any of the patterns.
func (g *Globs) match(p string) bool {
	if g == nil || len(g.patterns) == 0 {
		return false
	}
	parts := strings.Split(p, "/")
	for _, pattern := range g.patterns {
		if matchParts(pattern, parts) {
			return true
		}
	}
	return false
}

// matchParts goes back to the last ** only, as a match of characters goes back to
// the last *: the last one can also take what an earlier one could take.
func matchParts(pattern, parts []string) bool {
	i, j, star, mark := 0, 0, -1, 0
	for j < len(parts) {
		if i < len(pattern) && pattern[i] == "**" {
			star, mark = i, j
			i++
			continue
		}
		if i < len(pattern) {
			if ok, _ := path.Match(pattern[i], parts[j]); ok {
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
	for i < len(pattern) && pattern[i] == "**" {
		i++
	}
	return i == len(pattern)
}

// Including returns f for a tree in which more files are published than its
// indexes name: item-like ones that match are Other.
func Including(f Format, globs *Globs) Format {
	if f == nil || globs == nil || len(globs.patterns) == 0 {
		return f
	}
	in := including{f, globs}
	if e, ok := f.(Expirer); ok {
		return struct {
			including
			Expirer
		}{in, e}
	}
	return in
}

type including struct {
	Format
	globs *Globs
}

func (in including) Class(p string) Class {
	c := in.Format.Class(p)
	if c == ItemLike && in.globs.match(p) {
		return Other
	}
	return c
}

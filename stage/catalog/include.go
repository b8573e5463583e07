package catalog

import (
	"errors"
	"fmt"
	"strings"

	"example.com/publish/stage/glob"
)

// Globs are patterns of paths, relative to the tree: see package glob. ** at the end
// stands for all that is below.
type Globs struct {
	patterns []glob.Pattern
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
	parsed, err := glob.Parse(pattern)
	if err != nil {
		return err
	}
	g.patterns = append(g.patterns, parsed)
	return nil
}

// match reports whether a cleaned path matches any of the patterns.
func (g *Globs) match(p string) bool {
	if g == nil || len(g.patterns) == 0 {
		return false
	}
	parts := strings.Split(p, "/")
	for _, pattern := range g.patterns {
		if pattern.Match(parts) {
			return true
		}
	}
	return false
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

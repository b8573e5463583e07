package retention

import (
	"errors"
	"path"
)

// Matches reports whether a whole product name matches a pattern as Rule.Match
// has it, for those who ask about products elsewhere: one kind of pattern is
// enough to learn. The error tells what is wrong with the pattern.
func Matches(pattern, product string) (bool, error) {
	if problem := globProblem(pattern); problem != "" {
		return false, errors.New(problem)
	}
	return path.Match(noSlash(pattern), noSlash(product))
}

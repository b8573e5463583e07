package retention

import (
	"errors"
	"path"
)

// Matches reports whether a whole product name matches a pattern as Rule.Match
// has it. Other packages use it to select products, so that users learn only one
// kind of pattern. The error says what is wrong with the pattern.
func Matches(pattern, product string) (bool, error) {
	if problem := globProblem(pattern); problem != "" {
		return false, errors.New(problem)
	}
	return path.Match(noSlash(pattern), noSlash(product))
}

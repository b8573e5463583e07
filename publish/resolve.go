package publish

import (
	"strconv"

	"example.com/publish/publish/generation"
)

// resolve returns the generation that a name means: a number, or "production".
func (r *Repo) resolve(s *state, name string) (*generation.Tree, error) {
	if name == "" || name == "production" {
		if s.current == nil {
			return nil, notFound("publish promote makes the first generation", "production does not exist yet")
		}
		return s.current, nil
	}
	n, err := strconv.Atoi(name)
	if err != nil || n < 1 {
		return nil, &Error{Kind: Usage, Path: name, Fact: "is neither staging, production nor a generation's number",
			Hint: "publish status lists the generations that are kept"}
	}
	if s.current != nil && n == s.current.Generation {
		return s.current, nil
	}
	return r.tree(n)
}

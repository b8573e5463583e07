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
	n, ok := GenerationNumber(name)
	if !ok {
		return nil, &Error{Kind: Usage, Path: name, Fact: "is neither staging, production nor a generation's number",
			Hint: "publish status lists the generations that are kept"}
	}
	if s.current != nil && n == s.current.Generation {
		return s.current, nil
	}
	return r.tree(n)
}

// GenerationNumber reads the number of a generation as this program writes it: 42, or
// 000042, as its folder is called. Neither +42 nor 042 is one.
func GenerationNumber(text string) (n int, ok bool) {
	if n, ok = generation.ParseNumber(text); ok {
		return n, true
	}
	n, err := strconv.Atoi(text)
	return n, err == nil && n > 0 && strconv.Itoa(n) == text
}

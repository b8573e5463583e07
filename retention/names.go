package retention

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"example.com/publish/stage/glob"
)

// NameGlob is a pattern for names that have a repository and a tag:
// "docker.io/acme/*:v*". In the repository ** stands for any number of parts, and *
// for what has no slash.
type NameGlob struct {
	repository glob.Pattern
	tag        string
}

// ParseNameGlob reads a pattern. The error has no pattern in front.
func ParseNameGlob(text string) (NameGlob, error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return NameGlob{}, fmt.Errorf("%q is not REPOSITORY:TAG", text)
	}
	repository, tag := text[:i], text[i+1:]
	p, err := parseRepository(repository)
	if err != nil {
		return NameGlob{}, err
	}
	if problem := globProblem(tag); problem != "" {
		return NameGlob{}, errors.New(problem)
	}
	return NameGlob{p, tag}, nil
}

// Matches reports whether a name matches.
func (g NameGlob) Matches(repository, tag string) bool {
	ok, _ := path.Match(g.tag, tag)
	return ok && g.repository.Match(strings.Split(repository, "/"))
}

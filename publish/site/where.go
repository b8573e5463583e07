package site

import (
	"fmt"
	"path/filepath"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// Misplaced says why a local production cannot be switched where it is: inside
// what never changes or belongs to a repository, or around its own repository;
// "" if it can. taken says that for a path, given with the directories above it,
// that repositories keep for themselves; the path may not exist.
func Misplaced(
	production, repository string, taken func(up []string, repository string) string,
) (why string, err error) {
	own, err := durable.Resolve(repository)
	if err != nil {
		return "", err
	}
	parent, err := durable.Resolve(filepath.Dir(production))
	if err != nil {
		return "", err
	}
	at := filepath.Join(parent, filepath.Base(production)) // not resolved: it may be the link that is switched
	above := durable.Above(parent)
	switch d := generation.Around(above); {
	case d != "":
		return fmt.Sprintf("is in %s, a generation, and generations never change", d), nil
	case strings.HasPrefix(own+"/", at+"/"):
		return "holds the repository itself", nil
	}
	return taken(append([]string{at}, above...), own), nil
}

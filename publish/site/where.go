package site

import (
	"fmt"
	"path/filepath"
	"strings"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// Misplaced says why a local production cannot be switched at its path; "" if it can.
// It cannot be inside a generation or in a path that a repository uses itself, and it
// cannot contain its own repository. taken reports the paths that repositories use: it
// gets a path with the directories above it, and the repository. production need not
// exist.
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

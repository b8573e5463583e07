// Command walls checks the project's import walls: the rules of .depguard.yaml
// at the top of the project, by depguard's analyzer.
//
// It stands in for depguard's own command in two points. That one matches file
// patterns against absolute paths, so that a checkout below a directory named
// stage/ would break every rule; here patterns are relative to the project's
// top. And that one goes on with default rules when it finds no configuration,
// or when a key is misspelt; here both are errors.
//
// And it finds files that are opened without care (see opens), and the names of
// formats where every format has to be the same (see names).
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/OpenPeeDeeP/depguard/v2"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/go/analysis/multichecker"
)

const configName = ".depguard.yaml"

func main() {
	root, err := findRoot()
	if err == nil {
		var settings depguard.LinterSettings
		if settings, err = load(root); err == nil {
			analyzer, aerr := depguard.NewAnalyzer(&settings)
			if aerr == nil {
				multichecker.Main(analyzer, opens(root), names(root))
			}
			err = aerr
		}
	}
	fmt.Fprintln(os.Stderr, "walls:", err)
	os.Exit(2)
}

// findRoot returns the nearest directory, from the working directory upwards,
// that holds the rules.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, configName)); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no " + configName + " here or above")
		}
		dir = parent
	}
}

// load reads the rules and anchors their file patterns at root.
func load(root string) (depguard.LinterSettings, error) {
	data, err := os.ReadFile(filepath.Join(root, configName))
	if err != nil {
		return nil, err
	}
	var settings depguard.LinterSettings
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&settings); err != nil {
		return nil, fmt.Errorf("%s: %w", configName, err)
	}
	if len(settings) == 0 {
		return nil, errors.New(configName + ": no rules")
	}
	prefix := quoteGlob(filepath.ToSlash(root)) + "/"
	for name, list := range settings {
		if len(list.Files) == 0 {
			return nil, fmt.Errorf("%s: rule %s names no files", configName, name)
		}
		for i, pattern := range list.Files {
			not, rest := "", pattern
			if p, ok := strings.CutPrefix(pattern, "!"); ok {
				not, rest = "!", p
			}
			if !strings.HasPrefix(rest, "$") {
				list.Files[i] = not + prefix + rest
			}
		}
		for path, reason := range list.Deny {
			if strings.TrimSpace(reason) == "" {
				return nil, fmt.Errorf("%s: rule %s gives no reason for %s", configName, name, path)
			}
		}
	}
	return settings, nil
}

// quoteGlob makes the characters of s stand for themselves in a pattern.
func quoteGlob(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(`*?[]{}\!,`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

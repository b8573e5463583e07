package generation

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// FuzzClaim: for any content of the two files, the claim is empty, or one that this
// program could have written.
func FuzzClaim(f *testing.F) {
	seal := strings.Repeat("0f", 32)
	f.Add([]byte("12\n"), []byte("repository AbC1\nmanifest "+seal+"\n"))
	f.Add([]byte("12\n"), []byte("repository AbC1\nmanifest "+seal+"\nlater: more\n"))
	f.Add([]byte("-1\n"), []byte("repository \nmanifest \n"))
	f.Add([]byte(strings.Repeat("1", 40)), []byte(nil))
	dir := f.TempDir()
	text := regexp.MustCompile(`^[0-9A-Za-z]{1,64} [0-9a-f]{64}$`)
	f.Fuzz(func(t *testing.T, number, mark []byte) {
		for name, data := range map[string][]byte{IdentityName: number, MarkName: mark} {
			path := filepath.Join(dir, name)
			_ = os.Remove(path) // a file system may flush a file that is written over
			must(t, os.WriteFile(path, data, 0o644))
		}
		c, err := ReadClaim(dir)
		n, idErr := Identity(dir)
		switch {
		case err == nil && (c.Number < 1 || !c.Marked || !text.MatchString(c.Repository+" "+c.Seal)):
			t.Errorf("%+v", c)
		case err != nil && c.Marked, c.Number < 0, n != c.Number, (idErr == nil) != (n > 0):
			t.Errorf("%+v, %v; %d, %v", c, err, n, idErr)
		}
	})
}

package durable

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
)

// maxMounts is the largest mount table that is read, in bytes.
const maxMounts = 16 << 20

// mount is a line of the mount table.
type mount struct {
	device string // major:minor
	root   string // the mounted directory of the file system
	at     string // the mount point
}

// Names returns path and the other paths that lead to the same place through bind
// mounts of this mount namespace. path must be absolute and without links.
func Names(path string) []string {
	return append([]string{path}, otherNames(mounts(), path)...)
}

// mounts reads the mount table; nil if it cannot be read.
func mounts() []mount {
	f, err := open("/proc/self/mountinfo", safe)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := ReadBounded(f, maxMounts)
	if err != nil {
		return nil
	}
	return parseMounts(data)
}

func otherNames(mounts []mount, path string) (out []string) {
	var of *mount
	for i, m := range mounts { // if two have the same mount point, the later one is on top
		if _, ok := below(path, m.at); ok && (of == nil || len(m.at) >= len(of.at)) {
			of = &mounts[i]
		}
	}
	if of == nil {
		return nil
	}
	rest, _ := below(path, of.at)
	inside := filepath.Join(of.root, rest)
	for _, m := range mounts {
		rest, ok := below(inside, m.root)
		if name := filepath.Join(m.at, rest); ok && m.device == of.device && name != path {
			out = append(out, name)
		}
	}
	return out
}

// below returns the rest of a path after dir, if the path is dir or below it.
func below(path, dir string) (string, bool) {
	if dir == "/" {
		return path, true
	}
	rest, ok := strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// parseMounts parses /proc/self/mountinfo (Linux, filesystems/proc.rst). A line has
// an id, the id of the parent, major:minor, the root, the mount point, and more.
func parseMounts(data []byte) (out []mount) {
	for line := range bytes.Lines(data) {
		if f := strings.Fields(string(line)); len(f) > 4 {
			out = append(out, mount{f[2], unescape(f[3]), unescape(f[4])})
		}
	}
	return out
}

// unescape decodes the octal escapes that the kernel uses for white space and
// backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

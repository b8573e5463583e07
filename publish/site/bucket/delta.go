package bucket

import (
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
)

// A delta makes a text from another one, by lines:
//
//	=N      take the next N lines
//	-N      leave out the next N lines
//	+LINE   this line
//
// What is left of the old text at the end is left out.

// diff returns the delta from one text to another. Both are lists whose common lines are in
// the same order, as in the sections of manifests, which are sorted. If they are not, the
// delta is right too, but long: no shorter than the new text without them.
func diff(old, text string) string {
	seed := maphash.MakeSeed()
	var lines []string
	at := map[uint64]int32{}
	for line := range strings.Lines(old) {
		h := maphash.String(seed, line)
		if _, twice := at[h]; !twice {
			at[h] = int32(len(lines))
		}
		lines = append(lines, line)
	}
	var out strings.Builder
	next, same := 0, 0 // the next line of old, and how many before it are taken
	flush := func() {
		if same > 0 {
			fmt.Fprintf(&out, "=%d\n", same)
		}
		same = 0
	}
	for line := range strings.Lines(text) {
		if next < len(lines) && lines[next] == line {
			next, same = next+1, same+1
			continue
		}
		flush()
		i, ok := at[maphash.String(seed, line)]
		if ok && int(i) >= next && lines[i] == line {
			fmt.Fprintf(&out, "-%d\n", int(i)-next)
			next, same = int(i)+1, 1
			continue
		}
		out.WriteByte('+')
		out.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			out.WriteByte('\n') // manifests end with one; the seal finds what does not
		}
	}
	flush()
	return out.String()
}

// patch makes the new text, of size bytes at most.
func patch(old, delta string, size int) (string, error) {
	var out strings.Builder
	out.Grow(min(size, len(old)+len(delta)))
	skip := func(n int) (string, bool) { // the next n lines
		end := 0
		for range n {
			i := strings.IndexByte(old[end:], '\n')
			if i < 0 {
				return "", false
			}
			end += i + 1
		}
		taken := old[:end]
		old = old[end:]
		return taken, true
	}
	for line := range strings.Lines(delta) {
		op, rest := line[0], line[1:]
		if op == '+' {
			out.WriteString(rest)
		} else {
			n, err := strconv.ParseInt(strings.TrimSuffix(rest, "\n"), 10, 32)
			if err != nil || n < 0 || op != '=' && op != '-' {
				return "", fmt.Errorf("%w: it has a line %.40q", ErrDamaged, line)
			}
			taken, ok := skip(int(n))
			if !ok {
				return "", fmt.Errorf("%w: it is of another manifest", ErrDamaged)
			}
			if op == '=' {
				out.WriteString(taken)
			}
		}
		if out.Len() > size {
			return "", fmt.Errorf("%w: it is too long", ErrDamaged)
		}
	}
	return out.String(), nil
}

//go:build linux && (amd64 || arm64)

package trace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// work makes this test binary a command that writes: each of $THREADS
// goroutines makes ten files, three calls each.
func work(dir string) error {
	threads := 1
	fmt.Sscan(os.Getenv("THREADS"), &threads)
	errs := make([]error, threads)
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			for j := range 10 {
				name := filepath.Join(dir, fmt.Sprintf("%d-%d", i, j))
				if err := os.WriteFile(name+".tmp", []byte("x"), 0o644); err != nil {
					errs[i] = err
					return
				}
				if err := os.Rename(name+".tmp", name); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func TestMain(m *testing.M) {
	if dir := os.Getenv("WORK_IN"); dir != "" {
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("written to a pipe, which does not count")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func run(t *testing.T, mode Mode, dir string, env []string, argv ...string) *Result {
	t.Helper()
	result, err := Run(context.Background(), mode, argv, append(os.Environ(), env...), dir)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSYS) || err != nil && strings.Contains(err.Error(),
		"seccomp with a listener") {
		if os.Getenv("CI") == "" {
			t.Skipf("no seccomp listener here: %v", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func self(t *testing.T) string {
	t.Helper()
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// files lists what is below dir.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); err == nil && rel != "." {
			names = append(names, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestEveryThreadCounts(t *testing.T) {
	for _, threads := range []int{1, 8} {
		for range 3 { // the number is the same each time
			dir := t.TempDir()
			env := []string{"WORK_IN=" + dir, fmt.Sprint("THREADS=", threads)}
			got := run(t, List(), "", env, self(t))
			if got.ExitCode != 0 || len(got.Calls) != threads*30 {
				t.Fatalf("%d threads: exit %d, %d calls, want %d: %v\n%s", threads, got.ExitCode, len(got.Calls),
					threads*30, got.Calls, got.Stderr)
			}
			if !strings.Contains(string(got.Stdout), "does not count") {
				t.Errorf("standard output: %q", got.Stdout)
			}
			for i, c := range got.Calls {
				if c.N != i+1 || len(c.Targets) == 0 || !strings.HasPrefix(c.Targets[0], dir+"/") {
					t.Errorf("call %d: %v", i, c)
				}
			}
		}
	}
}

func TestKillBeforeEachCall(t *testing.T) {
	for n := 1; n <= 31; n++ {
		dir := t.TempDir()
		got := run(t, Kill(n), "", []string{"WORK_IN=" + dir, "THREADS=1"}, self(t))
		if n == 31 {
			if got.Hit || got.ExitCode != 0 || len(got.Calls) != 30 {
				t.Errorf("past the end: %+v", got)
			}
			break
		}
		if !got.Hit || got.ExitCode != -1 || len(got.Calls) != n {
			t.Errorf("kill %d: hit %v, exit %d, %d calls", n, got.Hit, got.ExitCode, len(got.Calls))
		}
		// Of each file: create, write, rename. Before the first of them
		// nothing is there, before the others its temporary file.
		done, rest := (n-1)/3, (n-1)%3
		want := done
		if rest > 0 {
			want++
		}
		names := files(t, dir)
		if len(names) != want {
			t.Errorf("kill %d: %v", n, names)
		}
		temp := filepath.Join(dir, fmt.Sprintf("0-%d.tmp", done))
		info, err := os.Stat(temp)
		if (rest > 0) != (err == nil) {
			t.Errorf("kill %d: %s: %v", n, temp, err)
		}
		if err == nil && info.Size() != int64(rest-1) {
			t.Errorf("kill %d: %s has %d bytes", n, temp, info.Size())
		}
	}
}

func TestKillReachesChildren(t *testing.T) {
	dir := t.TempDir()
	// The child is in another session and writes on after its parent's death.
	script := `setsid sh -c 'echo a >c1; echo b >c2; sleep 0.2; echo c >c3' & echo p >p1; wait; echo q >p2`
	whole := run(t, List(), dir, nil, "sh", "-c", script)
	if whole.ExitCode != 0 {
		t.Fatalf("exit %d: %s", whole.ExitCode, whole.Stderr)
	}
	for n := 1; n <= len(whole.Calls); n++ {
		dir := t.TempDir()
		got := run(t, Kill(n), dir, nil, "sh", "-c", script)
		if !got.Hit || len(got.Calls) != n {
			t.Errorf("kill %d: %+v", n, got)
		}
		if names := files(t, dir); len(names) == 5 && n < len(whole.Calls)-1 {
			t.Errorf("kill %d: all files are there", n)
		}
	}
}

func TestFail(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS} {
		for n := 1; n <= 6; n++ {
			dir := t.TempDir()
			got := run(t, Fail(n, errno), "", []string{"WORK_IN=" + dir, "THREADS=1"}, self(t))
			if !got.Hit || got.ExitCode != 1 || !strings.Contains(string(got.Stderr), errno.Error()) {
				t.Errorf("fail %d with %v: exit %d: %s", n, errno, got.ExitCode, got.Stderr)
			}
		}
	}
}

func TestSticky(t *testing.T) {
	dir := t.TempDir()
	script := `echo a >a; echo b >b; mv a c; rm b`
	got := run(t, Mode{N: 3, Errno: syscall.ENOSPC, Sticky: true}, dir, nil, "sh", "-c", script)
	if names := files(t, dir); fmt.Sprint(names) != "[c]" {
		t.Errorf("a full disk: %v, exit %d, %v", names, got.ExitCode, got.Calls)
	}
	dir = t.TempDir()
	got = run(t, Mode{N: 3, Errno: syscall.EROFS, Sticky: true}, dir, nil, "sh", "-c", script)
	if names := files(t, dir); fmt.Sprint(names) != "[a]" {
		t.Errorf("a read-only disk: %v, exit %d, %v", names, got.ExitCode, got.Calls)
	}
}

// The commands of coreutils name their errors, and do the same twice.
func TestCoreutils(t *testing.T) {
	tree := func() string {
		dir := t.TempDir()
		for _, name := range []string{"from/a/1", "from/a/2", "from/b/3"} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), bytes.Repeat([]byte(name), 1000), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for _, argv := range [][]string{{"cp", "-r", "from", "to"}, {"mv", "from", "to"}, {"rm", "-r", "from"},
		{"ln", "-s", "from", "to"}} {
		if _, err := exec.LookPath(argv[0]); err != nil {
			t.Skip(err)
		}
		first, second := run(t, List(), tree(), nil, argv...), run(t, List(), tree(), nil, argv...)
		if first.ExitCode != 0 || len(first.Calls) == 0 || len(first.Calls) != len(second.Calls) {
			t.Errorf("%v: %v, then %v", argv, first.Calls, second.Calls)
		}
		for n := 1; n <= len(first.Calls); n++ {
			dir := tree()
			if got := run(t, Kill(n), dir, nil, argv...); !got.Hit || got.ExitCode != -1 {
				t.Errorf("%v killed at %d: %+v", argv, n, got)
			}
		}
	}
	if got := run(t, Fail(1, syscall.ENOSPC), tree(), nil, "cp", "-r", "from", "to"); got.ExitCode == 0 ||
		!strings.Contains(string(got.Stderr), "No space left") {
		t.Errorf("cp on a full disk: %d, %s", got.ExitCode, got.Stderr)
	}
	if got := run(t, Fail(1, syscall.EROFS), tree(), nil, "mv", "from", "to"); got.ExitCode == 0 ||
		!strings.Contains(string(got.Stderr), "Read-only") {
		t.Errorf("mv on a read-only disk: %d, %s", got.ExitCode, got.Stderr)
	}
}

func TestNoCommand(t *testing.T) {
	if _, err := Run(context.Background(), List(), []string{"/no/such/command"}, nil, ""); err == nil {
		t.Error("no error")
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, List(), []string{"sleep", "60"}, nil, ""); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

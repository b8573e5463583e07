package mirror

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestMain lets the test binary be a runner that claims a job, begins to fetch a content,
// and goes on with neither until its standard input ends.
func TestMain(m *testing.M) {
	if dir := os.Getenv("MIRROR_TEST_RUNNER"); dir != "" {
		c, err := Open(filepath.Join(dir, "queue"), time.Now).Claim(context.Background(), nil)
		data := bytesOf(1000)
		_ = NewContent(ContentOptions{Dir: filepath.Join(dir, "blobs")}).Bring(context.Background(), sha(data), 1000,
			func(context.Context, int64) (io.ReadCloser, int64, error) {
				fmt.Println("claimed", c != nil, err)
				_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
				return nil, 0, io.EOF
			})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A runner that is killed with SIGKILL leaves its job and its part to others at once.
func TestRunnerKilled(t *testing.T) {
	dir := t.TempDir()
	w := &world{TB: t, Queue: Open(filepath.Join(dir, "queue"), time.Now)}
	id := w.add("job").ID
	self, err := os.Executable()
	must(t, err)
	runner := exec.Command(self)
	runner.Env = append(os.Environ(), "MIRROR_TEST_RUNNER="+dir)
	_, err = runner.StdinPipe()
	must(t, err)
	out, err := runner.StdoutPipe()
	must(t, err)
	must(t, runner.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "claimed true <nil>\n" {
		t.Fatalf("the runner says %q, %v", line, err)
	}
	if back, err := w.Recover(ctx); len(back) > 0 || err != nil || !w.Held(id) {
		t.Errorf("a job that runs is taken away: %v, %v", back, err)
	}
	must(t, runner.Process.Kill())
	_ = runner.Wait() // it was killed
	for w.Held(id) {  // the kernel takes a moment
		time.Sleep(time.Millisecond)
	}
	back, err := w.Recover(ctx)
	must(t, err)
	if len(back) != 1 || back[0].State != Pending || back[0].Crashes != 1 {
		t.Errorf("recovered are %+v", back)
	}
	data := bytesOf(1000)
	c := newContent(t, filepath.Join(dir, "blobs"))
	must(t, c.Bring(ctx, sha(data), 1000, (&server{data: data}).get))
}

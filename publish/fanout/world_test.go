package fanout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/site"
	"example.com/publish/stage/plain"
)

var (
	ctx     = context.Background()
	epoch   = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	choices = publish.Choices{Formats: []string{"plain"}, Sites: site.Kinds{site.Symlink, site.Exchange}}
)

// open opens the repository at dir.
func open(dir string) (*publish.Repo, error) {
	c, err := publish.LoadConfig(dir, choices)
	if err != nil {
		return nil, err
	}
	return publish.Open(dir, c, plain.Format{}, choices.Sites, publish.Options{Now: func() time.Time { return epoch },
		Who: "tester", Targets: StateOf})
}

// host is a Host.
func host(_ context.Context, dir string, setup publish.Setup) (*publish.Repo, error) {
	if err := publish.CheckLayout(dir); err != nil {
		if err := publish.InitTarget(dir, choices, setup); err != nil {
			return nil, err
		}
	}
	return open(dir)
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// newLead makes a repository with these targets.
func newLead(t *testing.T, targets map[string]string) *publish.Repo {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lead")
	if err := publish.Init(dir, choices, publish.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	text := "targets:\n"
	for name, to := range targets {
		text += fmt.Sprintf("  %s: {to: %q}\n", name, to)
	}
	if len(targets) == 0 {
		text = ""
	}
	if err := os.WriteFile(filepath.Join(dir, publish.ConfigName), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return must(open(dir))(t)
}

// promote makes these files production.
func promote(t *testing.T, r *publish.Repo, files map[string]string) {
	t.Helper()
	staging := filepath.Join(r.Dir, "staging")
	if err := errors.Join(os.RemoveAll(staging), os.Mkdir(staging, 0o755)); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		path := filepath.Join(staging, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if to, link := strings.CutPrefix(data, "-> "); link {
			err = os.Symlink(to, path)
		} else {
			err = os.WriteFile(path, []byte(data), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Promote(ctx, publish.PromoteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// production is the generation that a repository serves and its own files; 0 before the first.
func production(t *testing.T, dir string) (int, map[string]string) {
	t.Helper()
	if publish.CheckLayout(dir) != nil {
		return 0, nil
	}
	r := must(open(dir))(t)
	s := must(r.Status(ctx))(t)
	if s.Production == nil {
		return 0, nil
	}
	report, n, err := r.Verify(ctx, "", false)
	if err != nil || len(report.Findings) > 0 || n != s.Production.Generation {
		t.Fatalf("verify: generation %d, %+v, %v", n, report, err)
	}
	out := map[string]string{}
	for _, image := range must(r.List(ctx, "production"))(t) {
		path := filepath.Join(r.Production(), image.Product)
		if to, err := os.Readlink(path); err == nil {
			out[image.Product] = "-> " + to
			continue
		}
		out[image.Product] = string(must(os.ReadFile(path))(t))
	}
	return n, out
}

// same fails unless the target serves what its leader serves.
func same(t *testing.T, lead *publish.Repo, target string) {
	t.Helper()
	n, files := production(t, lead.Dir)
	m, got := production(t, target)
	if n != m || fmt.Sprint(files) != fmt.Sprint(got) {
		t.Fatalf("the target has generation %d, %v; its leader %d, %v", m, got, n, files)
	}
}

// cutter passes so many bytes on; then it cuts the line.
type cutter struct {
	io.WriteCloser
	left  int
	total *int
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left >= 0 && len(p) > c.left {
		n, _ := c.WriteCloser.Write(p[:c.left])
		c.left = 0
		_ = c.WriteCloser.Close()
		return n, io.ErrClosedPipe
	}
	n, err := c.WriteCloser.Write(p)
	if c.left >= 0 {
		c.left -= n
	}
	*c.total += n
	return n, err
}

// between runs both ends, and cuts what the leader or the target sends after so many bytes;
// -1: never. It returns how many bytes each sent.
func between(t *testing.T, lead *publish.Repo, target string, cutLeader, cutTarget int) (sent, heard int, err error) {
	t.Helper()
	l := must(lead.Lead(ctx))(t)
	defer l.Close()
	fromLeader, toTarget := io.Pipe()
	fromTarget, toLeader := io.Pipe()
	served := make(chan error, 1)
	go func() {
		err := Serve(ctx, fromLeader, &cutter{toLeader, cutTarget, &heard}, target, host)
		_ = fromLeader.Close()
		_ = toLeader.Close()
		served <- err
	}()
	_, err = Send(ctx, fromTarget, &cutter{toTarget, cutLeader, &sent}, l, "eu", lead.Setup(), nil)
	_ = fromTarget.Close()
	<-served
	return sent, heard, err
}

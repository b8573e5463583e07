package fanout

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/publish"
	"example.com/publish/stage/lock"
)

var (
	old  = map[string]string{"a": "one", "deep/b": "two", "l": "-> a"}
	next = map[string]string{"a": "one", "deep/c": strings.Repeat("three ", 1000), "l": "-> deep/c", "d": "two"}
)

// Wherever the line is cut, the target has the old generation or the new one, and the next
// sync goes on.
func TestCut(t *testing.T) {
	// so begins with the first generation, or with none.
	so := func(t *testing.T, first bool) (*publish.Repo, string) {
		lead := newLead(t, nil)
		target := filepath.Join(t.TempDir(), "eu")
		promote(t, lead, old)
		if first {
			if _, _, err := between(t, lead, target, -1, -1); err != nil {
				t.Fatal(err)
			}
			promote(t, lead, next)
		}
		return lead, target
	}
	for _, first := range []bool{false, true} {
		lead, target := so(t, first)
		sent, heard, err := between(t, lead, target, -1, -1)
		if err != nil {
			t.Fatal(err)
		}
		same(t, lead, target)
		for _, by := range []string{"leader", "target"} {
			total := map[string]int{"leader": sent, "target": heard}[by]
			for i := range 12 {
				at := i * total / 12
				t.Run(fmt.Sprintf("%v %s at %d of %d", first, by, at, total), func(t *testing.T) {
					lead, target := so(t, first)
					cut := map[string]int{"leader": -1, "target": -1}
					cut[by] = at
					_, _, err := between(t, lead, target, cut["leader"], cut["target"])
					if err == nil {
						t.Error("it was not cut")
					}
					if n, files := production(t, target); n > 0 && fmt.Sprint(files) != fmt.Sprint(old) &&
						fmt.Sprint(files) != fmt.Sprint(next) {
						t.Errorf("generation %d: %v", n, files)
					}
					if _, _, err := between(t, lead, target, -1, -1); err != nil {
						t.Fatalf("again: %v", err)
					}
					same(t, lead, target)
				})
			}
		}
	}
}

// lines is a leader or a target that says what it is told, whatever comes.
type lines struct {
	io.Reader
	said strings.Builder
}

func (l *lines) Write(p []byte) (int, error) { return l.said.Write(p) }
func (l *lines) Close() error                { return nil }

func TestHostileLeader(t *testing.T) {
	lead := newLead(t, nil)
	promote(t, lead, old)
	l := must(lead.Lead(ctx))(t)
	defer l.Close()
	m := l.View.Manifest
	hello := fmt.Sprintf(`{"leader":%q,"target":"eu","setup":{"format":"plain","switch":"symlink","production":"production",`+
		`"grace_ms":1000},"generation":1,"tree_id":%q,"revoked":""}`+"\n", l.ID, m.TreeID)
	offered := fmt.Sprintf(`{"manifest":%d,"stones":0}`+"\n", len(l.Sealed)) + l.Sealed
	for name, c := range map[string]struct{ text, want string }{
		"nothing":      {"", "broke off"},
		"noise":        {"GET / HTTP/1.1\n", "broke off"},
		"long line":    {strings.Repeat("x", maxLine+10), "broke off"},
		"no name":      {strings.Replace(hello, `"eu"`, `"../eu"`, 1), "no name of a target"},
		"no leader":    {strings.Replace(hello, l.ID, "", 1), "no name of a target"},
		"format":       {strings.Replace(hello, `"plain"`, `"tar"`, 1), "tar"},
		"production":   {strings.Replace(hello, `"production":"production"`, `"production":"/etc"`, 1), "production"},
		"above":        {strings.Replace(hello, `"production":"production"`, `"production":"../x"`, 1), "production"},
		"grace":        {strings.Replace(hello, "1000", "-5", 1), "grace"},
		"much":         {hello + `{"manifest":99999999999,"stones":0}` + "\n", "it may have"},
		"many stones":  {hello + `{"manifest":10,"stones":99999999999}` + "\n", "too much"},
		"negative":     {hello + `{"manifest":-1,"stones":0}` + "\n", "too much"},
		"cut":          {hello + offered[:len(offered)-9], "damaged"},
		"altered":      {hello + strings.Replace(offered, "deep/b", "deep/x", 1), "damaged"},
		"another one":  {strings.Replace(hello, `"generation":1`, `"generation":2`, 1) + offered, "another generation"},
		"no contents":  {hello + offered, "did not come"},
		"no archive":   {hello + offered + strings.Repeat("x", 2048), "break off"},
		"revoked":      {strings.Replace(hello, `"revoked":""`, `"revoked":"x"`, 1) + offered, "not what it says"},
		"wrong bytes":  {hello + offered + archive(entry{"a", '0', "", "two"}), "digest"},
		"wrong size":   {hello + offered + archive(entry{"a", '0', "", "longer"}), "bytes"},
		"not asked":    {hello + offered + archive(entry{"z", '0', "", "one"}), "not asked for"},
		"outside":      {hello + offered + archive(entry{"../../a", '0', "", "one"}), "not asked for"},
		"twice":        {hello + offered + archive(entry{"a", '0', "", "one"}, entry{"a", '0', "", "one"}), "not asked for"},
		"link":         {hello + offered + archive(entry{"l", '2', "/etc/passwd", ""}), "link"},
		"link as file": {hello + offered + archive(entry{"l", '0', "", "a"}), "link"},
		"file as link": {hello + offered + archive(entry{"a", '2', "one", ""}), "link"},
		"hard link":    {hello + offered + archive(entry{"a", '1', "deep/b", ""}), "link"},
		"device":       {hello + offered + archive(entry{"a", '3', "", ""}), "neither"},
		"too few":      {hello + offered + archive(entry{"a", '0', "", "one"}), "did not come"},
	} {
		t.Run(name, func(t *testing.T) {
			target := filepath.Join(t.TempDir(), "eu")
			in := &lines{Reader: strings.NewReader(c.text)}
			err := Serve(ctx, in, in, target, host)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			if !strings.Contains(in.said.String(), `"state":"failed"`) {
				t.Errorf("it said %q", in.said.String())
			}
			if n, _ := production(t, target); n != 0 {
				t.Errorf("generation %d", n)
			}
			if list, _ := os.ReadDir(filepath.Dir(target)); len(list) > 1 {
				t.Errorf("%v", list)
			}
			if publish.CheckLayout(target) != nil {
				return
			}
			if _, _, err := between(t, lead, target, -1, -1); err != nil {
				t.Fatalf("after it: %v", err)
			}
			same(t, lead, target)
		})
	}
}

func TestHostileTarget(t *testing.T) {
	lead := newLead(t, nil)
	promote(t, lead, old)
	l := must(lead.Lead(ctx))(t)
	defer l.Close()
	begin := greeting + "\n"
	at := begin + `{"state":"at","generation":0}` + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"nothing":      {"", "does not answer as publish receive"},
		"noise":        {"Welcome to web1!\n" + at, `printed "Welcome to web1!"`},
		"endless":      {strings.Repeat("x", 1<<20), "does not answer as publish receive"},
		"newer":        {"publish-receive 2\n", `speaks "publish-receive 2"`},
		"cut":          {begin, "broke off"},
		"no json":      {begin + "hello\n", "cannot be read"},
		"long":         {begin + strings.Repeat("x", maxLine+10) + "\n", "too long"},
		"state":        {begin + `{"state":"done","generation":1}` + "\n", "no sense"},
		"negative":     {begin + `{"state":"at","generation":-1}` + "\n", "no sense"},
		"too many":     {at + `{"state":"lacks","lacks":4}` + "\n", "asks for 4 contents"},
		"none":         {at + `{"state":"lacks","lacks":0}` + "\n", "asks for 0 contents"},
		"no digest":    {at + `{"state":"lacks","lacks":1}` + "\n" + "../../etc/passwd\n", "no sha256"},
		"no such":      {at + `{"state":"lacks","lacks":1}` + "\n" + strings.Repeat("0", 64) + "\n", "does not have"},
		"other":        {at + `{"state":"done","generation":2}` + "\n", "no sense"},
		"refused":      {begin + `{"state":"failed","kind":"refused","message":"not you"}` + "\n", "not you"},
		"unknown kind": {begin + `{"state":"failed","kind":"odd","message":"odd"}` + "\n", "odd"},
	} {
		t.Run(name, func(t *testing.T) {
			ends := &lines{Reader: strings.NewReader(c.text)}
			did, err := Send(ctx, ends, ends, l, "eu", lead.Setup(), nil)
			if did == nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestSync(t *testing.T) {
	dir := t.TempDir()
	a, b, used := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "used")
	if err := errors.Join(os.Mkdir(used, 0o755), os.WriteFile(filepath.Join(used, "mine"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	lead := newLead(t, map[string]string{"a": a, "b": b, "used": used})
	now := epoch
	opt := Options{Host: host, Now: func() time.Time { return now }}
	if _, _, err := Sync(ctx, lead, nil, opt); kindOf(err) != publish.NotFound {
		t.Errorf("before the first promote: %v", err)
	}
	promote(t, lead, old)
	if _, _, err := Sync(ctx, lead, []string{"c"}, opt); kindOf(err) != publish.NotFound {
		t.Errorf("an unknown target: %v", err)
	}
	n, list, err := Sync(ctx, lead, nil, opt)
	if err != nil || n != 1 || len(list) != 3 || list[0].Err != nil || list[1].Err != nil || kindOf(list[2].Err) !=
		publish.Refused {
		t.Fatalf("%d, %+v, %v", n, list, err)
	}
	same(t, lead, a)
	same(t, lead, b)
	if names, _ := os.ReadDir(used); len(names) != 1 {
		t.Errorf("%v", names)
	}
	promote(t, lead, next)
	now = now.Add(time.Minute)
	if _, list, err = Sync(ctx, lead, []string{"b"}, opt); err != nil || list[0].Err != nil || list[0].Sent != 2 {
		t.Fatalf("%+v, %v", list[0], err)
	}
	s := must(lead.Status(ctx))(t)
	for i, want := range []publish.TargetState{{Name: "a", Generation: 1, LagS: 1}, {Name: "b", Generation: 2},
		{Name: "used", LagS: 1, LastError: "has \"mine\" in it"}} {
		got := s.Targets[i]
		if got.Name != want.Name || got.Generation != want.Generation || (got.LagS > 0) != (want.LagS > 0) ||
			!strings.Contains(got.LastError, want.LastError) || (got.Asked == nil) != (want.Generation == 0) {
			t.Errorf("%+v", got)
		}
	}

	// Another sync of it is at work.
	unlock := must(lock.Acquire(ctx, filepath.Join(stateDir(lead), "a.lock"), lock.Options{Verb: "sync", Now: now}))(t)
	if _, list, err = Sync(ctx, lead, nil, opt); err != nil || kindOf(list[0].Err) != publish.Locked || list[1].Err != nil {
		t.Errorf("%+v, %v", list, err)
	}
	unlock()
	// A command is at work there.
	unlock = must(lock.Acquire(ctx, filepath.Join(a, ".publish", "lock"), lock.Options{Verb: "gc", Now: now}))(t)
	if _, list, err = Sync(ctx, lead, []string{"a"}, opt); err != nil || kindOf(list[0].Err) != publish.Locked ||
		list[0].Generation != 1 || !strings.Contains(list[0].Err.Error(), "publish gc") {
		t.Errorf("%+v, %v", list[0], err)
	}
	unlock()
	if _, list, err = Sync(ctx, lead, []string{"a"}, opt); err != nil || list[0].Err != nil {
		t.Errorf("%+v, %v", list[0], err)
	}
	same(t, lead, a)
}

func kindOf(err error) publish.Kind {
	if e := new(publish.Error); errors.As(err, &e) {
		return e.Kind
	}
	return publish.Failed
}

func TestReadLine(t *testing.T) {
	r := bufio.NewReaderSize(strings.NewReader("short\n"+strings.Repeat("x", 100)+"\nrest"), 16)
	for _, want := range []string{"short", strings.Repeat("x", 100)} {
		if got, err := readLine(r, 200); got != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := readLine(r, 200); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if _, err := readLine(r, 200); err != io.EOF {
		t.Error(err)
	}
}

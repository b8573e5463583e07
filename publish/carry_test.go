package publish

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// A client that read any index within the last grace window gets every file
// that it names, with its bytes, through promotes and reverts in between.
func TestCarriedForOneWindow(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		var all []map[string]string
		for _, items := range []map[string]string{{"a/1": "one"}, {"a/2": "two"}, {"a/3": "three"}, {"a/4": "four"}} {
			w.put(items)
			w.promote()
			all = append(all, w.served())
			w.now = w.now.Add(20 * time.Minute)
		}
		w.revert(0)
		for i, old := range all {
			now := w.served()
			for p, data := range old {
				if p != "index.json" && now[p] != data {
					t.Fatalf("%s of generation %d is %q", p, i+1, now[p])
				}
			}
		}
		// Generation 2's content left at minute 40, the revert was at 80.
		w.now = epoch.Add(40*time.Minute + 2*time.Hour)
		res := w.gc()
		if now := w.served(); now[pathOf(all[1], "two")] != "" {
			t.Fatal("still there after its window")
		} else if now[pathOf(all[3], "four")] != "four" {
			t.Fatal("gone before its window ended")
		}
		if len(res.Generations) != 2 || res.Files != 2 {
			t.Fatalf("gc: %+v", res)
		}
		w.now = w.now.Add(2 * time.Hour)
		w.gc()
		if left := w.served(); len(left) != 2 {
			t.Fatalf("left in production: %v", left)
		}
		if kept, _ := w.repo().store.Kept(5); len(kept) != 1 {
			t.Fatalf("kept: %v", kept)
		}
		wantItems(t, w, map[string]string{"a/3": "three"})
		report, _, err := w.repo().Verify(ctx, "", false)
		if err != nil || len(report.Findings) != 0 {
			t.Fatalf("verify: %+v, %v", report, err)
		}
	})
}

// pathOf returns the path of the only item, or of the item with these bytes.
func pathOf(served map[string]string, data ...string) string {
	for p, have := range served {
		if strings.HasSuffix(p, ".bin") && (len(data) == 0 || have == data[0]) {
			return p
		}
	}
	return ""
}

func TestContentReplacedIsRefused(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		p := filepath.Join(w.dir, "staging", pathOf(w.served()))
		swap := func(data string) {
			if err := stageItems(filepath.Join(w.dir, "staging"), map[string]string{"a/1": data}); err != nil {
				t.Fatal(err)
			}
			index := filepath.Join(w.dir, "staging", "index.json")
			text, _ := os.ReadFile(index)
			// A careless builder reuses the name with other bytes.
			var from string
			for _, f := range strings.Split(string(text), `"`) {
				if strings.HasSuffix(f, ".bin") {
					from = f
				}
			}
			rel, _ := filepath.Rel(filepath.Join(w.dir, "staging"), p)
			if err := os.WriteFile(p, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(index, []byte(strings.ReplaceAll(string(text), from, rel)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		swap("other")
		_, err := w.repo().Promote(ctx, PromoteOptions{Force: true})
		wantKind(t, err, Invalid)
		w.put(map[string]string{"a/2": "two"})
		w.promote()
		swap("other")
		_, err = w.repo().Promote(ctx, PromoteOptions{})
		wantKind(t, err, Invalid)
		var f *FindingsError
		if errors.As(err, &f); !strings.Contains(f.Report.Findings[0].Message, "free from") {
			t.Fatalf("%+v", f.Report.Findings)
		}
		w.now = w.now.Add(2*time.Hour + time.Second)
		w.promote()
		wantItems(t, w, map[string]string{"a/1": "other"})
	})
}

// Pages are mutable. They are published as they are, carried when they are removed,
// and after a revert they are back with their old bytes and a new time.
func TestPages(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.now = time.Now()
		page := filepath.Join(w.dir, "staging", "docs", "page.html")
		write := func(text string) {
			if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		live := filepath.Join(w.production(), "docs", "page.html")
		w.put(map[string]string{"a/1": "one"})
		write("first")
		w.promote()
		write("second")
		w.promote()
		second, err := os.Stat(live)
		if err != nil {
			t.Fatal(err)
		}
		w.revert(0)
		third, err := os.Stat(live)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := os.ReadFile(live); string(data) != "first" ||
			third.ModTime().Sub(second.ModTime()) < time.Second {
			t.Fatalf("%q, %s after %s", data, third.ModTime(), second.ModTime())
		}
		w.put(map[string]string{"a/1": "one", "a/2": "two"})
		if err := os.RemoveAll(filepath.Dir(page)); err != nil {
			t.Fatal(err)
		}
		if res := w.promote(); res.Carried != 1 {
			t.Fatalf("%+v", res)
		}
		if data, _ := os.ReadFile(live); string(data) != "first" {
			t.Fatalf("%q", data)
		}
		w.now = w.now.Add(2*time.Hour + time.Second)
		w.gc()
		if _, err := os.Stat(filepath.Dir(live)); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("the empty directory stayed: %v", err)
		}
	})
}

// Status and validate compare staging with production without a lock. If production is
// switched meanwhile, they compare with the new one.
func TestComparedOverASwitch(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorld(t, mode)
		w.put(map[string]string{"a/1": "one"})
		w.promote()
		r := w.repo()
		s, err := r.load(ctx)
		must(t, err)
		w.put(map[string]string{"b/1": "two"})
		w.promote()
		w.now = w.now.Add(3 * time.Hour)
		w.gc() // of the tree, and of what was carried
		path := "images/" + sumOf("two")[:16] + ".bin"
		own := []tree.Row{{Path: path, Size: 5, SHA256: sumOf("other"), Role: catalog.Content}}
		findings, err := r.replacedBy(ctx, s, own, r.Stage.Dir)
		must(t, err)
		if len(findings) != 1 || findings[0].Path != path || findings[0].Code != "content-replaced" {
			t.Errorf("%+v", findings)
		}
	})
}

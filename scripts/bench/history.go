//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"example.com/publish/publish/generation"
	"example.com/publish/stage/durable"
)

// statuses measures status in a repository that has switched very often.
func (b *bench) statuses(ctx context.Context) error {
	const size = 100_000
	if !b.wants("status", size) {
		return nil
	}
	w, err := b.workshop()
	if err != nil {
		return err
	}
	defer w.remove()
	tree, repo := w.path("tree"), w.path("repo")
	if err := makeTree(tree, shape{versions: 50, root: 1 << 10}); err != nil {
		return err
	}
	if err := w.newRepo(repo, tree); err != nil {
		return err
	}
	if _, err := b.do(b.publish(repo, "promote", "-q")...); err != nil {
		return err
	}
	if err := age(repo, b.n(size)-1); err != nil {
		return err
	}
	// The program accepts what was made, and goes on from there.
	img, err := makeImage(w.path("image"), "last", 4<<10)
	if err != nil {
		return err
	}
	add := b.publish(repo, "stage", "add", img.metadata, img.root)
	out, err := b.do(append(add, b.publish(repo, "promote", "--json")...)...)
	if err != nil {
		return err
	}
	var res switched
	if err := json.Unmarshal(out, &res); err != nil || res.Generation != b.n(size) {
		return fmt.Errorf("status: the generation after many is %s", out)
	}
	return b.measure(ctx, experiment{name: "status", size: size, items: b.n(size), contenders: []contender{
		{name: ours, run: func(int) []command { return b.publish(repo, "status", "--json") },
			check: func(_ int, out []byte) error {
				var res struct {
					Production      switched
					RecoveryPending bool   `json:"recovery_pending"`
					HistoryFlaw     string `json:"history_flaw"`
				}
				err := json.Unmarshal(out, &res)
				wrong := res.RecoveryPending || res.HistoryFlaw != "" || res.Production.Generation != b.n(size)
				if err != nil || wrong {
					return fmt.Errorf("%s", out)
				}
				return nil
			}},
	}})
}

// age makes the only generation of a repository its n-th: each of those before
// was promoted, brought an image, and was deleted by a gc. Records and tree are
// written as the program writes them.
func age(repo string, n int) error {
	history := filepath.Join(repo, ".publish", "history")
	line, err := os.ReadFile(history)
	if err != nil {
		return err
	}
	text, ok := durable.Unline(bytes.TrimSuffix(line, []byte("\n")))
	if !ok {
		return fmt.Errorf("%s: is not one sound line", history)
	}
	var first map[string]any
	if err := json.Unmarshal(text, &first); err != nil {
		return err
	}
	seal, err := renumber(repo, n)
	if err != nil {
		return err
	}
	began := time.Now().Add(-time.Duration(n) * time.Minute).UTC()
	f, err := os.Create(history)
	if err != nil {
		return err
	}
	defer f.Close()
	out := func(e map[string]any) error {
		text, err := json.Marshal(e)
		if err == nil {
			_, err = f.Write(durable.Line(text))
		}
		return err
	}
	for i := 1; i <= n; i++ {
		e := first
		e["time"], e["generation"], e["from"], e["origin"] = began.Add(time.Duration(i)*time.Minute), i, i-1, i
		if e["tree_id"] = hashOf(fmt.Append(nil, "tree", i)); i > 1 {
			e["added"] = []string{fmt.Sprintf("%s/%012d", product("added"), i)}
		}
		if e["seal"] = hashOf(fmt.Append(nil, "seal", i)); i == n {
			e["seal"] = seal
		}
		if err := out(e); err != nil {
			return err
		}
		if i < 3 {
			continue
		}
		why := "its window ended " + began.Format(time.RFC3339)
		gone := map[string]any{"generation": i - 2, "path": "", "reason": why}
		err := out(map[string]any{"time": e["time"], "kind": "gc", "generation": i, "from": i - 1, "origin": i,
			"who":     e["who"],
			"message": "", "added": []string{}, "removed": []string{}, "changed": []string{}, "health": "",
			"freed": map[string]any{"generations": []int{i - 2}, "files": 0, "bytes": 4096, "items": []any{gone}}})
		if err != nil {
			return err
		}
	}
	return f.Close()
}

// renumber gives the first generation, which is production, another number, and
// returns the seal of its manifest.
func renumber(repo string, n int) (string, error) {
	manifests, trees := filepath.Join(repo, ".publish", "manifests"), filepath.Join(repo, "generations")
	data, err := os.ReadFile(filepath.Join(manifests, "000001"))
	if err != nil {
		return "", err
	}
	m, err := generation.Decode(string(data))
	if err != nil {
		return "", err
	}
	m.Generation, m.Origin, m.From = n, n, n-1
	var sealed bytes.Buffer
	if err := m.Encode(&sealed); err != nil {
		return "", err
	}
	name := fmt.Sprintf("%06d", n)
	tree := filepath.Join(trees, name)
	id, err := os.ReadFile(filepath.Join(repo, ".publish", "id"))
	if err != nil {
		return "", err
	}
	rewritten := func(path, text string) error {
		return errors.Join(os.Remove(path), os.WriteFile(path, []byte(text), 0o444))
	}
	return m.Seal, errors.Join(
		os.WriteFile(filepath.Join(manifests, name), sealed.Bytes(), 0o644),
		os.Remove(filepath.Join(manifests, "000001")),
		os.Rename(filepath.Join(trees, "000001"), tree),
		rewritten(filepath.Join(tree, ".publish-generation"), fmt.Sprintln(n)),
		rewritten(filepath.Join(tree, ".publish-tree"), fmt.Sprintf("repository %smanifest %s\n", id, m.Seal)),
		os.Remove(filepath.Join(repo, "production")),
		os.Symlink(filepath.Join("generations", name), filepath.Join(repo, "production")))
}

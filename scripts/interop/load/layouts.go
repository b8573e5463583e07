package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// layouts is a run over a tree of OCI image layouts. Its readers do what a registry does
// that finds a manifest only by an entry of index.json: they resolve a tag, wait, and
// pull all by digest. Each path resolves on its own. It is a failure when that does not
// succeed, although the tag was resolved less than a window ago.
type layouts struct {
	options
	writer *writer
	images []string // layouts to stage

	pulls, failures, late, gone atomic.Int64

	mu      sync.Mutex
	details []string
}

// loadLayouts is load for such a tree.
func loadLayouts(ctx context.Context, o options, mode string) (l *layouts, err error) {
	dir, err := os.MkdirTemp(o.dir, "publish-load-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l = &layouts{options: o, writer: &writer{program: o.publish, repo: filepath.Join(dir, "repo"), t: newTally()}}
	for i := range 12 {
		image := filepath.Join(dir, fmt.Sprint("image-", i))
		if err := makeLayout(image, fmt.Sprint("image ", i)); err != nil {
			return l, err
		}
		l.images = append(l.images, image)
	}
	if _, _, err := l.writer.publish("init", "--format", "oci", "--switch", mode); err != nil {
		return l, err
	}
	config := fmt.Sprintf("format: oci\nswitch: %s\ngrace: %v\n", mode, o.grace)
	if err := os.WriteFile(filepath.Join(l.writer.repo, "publish.yaml"), []byte(config), 0o644); err != nil {
		return l, err
	}
	for _, name := range tagNames {
		if err := l.move(name); err != nil {
			return l, err
		}
	}
	if _, _, err := l.writer.publish("promote"); err != nil {
		return l, err
	}
	if err := l.run(ctx); err != nil {
		return l, err
	}
	_, _, err = l.writer.publish("verify")
	return l, err
}

// tagNames are the tags that writers move. The last one comes and goes, and with it its
// repository.
var tagNames = []string{"acme/app:v1", "acme/app:v2", "acme/tool:v1", "acme/rare:v1"}

// move lets a tag stand for another image.
func (l *layouts) move(name string) error {
	return l.writer.count("stage add", nil, "stage", "add", "--name", name, l.images[rand.N(len(l.images))])
}

func (l *layouts) write(ctx context.Context) error {
	rare := tagNames[len(tagNames)-1]
	for ctx.Err() == nil {
		var err error
		switch n := rand.N(16); {
		case n < 6:
			err = l.move(tagNames[rand.N(len(tagNames))])
		case n < 7:
			err = l.writer.count("stage remove", []int{5}, "stage", "remove", "docker.io/"+rare)
		case n < 12:
			err = l.writer.promote()
		case n < 14:
			err = l.writer.revert()
		default:
			err = l.writer.gc()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *layouts) run(ctx context.Context) error {
	start := time.Now()
	work, stop := context.WithCancelCause(ctx)
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			if err := l.write(work); err != nil {
				stop(err)
			}
		})
	}
	for range l.readers {
		group.Go(func() { l.read(work) })
	}
	shows := func() bool {
		if l.believe > l.grace {
			return l.pulls.Load() > 0 && l.failures.Load() > 0
		}
		return l.pulls.Load() > 0 && l.gone.Load() > 0
	}
	for (time.Since(start) < l.duration || !shows()) && sleep(work, 50*time.Millisecond) {
	}
	stop(errEnded)
	group.Wait()
	if err := context.Cause(work); err != errEnded {
		return err
	}
	return nil
}

// blob is a descriptor.
type blob struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// read resolves tags, and pulls what they stood for, until ctx ends.
func (l *layouts) read(ctx context.Context) {
	for ctx.Err() == nil {
		name, _, _ := strings.Cut(tagNames[rand.N(len(tagNames))], ":")
		repository := filepath.Join("docker.io", name)
		asked := time.Now()
		list, err := l.entries(repository)
		if err != nil || len(list) == 0 {
			if !errors.Is(err, fs.ErrNotExist) && err != nil {
				l.fail("%s: %v", repository, err)
			}
			continue // it has gone, or comes back
		}
		e := list[rand.N(len(list))]
		if e.Annotations["org.opencontainers.image.ref.name"] == "" {
			continue
		}
		hold := l.believe * time.Duration(60+rand.N(38)) / 100
		if rand.N(6) == 0 {
			hold = l.believe * 3 / 2
		}
		if !sleep(ctx, hold) {
			return
		}
		err = l.pull(repository, e)
		age := time.Since(asked)
		switch {
		case err == nil:
			l.pulls.Add(1)
		case hold > l.believe:
			l.gone.Add(1)
		case age >= l.believe:
			l.late.Add(1)
		default:
			l.fail("%s@%s, %v after it was resolved: %v", repository, e.Digest, age, err)
		}
	}
}

func (l *layouts) fail(format string, args ...any) {
	if l.failures.Add(1) > 20 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.details = append(l.details, fmt.Sprintf(format, args...))
}

func (l *layouts) path(parts ...string) string {
	return filepath.Join(append([]string{l.writer.repo, "production"}, parts...)...)
}

func (l *layouts) entries(repository string) ([]blob, error) {
	data, err := os.ReadFile(l.path(repository, "index.json"))
	if err != nil {
		return nil, err
	}
	var index struct{ Manifests []blob }
	err = json.Unmarshal(data, &index)
	return index.Manifests, err
}

// pull reads a manifest by its digest, which an entry must name, and all that it leads to.
func (l *layouts) pull(repository string, e blob) error {
	list, err := l.entries(repository)
	if err != nil {
		return err
	}
	named := false
	for _, other := range list {
		named = named || other.Digest == e.Digest && other.MediaType == e.MediaType
	}
	if !named {
		return fmt.Errorf("%s is not named: %w", e.Digest, fs.ErrNotExist)
	}
	data, err := l.content(repository, e)
	if err != nil {
		return err
	}
	var m struct {
		Config            *blob
		Layers, Manifests []blob
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for _, c := range m.Manifests {
		if err := l.pull(repository, c); err != nil {
			return err
		}
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, c := range m.Layers {
		if _, err := l.content(repository, c); err != nil {
			return err
		}
	}
	return nil
}

func (l *layouts) content(repository string, e blob) ([]byte, error) {
	data, err := os.ReadFile(l.path(repository, "blobs", strings.Replace(e.Digest, ":", "/", 1)))
	if err == nil && (len(data) != e.Size || fmt.Sprintf("sha256:%x", sha256.Sum256(data)) != e.Digest) {
		err = fmt.Errorf("%s has other bytes", e.Digest)
	}
	return data, err
}

func (l *layouts) String() string {
	return fmt.Sprintf("%d pulls by digest, %d late, %d gone", l.pulls.Load(), l.late.Load(), l.gone.Load())
}

// makeLayout writes a layout with an image of two platforms whose bytes follow from a text.
func makeLayout(dir, text string) error {
	put := func(mediaType string, v any) (blob, error) {
		data, err := json.Marshal(v)
		if raw, ok := v.([]byte); ok {
			data = raw
		}
		e := blob{MediaType: "application/vnd.oci.image." + mediaType, Size: len(data),
			Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(data))}
		path := filepath.Join(dir, "blobs", strings.Replace(e.Digest, ":", "/", 1))
		return e, errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644))
	}
	type object = map[string]any
	var list []object
	for _, arch := range []string{"amd64", "arm64"} {
		config, err := put("config.v1+json", object{"os": "linux", "architecture": arch, "x": text,
			"rootfs": object{"type": "layers", "diff_ids": []string{}}})
		layer, err2 := put("layer.v1.tar", []byte(strings.Repeat(arch+" "+text+"\n", 1000)))
		m, err3 := put("manifest.v1+json", object{"schemaVersion": 2, "config": config, "layers": []blob{layer},
			"mediaType": "application/vnd.oci.image.manifest.v1+json"})
		if err := errors.Join(err, err2, err3); err != nil {
			return err
		}
		list = append(list, object{"mediaType": m.MediaType, "digest": m.Digest, "size": m.Size,
			"platform": object{"os": "linux", "architecture": arch}})
	}
	root, err := put("index.v1+json", object{"schemaVersion": 2, "manifests": list,
		"mediaType": "application/vnd.oci.image.index.v1+json"})
	if err != nil {
		return err
	}
	index, err := json.Marshal(object{"schemaVersion": 2, "manifests": []blob{root}})
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644),
		os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}

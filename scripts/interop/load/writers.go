package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/publish/scripts/interop/fixture"
)

// verbs are what writers do, each as often as its weight says.
var verbs = []struct {
	name   string
	weight int
	run    func(*writer) error
}{
	{"stage add", 6, (*writer).add},
	{"stage remove", 2, (*writer).remove},
	{"promote", 6, (*writer).promote},
	{"revert", 4, (*writer).revert},
	{"prune", 1, (*writer).prune},
	{"gc", 3, (*writer).gc},
}

// writer runs commands on one repository, one after the other.
type writer struct {
	program string
	repo    string
	images  []string // directories to stage
	t       *tally
	// switched is called when a switch has ended, with the new generation; nil: it is not.
	switched func(generation int) error
}

// write runs verbs at random until ctx ends; the last one is let finish.
func (w *writer) write(ctx context.Context) error {
	total := 0
	for _, v := range verbs {
		total += v.weight
	}
	for ctx.Err() == nil {
		n := rand.N(total)
		for _, v := range verbs {
			if n -= v.weight; n < 0 {
				if err := v.run(w); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// count runs a command and counts it under a verb's name. An exit status that
// is none of those allowed is an error.
func (w *writer) count(verb string, allowed []int, args ...string) error {
	if rand.N(2) == 0 {
		args = append([]string{"--wait", "1m"}, args...)
	}
	out, status, err := w.publish(args...)
	if status != 0 && slices.Contains(allowed, status) {
		err = nil
	}
	var answer struct {
		Unchanged  bool // there was nothing to do
		Generation int
	}
	_ = json.Unmarshal(out, &answer)
	w.t.verb(verb, status, answer.Unchanged)
	if err == nil && answer.Generation > 0 && w.switched != nil {
		return w.switched(answer.Generation)
	}
	return err
}

// publish returns what a command answered in JSON. The error of another exit
// status than 0 carries its messages.
func (w *writer) publish(args ...string) (stdout []byte, status int, err error) {
	cmd := exec.Command(w.program, append([]string{"--repo", w.repo, "--json", "-q"}, args...)...)
	var answer, messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, &messages
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("publish %s: %w: %s", strings.Join(args, " "), err, messages.String())
	}
	return answer.Bytes(), cmd.ProcessState.ExitCode(), err
}

func (w *writer) add() error {
	return w.count("stage add", nil, "stage", "add", w.images[rand.N(len(w.images))])
}

// remove leaves a few: a tree that is empty is not promoted.
func (w *writer) remove() error {
	list, _, err := w.publish("stage", "list")
	if err != nil {
		return err
	}
	var staged []string
	for dec := json.NewDecoder(bytes.NewReader(list)); ; {
		var image struct{ Product, Version string }
		if err := dec.Decode(&image); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		staged = append(staged, image.Product+"/"+image.Version)
	}
	if len(staged) < 5 {
		return nil
	}
	return w.count("stage remove", []int{5}, "stage", "remove", staged[rand.N(len(staged))])
}

// promote does now and then what an operator's revert forbids.
func (w *writer) promote() error {
	args := []string{"promote"}
	if rand.N(2) == 0 {
		args = append(args, "--force")
	}
	return w.count("promote", []int{4, 6}, args...)
}

// revert goes back, or to any generation that is kept; which may be gone by
// then.
func (w *writer) revert() error {
	out, _, err := w.publish("status")
	if err != nil {
		return err
	}
	var status struct{ Generations []struct{ Generation int } }
	if err := json.Unmarshal(out, &status); err != nil {
		return err
	}
	args := []string{"revert"}
	if n := rand.N(len(status.Generations) + 1); n < len(status.Generations) {
		args = append(args, fmt.Sprint(status.Generations[n].Generation))
	}
	return w.count("revert", []int{4, 5}, args...)
}

func (w *writer) prune() error { return w.count("prune", []int{4}, "prune") }

func (w *writer) gc() error { return w.count("gc", []int{4}, "gc") }

// freed adds up what every gc deleted, also those of promotes and reverts.
func (w *writer) freed() (int, error) {
	out, _, err := w.publish("history", "--kind", "gc")
	if err != nil {
		return 0, err
	}
	total := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var line struct {
			Freed struct {
				Generations []int
				Files       int
			}
		}
		if err := dec.Decode(&line); err == io.EOF {
			return total, nil
		} else if err != nil {
			return 0, err
		}
		total += len(line.Freed.Generations) + line.Freed.Files
	}
}

// makeImages writes virtual machines, versions of each of some products, below
// dir. The disks are of different sizes, some larger than a socket holds.
func makeImages(dir string, products, versions int) ([]string, error) {
	var dirs []string
	for p := range products {
		for v := range versions {
			image := fixture.Image{OS: fmt.Sprintf("os%d", p), Release: "1", Variant: "default",
				Created: time.Date(2026, 1, 1+v, p, 0, 0, 0, time.UTC), Serial: fmt.Sprint(p, "-", v)}
			sub := filepath.Join(dir, fmt.Sprintf("%d-%d", p, v))
			disk := filepath.Join(sub, "disk.qcow2")
			if err := errors.Join(image.Metadata(filepath.Join(sub, "incus.tar.xz")), image.QCOW2(disk),
				pad(disk, rand.N(1<<19))); err != nil {
				return nil, err
			}
			dirs = append(dirs, sub)
		}
	}
	return dirs, nil
}

// pad appends n random bytes.
func pad(name string, n int) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

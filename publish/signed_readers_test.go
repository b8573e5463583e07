package publish

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// signedReader reads production as a client that has the keys.
type signedReader struct {
	keys       *signers
	production string
	now        time.Time // later than all signatures
	gpgv       bool      // ask it too
	newest     int       // the generation that it has seen
	twice      int       // how often it met two generations
}

// once reads the list until it is of one generation, and then all files that it lists, in one
// opened directory: that stays the tree that it was.
func (r *signedReader) once() error {
	for {
		root, err := os.OpenRoot(r.production)
		if err != nil {
			return err
		}
		l, err := r.keys.listing(root.ReadFile)
		if err == nil && l.Generation < r.newest {
			err = errors.New("it is older than one before")
		}
		if err == nil {
			r.newest = l.Generation
			_, err = r.keys.wantSigned(root.ReadFile, l.Generation, r.now)
		}
		if err = errors.Join(err, root.Close()); !errors.Is(err, errTwo) {
			return err
		}
		r.twice++
	}
}

// paths reads as a client over HTTP does, which resolves each path anew: a catalog may be of a
// later generation than the index, and each is signed.
func (r *signedReader) paths() error {
	for {
		l, err := r.keys.listing(in(r.production))
		if errors.Is(err, errTwo) {
			r.twice++
			continue
		}
		if err != nil {
			return err
		}
		for _, row := range l.Rows {
			if strings.HasSuffix(row.Path, ".json") {
				continue // it may be of a later generation
			}
			if data, err := in(r.production)(row.Path); err != nil || sumOf(string(data)) != row.SHA256 {
				return errors.Join(err, errors.New(row.Path+": is not what the list says"))
			}
		}
		paths, items, err := r.keys.documents(in(r.production), r.now)
		if err != nil {
			return err
		}
		for _, i := range items {
			if data, err := in(r.production)(i.Path); err != nil || sumOf(string(data)) != i.SHA256 {
				return errors.Join(err, errors.New(i.Path+": is not what a signed catalog says"))
			}
		}
		for _, p := range paths {
			if !r.gpgv {
				break
			}
			cmd := exec.Command("gpgv", "--homedir", filepath.Dir(r.keys.public), "--keyring", r.keys.public,
				filepath.Join(r.production, p))
			if out, err := cmd.CombinedOutput(); err != nil {
				return errors.New(p + ": " + string(out))
			}
		}
		return nil
	}
}

// Readers with keys read production while it is switched: none meets what does not fit
// together, or what is not signed.
func TestSignedReaders(t *testing.T) {
	_, missing := exec.LookPath("gpgv")
	if missing != nil && os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	keys := newSigners(t)
	both(t, func(t *testing.T, mode string) {
		w := newSigned(t, fastDir(t), mode, keys)
		w.now = keysMade.Add(time.Hour) // gpgv has a clock of its own
		w.shelve(map[string]string{"0": "zero"})
		w.promote()
		stop := make(chan struct{})
		var readers, ready sync.WaitGroup
		read := func(r *signedReader, look func() error) {
			r.keys, r.production, r.now = keys, w.production(), w.now.Add(24*time.Hour)
			ready.Add(1)
			readers.Go(func() {
				once := sync.OnceFunc(ready.Done)
				defer once()
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := look(); err != nil {
						t.Error(err)
						return
					}
					once()
				}
			})
		}
		looking := []*signedReader{{}, {}, {gpgv: missing == nil}}
		for i, r := range looking {
			if i == 0 {
				read(r, r.once)
			} else {
				read(r, r.paths)
			}
		}
		ready.Wait()
		for i := 1; i <= 9 && !t.Failed(); i++ {
			w.now = w.now.Add(time.Second)
			w.shelve(map[string]string{"0": "zero", string(rune('a' + i)): string(rune('a'+i)) + " content"})
			w.promote()
			if _, err := w.repo().Sign(ctx, SignOptions{}); err != nil {
				t.Error(err)
			}
			if i%3 == 0 {
				w.revert(0)
				w.revert(w.repo().newestKept(t))
			}
		}
		close(stop)
		readers.Wait()
		t.Logf("two generations were met %d times", looking[0].twice+looking[1].twice+looking[2].twice)
	})
	if missing != nil {
		t.Log("gpgv is missing, and was not asked")
	}
}

package publish

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"example.com/publish/publish/journal"
)

// Promise 1, seen by readers: at every instant production resolves to one
// complete tree. Each reader resolves the index's path and then, some switches
// later, the path of each file that it named. The switches begin when each has
// read once, however slow the machine is.
func TestReadersNeverMissAnything(t *testing.T) {
	both(t, func(t *testing.T, mode string) {
		w := newWorldIn(t, fastDir(t), mode)
		w.put(map[string]string{"a/0": "zero"})
		w.promote()
		stop := make(chan struct{})
		var readers, ready sync.WaitGroup
		for range 4 {
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
					if err := readOnce(w.production()); err != nil {
						t.Error(err)
						return
					}
					once()
				}
			})
		}
		ready.Wait()
		for i := 1; i <= 40 && !t.Failed(); i++ {
			w.put(map[string]string{"a/0": "zero", fmt.Sprintf("a/%d", i): fmt.Sprint("content ", i)})
			w.promote()
			if i%3 == 0 {
				w.revert(0)
				w.revert(w.repo().newestKept(t))
			}
		}
		close(stop)
		readers.Wait()
	})
}

func readOnce(production string) error {
	data, err := os.ReadFile(filepath.Join(production, "index.json"))
	if err != nil {
		return err
	}
	var list []listedItem
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("half an index: %w", err)
	}
	for _, i := range list {
		data, err := os.ReadFile(filepath.Join(production, i.Path))
		if err != nil {
			return err
		}
		if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != i.SHA256 {
			return fmt.Errorf("%s: other bytes than the index says", i.Path)
		}
	}
	return nil
}

// newestKept returns the newest promoted generation that is kept.
func (r *Repo) newestKept(t *testing.T) int {
	events, err := r.History(HistoryFilter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == journal.KindPromote {
			return e.Generation
		}
	}
	t.Fatal("nothing was promoted")
	return 0
}

package mirror

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// What production has is not fetched again. A file there that is damaged is: the others are
// too then, because nobody knows which one it is.
func TestRunBorrows(t *testing.T) {
	for _, damaged := range []bool{false, true} {
		p := newPlace(t, "")
		want := p.hub.image(app, "layer")
		p.ask(app)
		p.once()
		p.promote()
		must(t, os.RemoveAll(filepath.Join(p.Repo.Stage.Dir, "hub.example.com")))
		sent := maps.Clone(p.hub.sent)
		if damaged {
			file := filepath.Join(p.Repo.Production(), "hub.example.com/acme/app/blobs/sha256", digestOf("layer").Hex)
			must(t, os.Remove(file))
			must(t, os.WriteFile(file, []byte("LAYER"), 0o444))
		}
		id := p.ask(app)[0]
		p.once()
		if j := p.job(id); j.State != Published || p.staged(app) != want.String() {
			t.Errorf("damaged %t: %+v, staging has %q", damaged, j, p.staged(app))
		}
		if again := !maps.Equal(sent, p.hub.sent); again != damaged {
			t.Errorf("damaged %t: sent %v, and then %v", damaged, sent, p.hub.sent)
		}
	}
}

package check

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// InStore reads what Production does, of a production in an object store whose objects lie
// in dir as files: as clients of the store see it. That the index names a generation is all
// that it knows of what publish itself keeps there.
func InStore(dir string) (*View, error) {
	data, err := os.ReadFile(filepath.Join(dir, top))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index struct{ Publish struct{ Generation int } }
	if err := json.Unmarshal(data, &index); err != nil || index.Publish.Generation == 0 {
		return nil, err
	}
	view, err := read(dir, true)
	if err != nil {
		return nil, err
	}
	view.Generation = index.Publish.Generation
	return view, nil
}

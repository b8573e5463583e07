package tree

import (
	"errors"
	"io/fs"
	"path/filepath"

	"example.com/publish/stage/durable"
)

// Beyond calls f for each file that Trim would remove, and changes nothing. The tree is
// at dst. It passes over what it cannot look at.
func (c *Comparison) Beyond(dst string, of Common, f func(Stat)) error {
	root, err := durable.List(dst)
	if err != nil {
		return err
	}
	defer root.Close()
	t := &teller{trimmer{Common: of, Comparison: c}, f}
	return t.dir(root, c.root)
}

// teller tells what a trimmer would remove.
type teller struct {
	trimmer
	f func(Stat)
}

func (t *teller) dir(l *durable.Listing, d *folder) error {
	if d.many || !t.all(d) {
		err := l.Each(func(n durable.Name) error {
			folder, err := isFolder(l, n)
			if err == nil && !folder && !t.keeps(d, n.Text) {
				t.tell(l, string(n.Text))
			}
			return err
		})
		if err != nil {
			return err
		}
	} else {
		for _, name := range d.gone {
			t.tell(l, name)
		}
	}
	for _, b := range d.below {
		in, err := l.Below(filepath.Base(b.rel))
		if err != nil {
			continue
		}
		if b.drop {
			err = t.everything(in)
		} else {
			err = t.dir(in, b)
		}
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	return nil
}

// everything tells of all files below a directory.
func (t *teller) everything(l *durable.Listing) error {
	var folders []string
	err := l.Each(func(n durable.Name) error {
		folder, err := isFolder(l, n)
		if folder {
			folders = append(folders, string(n.Text))
		} else if err == nil {
			t.tell(l, string(n.Text))
		}
		return err
	})
	for _, name := range folders {
		in, belowErr := l.Below(name)
		if belowErr != nil {
			continue
		}
		err = errors.Join(err, t.everything(in), in.Close())
	}
	if errors.Is(err, fs.ErrNotExist) { // it went meanwhile
		return nil
	}
	return err
}

func (t *teller) tell(l *durable.Listing, name string) {
	if st, err := l.Stat(name); err == nil {
		t.f(statOf(&st))
	}
}

package stage

import (
	"context"
	"errors"
	"io/fs"

	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Staging stores a content once. When it comes again, under another path, it becomes a
// hard link to the file that is there, and its bytes are only read, to check them. Only
// sealed files are linked, which nobody writes to: by the cache of hashes, or because
// this delivery made them. What the system refuses to link is copied, as ever.

// hashes is the cache as it was when the delivery first needed it.
func (d *Delivery) hashes() *tree.Cache {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = tree.ReadCache(d.s.Hashes)
	}
	return d.known
}

// twin links a file with a content into the private directory, under a name that is
// free. It reports false if neither the delivery nor staging has one that can be linked.
func (d *Delivery) twin(sha256, name string) bool {
	d.mu.Lock()
	first := d.first[sha256]
	d.mu.Unlock()
	if first != "" && d.up.dir.Link(first, d.up.dir, name) == nil {
		return true
	}
	refused := map[uint64]bool{} // inodes, for example with too many links
	for p, ino := range d.hashes().Holders(sha256) {
		if refused[ino] {
			continue
		}
		if err := d.up.dir.LinkFrom(join(d.s.Dir, p), name); err != nil {
			refused[ino] = !errors.Is(err, fs.ErrNotExist)
			continue
		}
		// Anybody may have replaced the file, or a folder above it: check what was linked.
		if fi, err := d.up.dir.Lstat(name); err == nil && fi.Mode().IsRegular() {
			st := tree.StatOf(fi)
			sum, sealed, ok := d.hashes().Lookup(p, st)
			if ok && sealed && sum == sha256 && readable(st) {
				return true
			}
		}
		if d.up.dir.Remove(name) != nil {
			return false
		}
	}
	return false
}

// share replaces parts by links to files with the same content, of staging or of other
// parts. Files apart stay alone, and so do those that are not sealed.
func (d *Delivery) share(landings []landing) {
	inodes := map[string]uint64{} // of the file in first
	clear(d.first)                // it may have files that are not sealed any more
	for _, m := range landings {
		p := m.part
		if p.row.Role != catalog.Content || m.apart {
			continue
		}
		fi, err := d.up.dir.Lstat(p.file)
		if err != nil || !fi.Mode().IsRegular() || fi.Mode().Perm()&0o222 != 0 {
			continue
		}
		ino := tree.StatOf(fi).Ino
		if was, ok := inodes[p.row.SHA256]; ok && was == ino {
			continue
		}
		d.mu.Lock()
		name := d.next()
		d.mu.Unlock()
		if d.twin(p.row.SHA256, name) {
			p.file = name
			if fi, err = d.up.dir.Lstat(name); err == nil {
				ino = tree.StatOf(fi).Ino
			}
		}
		d.first[p.row.SHA256], inodes[p.row.SHA256] = p.file, ino
	}
}

// writable makes the file of a part writable for its owner, and a file of its own first if
// it has other names. If a power cut undoes the mode, only root can write to it.
func (d *Delivery) writable(p *part) error {
	fi, err := d.up.dir.Lstat(p.file)
	if err != nil {
		return err
	}
	if tree.StatOf(fi).Links > 1 {
		d.mu.Lock()
		name := d.next()
		d.mu.Unlock()
		if err := copyTo(context.Background(), d.up.dir, p.file, d.up.dir, name); err != nil {
			return err
		}
		p.file = name
	}
	return d.up.dir.Root().Chmod(p.file, 0o644)
}

package catalog

import (
	"context"
	"fmt"
	"io/fs"
)

// A Tagger is a Format whose versions are tags: names that may move from one
// content to another. Rules of their own prune them, and a prune of tags can be undone.
type Tagger interface {
	// Uses reads an inventory: a text in which people or machines list the images
	// that they use. hosts are our own names there. The error is a *UseError.
	Uses(text []byte, hosts []string) ([]Use, error)
	// CheckHost returns what is wrong with one of these names; "" for nothing.
	CheckHost(host string) string
	// Saved returns a record of what WithoutVersions would take out of the
	// documents, for Restore.
	Saved(ctx context.Context, src Source, drop func(Name) bool) ([]byte, error)
	// Restore returns the documents with which a tree names again what a record
	// has. It changes nothing that the tree names. The error is a *MovedError for a
	// name that stands for something else now, and a *GoneError for content that is
	// gone.
	Restore(ctx context.Context, src Source, record []byte) (*Restoration, error)
}

// Use is an image in an inventory.
type Use struct {
	Line  int    // counted from 1
	Names []Name // what the tree may call it; none where only content is named
	// Hex is the digest of what is used, in lower-case hex, or its first digits, at
	// least twelve; "" where only names are given. It may be that of a manifest or
	// a config.
	Hex string
}

// UseError is an inventory that cannot be read.
type UseError struct {
	Line int // counted from 1; 0 for the whole
	Fact string
}

func (e *UseError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Fact) }

// Restoration is what Restore does.
type Restoration struct {
	Documents []Document // to write; none where all is there
	Images    []Image    // that the record has
	There     []Name     // those of them that the tree names as it is
}

// MovedError is a name that stands for something else.
type MovedError struct {
	Name Name
	Now  string // what it stands for
}

func (e *MovedError) Error() string { return fmt.Sprintf("%s: stands for %s now", e.Name, e.Now) }

// GoneError is content that is not in the tree any more.
type GoneError struct {
	Path   string // where it was
	Digest Digest
}

func (e *GoneError) Error() string { return e.Path + ": is gone" }

// Is makes it an fs.ErrNotExist.
func (e *GoneError) Is(target error) bool { return target == fs.ErrNotExist }

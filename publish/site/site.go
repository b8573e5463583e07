// Package site finds out which generation is production, and makes a complete tree
// production.
//
// A switch has these steps. Each is a method, and the holder of the production
// lock calls them in this order:
//
//	Prepare   puts the sealed tree in the place, or gives it the name, that the
//	          switch needs. Readers do not see it.
//	Switch    the commit point: before it readers see the old generation,
//	          after it the new one.
//	Settle    makes the switch durable. Until then a power cut may undo it.
//	Tidy      gives the tree that was production its own number, and undoes
//	          the preparation of a tree that was never switched to.
//
// The generation that Live returns is the truth, whatever the records say. Each
// step can be killed. Tidy removes every trace of that, so recovery and the end of
// every switch use the same code. Only Expire writes to a live tree.
//
// A tree of another repository is refused and left alone, wherever it is found:
// in production's place, or when an exchange brings it back.
package site

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/generation"
	"example.com/publish/stage/catalog"
	"example.com/publish/stage/tree"
)

// Site is a place where a generation is production. All methods except Name,
// Guarantee, Dir, Live and Probe need the production lock.
type Site interface {
	// Name is the value of the key switch that chose this site.
	Name() string
	// Guarantee says what the site promises.
	Guarantee() Guarantee
	// Dir returns the directory of generation n while it is production. It does not
	// look at the disk.
	Dir(n int) string
	// Live returns the generation that is production; 0 if there is no production.
	// The error wraps ErrDangling if production is a dangling link, and ErrForeign if
	// it is not this repository's.
	Live(ctx context.Context) (int, error)
	// Probe tries out whether a switch can work here.
	Probe(ctx context.Context) error
	// Prepare prepares the tree next for its switch. live is the present production;
	// nil if there is none. next is flushed, except for its name. It is in the store:
	// under generation.NextPrefix, or, if it was production before, under its number.
	// Prepare is idempotent.
	Prepare(ctx context.Context, next, live *generation.Tree) error
	// Switch makes generation to production, instead of generation from. from is 0 if
	// production does not exist; then Switch fails if it does exist. The error wraps
	// ErrForeign if production is not this repository's. A switch that returned an
	// error may still have happened, for example on a network file system: call Live.
	Switch(ctx context.Context, from, to int) error
	// Settle makes a switch durable.
	Settle(ctx context.Context) error
	// Tidy finishes the work after a switch, and undoes the preparation of a tree that
	// was never switched to. It reports what it cannot remove or rename to Place.Left.
	// It is idempotent.
	Tidy(ctx context.Context) error
	// Replace is the first switch of a repository that adopts the tree at the path
	// live. If that path is production, generation n takes its place, and the adopted
	// tree is moved to the returned name in the same step.
	Replace(ctx context.Context, n int, live string) (aside string, err error)
	// Expire durably removes files from the live tree, and directories that become
	// empty. Before that it writes the documents in anew, which no longer name the
	// files. It returns what could not be removed. An error comes from Place.At.
	Expire(ctx context.Context, live *generation.Tree, gone []tree.Row, anew []catalog.Document) ([]Stay, error)
}

// Guarantee is what a site promises. Callers test its fields instead of the kind of
// site.
type Guarantee struct {
	// Whole: one step changes all paths at once. Otherwise paths change one by one,
	// and readers see a mixture until the last one has changed.
	Whole bool
	// Local: production is a directory of this machine.
	Local bool
	// NamedOnceLive: a tree gets its number in the store only after it was production.
	// So every tree with a number was production.
	NamedOnceLive bool
}

// Stay is something that could not be removed, or not durably.
type Stay struct {
	Row  string // the path in the tree; "" for a directory that could not be synced
	Path string // the path on the disk
	Err  error
}

// Place is what a site must know of a repository.
type Place struct {
	Production string // what the web server serves, absolute
	// Relative: the configuration names production relative to the repository,
	// so that both move together.
	Relative bool
	Store    string // the directory that holds the trees of generations
	Trees    Trees
	Left     func(path string, err error) // is called for what cannot be removed
	Remove   func(path string) error      // removes a file or a tree
	Now      func() time.Time
	At       func(step string) error // marks a protocol point, at which tests can stop
}

// Trees says which repository and generation a tree belongs to.
type Trees interface {
	// Whose returns which generation of this repository the tree at dir is; 0
	// if publish did not make it. The error wraps ErrForeign for the tree of
	// another repository.
	Whose(dir string) (int, error)
	// Says returns the generation number that the tree at dir contains, even if
	// another repository made it; 0 if there is none.
	Says(dir string) int
}

// Kinds are the kinds of site that a program has, each with its constructor.
type Kinds []func(Place) Site

// Names returns the values of the key switch.
func (k Kinds) Names() []string {
	var out []string
	for _, kind := range k {
		out = append(out, kind(Place{}).Name())
	}
	return out
}

// New makes the site that the key switch names.
func (k Kinds) New(name string, p Place) (Site, error) {
	for _, kind := range k {
		if s := kind(p); s.Name() == name {
			return s, nil
		}
	}
	return nil, k.Check(name)
}

// Check returns an error if no kind of site has this name.
func (k Kinds) Check(name string) error {
	if slices.Contains(k.Names(), name) {
		return nil
	}
	return fmt.Errorf("switch: %q is not one of %s", name, strings.Join(k.Names(), ", "))
}

// The reasons why production is not a generation.
var (
	ErrDangling = errors.New("production is missing or dangling")
	ErrForeign  = generation.ErrForeign
)

// foreign is the error for something at production's path that is not this
// repository's.
func (p Place) foreign(path, format string, args ...any) error {
	if p.Trees.Says(path) > 0 {
		return generation.Another(path, format, args...) // its hint must not be to move it: it is live
	}
	return &fault.Error{Path: path, Fact: fmt.Sprintf(format, args...), Err: ErrForeign,
		Hint: "take it over with publish init --adopt, in a new repository or, if that was interrupted here, again; " +
			"or move it away, then run publish recover"}
}

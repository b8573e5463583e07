// Package site knows what production is, and makes a complete tree production.
//
// A switch has these steps. Each is a method, and the holder of the production
// lock calls them in this order:
//
//	Prepare   the sealed tree gets the place, or the name, from which the
//	          switch takes it. Readers see nothing of it.
//	Switch    the commit point: before it readers see the old generation,
//	          after it the new one.
//	Settle    makes the switch durable. Until then a power cut may undo it.
//	Tidy      gives the tree that was production its own number, and takes
//	          back what was prepared and never switched.
//
// What Live returns is the truth, whatever records say. Each step can be killed:
// Tidy brings a site into a state that no crash explains, so recovery and the
// end of every switch are the same code. Only Expire writes to
// a tree that is live.
//
// A tree of another repository is refused and left alone wherever it turns up:
// in production's place, and when an exchange brings it back.
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
	// Dir returns the directory in which generation n stands while it is
	// production. It looks at nothing.
	Dir(n int) string
	// Live returns the generation that is production; 0 if there is no
	// production. The error wraps ErrDangling or ErrForeign if that is the
	// reason.
	Live(ctx context.Context) (int, error)
	// Probe tries out whether a switch can work here.
	Probe(ctx context.Context) error
	// Prepare prepares a tree for its switch, in the place of the live one; nil
	// if nothing is live. It is flushed except for its name, and waits in the
	// store under generation.NextPrefix, or was production before and has its
	// number there. It is idempotent.
	Prepare(ctx context.Context, next, live *generation.Tree) error
	// Switch makes generation to production, which is generation from; 0 if
	// nothing stands there. It fails if something does, and with ErrForeign if
	// that is not of this repository's making. A switch that failed may have been
	// applied, on a network for example: look at Live.
	Switch(ctx context.Context, from, to int) error
	// Settle makes a switch durable.
	Settle(ctx context.Context) error
	// Tidy finishes what comes after a switch, and takes back what was prepared
	// and never switched. What it cannot remove or rename it reports to
	// Place.Left. It is idempotent.
	Tidy(ctx context.Context) error
	// Replace is the first switch of a repository that adopts the live tree at
	// a path: generation n takes the place of that tree, if it stands where
	// production will be, in one step that also moves it to the name that is
	// returned.
	Replace(ctx context.Context, n int, live string) (aside string, err error)
	// Expire removes files from the live tree, and the directories that become
	// empty, durably; first it writes the documents anew that named them. It
	// returns what stays. An error is that of Place.At.
	Expire(ctx context.Context, live *generation.Tree, gone []tree.Row, anew []catalog.Document) ([]Stay, error)
}

// Guarantee is what a site promises, so that callers need not ask for its kind.
type Guarantee struct {
	// Whole: one step changes all paths at once. Otherwise each path changes on
	// its own, and readers meet a mixture until the last one has.
	Whole bool
	// Local: production is a directory of this machine.
	Local bool
	// NamedOnceLive: a tree gets its number in the store only when production
	// leaves it. So a tree with a number was production.
	NamedOnceLive bool
}

// Stay is something that could not be removed, or not durably.
type Stay struct {
	Row  string // the path in the tree; "" for a directory that could not be synced
	Path string // where it is
	Err  error
}

// Place is what a site has to know of a repository.
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
	At       func(step string) error // is called at a protocol point, at which tests stop
}

// Trees says whose tree a directory is.
type Trees interface {
	// Whose returns which generation of this repository the tree at dir is; 0
	// if publish did not make it. The error wraps ErrForeign for the tree of
	// another repository.
	Whose(dir string) (int, error)
	// Says returns which generation the tree at dir says that it is, also if
	// another repository made it; 0 if it says nothing.
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

// Check returns what is wrong with a value of the key switch.
func (k Kinds) Check(name string) error {
	if slices.Contains(k.Names(), name) {
		return nil
	}
	return fmt.Errorf("switch: %q is not one of %s", name, strings.Join(k.Names(), ", "))
}

// Why production is not a generation.
var (
	ErrDangling = errors.New("production is missing or dangling")
	ErrForeign  = generation.ErrForeign
)

// foreign is the error for what stands at path in production's place.
func (p Place) foreign(path, format string, args ...any) error {
	if p.Trees.Says(path) > 0 {
		return generation.Another(path, format, args...) // never to be moved away: it is live
	}
	return &fault.Error{Path: path, Fact: fmt.Sprintf(format, args...), Err: ErrForeign,
		Hint: "move it away, then run publish recover; or take it over with publish init --adopt in a new repository"}
}

// Package generation keeps the generations of an image tree: sealed manifests,
// the trees that they list, and the next tree while it is made. It knows neither
// the repository, nor its history, nor where production is; what it has to know
// of them comes in as values.
//
// # The life of a tree
//
//	draft     Store.Draft       a private directory: nobody else has its name
//	sealed    Draft.Seal        complete, flushed, listed by a sealed manifest;
//	                            its name begins with .next- and has its number
//	live      site.Site.Switch  one atomic step makes it production
//	retired   the next switch   it has its number for a name, and is a View for
//	                            whoever reverts to it
//	trash     Store.Aside       its name is taken away first, then its files go
//
// What a crash leaves of it is told apart by these names alone: see Litter.
//
// # What holds
//
//   - A tree is complete and flushed before it gets a name with a number. Seal is
//     the only code that gives one.
//   - A sealed manifest never changes. It is the intent of the switch: what the
//     history will say of it stands there.
//   - A number names one tree for ever. It is taken from the moment its manifest
//     is there, whatever becomes of its tree: see Store.Next.
//   - A tree says whose it is: it bears the repository's id and the seal of its
//     manifest. What another repository made is left alone wherever it turns up:
//     see Store.Whose.
//   - A file of a tree is never written to. Content is shared by hard link with
//     the trees beside it; a file whose time has to change and that has other
//     names is replaced by a copy of its own: see Times.
//
// # What a switch owes to clients
//
// A client that read production keeps asking for what it found there. So a
// switch carries what the new tree lacks, for as long as the window is open that
// began with it: see Carrier and Windows. And a path with other bytes gets a
// later time, else web servers answer that nothing has changed: see Times.
//
// # Locks
//
// The store takes none. Seal, Aside and what removes litter need the production
// lock of the caller; a draft is its maker's alone. Everything else only reads,
// and may meet a tree that is being switched or deleted: a View says so, or goes
// on with the tree that it has opened.
package generation

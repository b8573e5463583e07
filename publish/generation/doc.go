// Package generation keeps the generations of an image tree: sealed manifests,
// the trees that they list, and the next tree while it is made. It does not know
// the repository, its history, or where production is: callers pass what it
// needs as values.
//
// # The life of a tree
//
//	draft     Store.Draft       a private directory: nobody else has its name
//	sealed    Draft.Seal        complete, flushed, listed by a sealed manifest;
//	                            its name begins with .next- and has its number
//	live      site.Site.Switch  one atomic step makes it production
//	retired   the next switch   its name is its number; a View reads it, a revert links from it
//	trash     Store.Aside       it is renamed first, then its files are deleted
//
// After a crash, these names alone tell in which state a tree is: see Litter.
//
// # What holds
//
//   - A tree is complete and flushed before it gets a name with a number. Seal is
//     the only code that gives one.
//   - A sealed manifest never changes. It is the record of an intended switch:
//     recovery completes the history from it.
//   - A number names one tree for ever. It is in use as soon as its manifest
//     exists, even if its tree never becomes production: see Store.Next.
//   - A tree names its owner: it has the repository's id and the seal of its
//     manifest. A tree that another repository made is never changed or deleted:
//     see Store.Whose.
//   - A file of a tree is never written to. Content is shared by hard link with
//     other trees. If the time of a shared file has to change, the file is
//     replaced by a copy first: see Times.
//
// # What a switch must keep for clients
//
// A client that read production still asks for paths that it found there. So a
// switch carries the paths that the new tree lacks, until their windows end: see
// Carrier and Windows. And a path with other bytes gets a later time, because
// web servers would otherwise answer that nothing has changed: see Times.
//
// # Locks
//
// The store takes no lock. The caller must hold the production lock for Seal,
// Aside and removing litter. Only its maker touches a draft. Everything else only
// reads, and may meet a tree that is being switched or deleted. A View reports
// that, or continues with the tree that it has opened.
package generation

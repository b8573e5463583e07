// Package publish keeps a repository: the generations of an image tree, of
// which production is always exactly one.
//
// # How a tree becomes production
//
// A promote copies staging into a draft, a private directory, validates that copy,
// and flushes it to disk, all without the production lock. Then, under the lock:
//
//  1. recover: finish what a killed command left
//  2. carry: work out what production serves now and the new tree lacks, for as
//     long as some client may still ask for it
//  3. seal: link that, give files their times, flush, write the manifest, which
//     says all that history will say, and give the tree its name
//  4. switch: one rename or one exchange. This is the commit point.
//  5. sync the directory in which production's name stands
//  6. append to the history, run the health check, delete what is due
//
// No reader ever sees a half tree, for three reasons, each kept by one place:
//
//   - A tree is complete, and flushed, before it has a name that a switch uses.
//     Drafts are private; only generation.Draft.Seal gives that name, as its last
//     step.
//   - One atomic system call makes it production: site.Site.Switch. A path
//     resolves to the old tree or to the new one. (Each path on its own: two
//     requests of one client may see two generations.)
//   - Nothing is written into it afterwards. Only Site.Expire removes files from
//     production, and only carried ones whose window has ended, so that no
//     client that keeps its index for the grace window can still know them. In
//     rename mode the tree that an exchange brings back is renamed, by Tidy,
//     and otherwise left alone. A tree is deleted only after a switch away from
//     it, and its name goes first: generation.Store.Aside.
//
// Package generation has the life of a tree, step by step; package site has what
// each way to switch guarantees.
//
// # What survives a crash
//
// What production resolves to is the truth, the manifest of that generation is
// the intent, and history follows. A crash before the switch leaves a private
// directory, and perhaps a manifest that no production ever had: recovery
// removes the directory and keeps the number out of use. A crash after it
// leaves a generation that history lacks: recovery syncs and appends the line
// from the manifest. Every verb that takes the production lock recovers first,
// so the code that repairs is the code that runs every day.
//
// Outside of what a crash explains, the history proves itself: its switches form
// a chain, each from the generation before it to the next, so lost, repeated and
// displaced lines are noticed, and Recover makes them anew from the manifests of
// what was switched to. What a newer version wrote is refused and never mended:
// .publish/layout keeps older versions out, and upgrade raises it before the
// first record that they do not know.
//
// A revert is a promote whose source is a kept generation. It needs no lock but
// production's, so it never waits for a promote that is still hashing.
//
// # The spare
//
// A tree that is due is not deleted file by file. gc takes out of it all that
// production does not have as the same inode, and keeps the rest as the spare:
// see generation.SpareName. A promote, a revert or a revoke begins its tree with
// it, compares it with production once more, and makes what is missing. So each
// costs what has changed, and the same code makes a tree where there is no spare.
//
// The directory of a generation comes back, with its inode, in a later one. Its
// number goes before anything else does, and is written when nothing is missing
// any more. So who holds a directory open without a lock, and finds the number in
// it after the last read, has read that generation: see tree.Source.Proved.
//
// # Whose tree it is
//
// A number does not tell. Each tree bears the repository's id and the seal of
// its manifest (see generation.Claim), written before the tree has a name that a switch
// uses; so whose it is can be told wherever a crash, or somebody, leaves it.
// What another repository made is refused and left alone: in production's
// place, among the generations, and when an exchange brings it back.
//
// # Revoke
//
// What is revoked leaves production by a switch like any other, whose manifest
// names the contents; then come the tombstones, then the deletion, which reads
// nothing but tombstones and belongs to recovery: see Revoke and erase. It is the
// one exception to what is said above of kept trees: they are redacted. A sealed
// manifest stays as it is; what must be there is its rows without those that
// tombstones of a later number name.
//
// # Locks
//
// prepare (one promote at a time), staging (one writer or one snapshot),
// production (steps 1 to 6), always in this order. Readers take none. Where the
// holder of the production lock wants one of the others, to sweep or to roll
// forward what a dead process left, it only tries, and goes without. In rename
// mode the directory of the current generation is production's path: it means
// that generation only under the production lock.
package publish

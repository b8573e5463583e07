// Package publish keeps a repository: the generations of an image tree. Exactly
// one of them is production at any time.
//
// # How a tree becomes production
//
// A promote copies staging into a draft, which is a private directory. It
// validates the copy and flushes it to disk. All of this happens without the
// production lock. Then, under the lock:
//
//  1. recover: finish what a killed command left
//  2. carry: find the files that production serves now and the new tree lacks.
//     They stay for as long as a client may still ask for them.
//  3. seal: link the carried files, set modification times, flush, write the
//     manifest, and give the tree its name. The manifest contains everything
//     that history will record.
//  4. switch: one rename or one exchange. This is the commit point.
//  5. sync the directory that contains production's name
//  6. append to the history; when Linger has passed since the switch, run the health
//     check, delete what is due
//
// No reader ever sees half a tree. Three rules ensure that. Each is enforced in
// one place:
//
//   - A tree is complete, and flushed, before it has a name that a switch uses.
//     Drafts are private; only generation.Draft.Seal gives that name, as its last
//     step.
//   - One atomic system call makes it production: site.Site.Switch. A path
//     resolves to the old tree or to the new one. (Each path on its own: two
//     requests of one client may see two generations.)
//   - Nothing is written into it afterwards. Only Site.Expire removes files from
//     production: carried files whose grace window has ended. A client that
//     keeps its index for at most the grace window no longer knows them. Before
//     that it replaces documents that still name them, each in one step: see
//     generation.Hold. In
//     rename mode Tidy renames the tree that an exchange brings back, and
//     changes nothing in it. A tree is deleted only after a switch away from
//     it, and its name goes first: see generation.Store.Aside.
//
// Signatures are files of the tree like others, made in the draft: see signing. The id of a
// tree leaves them out, so that the same content has the same id.
//
// Package generation explains the life of a tree step by step. Package site
// explains what each kind of switch guarantees.
//
// # A production that many machines switch
//
// Production can be in an object store: see package bucket for how a tree becomes
// production there, and the type shared for what this package does otherwise. The
// records are in the store then; this machine has copies. There is no lock between
// machines: a promote works out its tree against the production that it read, and
// commits on the condition that it still is. If not, staging is united with what is
// production now, by stage.Rebase, and all begins again. What a promote of one machine
// refuses, such as content that an operator reverted, all refuse, because that stands in
// manifests, the history and the tombstones, which all of them read.
//
// # What survives a crash
//
// The generation that production resolves to is the truth. Its manifest is the
// intent, and history follows. A crash before the switch leaves a private
// directory, and perhaps the manifest of a generation that never was production.
// Recovery removes the directory and never uses the number again. A crash after
// the switch leaves a generation that history lacks. Recovery syncs, and appends
// the line from the manifest. Every verb that takes the production lock recovers
// first, so the repair code runs every day.
//
// The history also detects damage that no crash explains. Its switches form a
// chain: each leads from one generation to the next. So lost, repeated and
// displaced lines are noticed, and Recover rebuilds them from the manifests.
// Records of a newer version are refused and never repaired: .publish/layout
// keeps older versions out, and upgrade raises it before the first record that
// they do not know.
//
// A revert is a promote whose source is a kept generation. It takes only the
// production lock, so it never waits for a promote that is still hashing.
//
// # The spare
//
// A retired tree is not deleted file by file. gc removes every file that is not
// the same inode in production, and keeps the rest as the spare: see
// generation.SpareName. A promote, a revert or a revoke begins its tree with the
// spare, compares it with production once more, and makes what is missing. So
// the cost of each depends on what has changed. The same code makes a tree if
// there is no spare.
//
// So the directory of a generation, with its inode, is used again in a later
// generation. Its number is removed before anything else, and written again only
// when the tree is complete. A reader that holds the directory open without a
// lock, and still finds the number after its last read, has read that
// generation: see tree.Source.Proved.
//
// # Whose tree it is
//
// A generation number does not identify the repository. So each tree contains the
// repository's id and the seal of its manifest (see generation.Claim). They are
// written before the tree has a name that a switch uses, so the owner of a tree
// can be found wherever a crash or a person leaves it. A tree of another
// repository is refused and left alone: in production's place, among the
// generations, and when an exchange brings it back.
//
// # Revoke
//
// Revoked content leaves production by an ordinary switch, whose manifest lists
// the contents. Then the tombstones are written. Then the content is deleted. The
// deletion is part of recovery and reads only the tombstones: see Revoke and
// erase. Revoke is the one exception to the rule that kept trees do not change:
// it redacts them. A sealed manifest stays as it is. The tree must have the rows
// of its manifest, except for those that tombstones of a later number list.
//
// # Locks
//
// There are three locks, always taken in this order: prepare (one promote at a
// time), staging (one writer or one snapshot), production (steps 1 to 6). Readers
// take none. The holder of the production lock may want one of the others, to
// clean up or finish what a dead process left. It tries once without waiting, and
// continues without the lock if it is held. In rename mode the directory of the
// current generation is production's path: the path means that generation only
// while the production lock is held.
package publish

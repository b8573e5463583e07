// Package mirror brings images from other servers into staging: a queue of jobs, the
// content that they fetch, and the hosts that asked to be left alone for a while. It
// knows no format and speaks no protocol: a catalog.Upstream does.
//
// Locks are taken in this order, and the queue's last but for that of a file of its own
// kind: those of requests, of the outbox, of a schedule or of a promote; staging.lock, which
// lets one job stage at a time; the one of the lock file; the queue's.
//
// # The queue
//
// A [Queue] is a directory. A job is a file ID.json in one of four folders, which a
// person can read and repair:
//
//	pending  waits for a runner, or for a time
//	running  a runner works on it, and holds a lock on running/ID.lock
//	failed   no retry can mend it, or all were used
//	done     all other ends
//
// All changes are made under one lock, on the file lock, for a few milliseconds. Reading
// takes no lock. A runner owns its job by the lock on ID.lock as long as it runs; the
// kernel frees that lock when the process dies, so nothing depends on a PID, a boot or a
// clock.
//
// A change appends its line to the history first, which is a chain of files: see
// [Queue.Since]. Then it writes the new file of the job, durably, and then removes the
// file in the former folder. So a kill at any point leaves a line too much rather than a
// change without a line, and never loses a job. It may leave a job in two folders. Then
// the further folder counts, in the order pending, running, failed, done: every reader
// sees it so, and [Queue.Recover] removes the other file. So a change does not wait until it
// is durable that the file in a former folder is gone.
//
// A job in running whose lock is free goes back to pending. If the file of the lock is
// there, its runner died; after three such crashes the job fails. A runner that gives up
// because the disk is full removes that file, which it always can.
//
// # Content
//
// A [Content] keeps what jobs fetch, by digest, until it is staged. What is not whole yet
// lies in a file HEX.part, which is its own lock, so that two jobs, also of two
// processes, fetch a content once. A content gets its name HEX only when its digest is
// right and its bytes are durable.
//
// # Selections
//
// A job of a [catalog.Selector] has a file selected/ID.json beside the queue, with the
// versions that it selected last: see selected.go.
//
// # The lock file
//
// Package pins has it: what names stand for here. It is written after an image was staged,
// and before its job ends: see locked.go.
//
// # Requests and notices
//
// Others ask by files in a directory, and find answers beside them: see desk.go. Receivers
// are told of what happens to jobs; the history is where that comes from, and what is still
// to be told lies in an outbox: see outbox.go.
//
// # Schedules and promotes
//
// A runner adds the jobs of schedules, and then notes in a file until when each of them is
// done: a kill repeats, and loses nothing. It promotes, if it may, when no job is left that
// could run. Locks of their own keep several runners from doing either twice.
//
// # Hosts
//
// [Hosts] is a file with the servers that must not be asked before a time. All processes
// read it.
package mirror

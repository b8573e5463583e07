// Package fanout brings production to targets: repositories that follow this one, which
// leads. A target is a directory of this machine or of another one, or lies in an object
// store.
//
// # Who decides
//
// The truth is on the target. A sync asks it what it has, sends what it lacks, and the
// target makes the generation production itself, under its own locks, with its own
// windows: see publish.Reception. Nothing that is kept here is needed for that.
// .publish/targets/NAME only remembers what was heard last, for status.
//
// # How they talk
//
// Both ends run this package: the leader Send, the target Serve. Between them are two
// streams: pipes within the process, or the standard input and output of publish receive,
// which ssh starts. Lines are JSON, and bounded. In this order:
//
//	target   publish-receive 1                    else the other end is not publish receive
//	leader   hello: who leads, the target's name, what a new target is to be like, and
//	         the generation, its tree id, and a digest of all that was revoked
//	target   at: the same of the target           if equal, the leader ends here
//	leader   offer: the sealed manifest, and the stones of what was revoked
//	target   lacks: the sha256 of contents        } again, until nothing is lacking:
//	leader   these contents, as a tar archive     } a gc may have deleted something
//	target   done: production is that generation
//
// Instead of each of its lines the target may send failed, with the kind of the error and
// what it serves. It closes its input first, so that a leader that is writing stops.
//
// For a target in an object store there is no other end: see inStore. The leader uploads and
// commits there as a machine that promotes does, and the truth is in the store.
//
// # What is trusted
//
// Nothing of what the other end sends. The target checks the seal and the tree id of the
// manifest and each path in it; takes only contents that it asked for, once each, with
// their size and sha256; and makes links only with the text whose hash the manifest has.
// A leader can thus put nothing outside the target's own tree, but what it publishes there
// is what is served: who may sync may publish. The leader sends only contents of its own
// production, whatever a target asks for.
//
// # What survives a crash
//
// If either end is killed, or the line is cut, the target has the old generation or the new
// one, complete. Contents that came stay there, and are not sent again.
package fanout

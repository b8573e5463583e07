// Package serve answers HTTP requests from production: files, and, for a format whose
// images have tags, a registry to pull from. It takes no lock, and writes nothing below
// the repository, except what clients ask for, if serve.requests is set: a file in that
// directory, which publish mirror run takes.
//
// # One generation an answer
//
// A view is one generation, opened once: the directory of its tree, its sealed manifest,
// and its documents, whose bytes were compared with the manifest. A view never changes.
// The keeper has the view that is current. It builds the next one beside it, and swaps a
// pointer when that is complete. A request takes the pointer once, and ends on that view.
// A view is closed when it is not current any more and its last request has ended.
//
// # No old index after a switch
//
// The answer to a request for what can change under its name (a document, a tag, what is
// not there) depends on which generation is production. Before such an answer the keeper
// looks at the file of production that holds its number, which costs one system call. If
// it is not the file of the view, the request waits for the next view. If it is, that counts
// for half of publish.Linger: no verb that switches ends so soon after a switch, so no
// request that comes after its end is answered by a look from before the switch. Content is
// answered from the view at hand: production keeps it for the grace window. A file stays open
// for a moment after its request, for the next one: see idleFiles.
//
// Where production is in an object store, it is asked each second, beside the requests:
// for so long an old index may live. Content is asked for in the part that an answer
// needs, and passed on; before its first byte the object is compared with the manifest.
// See source and opened.
//
// # Where a request goes
//
//	server.go    checks the path, and chooses who answers
//	files.go     files of the tree: tags, ranges, codings
//	registry.go  the distribution API, over what the format tells
//	requests.go  asking for images, with a token
//	admin.go     health and metrics
//	pages.go     pages for people, from the templates in the folder pages
//	listen.go    addresses, TLS, the sockets of systemd, the end
package serve

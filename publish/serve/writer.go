package serve

import (
	"bytes"
	"io"
	"net/http"
	"strconv"
	"time"
)

// piece is how much of a body is written under one deadline.
const piece = 1 << 20

// writer is the ResponseWriter of one request. It counts, for the log and the metrics, and
// gives each piece of the body a deadline of its own: a client may take all day for a
// large file, but not stop in the middle of it. A file still goes from the kernel to the
// socket: see ReadFrom.
type writer struct {
	http.ResponseWriter
	control http.ResponseController
	stall   time.Duration   // 0: none
	unfit   func()          // answers instead of net/http if a Range fits nothing; nil: net/http does
	muted   bool            // it has, and what net/http writes is dropped
	head    bool            // the answer has no body, also if one is written
	plain   bool            // the connection is not encrypted
	live    func() []string // the generation of an answer that names none; may be nil

	kind   kind // what the answer is about
	status int
	bytes  int64     // of the body; of an answer to HEAD 0
	due    int64     // at how many bytes the next piece begins
	first  time.Time // of the first byte
}

func newWriter(w http.ResponseWriter, stall time.Duration) *writer {
	return &writer{ResponseWriter: w, control: *http.NewResponseController(w), stall: stall}
}

// Unwrap is for [http.ResponseController].
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader begins the answer.
func (w *writer) WriteHeader(status int) {
	if unfit := w.unfit; unfit != nil && status == http.StatusRequestedRangeNotSatisfiable {
		w.unfit = nil
		unfit()
		w.muted = true
		return
	}
	if w.status == 0 {
		w.status, w.first = status, time.Now()
		w.extend(w.first)
		if h := w.Header(); w.live != nil && h["Publish-Generation"] == nil {
			h["Publish-Generation"] = w.live()
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// extend gives the next piece of the body a new deadline.
func (w *writer) extend(now time.Time) {
	w.due = w.bytes + piece
	if w.stall > 0 {
		_ = w.control.SetWriteDeadline(now.Add(w.stall)) // a test's writer may have none
	}
}

// sent counts what was written.
func (w *writer) sent(n int64) {
	if !w.head { // net/http takes what a handler writes, for its length, and sends nothing
		w.bytes += n
	}
}

// Write writes a part of the body. A piece may be many calls: over HTTP/2, where there is no
// ReadFrom, a file comes in 32 KiB.
func (w *writer) Write(b []byte) (n int, err error) {
	if w.muted {
		return len(b), nil
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	for {
		if w.bytes >= w.due {
			w.extend(time.Now())
		}
		part := b[n:min(len(b), n+int(w.due-w.bytes))]
		k, err := w.ResponseWriter.Write(part)
		n += k
		w.sent(int64(k))
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// ReadFrom writes what r holds. If r is a file, or a part of one, net/http has the kernel
// send it; any wrapper without this method would copy all of it through the program.
func (w *writer) ReadFrom(r io.Reader) (n int64, err error) {
	from, inner := w.ResponseWriter.(io.ReaderFrom)
	if !inner {
		return io.Copy(writeOnly{w}, r)
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	left := int64(1<<63 - 1)
	if limited, ok := r.(*io.LimitedReader); ok { // net/http looks for a file below one of these, not two
		r, left = limited.R, limited.N
		defer func() { limited.N -= n }()
	}
	if w.bytes == 0 && left > maxWhole && w.plain {
		_ = w.control.Flush() // else net/http reads the first bytes, to write them with the headers
	}
	for left > 0 {
		if w.bytes >= w.due {
			w.extend(time.Now())
		}
		part := min(left, w.due-w.bytes)
		k, err := from.ReadFrom(&io.LimitedReader{R: r, N: part})
		n, left = n+k, left-k
		w.sent(k)
		if err != nil || k < part {
			return n, err
		}
	}
	return n, nil
}

type writeOnly struct{ io.Writer }

// short reports whether an answer that has ended has fewer bytes than it announced: a file
// ended early or could not be read. Over HTTP/1.1 net/http sees that itself; over HTTP/2 it
// would end the stream as if that were all.
func (w *writer) short(r *http.Request) bool {
	length := w.Header()["Content-Length"]
	if len(length) == 0 {
		return false
	}
	announced, err := strconv.ParseInt(length[0], 10, 64)
	return err == nil && r.Method != http.MethodHead && w.bytes < announced
}

// send answers with a file: whole, in part, or not if the client has it. Its headers are
// set. If the file ends early or cannot be read, the connection is cut: see short.
func send(w http.ResponseWriter, r *http.Request, modified time.Time, body io.ReadSeeker) {
	http.ServeContent(w, r, "", modified, body)
}

// sendBytes is send for bytes in memory, without a date.
func sendBytes(w http.ResponseWriter, r *http.Request, data []byte) {
	send(w, r, time.Time{}, bytes.NewReader(data))
}

// sendPacked is send for a compressed form. Its tag and coding are set too: what the client
// has is compared with those.
func sendPacked(w http.ResponseWriter, r *http.Request, modified time.Time, p *packed) {
	send(packedWriter{w, p.length}, r, modified, bytes.NewReader(p.data))
}

// packedWriter announces the length of a compressed form, which net/http does not, and of
// an answer without a body no coding.
type packedWriter struct {
	http.ResponseWriter
	length []string
}

func (w packedWriter) WriteHeader(status int) {
	if h := w.Header(); status == http.StatusOK {
		h["Content-Length"] = w.length
	} else {
		delete(h, "Content-Encoding")
	}
	w.ResponseWriter.WriteHeader(status)
}

// about says what an answer is about, for the metrics.
func about(w http.ResponseWriter, k kind) {
	if w, ok := w.(*writer); ok {
		w.kind = k
	}
}

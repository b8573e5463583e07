package serve

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var errAgain = errors.New("try again")

// While clients ask, over HTTP/2 and on new connections, the certificate changes and
// production is switched: each gets a whole answer, and none an old one.
func TestChangesUnderLoad(t *testing.T) {
	const workers, rounds = 4, 6
	w := streams(t, "symlink", `serve: {listen: ["https://127.0.0.1:0"], admin: off, tls: {cert: c.pem, key: k.pem}}`)
	w.image("20260100", "00")
	w.promote()
	cert, key := filepath.Join(w.dir, "c.pem"), filepath.Join(w.dir, "k.pem")
	w.writePair(cert, key)
	r := w.run(Options{})
	lasting := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer lasting.CloseIdleConnections()

	var live, asked, lost atomic.Int64 // the newest version that is promoted; requests
	ask := func(c *http.Client) error {
		before := live.Load()
		res, err := c.Get(r.urls[0] + "/streams/v1/images.json")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		if res.StatusCode == 503 && res.Header.Get("Retry-After") != "" {
			return errAgain // on a machine so busy that the view took longer than a request waits
		}
		i := strings.Index(string(body), `"202601`)
		var got int64
		if res.StatusCode != 200 || res.ProtoMajor != 2 || i < 0 {
			return fmt.Errorf("%s %s: %s", res.Status, res.Proto, body)
		}
		if _, err := fmt.Sscanf(string(body[i:]), `"202601%02d"`, &got); err != nil || got < before {
			return fmt.Errorf("version %d, %d was promoted before (%w)", got, before, err)
		}
		path := fmt.Sprintf("/images/a-202601%02d.tar.xz", got)
		res, err = c.Get(r.urls[0] + path)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if body, err = io.ReadAll(res.Body); err != nil || string(body) != fmt.Sprintf("%02d", got) {
			return fmt.Errorf("%s: %s %s %w", path, res.Status, body, err)
		}
		return nil
	}
	end := make(chan struct{})
	var group sync.WaitGroup
	for i := range workers {
		client := lasting
		if i%2 == 1 {
			client = insecure()
		}
		group.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				err := ask(client)
				if errors.Is(err, errAgain) {
					continue
				}
				if err != nil {
					lost.Add(1)
					t.Error(err)
					return
				}
				asked.Add(1)
			}
		})
	}
	for n := int64(1); n <= rounds && lost.Load() == 0; n++ {
		leaf := w.writePair(cert, key)
		r.reload <- struct{}{}
		r.reload <- struct{}{} // the one before has been dealt with
		if res, _ := r.ask(insecure(), r.urls[0]+"/-/healthz"); !res.TLS.PeerCertificates[0].Equal(leaf) {
			t.Error("it shows another certificate")
		}
		w.image(fmt.Sprintf("202601%02d", n), fmt.Sprintf("%02d", n))
		w.promote()
		live.Store(n)
		for more := asked.Load() + 2*workers; asked.Load() < more && lost.Load() == 0; {
			time.Sleep(time.Millisecond)
		}
	}
	close(end)
	group.Wait()
}

// failing is a file whose content cannot be read from a place on.
type failing struct {
	*strings.Reader
	from int64
}

var errDisk = errors.New("input/output error")

func (f *failing) Read(b []byte) (int, error) {
	at := f.Size() - int64(f.Len())
	if at >= f.from {
		return 0, errDisk
	}
	return f.Reader.Read(b[:min(int64(len(b)), f.from-at)])
}

// If a file cannot be read to its end, the connection is cut: a client never takes what it
// got for the whole, nor for the part that it asked for.
func TestReadError(t *testing.T) {
	const size = 1 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		send(newWriter(w, time.Minute), r, time.Time{},
			&failing{strings.NewReader(strings.Repeat("x", size)), size / 2})
	}))
	defer server.Close()
	for _, part := range []string{"", "bytes=5-", fmt.Sprintf("bytes=%d-%d", size/2-10, size/2+10),
		fmt.Sprintf("bytes=0-1,%d-%d", size/2-10, size/2+10)} {
		r, err := http.NewRequest(http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if part != "" {
			r.Header.Set("Range", part)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			continue // cut before its headers
		}
		body, err := io.ReadAll(res.Body)
		if res.Body.Close(); err == nil {
			t.Errorf("range %q: %s and %d bytes, as if that were all", part, res.Status, len(body))
		}
	}
}

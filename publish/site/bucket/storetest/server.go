// Package storetest has object stores for tests, and a proxy that spoils requests to
// them.
package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// Server is a store that runs until the test ends, with one empty bucket.
type Server struct {
	Kind      string // fake or versitygw
	Endpoint  string
	Region    string
	Bucket    string
	AccessKey string
	Secret    string
	// Dir has the bucket as a directory, with a file for each object; "" for fake.
	Dir string

	objects *s3mem.Backend // of a fake
}

// Setenv gives the credentials to the SDK, which looks for no others. The test cannot
// be parallel.
func (s *Server) Setenv(t *testing.T) {
	t.Helper()
	for name, value := range s.Env() {
		t.Setenv(name, value)
	}
}

// Env are the variables that Setenv sets.
func (s *Server) Env() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": s.AccessKey, "AWS_SECRET_ACCESS_KEY": s.Secret,
		"AWS_REGION": s.Region, "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "",
		"AWS_ENDPOINT_URL_S3": "", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull}
}

// Fake is gofakes3 in this process. It checks no signatures; the checksums of bodies are
// checked before it.
func Fake(t testing.TB) *Server {
	t.Helper()
	return fake(t, checked)
}

// Loose is Fake without the check of checksums.
func Loose(t testing.TB) *Server {
	t.Helper()
	return fake(t, func(h http.Handler) http.Handler { return h })
}

// checked refuses a body whose checksum is wrong.
func checked(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if want := r.Header.Get("X-Amz-Checksum-Sha256"); want != "" {
			data, err := io.ReadAll(r.Body)
			if err != nil {
				cut(w)
				return
			}
			if sum := sha256.Sum256(data); base64.StdEncoding.EncodeToString(sum[:]) != want {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = io.WriteString(w, "<Error><Code>BadDigest</Code><Message>the checksum is wrong</Message></Error>")
				return
			}
			r.Body = io.NopCloser(bytes.NewReader(data))
		}
		h.ServeHTTP(w, r)
	})
}

func fake(t testing.TB, wrap func(http.Handler) http.Handler) *Server {
	t.Helper()
	s, stop, err := start(wrap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return s
}

// StartFake is Fake outside a test.
func StartFake() (s *Server, stop func(), err error) { return start(checked) }

func start(wrap func(http.Handler) http.Handler) (s *Server, stop func(), err error) {
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		return nil, nil, err
	}
	server := httptest.NewServer(wrap(gofakes3.New(backend).Server()))
	return &Server{Kind: "fake", Endpoint: server.URL, Region: "us-east-1", Bucket: "images", AccessKey: "key",
		Secret: "secret", objects: backend}, server.Close, nil
}

// Copy is StartFake with the objects that this one, a fake, has now.
func (s *Server) Copy() (*Server, func(), error) {
	out, stop, err := start(checked)
	if err != nil {
		return nil, nil, err
	}
	err = s.Each(func(key string, meta map[string]string, data []byte) error {
		_, err := out.objects.PutObject(out.Bucket, key, maps.Clone(meta), bytes.NewReader(data), int64(len(data)), nil)
		return err
	})
	if err != nil {
		stop()
		return nil, nil, err
	}
	return out, stop, nil
}

// Each calls f with each object of a fake, with what it says of itself.
func (s *Server) Each(f func(key string, meta map[string]string, data []byte) error) error {
	list, err := s.objects.ListBucket(s.Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		return err
	}
	for _, c := range list.Contents {
		o, err := s.objects.GetObject(s.Bucket, c.Key, nil)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(o.Contents)
		if err := errors.Join(err, o.Contents.Close()); err != nil {
			return err
		}
		if err := f(c.Key, o.Metadata, data); err != nil {
			return err
		}
	}
	return nil
}

// Versity is a versitygw in a process of its own, which `make store` builds. The test is
// skipped where it is not built. More arguments are for its backend posix.
func Versity(t testing.TB, more ...string) *Server {
	t.Helper()
	program := find(t)
	dir, err := os.MkdirTemp("", "versitygw") // t.TempDir has a name too long for some xattrs
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{Kind: "versitygw", Region: "us-east-1", Bucket: "images", AccessKey: "publish", Secret: "not-a-secret",
		Dir: filepath.Join(dir, "root", "images")}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "sidecar"), 0o755); err != nil {
		t.Fatal(err)
	}
	// Between the choice of a port and its use another process may take it.
	for range 5 {
		address, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"-c", `"$@" & trap 'kill $!' EXIT; read end`, "sh", program, "--port", address,
			"--access", s.AccessKey, "--secret", s.Secret, "--region", s.Region, "--keep-alive", "--quiet", "posix",
			"--sidecar", filepath.Join(dir, "sidecar")}
		if up(t, address, append(append(args, more...), filepath.Dir(s.Dir))) {
			s.Endpoint = "http://" + address
			return s
		}
	}
	t.Fatal("versitygw does not start")
	return nil
}

// up starts versitygw below a shell that ends it when this process is gone, however that ends.
func up(t testing.TB, address string, args []string) bool {
	t.Helper()
	cmd := exec.Command("sh", args...)
	var log bytes.Buffer // read after its end
	cmd.Stdout, cmd.Stderr = &log, &log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop := func() { _ = stdin.Close(); <-ended }
	for {
		select {
		case <-ended:
			return false
		case <-time.After(20 * time.Millisecond):
		}
		resp, err := http.Get("http://" + address + "/")
		if err == nil {
			_ = resp.Body.Close()
			t.Cleanup(func() {
				stop()
				if data := log.Bytes(); t.Failed() {
					t.Logf("versitygw:\n%s", data[max(0, len(data)-4000):])
				}
			})
			return true
		}
		if time.Now().After(deadline(t)) {
			stop()
			return false
		}
	}
}

// deadline is when a test has no time left.
func deadline(t testing.TB) time.Time {
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if at, ok := d.Deadline(); ok {
			return at.Add(-10 * time.Second)
		}
	}
	return time.Now().Add(time.Hour)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// find returns the program: in bin at the top of the project, or in PATH.
func find(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	built := filepath.Join(filepath.Dir(here), "../../../../bin/versitygw")
	if _, err := os.Stat(built); err == nil {
		return built
	}
	found, err := exec.LookPath("versitygw")
	if errors.Is(err, exec.ErrNotFound) {
		t.Skip("versitygw is not built: make store")
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Each runs a test with each kind of store.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	for name, start := range map[string]func(testing.TB) *Server{"fake": Fake,
		"versitygw": func(t testing.TB) *Server { return Versity(t) }} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			s.Setenv(t)
			test(t, s)
		})
	}
}

package serve

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// metrics asks the admin listener for the metrics.
func (w *world) metrics() string {
	w.Helper()
	out := httptest.NewRecorder()
	w.server.Admin().ServeHTTP(out, httptest.NewRequest("GET", "/metrics", nil))
	if out.Code != 200 {
		w.Fatalf("%d %s", out.Code, out.Body)
	}
	return out.Body.String()
}

// value is that of a sample, with its labels; "" if it is not there.
func value(metrics, sample string) string {
	for line := range strings.Lines(metrics) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), sample+" "); ok {
			return v
		}
	}
	return ""
}

func TestMetrics(t *testing.T) {
	w := streams(t, "symlink")
	path := w.image("20260101", "one")
	w.promote()
	w.no(os.Remove(w.dir + "/staging/" + path))
	w.image("20260102", "two")
	w.promote()
	w.keep()
	w.want(w.get("/"+path), 200, "one") // it is carried
	w.get("/streams/v1/index.json")
	w.want(w.get("/images/a-20260102.tar.xz", "Range", "bytes=1-"), 206, "wo")
	w.get("/none")
	w.get("/%2e%2e/")
	w.do("POST", "/")
	w.http.CloseClientConnections()
	text := w.metrics()
	for sample, want := range map[string]string{
		`publish_serve_requests_total{code="200",kind="content"}`: "1",
		`publish_serve_requests_total{code="206",kind="content"}`: "1",
		`publish_serve_requests_total{code="200",kind="index"}`:   "1",
		`publish_serve_requests_total{code="404",kind="other"}`:   "1",
		`publish_serve_response_bytes_total{kind="content"}`:      "5",
		`publish_serve_first_byte_seconds_count{kind="index"}`:    "1",
		`publish_serve_carried_hits_total`:                        "1",
		`publish_serve_rejected_total{reason="path"}`:             "1",
		`publish_serve_rejected_total{reason="method"}`:           "1",
		`publish_serve_generation`:                                "2",
		`publish_serve_view_stale`:                                "0",
		`publish_serve_reloads_total{result="ok"}`:                "1",
		`publish_generation{repository="` + w.dir + `"}`:          "2",
	} {
		if got := value(text, sample); got != want {
			t.Errorf("%s is %q, want %s", sample, got, want)
		}
	}
	if promtool, err := exec.LookPath("promtool"); err == nil {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
}

// What cannot be measured is left out, and one metric says so. The others are there: they
// tell what is wrong.
func TestMetricsInTrouble(t *testing.T) {
	const production, due, bytes = "publish_production_files{", "publish_gc_due_files{", "publish_staging_bytes{"
	for _, c := range []struct {
		harm        string
		there, gone []string
	}{
		{noStaging, []string{production, due, `product="a:1:default:amd64",repository="`, `stage="production"`},
			[]string{bytes, "publish_staging_differs{", "publish_staging_findings{", `stage="staging"`}},
		{danglingLink, nil, []string{bytes, production, due}},
		{brokenSeal, nil, []string{bytes, production, due}},
	} {
		w := harmed(t, c.harm)
		text := ""
		for range 3 { // it is logged once
			w.server.count.measured.at = time.Time{}
			text = w.metrics()
		}
		stale := map[bool]string{true: "0", false: "1"}[c.harm == noStaging]
		if value(text, "publish_serve_measure_failed") != "1" || value(text, "publish_serve_generation") != "1" ||
			value(text, "publish_serve_view_stale") != stale {
			t.Errorf("%s: %s", c.harm, text)
		}
		for list, there := range map[*[]string]bool{&c.there: true, &c.gone: false} {
			for _, s := range *list {
				if strings.Contains(text, s) != there {
					t.Errorf("%s: %s is there: %t", c.harm, s, !there)
				}
			}
		}
		if n := strings.Count(w.logged.String(), "not all of the repository can be measured"); n != 1 {
			t.Errorf("%s: it is logged %d times", c.harm, n)
		}
		w.heal()
		w.server.count.measured.at = time.Time{}
		if text := w.metrics(); value(text, "publish_serve_measure_failed") != "0" || !strings.Contains(text, bytes) {
			t.Errorf("after %s: %s", c.harm, text)
		}
	}
}

// What is not sent is not counted: an answer to HEAD has no body.
func TestHeadHasNoBytes(t *testing.T) {
	w := streams(t, "symlink")
	path := w.image("20260101", "one")
	w.promote()
	w.keep()
	for _, p := range []string{"/" + path, "/none", "/a//b", "/-/healthz", "/-/readyz"} {
		w.do("HEAD", p)
	}
	w.do("HEAD", "/"+path, "Range", "bytes=5-")
	w.http.CloseClientConnections()
	text := w.metrics()
	for _, kind := range kindNames {
		if got := value(text, `publish_serve_response_bytes_total{kind="`+kind+`"}`); got != "0" {
			t.Errorf("%s: %s bytes", kind, got)
		}
	}
}

// The sample alerts ask for nothing that is not there. The end of a certificate is there
// only with one.
func TestAlerts(t *testing.T) {
	rules, err := os.ReadFile("../../scripts/prometheus/publish.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	w := streams(t, "symlink")
	c := &certificates{}
	pair, err := w.server.makeCertificate()
	w.no(err)
	c.current.Store(pair)
	w.server.certs.Store(c)
	text := w.metrics()
	names := regexp.MustCompile(`publish_serve_[a-z_]+`).FindAllString(string(rules), -1)
	if len(names) < 2 {
		t.Fatalf("the rules name %v", names)
	}
	for _, name := range names {
		if !strings.Contains(text, "# TYPE "+name+" ") {
			t.Errorf("%s is in the rules and is not written", name)
		}
	}
}

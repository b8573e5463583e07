package companion

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"example.com/publish/stage/catalog"
)

const (
	doc  = "s/v1/index.json"
	text = "{\"a\": 1}\n- dash\n\n  end  \n"
)

// bz is text, packed by bzip2, which nothing here can pack with.
const bz = "BZh91AY&SY" // only its beginning

func docs(paths ...string) Documents {
	return Documents{Paths: paths, Clearsigned: func(d string) string {
		return strings.TrimSuffix(d, ".json") + ".sjson"
	}}
}

func tree(files ...string) fstest.MapFS {
	t := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		t[files[i]] = &fstest.MapFile{Data: []byte(files[i+1]), Mode: 0o644}
	}
	return t
}

func pack(t *testing.T, ending, body string) string {
	t.Helper()
	switch ending {
	case ".xz":
		var b bytes.Buffer
		w, err := xz.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	data, err := Pack("x"+ending, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func clearsigned(body string) string {
	escaped := strings.ReplaceAll("\n"+body, "\n-", "\n- -")
	return signedBegin + "\nHash: SHA512\n" + escaped + "\n" + signatureBegin + "\nx\n-----END PGP SIGNATURE-----\n"
}

func sha(body string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(body))) }
func md(body string) string  { return fmt.Sprintf("%x", md5.Sum([]byte(body))) }

func TestCheck(t *testing.T) {
	old := strings.Replace(text, "1", "2", 1)
	bomb := pack(t, ".zst", strings.Repeat("\x00", 64<<20))
	for name, tc := range map[string]struct {
		files []string
		want  string // the stale ones
	}{
		"fresh": {[]string{doc + ".gz", pack(t, ".gz", text), doc + ".zst", pack(t, ".zst", text), doc + ".xz",
			pack(t, ".xz", text)}, ""},
		"gz":          {[]string{doc + ".gz", pack(t, ".gz", old)}, doc + ".gz"},
		"zst":         {[]string{doc + ".zst", pack(t, ".zst", old)}, doc + ".zst"},
		"xz":          {[]string{doc + ".xz", pack(t, ".xz", old)}, doc + ".xz"},
		"bz2":         {[]string{doc + ".bz2", bz}, doc + ".bz2"},
		"longer":      {[]string{doc + ".gz", pack(t, ".gz", text+"x")}, doc + ".gz"},
		"shorter":     {[]string{doc + ".gz", pack(t, ".gz", text[1:])}, doc + ".gz"},
		"two members": {[]string{doc + ".gz", pack(t, ".gz", text[:5]) + pack(t, ".gz", text[5:])}, ""},
		"cut":         {[]string{doc + ".gz", pack(t, ".gz", text)[:12]}, doc + ".gz"},
		"none":        {[]string{doc + ".gz", ""}, doc + ".gz"},
		"a bomb":      {[]string{doc + ".zst", bomb}, doc + ".zst"},
		"brotli":      {[]string{doc + ".br", "?"}, ""},
		"twin":        {[]string{"s/v1/index.sjson", clearsigned(text)}, ""},
		"twin, crlf":  {[]string{"s/v1/index.sjson", strings.ReplaceAll(clearsigned(text), "\n", "\r\n")}, ""},
		"twin, bare":  {[]string{"s/v1/index.sjson", clearsigned(strings.TrimRight(text, " \n"))}, ""},
		"old twin":    {[]string{"s/v1/index.sjson", clearsigned(old)}, "s/v1/index.sjson"},
		"no twin":     {[]string{"s/v1/index.sjson", text}, "s/v1/index.sjson"},
		"unsigned":    {[]string{"s/v1/index.sjson", signedBegin + "\n\n" + text}, "s/v1/index.sjson"},
		"endless header": {[]string{"s/v1/index.sjson", signedBegin + "\n" + strings.Repeat("a: b\n", 1000)},
			"s/v1/index.sjson"},
		"blanks": {[]string{"s/v1/index.sjson", clearsigned(text + strings.Repeat(" ", 1<<20))},
			"s/v1/index.sjson"},
		"own sum": {[]string{"SHA256SUMS", sha("") + "  SHA256SUMS\n" + sha(text) + "  s/v1/index.json\n"}, ""},
		"sum of sums": {[]string{"MD5SUMS", md(sha(text)) + "  s/v1/index.json.sha256\n", doc + ".sha256",
			sha(text)}, ""},
		"sums": {[]string{"s/v1/SHA256SUMS", sha(text) + "  index.json\n", "MD5SUMS",
			md(text) + " *./s/v1/index.json\n"}, ""},
		"old sums":       {[]string{"s/v1/SHA256SUMS", sha(old) + "  index.json\n"}, "s/v1/SHA256SUMS"},
		"old sums above": {[]string{"MD5SUMS", "0  x\n" + md(old) + " *s/v1/index.json\n"}, "MD5SUMS"},
		"bsd": {[]string{"s/sha256sums.txt", "SHA256 (v1/index.json) = " + sha(old) + "\n"},
			"s/sha256sums.txt"},
		"of one":      {[]string{doc + ".sha256", sha(text) + "\n"}, ""},
		"of one, old": {[]string{doc + ".sha256", sha(old)}, doc + ".sha256"},
		"of others": {[]string{"SHA256SUMS", sha(old) + "  images/x\n" + sha(old) +
			"  ../../etc/passwd\nnonsense\n"}, ""},
		"of a copy": {[]string{doc + ".gz", pack(t, ".gz", text), "s/v1/SHA256SUMS",
			sha(text) + "  index.json.gz\n"}, "s/v1/SHA256SUMS"},
		"a huge list": {[]string{"SHA256SUMS", strings.Repeat("\n", 2<<20)}, "SHA256SUMS"},
		"not beside": {[]string{"s/index.json.gz", "x", "s/v1/other.json.gz", "x", "s/v1/index.json.gz.tmp", "x"},
			""},
		"signature": {[]string{doc + ".gpg", "x", doc + ".gz", pack(t, ".gz", text), doc + ".gz.asc", "x"},
			doc + ".gpg " + doc + ".gz.asc"},
	} {
		older := func(string, string) bool { return name == "signature" }
		stale, err := Check(tree(append(tc.files, doc, text)...), docs(doc), older)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []string
		for _, s := range stale {
			got = append(got, s.Path)
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s: %v", name, stale)
		}
	}
}

// TestFollow: what can be made again is, in an order in which no reader meets a
// copy that is older than its document, and what cannot be goes first.
func TestFollow(t *testing.T) {
	const next = "{}"
	fsys := tree(doc, text, doc+".gz", "?", doc+".gz.asc", "?", doc+".zst", "?", doc+".br", "?", "s/v1/index.sjson",
		"?", doc+".gpg", "?",
		"SHA256SUMS", sha(text)+"  s/v1/index.json\n"+sha("i")+"  images/i\n"+md("?")+" *s/v1/index.json.br\n",
		"SHA256SUMS.gpg", "?",
		"s/v1/MD5SUMS", md("i")+"  i\n", "s/v1/MD5SUMS.gpg", "?", "s/v1/other.json.gz", "?")
	out, gone, err := Follow(fsys, []catalog.Document{{Path: doc, Data: []byte(next)}}, docs())
	if err != nil {
		t.Fatal(err)
	}
	var did []string
	got := map[string][]byte{}
	for _, d := range out {
		did, got[d.Path] = append(did, d.Path), d.Data
	}
	want := []string{"s/v1/index.json.br", "s/v1/index.json.gpg", "s/v1/index.json.gz.asc", "s/v1/index.json.gz",
		"s/v1/index.json.zst",
		"s/v1/index.sjson", doc, "SHA256SUMS.gpg", "SHA256SUMS"}
	if !slices.Equal(did, want) {
		t.Errorf("order\n%v, want\n%v", did, want)
	}
	slices.Sort(gone)
	if want := []string{"SHA256SUMS.gpg", doc + ".br", doc + ".gpg", doc + ".gz.asc",
		"s/v1/index.sjson"}; !slices.Equal(gone, want) {
		t.Errorf("gone %v", gone)
	}
	if want := sha(next) + "  s/v1/index.json\n" + sha("i") + "  images/i\n"; string(got["SHA256SUMS"]) != want {
		t.Errorf("list %q", got["SHA256SUMS"])
	}
	for _, d := range out {
		if d.Data == nil {
			delete(fsys, d.Path)
		} else {
			fsys[d.Path] = &fstest.MapFile{Data: d.Data}
		}
	}
	if stale, err := Check(fsys, docs(doc), nil); err != nil || len(stale) > 0 {
		t.Errorf("afterwards %v, %v", stale, err)
	}

	// Without the document they all go, and nothing is reported.
	out, gone, err = Follow(fsys, []catalog.Document{{Path: doc}}, docs())
	if err != nil || len(gone) > 0 {
		t.Errorf("gone %v, %v", gone, err)
	}
	for _, d := range out {
		if d.Data != nil && d.Path != "SHA256SUMS" {
			t.Errorf("%s is written", d.Path)
		}
	}
}

// TestFollowLists: a list that names another one is made after it.
func TestFollowLists(t *testing.T) {
	lists := map[string]string{"s/v1/SHA256SUMS": sha(text) + "  index.json\n", doc + ".sha256": sha(text) + "\n"}
	fsys := tree(doc, text, doc+".sha256", lists[doc+".sha256"], "s/v1/SHA256SUMS", lists["s/v1/SHA256SUMS"],
		"s/v1/SHA256SUMS.gpg", "?",
		"MD5SUMS", md("")+"  MD5SUMS\n"+md(lists[doc+".sha256"])+"  "+doc+".sha256\n"+md(lists["s/v1/SHA256SUMS"])+
			"  s/v1/SHA256SUMS\n"+md("?")+"  s/v1/SHA256SUMS.gpg\n")
	out, _, err := Follow(fsys, []catalog.Document{{Path: doc, Data: []byte("{}")}}, docs())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range out {
		if d.Data == nil {
			delete(fsys, d.Path)
		} else {
			fsys[d.Path] = &fstest.MapFile{Data: d.Data}
		}
	}
	if stale, err := Check(fsys, docs(doc), nil); err != nil || len(stale) > 0 || len(out) != 5 {
		t.Errorf("%d written, then %v, %v", len(out), stale, err)
	}
}

// TestTwinSaysTheSame: the signing tool of Simplestreams sorts the keys of an
// index, and lets the signed index lead on to signed documents.
func TestTwinSaysTheSame(t *testing.T) {
	const index = `{"index": {"b": {"path": "s/v1/b.json", "n": 1}, "a": {"path": "./s/v1/a.json"}}, "format": "index:1.0"}`
	for text, want := range map[string]bool{
		"{\n \"format\": \"index:1.0\",\n \"index\": {\"a\": {\"path\": \"s/v1/a.sjson\"}, \"b\": {\"n\": 1, \"path\": \"s/v1/b.sjson\"}}\n}": true,
		strings.ReplaceAll(index, ".json", ".sjson"):                true,
		strings.Replace(index, "b.json", "b.sjson", 1):              true,
		strings.Replace(index, "b.json", "c.sjson", 1):              false,
		strings.Replace(index, `"n": 1`, `"n": 2`, 1):               false,
		strings.Replace(index, `, "n": 1`, "", 1):                   false,
		strings.Replace(index, `"n": 1`, `"n": 1, "m": 2`, 1):       false,
		strings.ReplaceAll(index, ".json", ".sjson") + "{}":         false,
		strings.ReplaceAll(index, ".json", ".sjson")[:50]:           false,
		strings.Replace(index, `"index:1.0"`, `["index:1.0"]`, 1):   false,
		strings.Replace(index, `{"path": "./s/v1/a.json"}`, "0", 1): false,
	} {
		fsys := tree(doc, index, "s/v1/a.json", "{}", "s/v1/b.json", "{}", "s/v1/index.sjson", clearsigned(text))
		stale, err := Check(fsys, docs(doc, "s/v1/a.json", "s/v1/b.json"), nil)
		if err != nil || len(stale) == 0 != want {
			t.Errorf("%s: %v, %v", text, stale, err)
		}
	}
}

func TestWindow(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithWindowSize(256<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(bytes.Repeat([]byte(text), 100)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	stale, err := Check(tree(doc, text, doc+".zst", b.String()), docs(doc), nil)
	if err != nil || len(stale) != 1 {
		t.Errorf("%v, %v", stale, err)
	}
}

func FuzzTwin(f *testing.F) {
	f.Add(text, clearsigned(text))
	f.Add("{}", signedBegin+"\n\n- -x\n")
	f.Fuzz(func(t *testing.T, document, twin string) {
		if _, err := Check(tree(doc, document, "s/v1/index.sjson", twin, doc+".gz", twin, "SHA256SUMS", twin),
			docs(doc), nil); err != nil {
			t.Fatal(err)
		}
		if !strings.ContainsAny(document, "\r\x00") {
			stale, err := Check(tree(doc, document, "s/v1/index.sjson", clearsigned(document)), docs(doc), nil)
			if err != nil || len(stale) > 0 && len(document) < maxBlanks {
				t.Fatalf("%v, %v", stale, err)
			}
		}
		if _, _, err := Follow(tree(doc, document, "SHA256SUMS", twin),
			[]catalog.Document{{Path: doc, Data: []byte(twin)}}, docs()); err != nil {
			t.Fatal(err)
		}
	})
}

// unreadable is a tree in which one file cannot be opened.
type unreadable struct {
	fstest.MapFS
	path string
}

func (u unreadable) Open(name string) (fs.File, error) {
	if name == u.path {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return u.MapFS.Open(name)
}

// A companion that cannot be read hides nothing about the next one.
func TestCheckUnreadable(t *testing.T) {
	packed := pack(t, ".gz", text)
	fsys := unreadable{tree(doc, text, doc+".gz", packed, doc+".sig", "s"), doc + ".gz"}
	stale, err := Check(fsys, docs(doc), func(p, of string) bool { return true })
	if err != nil || len(stale) != 1 || stale[0].Path != doc+".sig" {
		t.Errorf("%v, %v", stale, err)
	}
}

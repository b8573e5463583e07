package simplestreams

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"example.com/publish/stage/catalog"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

const goodYAML = `architecture: x86_64
creation_date: 1767225600
expiry_date: 1769817600
properties:
  architecture: amd64
  description: Debian trixie amd64 (cloud) (20260101_00:00)
  os: debian
  release: 13.10
  variant: cloud
  serial: "20260101_00:00"
  requirements.secureboot: false
  empty:
templates:
  /etc/hostname:
    when: [create, copy]
    template: hostname.tpl
    properties: {}
`

func tarball(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		hdr := &tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(files[i], "/") {
			hdr.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t testing.TB, kind string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch kind {
	case "tar":
		return data
	case "gzip":
		w = gzip.NewWriter(&b)
	case "xz":
		w, err = xz.NewWriter(&b)
	case "zstd":
		w, err = zstd.NewWriter(&b)
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadMetadata(t *testing.T) {
	want := &Metadata{
		Architecture: "x86_64",
		Created:      time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Expires:      time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC),
		OS:           "debian", Release: "13.10", Variant: "cloud",
		Properties: map[string]string{"architecture": "amd64",
			"description": "Debian trixie amd64 (cloud) (20260101_00:00)", "os": "debian",
			"release": "13.10", "variant": "cloud", "serial": "20260101_00:00", "requirements.secureboot": "false",
			"empty": ""},
	}
	for _, kind := range []string{"tar", "gzip", "xz", "zstd"} {
		for _, files := range [][]string{
			{"metadata.yaml", goodYAML, "templates/", ""},
			{"./", "", "./templates/", "", "rootfs/etc/metadata.yaml", "no", "./metadata.yaml", goodYAML},
		} {
			got, err := ReadMetadata(bytes.NewReader(packed(t, kind, tarball(t, files...))))
			if err != nil {
				t.Errorf("%s: %v", kind, err)
			} else if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", kind, diff)
			}
		}
	}
	add, err := describe(want, catalog.Addition{}, "metadata.yaml")
	if err != nil || add.Product != "debian:13.10:cloud:amd64" || add.Version != "20260101_00:00" ||
		add.Aliases[0] != "debian/13.10/cloud" ||
		add.Arch != "amd64" {
		t.Errorf("%+v, %v", add, err)
	}
}

// bz2 is a tarball with the metadata.yaml "architecture: riscv64\ncreation_date: 1\n",
// packed by bzip2, which Go only unpacks.
const bz2 = "QlpoOTFBWSZTWcWFArsAAHxbgMqQQAF1kAgA7mefIAgYIAB1EU8KbUDQaAGjCBJSPU0GmhMIwEHqeqiSEFLCBEOY1F8K6UCHBc+fAzveJnCMSoBURTFxjlFaeAJ4wCQzeDNNik7upgDH0jgnyzmRKvZp2jGZnPtlNLNJB/F3JFOFCQxYUCuw"

func TestReadMetadataBzip2(t *testing.T) {
	data, err := base64.StdEncoding.DecodeString(bz2)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadMetadata(bytes.NewReader(data))
	if err != nil || m.Architecture != "riscv64" || m.Created.Unix() != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestReadMetadataHostile(t *testing.T) {
	yaml := func(s string) []byte { return tarball(t, "metadata.yaml", s) }
	good := tarball(t, "metadata.yaml", goodYAML)
	link := func() []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Name: "metadata.yaml", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})
		_ = w.Close()
		return b.Bytes()
	}()
	base := "architecture: x86_64\ncreation_date: 1767225600\n"
	xzd := packed(t, "xz", good)
	dict := bytes.Clone(xzd)
	dict[16] = 40 // 4 GiB
	for _, tc := range []struct {
		name string
		data []byte
		want error
	}{
		{"empty", nil, ErrNoMetadata},
		{"text", []byte(strings.Repeat("hello world ", 100)), ErrNotTarball},
		{"squashfs", []byte("hsqs" + strings.Repeat("x", 600)), ErrNotTarball},
		{"lz4", []byte("\x04\x22\x4d\x18" + strings.Repeat("x", 600)), ErrNotTarball},
		{"no metadata", tarball(t, "rootfs/metadata.yaml", "x"), ErrNoMetadata},
		{"outside", tarball(t, "/metadata.yaml", goodYAML), ErrNoMetadata},
		{"link", link, ErrNoMetadata},
		{"cut", good[:700], ErrDamaged},
		{"cut gzip", packed(t, "gzip", good)[:40], ErrDamaged},
		{"cut xz", xzd[:len(xzd)-60], ErrDamaged},
		{"cut zstd", packed(t, "zstd", good)[:30], ErrDamaged},
		{"xz dictionary", dict, ErrTooLarge},
		{"large", yaml("#" + strings.Repeat(" ", 2<<20)), ErrTooLarge},
		{"no yaml", yaml("a: [b"), ErrBadMetadata},
		{"no mapping", yaml("- a"), ErrBadMetadata},
		{"nothing", yaml(""), ErrBadMetadata},
		{"binary", yaml("\x00\x01"), ErrBadMetadata},
		{"no architecture", yaml("creation_date: 1"), ErrBadMetadata},
		{"unknown architecture", yaml("architecture: z80\ncreation_date: 1"), ErrBadMetadata},
		{"no date", yaml("architecture: x86_64"), ErrBadMetadata},
		{"date 0", yaml("architecture: x86_64\ncreation_date: 0"), ErrBadMetadata},
		{"date negative", yaml("architecture: x86_64\ncreation_date: -5"), ErrBadMetadata},
		{"date absurd", yaml("architecture: x86_64\ncreation_date: 99999999999999"), ErrBadMetadata},
		{"date text", yaml("architecture: x86_64\ncreation_date: today"), ErrBadMetadata},
		{"properties", yaml(base + "properties: [a]"), ErrBadMetadata},
		{"property", yaml(base + "properties: {os: [a]}"), ErrBadMetadata},
		{"aliases", yaml(base + "a: &a [x,x]\nb: &b [*a,*a]\nproperties: {os: *b}"), ErrBadMetadata},
		{"deep flow", yaml(base + "a: " + strings.Repeat("[", 1<<19)), ErrBadMetadata},
		{"deep map", yaml(base + "a: " + strings.Repeat("{a: ", 1<<17)), ErrBadMetadata},
		{"deep list", yaml(base + "a:\n " + strings.Repeat("- ", 1<<18)), ErrBadMetadata},
		{"deep indent", yaml(base + func() string {
			var b strings.Builder
			for i := range 1000 {
				b.WriteString(strings.Repeat(" ", i) + "a:\n")
			}
			return b.String()
		}()), ErrBadMetadata},
		{"deep keys", yaml(base + strings.Repeat("? ", 1<<18)), ErrBadMetadata},
		{"many tags", yaml(base + "a: " + strings.Repeat("!a ", 1<<18)), ErrBadMetadata},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, err := ReadMetadata(bytes.NewReader(tc.data))
			if !errors.Is(err, tc.want) {
				t.Fatalf("%+v, %v", m, err)
			}
			if msg := err.Error(); strings.Contains(msg, "\n") {
				t.Errorf("message %q", msg)
			}
		})
	}
	broken := errors.New("disk on fire")
	if _, err := ReadMetadata(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// zeros is an endless tar member of zeros.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestReadMetadataBomb(t *testing.T) {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	const size = 300 << 20
	if err := w.WriteHeader(&tar.Header{Name: "rootfs/zero", Size: size, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, size); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadMetadata(&b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

func TestRootType(t *testing.T) {
	for head, want := range map[string]string{"hsqs1234": rootSquashfs, "QFI\xfb1234": rootDiskKVM,
		"\xfd7zXZ\x00": rootTarXz} {
		if got, err := RootType([]byte(head), "x"); err != nil || got != want {
			t.Errorf("%q is %s, %v", head, got, err)
		}
	}
	for _, head := range []string{"", "hs", "\x1f\x8b...", "plain text"} {
		if _, err := RootType([]byte(head), "x.img"); !errors.Is(err, ErrNotRoot) || !strings.HasPrefix(err.Error(),
			"x.img: ") {
			t.Errorf("%q: %v", head, err)
		}
	}
}

// A tarball that was cut behind metadata.yaml would be staged in peace, and no
// client could unpack it.
func TestCutTarball(t *testing.T) {
	plain := tarball(t, "metadata.yaml", goodYAML, "templates/x", strings.Repeat("template ", 100))
	gz := packed(t, "gzip", plain)
	for name, data := range map[string][]byte{"plain": plain, "gz": gz} {
		if _, err := ReadMetadata(bytes.NewReader(data)); err != nil {
			t.Fatalf("%s, whole: %v", name, err)
		}
	}
	for name, data := range map[string][]byte{
		"gz without its end": gz[:len(gz)-1], "gz and garbage": append(bytes.Clone(gz), "garbage"...),
		"plain, in a file": plain[:len(plain)-1024-512],
	} {
		if m, err := ReadMetadata(bytes.NewReader(data)); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

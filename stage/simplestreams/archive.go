package simplestreams

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"example.com/publish/stage/unpack"
)

// What ReadMetadata refuses, however long the tarball is.
const (
	// maxMetadata bounds metadata.yaml, in bytes. Real ones have a few KB.
	maxMetadata = 1 << 20
	// freeScan is how much is unpacked in search of metadata.yaml before the
	// ratio counts. Metadata tarballs have some KB; a unified image may have
	// its whole rootfs first.
	freeScan = 256 << 20
	// maxRatio bounds what is unpacked by what was read, so that the work is in
	// proportion to the file. A rootfs packs to about a fifth.
	maxRatio = 100
	// maxWindow bounds the memory that a packed stream may ask for: twice the
	// dictionary of xz -9.
	maxWindow = 128 << 20
)

// ErrNotTarball is a file that is no tarball, or packed in a way that clients
// do not unpack.
var ErrNotTarball = errors.New("not a tarball")

// ErrDamaged is a tarball that is cut or corrupt.
var ErrDamaged = errors.New("the tarball is cut or damaged")

// ErrTooLarge is a tarball that unpacks to more than its size can explain, or
// whose metadata.yaml is too large.
var ErrTooLarge = errors.New("the tarball unpacks to too much")

// ErrNoMetadata is a tarball without a metadata.yaml at its top.
var ErrNoMetadata = errors.New("no metadata.yaml in the tarball")

// magics are the first bytes of files, as lxc/incus shared/archive tells them.
var magics = []struct{ magic, kind string }{
	{"\x1f\x8b", unpack.Gzip},
	{"\xfd7zXZ\x00", unpack.Xz},
	{"\x28\xb5\x2f\xfd", unpack.Zstd},
	{"BZh", unpack.Bzip2},
	{"hsqs", "squashfs"},
	{"QFI\xfb", "qcow2"},
	{"\x5d\x00\x00", "lzma"},
	{"\x04\x22\x4d\x18", "lz4"},
	{"KDMV", "vmdk"},
}

// kindOf is the kind of file that starts with head, "" for one of no kind.
func kindOf(head []byte) string {
	for _, m := range magics {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.kind
		}
	}
	if len(head) >= 262 && string(head[257:262]) == "ustar" {
		return "tar"
	}
	return ""
}

// RootType tells the ftype of a root file from its first bytes (6 are enough;
// 262 for a better error): squashfs, disk-kvm.img for qcow2, root.tar.xz for
// xz. name is only for the error, which wraps [ErrNotRoot].
func RootType(head []byte, name string) (ftype string, err error) {
	switch kind := kindOf(head); kind {
	case "squashfs":
		return rootSquashfs, nil
	case "qcow2":
		return rootDiskKVM, nil
	case unpack.Xz:
		return rootTarXz, nil
	case "":
		return "", fmt.Errorf("%s: %w", name, ErrNotRoot)
	default:
		return "", fmt.Errorf("%s: is %s: %w", name, kind, ErrNotRoot)
	}
}

// ErrNotRoot is a file that clients cannot take for a root.
var ErrNotRoot = errors.New("not a root file: clients take squashfs, qcow2 and .tar.xz")

// counter counts what is read from the file below the decompression.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// meter stops what unpacks to too much.
type meter struct {
	r      io.Reader
	packed *counter
	n      int64
}

func (m *meter) Read(p []byte) (int, error) {
	if m.n > freeScan && m.n/maxRatio > m.packed.n {
		return 0, ErrTooLarge
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	return n, err
}

// findMetadata returns the bytes of metadata.yaml, and whether the archive has
// a rootfs.img at its top. It reads on to the end of the archive and of its
// compression: a tarball that was cut, or has something behind it, would be
// staged in peace, and no client could unpack it.
func findMetadata(r io.Reader) (body []byte, vm bool, err error) {
	packed := &counter{r: r}
	in := bufio.NewReaderSize(packed, 64<<10)
	head, err := in.Peek(512)
	if err != nil && err != io.EOF {
		return nil, false, err
	}
	plain, done, err := archive(in, kindOf(head))
	if err != nil {
		return nil, false, err
	}
	defer done()
	metered := &meter{r: plain, packed: packed}
	tr := tar.NewReader(metered)
	found := false
	for first := true; ; first = false {
		hdr, err := tr.Next()
		switch {
		case err == io.EOF && !found:
			return nil, false, ErrNoMetadata
		case err == io.EOF:
			if _, err := io.Copy(io.Discard, metered); err != nil {
				return nil, false, damaged(err)
			}
			return body, vm, nil
		case err != nil && first && errors.Is(err, tar.ErrHeader):
			return nil, false, fmt.Errorf("%w: there is no tar archive in it", ErrNotTarball)
		case err != nil:
			return nil, false, damaged(err)
		}
		name := path.Clean(hdr.Name)
		switch {
		case strings.HasPrefix(hdr.Name, "/"):
		case name == "rootfs.img":
			vm = vm || hdr.Typeflag == tar.TypeReg || hdr.Typeflag == tar.TypeGNUSparse
		case name != "metadata.yaml" || found:
		case hdr.Typeflag != tar.TypeReg:
			return nil, false, fmt.Errorf("%w: it is there, but as no regular file", ErrNoMetadata)
		case hdr.Size > maxMetadata:
			return nil, false, fmt.Errorf("%w: metadata.yaml has %d bytes; %d are allowed", ErrTooLarge, hdr.Size,
				maxMetadata)
		default:
			if body, err = io.ReadAll(tr); err != nil {
				return nil, false, damaged(err)
			}
			found = true
		}
	}
}

// damaged is what an error means in the middle of a tarball.
func damaged(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// archive returns the archive in a packed one. done frees what the decompression
// holds.
func archive(in io.Reader, kind string) (plain io.Reader, done func(), err error) {
	switch kind {
	case "tar", "":
		return in, func() {}, nil // archive/tar also knows archives without a magic
	case unpack.Gzip, unpack.Xz, unpack.Zstd, unpack.Bzip2:
	default:
		return nil, nil, fmt.Errorf("%w: it is %s", ErrNotTarball, kind)
	}
	plain, done, err = unpack.Reader(in, kind, maxWindow)
	switch {
	case errors.Is(err, unpack.ErrWindow):
		return nil, nil, fmt.Errorf("%w: its xz dictionary has more than %d bytes", ErrTooLarge, maxWindow)
	case err != nil:
		return nil, nil, damaged(err)
	}
	return plain, done, nil
}

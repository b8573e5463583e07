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

// Limits of ReadMetadata.
const (
	// maxMetadata is the largest metadata.yaml, in bytes. Real ones have a few KB.
	maxMetadata = 1 << 20
	// freeScan is the number of unpacked bytes before maxRatio applies. Metadata
	// tarballs have some KB, but a unified image may have its whole rootfs before
	// metadata.yaml.
	freeScan = 256 << 20
	// maxRatio limits the unpacked bytes for each packed byte, so that the work
	// stays in proportion to the file. A usual rootfs has a ratio of about 5.
	maxRatio = 100
	// maxWindow limits the memory for decompression: twice the dictionary of xz -9.
	maxWindow = 128 << 20
)

// ErrNotTarball means that a file is not a tarball, or is compressed in a way that
// clients cannot unpack.
var ErrNotTarball = errors.New("not a tarball")

// ErrDamaged means that a tarball is truncated or corrupt.
var ErrDamaged = errors.New("the tarball is cut or damaged")

// ErrTooLarge means that a tarball unpacks to far more than its size, or that its
// metadata.yaml is too large.
var ErrTooLarge = errors.New("the tarball unpacks to too much")

// ErrNoMetadata means that a tarball has no metadata.yaml at its top.
var ErrNoMetadata = errors.New("no metadata.yaml in the tarball")

// magics are the first bytes of file types, as in shared/archive of lxc/incus.
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

// kindOf returns the type of a file that starts with head; "" if it is unknown.
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

// RootType returns the ftype of a root file: squashfs, disk-kvm.img for qcow2, or
// root.tar.xz for xz. head is the beginning of the file: at least 6 bytes, or 262
// for a better error message. name is only for the error, which wraps
// [ErrNotRoot].
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

// ErrNotRoot means that clients cannot use a file as a root.
var ErrNotRoot = errors.New("not a root file: clients take squashfs, qcow2 and .tar.xz")

// counter counts the packed bytes that were read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// meter returns an error if too much is unpacked: see maxRatio.
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

// findMetadata returns the bytes of metadata.yaml, and whether the archive has a
// rootfs.img at its top. It reads to the end of the archive and of the compressed
// stream. Otherwise a truncated tarball, or one with something behind it, would be
// staged without an error, and no client could unpack it.
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
			return nil, false, fmt.Errorf("%w: it is not a regular file there", ErrNoMetadata)
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

// damaged wraps ErrDamaged around an error while reading a tarball, unless it is
// ErrTooLarge.
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

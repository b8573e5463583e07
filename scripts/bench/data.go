//go:build linux

package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// shape says what a simplestreams tree has: so many versions, spread over
// products, with one file each (a unified image) or two.
type shape struct {
	versions int
	unified  bool
	root     int64 // bytes of a root file, or of a unified image
}

// perProduct is how many versions a product has; the last may have fewer.
func (s shape) perProduct() int { return max(2, min(100, s.versions/10)) }

// files is how many of them the index names.
func (s shape) files() int {
	if s.unified {
		return s.versions
	}
	return 2 * s.versions
}

const (
	catalogName = "streams/v1/images.json"
	indexName   = "streams/v1/index.json"
	catalogHead = `{"content_id":"images","datatype":"image-downloads","format":"products:1.0","products":{`
	indexHead   = `{"index":{` + streamHead
	streamHead  = `"images":{"datatype":"image-downloads","path":"` + catalogName + `","products":[`
	streamTail  = `],"format":"products:1.0"}`
	indexTail   = `},"format":"index:1.0"}`
)

// perCatalog is how many versions a catalog has: a document is bounded.
const perCatalog = 100_000

var firstDay = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// makeTree writes a tree as incus-simplestreams lays it out. It streams: a
// large parent would show in the peak memory of the processes it starts.
func makeTree(dir string, s shape) error {
	for _, sub := range []string{"images", "streams/v1"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	return rewrite(filepath.Join(dir, indexName), func(index io.Writer) error {
		fmt.Fprint(index, `{"index":{`)
		for from := 0; from < s.versions; from += perCatalog {
			name, head := catalogName, streamHead
			if from > 0 {
				part := fmt.Sprint("images-", from)
				name = strings.Replace(name, "images", part, 1)
				head = "," + strings.ReplaceAll(head, "images", part)
			}
			fmt.Fprint(index, head)
			err := rewrite(filepath.Join(dir, name), func(catalog io.Writer) error {
				return s.writeCatalog(index, catalog, dir, from, min(from+perCatalog, s.versions))
			})
			if err != nil {
				return err
			}
			fmt.Fprint(index, streamTail)
		}
		_, err := fmt.Fprint(index, indexTail)
		return err
	})
}

// writeCatalog writes the files of some versions, the catalog that has them, and the names
// of their products for the index.
func (s shape) writeCatalog(index, catalog io.Writer, dir string, from, to int) error {
	fmt.Fprint(catalog, catalogHead)
	for i := from; i < to; i += s.perProduct() {
		if i > from {
			fmt.Fprint(catalog, ",")
			fmt.Fprint(index, ",")
		}
		name := fmt.Sprintf("os%06d", i)
		fmt.Fprintf(index, "%q", product(name))
		if err := s.writeProduct(catalog, dir, name, min(s.perProduct(), to-i)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(catalog, "}}")
	return err
}

func product(name string) string { return name + ":1:default:amd64" }

// writeProduct writes the files of a product's versions, and its entry in the
// catalog.
func (s shape) writeProduct(catalog io.Writer, dir, name string, versions int) error {
	fmt.Fprintf(catalog,
		`%q:{"aliases":"%s/1/default","arch":"amd64","os":%q,"release":"1","release_title":"1","versions":{`,
		product(name), name, name)
	for v := range versions {
		if v > 0 {
			fmt.Fprint(catalog, ",")
		}
		items, err := s.writeVersion(dir, name, v)
		if err != nil {
			return err
		}
		fmt.Fprintf(catalog, `%q:{"items":{%s}}`, firstDay.AddDate(0, 0, v).Format("200601021504"), items)
	}
	_, err := fmt.Fprint(catalog, `},"variant":"default"}`)
	return err
}

// writeVersion writes the files of one version and returns its items.
func (s shape) writeVersion(dir, name string, v int) (string, error) {
	meta := fmt.Appendf(nil, "the metadata of version %d of %s\n", v, name)
	if s.unified {
		sum := sha256.New()
		at := fmt.Sprintf("images/%s.incus_combined.tar.gz", hashOf(meta))
		err := create(filepath.Join(dir, at), func(w io.Writer) error {
			return noise(io.MultiWriter(w, sum), name, v, s.root)
		})
		return fmt.Sprintf(`"incus_combined.tar.gz":{"ftype":"incus_combined.tar.gz","path":%q,"sha256":"%x","size":%d}`,
			at, sum.Sum(nil), s.root), err
	}
	combined, sum := sha256.New(), sha256.New()
	combined.Write(meta)
	base := "images/" + hashOf(meta)
	err := errors.Join(
		create(filepath.Join(dir, base+".incus.tar.xz"),
			func(w io.Writer) error { _, err := w.Write(meta); return err }),
		create(filepath.Join(dir, base+".squashfs"), func(w io.Writer) error {
			return noise(io.MultiWriter(w, sum, combined), name, v, s.root)
		}))
	return fmt.Sprintf(`"incus.tar.xz":{"combined_squashfs_sha256":"%x","ftype":"incus.tar.xz",`+
		`"path":"%s.incus.tar.xz","sha256":"%s","size":%d},`+
		`"squashfs":{"ftype":"squashfs","path":"%s.squashfs","sha256":"%x","size":%d}`,
		combined.Sum(nil), base, hashOf(meta), len(meta), base, sum.Sum(nil), s.root), err
}

// growTree adds a product with one version to a tree, as a builder that never
// writes in place would.
func growTree(dir string, s shape, name string) error {
	var entry bytes.Buffer
	if err := s.writeProduct(&entry, dir, name, 1); err != nil {
		return err
	}
	for _, doc := range []struct{ name, head, entry string }{
		{catalogName, catalogHead, entry.String()},
		{indexName, indexHead, fmt.Sprintf("%q", product(name))},
	} {
		old, err := os.Open(filepath.Join(dir, doc.name))
		if err != nil {
			return err
		}
		err = rewrite(old.Name(), func(w io.Writer) error {
			if _, err := old.Seek(int64(len(doc.head)), io.SeekStart); err != nil {
				return err
			}
			fmt.Fprint(w, doc.head, doc.entry, ",")
			_, err := io.Copy(w, old)
			return err
		})
		if err := errors.Join(err, old.Close()); err != nil {
			return err
		}
	}
	return nil
}

// image is one to stage: the paths of a metadata tarball and a root.
type image struct{ metadata, root string }

// makeImage writes an image to dir, which it makes. Its name makes it differ
// from all others. The root begins like a squashfs, and is none.
func makeImage(dir, name string, size int64) (image, error) {
	i := image{filepath.Join(dir, "incus.tar.gz"), filepath.Join(dir, "rootfs.squashfs")}
	return i, errors.Join(
		os.MkdirAll(dir, 0o755),
		create(i.metadata, func(w io.Writer) error { return writeMetadata(w, name) }),
		create(i.root, func(w io.Writer) error { return noise(w, name, 0, size) }))
}

// writeMetadata writes a gzipped tarball with a metadata.yaml.
func writeMetadata(w io.Writer, name string) error {
	yaml := fmt.Sprintf(`architecture: x86_64
creation_date: %d
properties:
  architecture: amd64
  description: %s
  os: %s
  release: "1"
  variant: default
`, firstDay.Unix(), name, name)
	data, err := tarball("metadata.yaml", yaml)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// noise writes bytes that nothing can compress or share. The same name and number
// give the same bytes.
func noise(w io.Writer, name string, n int, size int64) error {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name), uint64(n)))
	if _, err := io.WriteString(w, "hsqs"); err != nil {
		return err
	}
	_, err := io.CopyN(w, rand.NewChaCha8(seed), size-4)
	return err
}

// makeDebs writes n of the smallest Debian packages, numbered from first.
func makeDebs(dir string, first, n int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := tarball("", "")
	if err != nil {
		return err
	}
	for i := first; i < first+n; i++ {
		control, err := tarball("./control", fmt.Sprintf("Package: bench%06d\nVersion: 1\nArchitecture: "+
			"amd64\nMaintainer: nobody <nobody@example.com>\nDescription: nothing\n", i))
		if err != nil {
			return err
		}
		err = create(filepath.Join(dir, fmt.Sprintf("bench%06d_1_amd64.deb", i)), func(w io.Writer) error {
			fmt.Fprint(w, "!<arch>\n")
			for _, m := range []struct {
				name string
				data []byte
			}{{"debian-binary", []byte("2.0\n")}, {"control.tar.gz", control}, {"data.tar.gz", data}} {
				fmt.Fprintf(w, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, firstDay.Unix(), 0, 0, "100644", len(m.data))
				if _, err := w.Write(append(m.data, "\n"[:len(m.data)%2]...)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// tarball is a gzipped one with one file, or with none.
func tarball(name, text string) ([]byte, error) {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	arch := tar.NewWriter(zip)
	if name != "" {
		if err := arch.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(arch, text); err != nil {
			return nil, err
		}
	}
	err := errors.Join(arch.Close(), zip.Close())
	return buf.Bytes(), err
}

func hashOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// create writes a file that is not there yet.
func create(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 256<<10)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// rewrite writes a file by way of another name: the old bytes may be shared.
func rewrite(name string, write func(io.Writer) error) error {
	if err := create(name+".new", write); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

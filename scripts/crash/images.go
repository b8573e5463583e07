//go:build linux && (amd64 || arm64)

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"example.com/publish/scripts/crash/check"
)

// keys are those of a signer and of its clients. They sign nothing but what this program makes.
//
//go:embed keys
var keys embed.FS

// makeKeys writes the keys to dir/keys.
func makeKeys(dir string) error {
	if err := os.CopyFS(dir, keys); err != nil {
		return err
	}
	for _, name := range []string{"secret.asc", "minisign.key"} {
		if err := os.Chmod(filepath.Join(dir, "keys", name), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// makeImages writes n distinct images to dir/0, dir/1, ...: metadata.tar.gz
// with rootfs.squashfs and disk.qcow2. The roots have the first bytes by which
// their kind is known, and no file system. dir/oci-0 and so on are OCI layouts.
func makeImages(dir string, n int) error {
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		if err := check.WriteLayout(filepath.Join(dir, fmt.Sprint("oci-", i)), fmt.Sprint("image ", i)); err != nil {
			return err
		}
		metadata, err := metadata(fmt.Sprintf("os%d", i), 1767225600+int64(i)*86400)
		if err != nil {
			return err
		}
		body := strings.Repeat(fmt.Sprintf("image %d\n", i), 4000)
		for name, data := range map[string][]byte{
			"metadata.tar.gz": metadata,
			"rootfs.squashfs": []byte("hsqs" + body),
			"disk.qcow2":      []byte("QFI\xfb" + body),
		} {
			if err := os.WriteFile(filepath.Join(sub, name), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// fingerprint is that of an image's container: over metadata and root.
func fingerprint(images, image string) string {
	h := sha256.New()
	for _, name := range []string{"metadata.tar.gz", "rootfs.squashfs"} {
		// what is missing has no fingerprint that a command finds
		data, _ := os.ReadFile(filepath.Join(images, image, name))
		h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// metadata is a gzipped tarball with a metadata.yaml.
func metadata(os string, created int64) ([]byte, error) {
	yaml := fmt.Sprintf(`architecture: x86_64
creation_date: %d
properties:
  architecture: amd64
  description: %s for crash tests
  os: %s
  release: "1"
  variant: default
`, created, os, os)
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	arch := tar.NewWriter(zip)
	if err := arch.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(yaml))}); err != nil {
		return nil, err
	}
	if _, err := arch.Write([]byte(yaml)); err != nil {
		return nil, err
	}
	if err := arch.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

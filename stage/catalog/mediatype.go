package catalog

import (
	"path"
	"strings"
)

// mediaTypes are those of what image servers hold. The list of the system is not asked:
// the same tree has the same types everywhere.
var mediaTypes = map[string]string{
	".json": "application/json", ".sjson": "text/plain; charset=utf-8", ".gpg": "application/pgp-signature",
	".asc": "text/plain; charset=utf-8", ".minisig": "text/plain; charset=utf-8",
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	".js": "text/javascript; charset=utf-8", ".xml": "application/xml", ".yaml": "application/yaml",
	".yml": "application/yaml", ".txt": "text/plain; charset=utf-8", ".md": "text/plain; charset=utf-8",
	".png": "image/png", ".jpg": "image/jpeg", ".ico": "image/x-icon", ".pdf": "application/pdf",
	".gz": "application/gzip", ".xz": "application/x-xz", ".zst": "application/zstd", ".bz2": "application/x-bzip2",
	".tar": "application/x-tar", ".zip": "application/zip", ".manifest": "text/plain; charset=utf-8",
}

// MediaType is the media type of a file, by its path.
func MediaType(p string) string {
	if t := mediaTypes[strings.ToLower(path.Ext(p))]; t != "" {
		return t
	}
	switch strings.ToUpper(path.Base(p)) {
	case "SHA256SUMS", "SHA512SUMS", "MD5SUMS", "README", "LICENSE":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

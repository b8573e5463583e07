package fanout

import (
	"archive/tar"
	"strings"
)

type entry struct {
	name string
	kind byte
	link string
	data string
}

// archive is a tar archive.
func archive(entries ...entry) string {
	var b strings.Builder
	w := tar.NewWriter(&b)
	for _, e := range entries {
		err := w.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Size: int64(len(e.data)), Mode: 0o644})
		if err == nil {
			_, err = w.Write([]byte(e.data))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.String()
}

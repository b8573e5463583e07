package main

import (
	"context"
	"path/filepath"
	"time"

	"example.com/publish/publish"
	"example.com/publish/publish/site/bucket"
	"example.com/publish/publish/site/bucket/store"
)

// openStore opens the object store that is production of the repository at dir.
func openStore(dir string, c *publish.Config) (bucket.Store, error) {
	at, err := store.ParseURL(c.Production)
	if err != nil {
		return nil, err
	}
	opened, err := store.Open(context.Background(), store.Config{Bucket: at.Bucket, Prefix: at.Prefix,
		Endpoint: c.S3.Endpoint, Region: c.S3.Region, PathStyle: string(c.S3.PathStyle), PartSize: int64(c.S3.PartSize),
		Concurrency: c.S3.Concurrency, Timeout: time.Duration(c.S3.Timeout), Headers: c.S3.Headers,
		Journal: filepath.Join(dir, ".publish", "uploads")})
	if err != nil {
		return nil, err
	}
	return opened, nil
}

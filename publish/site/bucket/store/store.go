// Package store is a [bucket.Store] that speaks S3, and alone knows the SDK for it.
//
// No request is repeated by the SDK. A lost answer to a conditional write that the SDK
// repeats comes back as the refusal of one's own success; so this package repeats, and it
// knows what may be:
//
//	get, head, list, a part     with backoff, a bounded number of times
//	create                      after a HEAD has shown that there is still nothing
//	swap, delete                never: who knows the protocol does
//
// A create over 1 MiB asks first whether the key exists: a store that answers 412 before it
// has read the body looks like a connection that broke. Over the size of a part a body
// goes in parts, and a journal in a local directory has what was sent: see journal.
//
// Each object says its SHA-256 and who made it in its metadata, because a store's own
// checksum of an object that was made of parts is not that of its bytes. The checksum of
// a whole body, or of each part, is signed and sent ahead of it; the store refuses others.
//
// A body is streamed, never held: who sends one reads it again instead.
package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"example.com/publish/publish/fault"
	"example.com/publish/publish/site/bucket"
)

const (
	mib = 1 << 20
	// minPart is the smallest part that stores take, but for the last one.
	minPart = 5 * mib
	// maxPut is the largest body of one request, and the largest part.
	maxPut = 5 << 30
	// maxParts is how many parts an object can have.
	maxParts = 10000
	// ahead is the size from which a create asks first whether the key exists.
	ahead = mib
	// attempts bounds how often a request is sent: over about 25 s in all.
	attempts = 8
)

// Config says which store, and how to speak to it. Credentials are those of the SDK's
// chain: the environment, its files, the machine's role.
type Config struct {
	Bucket string
	Prefix string // without slashes at its ends; "" for the whole bucket
	// Endpoint is the store's address, with http:// or https://; "" for that of AWS.
	Endpoint string
	// Region; "" for what the SDK's files or environment say, or us-east-1 at an endpoint.
	Region string
	// PathStyle says where the bucket's name stands in an address: true: in its path; false:
	// in its host; auto or "": in the path if the host could have no such name.
	PathStyle   string
	PartSize    int64         // 0: 16 MiB
	Concurrency int           // parts sent at once, of all bodies; 0: 8
	Timeout     time.Duration // without progress; 0: 60 s
	// Headers are sent with each request; those that say what an object is to be, such
	// as x-amz-storage-class, with those that make one.
	Headers map[string]string
	// Journal is a directory for what was sent of bodies in parts; it is made when it is
	// needed. "": a body that was not sent whole is sent from its beginning again.
	Journal string
	// Sleep waits between attempts; tests make it short. nil: a timer.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Store is a bucket, or what lies below a prefix of one.
type Store struct {
	Config
	client *s3.Client
	slots  chan struct{} // for parts
	// single says that the store does not delete many objects with one request.
	single atomic.Bool
}

var _ bucket.Store = (*Store)(nil)

// Open returns the store. It sends no request: what is wrong with credentials shows the
// first one.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.PartSize == 0 {
		c.PartSize = 16 * mib
	}
	if c.Concurrency == 0 {
		c.Concurrency = 8
	}
	if c.Timeout == 0 {
		c.Timeout = time.Minute
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	path, err := c.pathStyle()
	if err != nil {
		return nil, err
	}
	var load []func(*config.LoadOptions) error
	if c.Region != "" {
		load = append(load, config.WithRegion(c.Region))
	}
	conf, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, &fault.Error{Kind: fault.Usage, Path: c.url(""), Fact: "the configuration of the SDK is wrong",
			Hint: "look at the AWS_ variables of the environment, and at ~/.aws/config", Err: err}
	}
	if c.Endpoint == "" && conf.BaseEndpoint != nil {
		c.Endpoint = *conf.BaseEndpoint // of the environment, or of a file
		if path, err = c.pathStyle(); err != nil {
			return nil, err
		}
	}
	if conf.Region == "" {
		if c.Endpoint == "" {
			return nil, &fault.Error{Kind: fault.Usage, Path: c.url(""), Fact: "no region is set",
				Hint: "set s3.region or AWS_REGION, or s3.endpoint for a store that is not AWS"}
		}
		conf.Region = "us-east-1"
	}
	c.Region = conf.Region
	s := &Store{Config: c, slots: make(chan struct{}, c.Concurrency)}
	s.client = s3.NewFromConfig(conf, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		o.HTTPClient = &sender{base: transport(conf.HTTPClient, c.Timeout), stall: c.Timeout}
		o.UsePathStyle = path
		o.Retryer = aws.NopRetryer{}
		o.Logger = logging.Nop{} // errors are returned; its warnings help nobody
		o.Credentials = aws.NewCredentialsCache(chain{conf.Credentials})
		o.ContinueHeaderThresholdBytes = ahead
		// What the SDK adds by itself are trailers, which many stores refuse.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.APIOptions = append(o.APIOptions, withHeaders(c.Headers), withoutUnsigned)
	})
	return s, nil
}

// check refuses a configuration that no store could have.
func (c *Config) check() error {
	bad := func(key, fact string) error {
		return &fault.Error{Kind: fault.Usage, Path: "s3." + key, Fact: fact}
	}
	switch {
	case c.Bucket == "":
		return &fault.Error{Kind: fault.Usage, Path: "s3://", Fact: "names no bucket"}
	case c.PartSize < minPart || c.PartSize > maxPut:
		return bad("part_size", fmt.Sprintf("%d bytes: must be from 5 MiB to 5 GiB", c.PartSize))
	case c.Concurrency < 0 || c.Concurrency > 1000:
		return bad("concurrency", fmt.Sprintf("%d: must be from 1 to 1000", c.Concurrency))
	case c.Timeout < 0:
		return bad("timeout", "must not be negative")
	}
	return checkHeaders(c.Headers)
}

// pathStyle says whether the bucket's name stands in the path of addresses.
func (c *Config) pathStyle() (bool, error) {
	bad := func(fact, hint string) (bool, error) {
		return false, &fault.Error{Kind: fault.Usage, Path: "s3.endpoint", Fact: fact, Hint: hint}
	}
	host := ""
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		switch {
		case err != nil:
			return bad("is not an address", "write https://HOST or https://HOST:PORT")
		case u.User != nil:
			return bad("has a user or password", "credentials come from the environment: AWS_ACCESS_KEY_ID and "+
				"AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials")
		case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Hostname() == "", u.RawQuery != "", u.Fragment != "":
			return bad(strconv.Quote(c.Endpoint)+" is not an address", "write https://HOST or https://HOST:PORT")
		}
		host = u.Host
	}
	switch c.PathStyle {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "auto", "":
		name, _, err := net.SplitHostPort(host)
		port := err == nil
		if !port {
			name = strings.Trim(host, "[]")
		}
		local := name == "localhost" || net.ParseIP(name) != nil
		// A certificate for *.HOST is none for a name with dots before it.
		return host != "" && (port || local) || strings.Contains(c.Bucket, "."), nil
	}
	return false, &fault.Error{Kind: fault.Usage, Path: "s3.path_style",
		Fact: strconv.Quote(c.PathStyle) + ": must be auto, true or false"}
}

// key is that of the store for one relative to the prefix.
func (c *Config) key(key string) *string {
	if c.Prefix != "" {
		key = c.Prefix + "/" + key
	}
	return &key
}

// url is how a key is shown.
func (c *Config) url(key string) string {
	u := "s3://" + c.Bucket
	if c.Prefix != "" {
		u += "/" + c.Prefix
	}
	if key != "" {
		u += "/" + key
	}
	return u
}

// again sends a request that may be repeated.
func (s *Store) again(ctx context.Context, send func() error) error {
	for n := 0; ; n++ {
		err := send()
		if err == nil || !isBroken(err) || n+1 == attempts {
			return err
		}
		if s.pause(ctx, n) != nil {
			return err
		}
	}
}

// pause waits before attempt n+2, for a random time, so that many do not return together.
func (s *Store) pause(ctx context.Context, n int) error {
	d := min(200*time.Millisecond<<n, 10*time.Second)
	return s.Sleep(ctx, d/2+rand.N(d/2))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CloseIdle closes the connections that no request uses.
func (s *Store) CloseIdle() {
	if c, ok := s.client.Options().HTTPClient.(*sender); ok {
		if t, ok := c.base.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

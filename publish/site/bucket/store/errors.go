package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"example.com/publish/publish/site/bucket"
)

// broken is a request of which the outcome is not known: no answer, or one that says
// that the store itself is in trouble.
type broken struct {
	url string
	err error
}

func (e *broken) Error() string { return e.url + ": " + e.err.Error() }
func (e *broken) Unwrap() error { return e.err }

// errConflict says that two conditional writes met, and that neither may have won.
var errConflict = errors.New("another write came between")

func isBroken(err error) bool {
	var b *broken
	return errors.As(err, &b)
}

// chain is the SDK's chain of credentials, which says when it found none.
type chain struct{ aws.CredentialsProvider }

type chainError struct{ error }

func (e chainError) Unwrap() error { return e.error }

func (c chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c.CredentialsProvider == nil {
		return aws.Credentials{}, chainError{errors.New("no credentials")}
	}
	found, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		err = chainError{err}
	}
	return found, err
}

// answered are the errors of the protocol that an answer may mean.
type answered struct {
	missing error // 404
	failed  error // 412
}

// told makes of the SDK's error one that the interface names. It is nil for nil.
func (s *Store) told(ctx context.Context, key string, err error, means answered) error {
	if err == nil {
		return nil
	}
	url := s.url(key)
	if cause := ctx.Err(); cause != nil {
		return fmt.Errorf("%s: %w", url, cause)
	}
	refuse := func(code string, status int, hint string, err error) error {
		return &bucket.Refusal{Code: code, Status: status, Hint: hint, Err: fmt.Errorf("%s: %w", url, err)}
	}
	var none chainError
	if errors.As(err, &none) {
		return refuse("NoCredentials", 0, credentialsHint, fmt.Errorf("no credentials: %w", last(none.error)))
	}
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil || response.HTTPStatusCode() == 0 {
		code, hint := unsent(err)
		if code != "" {
			return refuse(code, 0, hint, last(err))
		}
		return &broken{url, last(err)}
	}
	status := response.HTTPStatusCode()
	code, message := "", ""
	var api smithy.APIError
	if errors.As(err, &api) {
		code, message = api.ErrorCode(), api.ErrorMessage()
	}
	said := says(status, code, message)
	switch {
	case status == http.StatusNotModified:
		return fmt.Errorf("%s: %w", url, bucket.ErrUnchanged)
	case status == http.StatusPreconditionFailed && means.failed != nil:
		return fmt.Errorf("%s: %w", url, means.failed)
	case status == http.StatusNotFound && means.missing != nil &&
		(code == "NoSuchKey" || code == "NotFound" || code == ""):
		return fmt.Errorf("%s: %w", url, means.missing)
	case status < 300, status >= 500 && status != http.StatusNotImplemented, passing[code],
		status == http.StatusTooManyRequests, status == http.StatusRequestTimeout,
		status == http.StatusConflict && code == "": // HEAD, or a proxy
		if code == "ConditionalRequestConflict" {
			return &broken{url, fmt.Errorf("%w: %s", errConflict, said)}
		}
		return &broken{url, errors.New(said)}
	}
	region := response.Response.Header.Get("X-Amz-Bucket-Region")
	return refuse(code, status, s.hint(status, code, region), errors.New(said))
}

// says is an answer for people.
func says(status int, code, message string) string {
	text := fmt.Sprintf("the store says %d", status)
	if name := http.StatusText(status); code == "" || code == "UnknownError" {
		return text + " " + name
	}
	text += " " + code
	if message = strings.TrimSpace(message); message != "" && message != code {
		if len(message) > 300 {
			message = message[:300] + "..."
		}
		text += ": " + strings.ToValidUTF8(message, "?")
	}
	return text
}

// passing are codes with a status below 500 that say: try again.
var passing = map[string]bool{"ConditionalRequestConflict": true, "OperationAborted": true, "RequestTimeout": true,
	"SlowDown": true, "Throttling": true, "ThrottlingException": true, "TooManyRequests": true,
	"RequestLimitExceeded": true, "IncompleteBody": true}

const (
	credentialsHint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
	rightsHint      = "the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject, s3:ListBucket, " +
		"s3:AbortMultipartUpload and s3:ListMultipartUploadParts below the prefix"
)

// hint says what to set after a refusal.
func (s *Store) hint(status int, code, region string) string {
	switch code {
	case "InvalidAccessKeyId", "XAdminUserNotFound", "InvalidClientTokenId", "UnrecognizedClientException",
		"SignatureDoesNotMatch":
		return "the credentials are not those of this store: look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY " +
			"and s3.endpoint"
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired":
		return "get new credentials: AWS_SESSION_TOKEN has expired, or belongs to other keys"
	case "RequestTimeTooSkewed", "RequestExpired", "AccessDenied: Request has expired":
		return "set the clock of this machine, with ntp"
	case "NoSuchBucket":
		return "make the bucket, or look at its name, at s3.endpoint and at s3.region"
	case "InvalidBucketName":
		return "look at the name of the bucket"
	case "PermanentRedirect", "TemporaryRedirect", "Redirect", "AuthorizationHeaderMalformed",
		"IllegalLocationConstraintException", "InvalidRegionName":
		return s.regionHint(region)
	case "NotImplemented", "MethodNotAllowed":
		return "this store lacks what publish needs"
	case "KeyTooLongError":
		return "a key has at most 1,024 bytes, the prefix included"
	case "EntityTooLarge":
		return "set s3.part_size to less"
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return "the bytes changed while they were sent"
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage":
		return "the store has no room"
	}
	switch {
	case status >= 300 && status < 400:
		return s.regionHint(region)
	case status == http.StatusUnauthorized:
		return credentialsHint
	case status == http.StatusForbidden:
		return rightsHint
	case status == http.StatusBadRequest && region != "" && region != s.Region:
		return s.regionHint(region)
	case status == http.StatusBadRequest && (code == "" || code == "UnknownError") &&
		strings.HasPrefix(s.Endpoint, "http://"):
		return "this does not look like an answer of an object store: if it speaks TLS, write https:// in s3.endpoint"
	}
	return ""
}

func (s *Store) regionHint(region string) string {
	if region != "" && region != s.Region {
		return fmt.Sprintf("the bucket is in another region: set s3.region: %s", region)
	}
	return fmt.Sprintf("the bucket is not in the region %s, or not at this address: set s3.region or s3.endpoint",
		s.Region)
}

// unsent says of an error without an answer what is wrong here, so that the request cannot
// have arrived. "" is that of a line that broke.
func unsent(err error) (code, hint string) {
	var (
		dns       *net.DNSError
		unknown   x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
		record    tls.RecordHeaderError
		addressed *net.AddrError
	)
	const endpoint = "look at s3.endpoint, s3.region and the name of the bucket"
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "NoSuchHost", endpoint
	case errors.As(err, &addressed):
		return "BadAddress", endpoint
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "TLS", "the certificate of the store has expired, or the clock of this machine is off: set it with ntp"
	case errors.As(err, &name):
		return "TLS", "the certificate of the store is for another host: look at s3.endpoint, or set s3.path_style: true"
	case errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &verify):
		return "TLS", "this machine does not trust the certificate of the store: install its authority, " +
			"or name it in SSL_CERT_FILE or AWS_CA_BUNDLE"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "TLS", "the store does not speak TLS at this address: look at s3.endpoint"
	}
	return "", ""
}

// last returns the part of an SDK's error that says what happened. The rest says
// where in the SDK.
func last(err error) error {
	for {
		var op *smithy.OperationError
		var sent *smithyhttp.RequestSendError
		switch {
		case errors.As(err, &op):
			err = op.Err
		case errors.As(err, &sent):
			err = sent.Err
		default:
			return err
		}
	}
}

// clock returns what the store's clock said; zero if it does not say.
func clock(metadata middleware.Metadata) time.Time {
	response, ok := awsmiddleware.GetRawResponse(metadata).(*smithyhttp.Response)
	if !ok || response.Response == nil {
		return time.Time{}
	}
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return date
}

// both is the error of a request whose outcome could not be asked for. If both say the same,
// as where nobody answers, that is said once.
func both(asked, err error) error {
	if asked.Error() == err.Error() {
		return err
	}
	return fmt.Errorf("%w, after: %w", asked, err)
}

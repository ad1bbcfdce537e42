package kinesis

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// DefaultPollInterval is a Config's PollInterval where nothing else is said.
const DefaultPollInterval = 250 * time.Millisecond

// Config is what a Source needs to know. Only Stream must be given; a region
// must be found somewhere.
type Config struct {
	// Stream is the stream's name, or its ARN:
	// "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit". The ARN tells the
	// region as well, and is the only way to name a stream of another account.
	Stream string

	// Region is AWS' region, "us-west-2". Empty: the ARN's, or else that of
	// AWS_REGION, of AWS_DEFAULT_REGION, or of the profile in the shared
	// configuration file. The instance metadata service is not asked for it.
	Region string

	// Endpoint is the URL of a service other than AWS' own for the region: an
	// emulator, or a VPC endpoint. Empty: AWS' own, or that of
	// AWS_ENDPOINT_URL_KINESIS or AWS_ENDPOINT_URL.
	Endpoint string

	// AccountEndpoints has requests sent to the stream's account's own hosts,
	// <account>.control-kinesis.<region>.amazonaws.com and
	// <account>.data-kinesis.<region>.amazonaws.com, instead of
	// kinesis.<region>.amazonaws.com. The stream must be given by its ARN.
	// Whichever it is, there is no other host from the first request on.
	AccountEndpoints bool

	// AccessKeyFile, SecretKeyFile and SessionTokenFile each name a file that
	// holds nothing but the key's id, its secret, and the session token of
	// temporary credentials. They are read again every five minutes, and when
	// the service refuses them.
	AccessKeyFile    string
	SecretKeyFile    string
	SessionTokenFile string

	// CredentialsFile names a file in the format of the shared credentials
	// file, with the profile AWS_PROFILE or "default". It is read again like
	// the files above.
	//
	// Where no file is named, and no Keys are given, the SDK's default chain is
	// asked: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web identity, the
	// shared files, the container's role, the instance's role. The shared files
	// are read again like the files above as well.
	CredentialsFile string

	// Keys is a key held in memory, instead of files. It is read again like the
	// files above where it says how (see Keys.Reread); otherwise it does not
	// change as long as the Source lives.
	Keys Keys

	// RoleARN is a role to assume with these credentials, for an hour at a
	// time; ExternalID is what its owner may ask for besides.
	RoleARN    string
	ExternalID string

	// PollInterval is the time from one read of a shard to the next at the tip:
	// 200ms, which is all that a shard grants to all readers together, to 1m.
	// 0: 250ms. A reader that is behind reads every 250ms, whatever is said
	// here.
	PollInterval time.Duration

	// MarkForeign has records within aggregates marked as
	// [gerritstream.Record.Foreign] whose hash key is not the shard's.
	MarkForeign bool

	// Budget bounds the memory of pages. Share one among all Sources of a
	// process. nil: a budget of the default size for this Source alone. See
	// PageReserve.
	Budget *Budget

	// Logger takes what happens inside, at level debug. nil: nothing is logged.
	Logger *slog.Logger

	// Observer is shown every request. nil: nobody is.
	Observer Observer

	// Transport carries all requests, those for credentials included: for
	// tests. nil: the SDK's own, with the certificates of AWS_CA_BUNDLE and the
	// proxies of the environment.
	Transport http.RoundTripper

	// Isolated: nothing is taken from the environment and from shared files,
	// and requests are signed with a made-up key. It is for a service that
	// takes any key, such as an emulator behind Transport: what the user has
	// set up for AWS is then neither needed nor in the way. A region must be
	// given.
	Isolated bool
}

// Fault is something wrong with a Config.
type Fault struct {
	Field   string // of Config; "" for the environment
	Problem string
}

// Error says what is wrong, and where.
func (f *Fault) Error() string {
	if f.Field == "" {
		return f.Problem
	}
	return f.Field + ": " + f.Problem
}

// Validate reports everything that is wrong with a Config, each as a *Fault,
// joined. It looks at the values and at the environment's keys, and opens
// nothing.
func (c *Config) Validate() error {
	var f faults
	c.checkStream(&f)
	c.checkEndpoint(&f)
	c.checkKeys(&f)
	if c.ExternalID != "" && c.RoleARN == "" {
		f.add("ExternalID", "it is given without a role to assume")
	}
	if c.RoleARN != "" && !roleARN.MatchString(c.RoleARN) {
		f.add("RoleARN", "%q is not the ARN of a role (arn:aws:iam::123456789012:role/NAME)", c.RoleARN)
	}
	if p := c.PollInterval; p != 0 && (p < minGap || p > maxPollInterval) {
		f.add("PollInterval", "%s is not between %s and %s", p, minGap, maxPollInterval)
	}
	return errors.Join(f...)
}

// maxPollInterval is well below the life of an iterator.
const maxPollInterval = time.Minute

type faults []error

func (f *faults) add(field, problem string, args ...any) {
	*f = append(*f, &Fault{field, fmt.Sprintf(problem, args...)})
}

var (
	streamName = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	streamARN  = regexp.MustCompile(`^arn:aws[a-z-]*:kinesis:([a-z0-9-]+):(\d{12}):stream/([a-zA-Z0-9_.-]{1,128})$`)
	roleARN    = regexp.MustCompile(`^arn:aws[a-z-]*:iam::\d{12}:role/\S+$`)
	regionName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
)

func (c *Config) checkStream(f *faults) {
	parts := streamARN.FindStringSubmatch(c.Stream)
	switch {
	case c.Stream == "":
		f.add("Stream", "no stream is given: its name, or its ARN")
	case parts != nil && c.Region != "" && c.Region != parts[1]:
		f.add("Region", "%s is not the region of the stream's ARN, %s", c.Region, parts[1])
	case parts == nil && strings.HasPrefix(c.Stream, "arn:"):
		f.add("Stream", "%q is not the ARN of a stream (arn:aws:kinesis:us-west-2:123456789012:stream/NAME)", c.Stream)
	case parts == nil && !streamName.MatchString(c.Stream):
		f.add("Stream", "%q is not a stream's name: 1 to 128 letters, digits, '_', '.' and '-'", c.Stream)
	}
	if c.Region != "" && !regionName.MatchString(c.Region) {
		f.add("Region", "%q is not a region's name, such as us-west-2", c.Region)
	}
}

// userInEndpoint is what is said of an endpoint that may hold a password,
// without the endpoint.
const userInEndpoint = "a URL with a user in it is not supported"

func (c *Config) checkEndpoint(f *faults) {
	switch {
	case !c.AccountEndpoints:
	case c.Endpoint != "":
		f.add("AccountEndpoints", "the account's endpoints are asked for besides an endpoint: one of the two is too many")
	case !streamARN.MatchString(c.Stream):
		f.add("AccountEndpoints", "the stream must be given by its ARN, which names the account")
	}
	if c.Endpoint == "" {
		return
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case strings.Contains(c.Endpoint, "@"): // "u:password@host" is a URL without a user to url.Parse
		f.add("Endpoint", userInEndpoint)
	case err != nil:
		f.add("Endpoint", "it is not a URL, such as http://localhost:4567")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		f.add("Endpoint", "%q is not a URL, such as http://localhost:4567", c.Endpoint)
	}
}

// checkKeys finds halves of credentials. The SDK would pass them over and look
// elsewhere, and the error would be about that place.
func (c *Config) checkKeys(f *faults) {
	switch {
	case c.AccessKeyFile != "" && c.SecretKeyFile == "":
		f.add("SecretKeyFile", "a key's id is given without its secret")
	case c.AccessKeyFile == "" && c.SecretKeyFile != "":
		f.add("AccessKeyFile", "a key's secret is given without its id")
	case c.AccessKeyFile == "" && c.SessionTokenFile != "":
		f.add("SessionTokenFile", "a session token is given without its key")
	}
	files := c.AccessKeyFile + c.SecretKeyFile + c.SessionTokenFile
	if c.CredentialsFile != "" && files != "" {
		f.add("CredentialsFile", "it is given besides a key: one of the two is too many")
	}
	if problem := c.Keys.trouble(); problem != "" {
		f.add("Keys", "%s: %s", c.Keys, problem)
	}
	if !c.Keys.IsZero() && c.CredentialsFile+files != "" {
		f.add("Keys", "a key of %s is given besides files: one of the two is too many", c.Keys)
	}
	if c.Isolated || c.CredentialsFile+files != "" || !c.Keys.IsZero() {
		return
	}
	id := os.Getenv("AWS_ACCESS_KEY_ID") + os.Getenv("AWS_ACCESS_KEY")
	secret := os.Getenv("AWS_SECRET_ACCESS_KEY") + os.Getenv("AWS_SECRET_KEY")
	switch {
	case id != "" && secret == "":
		f.add("", "AWS_ACCESS_KEY_ID is set in the environment, and AWS_SECRET_ACCESS_KEY is not")
	case id == "" && secret != "":
		f.add("", "AWS_SECRET_ACCESS_KEY is set in the environment, and AWS_ACCESS_KEY_ID is not")
	}
}

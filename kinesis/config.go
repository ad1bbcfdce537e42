package kinesis

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Config is what a Source needs. Only Stream is required; a region must be
// found somewhere.
type Config struct {
	// Stream is the stream's name, or its ARN:
	// "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit". The ARN includes
	// the region, and is the only way to name a stream of another account.
	Stream string

	// Region is the AWS region, "us-west-2". Empty: the ARN's, or else that of
	// AWS_REGION, AWS_DEFAULT_REGION or the profile in the shared configuration
	// file. The instance metadata service is not asked.
	Region string

	// Endpoint is the URL of a service other than AWS' own for the region: an
	// emulator, or a VPC endpoint. Empty: AWS' own, or that of
	// AWS_ENDPOINT_URL_KINESIS or AWS_ENDPOINT_URL.
	Endpoint string

	// AccountEndpoints sends requests to the hosts of the stream's account,
	// <account>.control-kinesis.<region>.amazonaws.com and
	// <account>.data-kinesis.<region>.amazonaws.com, instead of
	// kinesis.<region>.amazonaws.com. Stream must then be an ARN. No request
	// goes to the hosts that were not chosen.
	AccountEndpoints bool

	// Credentials sign the requests.
	Credentials Credentials

	// PollInterval is the time between two reads of a shard at its tip. Less
	// than 200ms counts as 200ms, and so does 0: a shard grants five reads a
	// second to all its readers together. A reader that has met another one, or
	// lags, reads every 250ms at most. A shard that stays silent is read less
	// often where a process reads more than a hundred: with 1,000 shards, every
	// two seconds after a minute.
	//
	// Negative: a reader that lags does not pause at all, for measurements of a
	// service without limits; on any other it takes what other readers need.
	PollInterval time.Duration

	// Read says how shards are read. "": ReadPoll.
	Read ReadMode

	// ConsumerName is the consumer of enhanced fan-out, which is registered if
	// the stream does not have it, and never deregistered. Programs that read
	// the stream each for itself need one each. "": "gerritstream".
	ConsumerName string

	// ConsumerARN is a consumer that is registered already: the stream's ARN
	// and "/consumer/NAME:1700000000". Nothing is then registered or described.
	ConsumerARN string

	// MarkForeign marks records within aggregates as
	// [gerritstream.Record.Foreign] if their hash key is not the shard's.
	MarkForeign bool

	// Budget bounds the memory of pages. Share one among all Sources of a
	// process. nil: a budget of the default size for this Source alone. See
	// PageReserve.
	Budget *Budget

	// Logger receives details, mostly at level debug. nil: nothing is logged.
	Logger *slog.Logger

	// Observer is shown every request. nil: none.
	Observer Observer

	// Transport carries all requests, those for credentials included: for
	// tests. nil: the SDK's own, with the certificates of AWS_CA_BUNDLE and the
	// proxies of the environment.
	Transport http.RoundTripper

	// Isolated ignores the environment and the shared files, and signs requests
	// with a made-up key: for a service that accepts any key, such as an
	// emulator reached by Transport. Region is then required.
	Isolated bool
}

// ReadMode is how shards are read.
type ReadMode string

// The modes. Those with fan-out poll until a subscription stands, whenever
// there is none, and now and then to learn until when all has been read.
const (
	// ReadPoll asks for pages. All polling readers share what a shard grants.
	ReadPoll ReadMode = "poll"

	// ReadFanOut has the service push records as they arrive, at up to 2 MiB a
	// second for each consumer and shard (enhanced fan-out). Where that is not
	// possible it polls, reports why, and tries again every ten minutes.
	ReadFanOut ReadMode = "fan-out"

	// ReadAuto is ReadFanOut, except that polling instead is no trouble: it is
	// logged once.
	ReadAuto ReadMode = "auto"
)

const defaultConsumer = "gerritstream"

// Credentials say where the key that signs requests comes from: from
// AccessKeyFile and SecretKeyFile, from File, or from Keys. All of them are
// read again every five minutes, and when the service refuses the key.
//
// The zero Credentials mean the SDK's default chain: AWS_ACCESS_KEY_ID and
// AWS_SECRET_ACCESS_KEY, a web identity, the shared files, the container's
// role, the instance's role. The shared files are read again likewise.
type Credentials struct {
	// AccessKeyFile, SecretKeyFile and SessionTokenFile each name a file that
	// holds nothing but the key's id, its secret, and the session token of
	// temporary credentials.
	AccessKeyFile    string
	SecretKeyFile    string
	SessionTokenFile string

	// File is in the format of the shared credentials file. Its profile is that
	// of AWS_PROFILE, or "default".
	File string

	// Keys is a key held in memory. It never changes unless it knows how to be
	// read again: see Keys.Reread.
	Keys Keys

	// RoleARN is a role to assume with these credentials, for an hour at a
	// time; ExternalID is what its owner may require besides.
	RoleARN    string
	ExternalID string
}

// Fault is a mistake in a Config.
type Fault struct {
	Field   string // of Config: "Stream", "Credentials.File"; "" for the environment
	Problem string
}

// Error names the field and its problem.
func (f *Fault) Error() string {
	if f.Field == "" {
		return f.Problem
	}
	return f.Field + ": " + f.Problem
}

// Validate reports all mistakes in a Config, each as a *Fault, joined. It looks
// at the values and at the keys in the environment, and opens no file.
func (c *Config) Validate() error {
	var f faults
	c.checkStream(&f)
	c.checkEndpoint(&f)
	c.checkFanOut(&f)
	c.checkKeys(&f)
	cred := &c.Credentials
	if cred.ExternalID != "" && cred.RoleARN == "" {
		f.add("Credentials.ExternalID", "given without a role to assume")
	}
	if cred.RoleARN != "" && !roleARN.MatchString(cred.RoleARN) {
		f.add("Credentials.RoleARN", "%q is not the ARN of a role (arn:aws:iam::123456789012:role/NAME)", cred.RoleARN)
	}
	return errors.Join(f...)
}

type faults []error

func (f *faults) add(field, problem string, args ...any) {
	*f = append(*f, &Fault{field, fmt.Sprintf(problem, args...)})
}

var (
	streamName  = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`)
	streamARN   = regexp.MustCompile(`^arn:aws[a-z-]*:kinesis:([a-z0-9-]+):(\d{12}):stream/([a-zA-Z0-9_.-]{1,128})$`)
	consumerARN = regexp.MustCompile(`^(arn:aws[a-z-]*:kinesis:[a-z0-9-]+:\d{12}:stream/[a-zA-Z0-9_.-]{1,128})` +
		`/consumer/[a-zA-Z0-9_.-]{1,128}:\d+$`)
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

// userInEndpoint is the problem of an endpoint that may hold a password; it
// does not quote the endpoint.
const userInEndpoint = "a URL with a user in it is not supported"

func (c *Config) checkEndpoint(f *faults) {
	switch {
	case !c.AccountEndpoints:
	case c.Endpoint != "":
		f.add("AccountEndpoints", "cannot be combined with an endpoint; give only one of the two")
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
		f.add("Endpoint", "not a URL, such as http://localhost:4567")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		f.add("Endpoint", "%q is not a URL, such as http://localhost:4567", c.Endpoint)
	}
}

func (c *Config) checkFanOut(f *faults) {
	if !slices.Contains([]ReadMode{"", ReadPoll, ReadFanOut, ReadAuto}, c.Read) {
		f.add("Read", "%q is none of poll, fan-out and auto", c.Read)
	}
	if c.ConsumerName != "" && !streamName.MatchString(c.ConsumerName) {
		f.add("ConsumerName", "%q is not a consumer's name: 1 to 128 letters, digits, '_', '.' and '-'", c.ConsumerName)
	}
	if c.ConsumerARN == "" {
		return
	}
	parts := consumerARN.FindStringSubmatch(c.ConsumerARN)
	switch {
	case c.ConsumerName != "":
		f.add("ConsumerARN", "cannot be combined with a consumer's name; give only one of the two")
	case parts == nil:
		f.add("ConsumerARN", "%q is not the ARN of a consumer "+
			"(arn:aws:kinesis:us-west-2:123456789012:stream/NAME/consumer/NAME:1700000000)", c.ConsumerARN)
	case c.Stream != parts[1] && !strings.HasSuffix(parts[1], ":stream/"+c.Stream):
		f.add("ConsumerARN", "the consumer is not of the stream %s", c.Stream)
	}
}

// checkKeys finds halves of credentials. The SDK would skip them and look
// elsewhere, and its error would be about that place.
func (c *Config) checkKeys(f *faults) {
	cred := &c.Credentials
	switch {
	case cred.AccessKeyFile != "" && cred.SecretKeyFile == "":
		f.add("Credentials.SecretKeyFile", "a key's id is given without its secret")
	case cred.AccessKeyFile == "" && cred.SecretKeyFile != "":
		f.add("Credentials.AccessKeyFile", "a key's secret is given without its id")
	case cred.AccessKeyFile == "" && cred.SessionTokenFile != "":
		f.add("Credentials.SessionTokenFile", "a session token is given without its key")
	}
	files := cred.AccessKeyFile + cred.SecretKeyFile + cred.SessionTokenFile
	if cred.File != "" && files != "" {
		f.add("Credentials.File", "cannot be combined with a key in files; give only one of the two")
	}
	if problem := cred.Keys.problem(); problem != "" {
		f.add("Credentials.Keys", "%s: %s", cred.Keys, problem)
	}
	if !cred.Keys.IsZero() && cred.File+files != "" {
		f.add("Credentials.Keys", "a key of %s cannot be combined with files; give only one of the two", cred.Keys)
	}
	if c.Isolated || cred.File+files != "" || !cred.Keys.IsZero() {
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

// Observer is shown what a Source does, for metrics. Its methods are called by
// several goroutines at once, and must not block.
type Observer interface {
	// Request reports an attempt at an operation, "GetRecords", and its
	// duration. The code is of a bounded set: "OK", one of the service's own,
	// or "Network", "Timeout", "Canceled", "Malformed", "TooLarge", "NoRoom",
	// "Credentials", "Other".
	Request(operation, code string, took time.Duration)

	// ReplyBytes reports the size of a GetRecords reply's body, or of an event
	// of a subscription.
	ReplyBytes(n int)

	// SubscriptionBegan and SubscriptionEnded report on enhanced fan-out. The
	// reason is one of Request's codes or "Renewed", "Expired" (its five
	// minutes were over), "Ended" (earlier), "Corrupt", "Closed" (the reading
	// ended).
	SubscriptionBegan()
	SubscriptionEnded(reason string)

	// ClockSkew reports with each reply how far the service's clock is ahead of
	// the local one, give or take half a second and half of the request's
	// duration. It is negative if the service's clock is late.
	ClockSkew(ahead time.Duration)
}

type noObserver struct{}

func (noObserver) Request(string, string, time.Duration) {}
func (noObserver) ReplyBytes(int)                        {}
func (noObserver) ClockSkew(time.Duration)               {}
func (noObserver) SubscriptionBegan()                    {}
func (noObserver) SubscriptionEnded(string)              {}

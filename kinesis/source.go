package kinesis

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go/logging"

	"github.com/gerritstream/gerritstream"
)

// Source reads one stream. Nothing of it runs but while a method does.
type Source struct {
	log         *slog.Logger
	client      *awskinesis.Client
	poller      *poller
	credentials *provider
	budget      *Budget
	observer    Observer
	tempo       tempo
	region      string
	stream      string                 // its name
	arn         atomic.Pointer[string] // nil: not known yet

	fanOut        fanOut
	markForeign   bool
	ranges        ranges
	creation      creation
	namesChildren atomic.Bool // a reply has named the children of a shard that ended
}

var _ gerritstream.Source = (*Source)(nil)

// New checks a Config and finds the region and where credentials come from. It
// makes no request; ctx ends only the reading of configuration files. Its error
// is *Faults joined, or about a shared configuration file that cannot be used.
func New(ctx context.Context, c Config) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	s := &Source{
		log:      cmp.Or(c.Logger, slog.New(slog.DiscardHandler)),
		budget:   cmp.Or(c.Budget, NewBudget(0)),
		observer: c.Observer,
		tempo:    tempo{poll: max(c.PollInterval, minGap), unpaced: c.PollInterval < 0, began: time.Now()},
		stream:   c.Stream,
		fanOut:   newFanOut(&c),

		markForeign: c.MarkForeign,
		creation:    creation{turn: make(chan struct{}, 1)},
	}
	if s.observer == nil {
		s.observer = noObserver{}
	}
	if parts := streamARN.FindStringSubmatch(c.Stream); parts != nil {
		c.Region, s.stream = parts[1], parts[3]
		s.arn.Store(&c.Stream)
	}
	loaded, err := s.load(ctx, &c)
	if err != nil {
		return nil, err
	}
	s.region = loaded.Region
	s.credentials = newProvider(&c.Credentials, &loaded)
	loaded.HTTPClient = withoutTimeout(loaded.HTTPClient) // attempts have a progressTimeout
	s.fanOut.client = streamClient(loaded.HTTPClient)
	endpoint := fixedEndpoint{rules: awskinesis.NewDefaultEndpointResolverV2()}
	if c.AccountEndpoints {
		endpoint.arn = &c.Stream
	}
	s.client = awskinesis.NewFromConfig(loaded, func(o *awskinesis.Options) {
		o.Credentials = s.credentials
		o.Retryer = aws.NopRetryer{}
		o.HTTPClient = watchedClient{o.HTTPClient}
		o.EndpointResolverV2 = endpoint
		if c.Endpoint != "" {
			o.BaseEndpoint = &c.Endpoint
		}
	})
	s.poller = newPoller(s.client)
	s.poller.encoding.onlyJSON.Store(!c.Isolated && cborDisabled())
	if base := s.client.Options().BaseEndpoint; base != nil && strings.Contains(*base, "@") {
		return nil, &Fault{"", "AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_KINESIS or endpoint_url: " + userInEndpoint}
	}
	s.warnUnknownRegion()
	return s, nil
}

// load reads the environment and the shared files, as the SDK does for every
// program, unless the Config is isolated.
func (s *Source) load(ctx context.Context, c *Config) (aws.Config, error) {
	if c.Isolated {
		return isolated(c)
	}
	load := func(ctx context.Context) (aws.Config, error) {
		loaded, err := config.LoadDefaultConfig(ctx,
			config.WithRegion(c.Region),
			config.WithHTTPClient(httpClient(c.Transport)),    // for credentials
			config.WithDefaultsMode(aws.DefaultsModeStandard), // "auto" would ask the instance metadata service
			config.WithAssumeRoleCredentialOptions(profileRole),
			config.WithWebIdentityRoleCredentialOptions(webIdentityRole),
			config.WithLogger(logging.LoggerFunc(func(level logging.Classification, format string, args ...any) {
				s.log.Debug("AWS SDK message", "severity", string(level), "text", fmt.Sprintf(format, args...))
			})),
		)
		if err != nil {
			return aws.Config{}, fmt.Errorf("load AWS configuration: %s", firstLine(err.Error()))
		}
		return loaded, nil
	}
	loaded, err := load(ctx)
	if err != nil {
		return aws.Config{}, err
	}
	if loaded.Region == "" {
		return aws.Config{}, &Fault{"Region", fmt.Sprintf("no region was found: not in the configuration "+
			"(aws.region, --region), not in the stream (%q is a name, not an ARN), not in AWS_REGION, "+
			"not in AWS_DEFAULT_REGION, not in profile %s of %s; the instance metadata service is not asked for it",
			c.Stream, profile(), sharedPath("AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()))}
	}
	loaded.Credentials = newChain(&loaded, load)
	return loaded, nil
}

// isolated returns a configuration that only depends on a Config.
func isolated(c *Config) (aws.Config, error) {
	if c.Region == "" {
		return aws.Config{}, &Fault{"Region", "no region is given, and an isolated Source looks nowhere else"}
	}
	return aws.Config{
		Region:       c.Region,
		HTTPClient:   httpClient(c.Transport),
		DefaultsMode: aws.DefaultsModeStandard,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			const source = "made up: the service accepts any"
			return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any", Source: source}, nil
		}),
	}, nil
}

// Description says what a Source reads and as whom, for one line at the start.
// It holds no secret.
type Description struct {
	StreamARN   string
	Account     string // twelve digits: whose stream it is
	Region      string
	Credentials string // where they came from: "EnvConfigCredentials", or the role that was assumed
}

// Describe asks the service for the stream, and gets credentials. Its errors
// are those of List.
func (s *Source) Describe(ctx context.Context) (Description, error) {
	summary, _, err := s.describe(ctx)
	if err != nil {
		return Description{}, err
	}
	from, err := s.credentials.origin(ctx)
	if err != nil && ctx.Err() != nil {
		return Description{}, ctx.Err()
	}
	if err != nil {
		e, _ := s.explain(target{operation: "DescribeStreamSummary"}, err, nil)
		return Description{}, e
	}
	arn := summary.stream.ARN
	return Description{StreamARN: arn, Account: accountOf(arn), Region: s.region, Credentials: from}, nil
}

// accountOf returns the account in an ARN, or "".
func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}

package kinesis

import (
	"context"
	"strings"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	smithyendpoints "github.com/aws/smithy-go/endpoints"

	"github.com/gerritstream/gerritstream/internal/near"
)

// oneEndpoint has all requests sent to one kind of endpoint. By itself the SDK
// takes the account's where a request names the stream's ARN, and the region's
// where it does not: in the first request by name, and with a page token.
type fixedEndpoint struct {
	rules awskinesis.EndpointResolverV2
	arn   *string // the stream's; nil: the region's endpoint
}

// ResolveEndpoint implements [awskinesis.EndpointResolverV2].
func (e fixedEndpoint) ResolveEndpoint(ctx context.Context, p awskinesis.EndpointParameters) (smithyendpoints.Endpoint, error) {
	p.StreamARN = e.arn
	return e.rules.ResolveEndpoint(ctx, p)
}

// newEndpoint returns the kind of endpoint that a Config asks for.
func newEndpoint(c *Config) fixedEndpoint {
	e := fixedEndpoint{rules: awskinesis.NewDefaultEndpointResolverV2()}
	if c.AccountEndpoints {
		e.arn = &c.Stream
	}
	return e
}

// regions are those that the SDK knows, of all partitions. AWS may have more by
// now. It is never written to.
var regions = []string{
	"af-south-1", "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3", "ap-south-1", "ap-south-2",
	"ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7",
	"ca-central-1", "ca-west-1", "cn-north-1", "cn-northwest-1", "eu-central-1", "eu-central-2", "eu-isoe-west-1", "eu-north-1",
	"eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3", "eusc-de-east-1", "il-central-1", "me-central-1", "me-south-1",
	"me-west-1", "mx-central-1", "sa-east-1", "sa-west-1", "us-east-1", "us-east-2", "us-gov-east-1", "us-gov-west-1", "us-iso-east-1",
	"us-iso-west-1", "us-isob-east-1", "us-isob-west-1", "us-isof-east-1", "us-isof-south-1", "us-west-1", "us-west-2",
}

// nearRegions returns up to three regions that may be meant by one that is not
// known: the likeliest, or else those that begin like it. known is true for a
// region that the SDK knows, also by the old names of its FIPS endpoints.
func similarRegions(region string) (like []string, known bool) {
	plain := strings.TrimSuffix(strings.TrimPrefix(region, "fips-"), "-fips")
	begins, _, _ := strings.Cut(plain, "-")
	if one := near.Nearest(plain, regions); one == plain {
		return nil, true
	} else if one != "" {
		like = append(like, one)
	}
	for _, r := range regions {
		if len(like) < 3 && strings.HasPrefix(r, begins+"-") && (len(like) == 0 || r != like[0]) {
			like = append(like, r)
		}
	}
	return like, false
}

// warnOfRegion warns of a region that is not known, where its name decides
// which host is asked. Its requests would fail as those to a host that is not
// found, for ever.
func (s *Source) warnUnknownRegion() {
	if s.client.Options().BaseEndpoint != nil {
		return
	}
	like, known := similarRegions(s.region)
	if known {
		return
	}
	about := []any{"region", s.region}
	if len(like) > 0 {
		about = append(about, "similar", like)
	}
	s.log.Warn("region is not known to this version", about...)
}

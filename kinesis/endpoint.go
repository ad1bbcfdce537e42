package kinesis

import (
	"context"
	"strings"

	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	smithyendpoints "github.com/aws/smithy-go/endpoints"

	"github.com/gerritstream/gerritstream/internal/near"
)

// fixedEndpoint sends all requests to one kind of endpoint. By itself the SDK
// takes the account's where a request names the ARN of the stream or of a
// consumer, and the region's where it does not: in the first request by name,
// and with a page token.
type fixedEndpoint struct {
	rules awskinesis.EndpointResolverV2
	arn   *string // the stream's; nil: the region's endpoint
}

// ResolveEndpoint implements [awskinesis.EndpointResolverV2].
func (e fixedEndpoint) ResolveEndpoint(ctx context.Context, p awskinesis.EndpointParameters) (
	smithyendpoints.Endpoint, error,
) {
	p.StreamARN, p.ConsumerARN = e.arn, nil
	return e.rules.ResolveEndpoint(ctx, p)
}

// regions are those that the SDK knows, of all partitions. It is never written
// to.
var regions = strings.Fields(`
	af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2
	ap-southeast-1 ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7
	ca-central-1 ca-west-1 cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-isoe-west-1 eu-north-1
	eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3 eusc-de-east-1 il-central-1 me-central-1 me-south-1
	me-west-1 mx-central-1 sa-east-1 sa-west-1 us-east-1 us-east-2 us-gov-east-1 us-gov-west-1 us-iso-east-1
	us-iso-west-1 us-isob-east-1 us-isob-west-1 us-isof-east-1 us-isof-south-1 us-west-1 us-west-2`)

// similarRegions returns up to three regions that an unknown one may stand for:
// the nearest, or else those that begin like it. known is true for a region
// that the SDK knows, also by the old names of its FIPS endpoints.
func similarRegions(region string) (similar []string, known bool) {
	plain := strings.TrimSuffix(strings.TrimPrefix(region, "fips-"), "-fips")
	begins, _, _ := strings.Cut(plain, "-")
	if one := near.Nearest(plain, regions); one == plain {
		return nil, true
	} else if one != "" {
		similar = append(similar, one)
	}
	for _, r := range regions {
		if len(similar) < 3 && strings.HasPrefix(r, begins+"-") && (len(similar) == 0 || r != similar[0]) {
			similar = append(similar, r)
		}
	}
	return similar, false
}

// warnUnknownRegion warns of an unknown region if its name decides which host
// is asked: requests would fail for ever because the host is not found.
func (s *Source) warnUnknownRegion() {
	if s.client.Options().BaseEndpoint != nil {
		return
	}
	similar, known := similarRegions(s.region)
	if known {
		return
	}
	about := []any{"region", s.region}
	if len(similar) > 0 {
		about = append(about, "similar", similar)
	}
	s.log.Warn("region is not known to this version", about...)
}

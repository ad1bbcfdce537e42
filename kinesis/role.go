package kinesis

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"
)

const (
	roleSessionName = "gerritstream"

	// roleFor is how long a role is assumed for: what every role grants, also
	// if it is assumed with another role's credentials.
	roleFor = time.Hour

	// renewBefore is how long before their end a role's credentials are
	// renewed.
	renewBefore = 5 * time.Minute
)

// newRole returns the credentials of the role in c, assumed through client.
func newRole(c *Credentials, client stscreds.AssumeRoleAPIClient) *aws.CredentialsCache {
	assume := stscreds.NewAssumeRoleProvider(assumer{client}, c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = roleSessionName, roleFor
		if c.ExternalID != "" {
			o.ExternalID = &c.ExternalID
		}
	})
	return aws.NewCredentialsCache(assume, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })
}

// profileRole makes the SDK assume the role of a profile in the shared files
// like newRole's.
func profileRole(o *stscreds.AssumeRoleOptions) {
	if o.Duration == 0 {
		o.Duration = roleFor
	}
	if o.Client != nil {
		o.Client = assumer{o.Client}
	}
}

// webIdentityRole does the same for a role that is assumed with a web identity.
func webIdentityRole(o *stscreds.WebIdentityRoleOptions) {
	if o.Client != nil {
		o.Client = webAssumer{o.Client}
	}
}

// assumer is a token service whose credentials expire by the local clock,
// however wrong that is. The service gives their end by its own clock, and the
// SDK compares that with the local one: with a local clock eleven minutes
// ahead, credentials for a quarter of an hour would be renewed before every
// request.
type assumer struct{ next stscreds.AssumeRoleAPIClient }

// AssumeRole implements [stscreds.AssumeRoleAPIClient].
func (a assumer) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (
	*sts.AssumeRoleOutput, error,
) {
	out, err := a.next.AssumeRole(ctx, in, options...)
	if err == nil {
		expireLocally(out.Credentials, out.ResultMetadata)
	}
	return out, err
}

// webAssumer does the same for web identities.
type webAssumer struct {
	next stscreds.AssumeRoleWithWebIdentityAPIClient
}

// AssumeRoleWithWebIdentity implements
// [stscreds.AssumeRoleWithWebIdentityAPIClient].
func (a webAssumer) AssumeRoleWithWebIdentity(ctx context.Context, in *sts.AssumeRoleWithWebIdentityInput,
	options ...func(*sts.Options),
) (*sts.AssumeRoleWithWebIdentityOutput, error) {
	out, err := a.next.AssumeRoleWithWebIdentity(ctx, in, options...)
	if err == nil {
		expireLocally(out.Credentials, out.ResultMetadata)
	}
	return out, err
}

// expireLocally converts the end of credentials from the clock of the reply
// that they came with to the local one.
func expireLocally(c *types.Credentials, reply middleware.Metadata) {
	date, ok := awsmiddleware.GetServerTime(reply)
	if !ok || c == nil || c.Expiration == nil {
		return
	}
	c.Expiration = aws.Time(time.Now().Add(c.Expiration.Sub(date)))
}

package kinesis

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// atLeast is how long credentials of the SDK's chain are used before the chain
// is asked again, even if they seem to have expired: a local clock that is
// ahead would have them asked for before every request. The service refuses
// those that have really expired, and then the chain is asked at once.
const minLifetime = time.Minute

// chain is the SDK's default chain of credentials. The SDK reads the shared
// files once, when it is configured; chain configures it again when they have
// changed.
type chain struct {
	load    func(context.Context) (aws.Config, error)
	cache   *aws.CredentialsCache // of ask
	refused atomic.Bool           // the service refused what ask returned last

	inner aws.CredentialsProvider // owned by the running ask
	files []byte                  // digest of what inner was made of; owned by the running ask
}

// newChain returns the chain that loaded has found. load configures the SDK
// again as loaded was.
func newChain(loaded *aws.Config, load func(context.Context) (aws.Config, error)) *chain {
	c := &chain{load: load, inner: loaded.Credentials, files: sharedFiles()}
	c.cache = aws.NewCredentialsCache(aws.CredentialsProviderFunc(c.retrieve))
	return c
}

// Retrieve implements [aws.CredentialsProvider].
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) { return c.cache.Retrieve(ctx) }

// Invalidate makes the next Retrieve ask everybody again.
func (c *chain) Invalidate() {
	c.refused.Store(true)
	c.cache.Invalidate()
}

// ask finds credentials; the cache lets one run at a time. Where the changed
// files give none, those found before are kept unless the service refused them:
// the files may just be being written.
func (c *chain) retrieve(ctx context.Context) (aws.Credentials, error) {
	refused := c.refused.Swap(false)
	if refused {
		invalidate(c.inner)
	}
	if now := sharedFiles(); !bytes.Equal(now, c.files) {
		found, err := c.reload(ctx, now)
		if err == nil || refused {
			return found, err
		}
	}
	found, err := c.inner.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	return boundLifetime(found), nil
}

// askAgain takes the credentials that the SDK finds when it is configured
// again. Where it finds any, the files as they were by then are the ones known.
func (c *chain) reload(ctx context.Context, files []byte) (aws.Credentials, error) {
	loaded, err := c.load(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	found, err := loaded.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	c.inner, c.files = loaded.Credentials, files
	return boundLifetime(found), nil
}

// recheckable bounds how long credentials are used without a look at the files.
func boundLifetime(found aws.Credentials) aws.Credentials {
	now := time.Now()
	latest := now.Add(rereadInterval)
	if !found.CanExpire || found.Expires.After(latest) {
		found.CanExpire, found.Expires = true, latest
	}
	if earliest := now.Add(minLifetime); found.Expires.Before(earliest) {
		found.Expires = earliest
	}
	return found
}

// sharedFiles is a digest of the files that the SDK takes credentials from. A
// file that cannot be read is like an empty one.
func sharedFiles() []byte {
	digest := sha256.New()
	for _, path := range []string{
		sharedPath("AWS_SHARED_CREDENTIALS_FILE", config.DefaultSharedCredentialsFilename()),
		sharedPath("AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()),
	} {
		content, _ := os.ReadFile(path)
		one := sha256.Sum256(content)
		digest.Write(one[:])
	}
	return digest.Sum(nil)
}

// invalidate makes credentials be asked for again.
func invalidate(p aws.CredentialsProvider) {
	if cache, ok := p.(interface{ Invalidate() }); ok {
		cache.Invalidate()
	}
}

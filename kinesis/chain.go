package kinesis

import (
	"context"
	"crypto/sha256"
	"os"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
)

// minLifetime is how long credentials of the SDK's chain are used even if they
// seem to have expired: a local clock that is ahead would have them renewed
// before every request. If they have really expired, the service refuses them,
// and the chain is asked at once.
const minLifetime = time.Minute

// chain is the SDK's default chain of credentials. The SDK reads the shared
// files once, when it is configured; chain configures it again when they have
// changed.
type chain struct {
	load    func(context.Context) (aws.Config, error)
	cache   *aws.CredentialsCache // of retrieve
	refused atomic.Bool           // the service refused what retrieve returned last

	inner aws.CredentialsProvider // owned by the running retrieve
	files [2][sha256.Size]byte    // digests of the files that inner read; owned by the running retrieve
}

// newChain returns the chain of loaded, which load made and can make again.
func newChain(loaded *aws.Config, load func(context.Context) (aws.Config, error)) *chain {
	c := &chain{load: load, inner: loaded.Credentials, files: digestSharedFiles()}
	c.cache = aws.NewCredentialsCache(aws.CredentialsProviderFunc(c.retrieve))
	return c
}

// Retrieve implements [aws.CredentialsProvider].
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) { return c.cache.Retrieve(ctx) }

// Invalidate discards everything cached, after the service refused it.
func (c *chain) Invalidate() {
	c.refused.Store(true)
	c.cache.Invalidate()
}

// retrieve finds credentials; the cache lets one call run at a time. If changed
// files give none, those found before are kept unless the service refused them:
// somebody may just be writing the files.
func (c *chain) retrieve(ctx context.Context) (aws.Credentials, error) {
	refused := c.refused.Swap(false)
	if refused {
		invalidate(c.inner)
	}
	if now := digestSharedFiles(); now != c.files {
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

// reload configures the SDK again and takes the credentials that it finds.
// files is the digest from before.
func (c *chain) reload(ctx context.Context, files [2][sha256.Size]byte) (aws.Credentials, error) {
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

// boundLifetime bounds how long credentials are used: the files may change.
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

// digestSharedFiles returns digests of the files that the SDK takes credentials
// from. A file that cannot be read counts as empty.
func digestSharedFiles() (digests [2][sha256.Size]byte) {
	for i, path := range []string{
		sharedPath("AWS_SHARED_CREDENTIALS_FILE", config.DefaultSharedCredentialsFilename()),
		sharedPath("AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()),
	} {
		content, _ := os.ReadFile(path)
		digests[i] = sha256.Sum256(content)
	}
	return digests
}

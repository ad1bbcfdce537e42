package kinesis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	// credentialsTimeout bounds the wait for credentials: outside AWS the
	// instance metadata service never answers.
	credentialsTimeout = 5 * time.Second

	// credentialsMargin is how much longer Retrieve waits than each request
	// does, so that its error names what did not answer.
	credentialsMargin = 500 * time.Millisecond

	// rereadInterval is how long what was read from files is used.
	rereadInterval = 5 * time.Minute
)

// provider gives the Source's credentials: those of base, or of a role assumed
// with them.
type provider struct {
	base aws.CredentialsProvider
	used aws.CredentialsProvider // base, or the role's
	role string
}

// newProvider chooses among the configured credentials and those of loaded. It
// makes no request.
func newProvider(c *Credentials, loaded *aws.Config) *provider {
	p := &provider{base: loaded.Credentials, role: c.RoleARN}
	switch {
	case !c.Keys.IsZero():
		p.base = aws.NewCredentialsCache(c.Keys)
	case c.AccessKeyFile != "":
		p.base = aws.NewCredentialsCache(keyFiles{c.AccessKeyFile, c.SecretKeyFile, c.SessionTokenFile})
	case c.File != "":
		p.base = aws.NewCredentialsCache(sharedFile{c.File, profile()})
	}
	p.used = p.base
	if c.RoleARN != "" {
		as := loaded.Copy()
		as.Credentials = p.base
		p.used = newRole(c, sts.NewFromConfig(as, func(o *sts.Options) { o.HTTPClient = watchedClient{o.HTTPClient} }))
	}
	return p
}

// Retrieve implements [aws.CredentialsProvider]. Its error is a
// *credentialsError, or the context's.
func (p *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	// The SDK may ask on after the caller has left, and not for this caller
	// alone: what comes of that is not noted in the caller's exchange.
	own := context.WithValue(ctx, exchangeKey{}, (*exchange)(nil))
	limited, cancel := context.WithTimeout(own, credentialsTimeout+credentialsMargin)
	defer cancel()
	found, err := p.used.Retrieve(limited)
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return aws.Credentials{}, ctx.Err()
	}
	return aws.Credentials{}, &credentialsError{err: err, role: p.role}
}

// invalidate makes the next Retrieve ask again, after the service refused the
// credentials.
func (p *provider) invalidate() {
	invalidate(p.base)
	invalidate(p.used)
}

// origin names where the credentials come from, and holds nothing of them.
func (p *provider) origin(ctx context.Context) (string, error) {
	used, err := p.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	if p.role == "" {
		return used.Source, nil
	}
	base, err := p.base.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, assumed with %s", p.role, base.Source), nil
}

// invalidate discards what a provider has cached.
func invalidate(p aws.CredentialsProvider) {
	if cache, ok := p.(interface{ Invalidate() }); ok {
		cache.Invalidate()
	}
}

// keyFiles reads each part of a key from a file of its own.
type keyFiles struct{ id, secret, token string }

// Retrieve implements [aws.CredentialsProvider].
func (k keyFiles) Retrieve(context.Context) (found aws.Credentials, err error) {
	found = aws.Credentials{Source: "the files " + k.id + " and " + k.secret,
		CanExpire: true, Expires: time.Now().Add(rereadInterval)}
	found.AccessKeyID, err = readSecret(k.id)
	if err == nil {
		found.SecretAccessKey, err = readSecret(k.secret)
	}
	if err == nil && k.token != "" {
		found.SessionToken, err = readSecret(k.token)
	}
	return found, err
}

// readSecret reads a file that holds one word.
func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read credentials: %w", err)
	}
	word := strings.TrimSpace(string(b))
	switch {
	case word == "":
		return "", fmt.Errorf("read credentials: %s is empty", path)
	case strings.ContainsAny(word, " \t\r\n"):
		return "", fmt.Errorf("read credentials: %s holds more than one word", path)
	}
	return word, nil
}

// sharedFile reads a profile of a file in the format of the shared credentials
// file.
type sharedFile struct{ path, profile string }

// Retrieve implements [aws.CredentialsProvider].
func (f sharedFile) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if _, err := os.Stat(f.path); err != nil { // the SDK would take it for an empty file
		return aws.Credentials{}, fmt.Errorf("read credentials: %w", err)
	}
	shared, err := config.LoadSharedConfigProfile(ctx, f.profile, func(o *config.LoadSharedConfigOptions) {
		o.ConfigFiles, o.CredentialsFiles = []string{}, []string{f.path}
	})
	if err != nil {
		return aws.Credentials{}, fmt.Errorf("read credentials from %s: %w", f.path, err)
	}
	found := shared.Credentials
	if !found.HasKeys() {
		return aws.Credentials{}, fmt.Errorf("read credentials: profile %s of %s has no key and secret",
			f.profile, f.path)
	}
	found.CanExpire, found.Expires = true, time.Now().Add(rereadInterval)
	found.Source = "profile " + f.profile + " of " + f.path
	return found, nil
}

// profile returns the profile of the shared files that the environment selects.
func profile() string {
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if p := os.Getenv(name); p != "" {
			return p
		}
	}
	return config.DefaultSharedConfigProfile
}

// sharedPath returns the path of a shared file, which a variable may replace.
func sharedPath(variable, usual string) string { return cmp.Or(os.Getenv(variable), usual) }

// credentialsError reports that there are no credentials, or none now.
type credentialsError struct {
	err  error
	role string
}

func (e *credentialsError) Error() string { return "get credentials: " + e.err.Error() }

func (e *credentialsError) Unwrap() error { return e.err }

// explain describes in an Error what is wrong with the credentials. Trouble on
// the network is transient; all else is not.
func (e *credentialsError) explain(to *Error) {
	to.class = denied
	var api smithy.APIError
	var dial *net.OpError
	var send *smithyhttp.RequestSendError
	switch text := e.err.Error(); {
	case strings.Contains(text, "EC2 IMDS"): // the last place where the SDK looks
		problem, class := metadataProblem(e.err)
		to.class, to.Message = class, fmt.Sprintf("no credentials: none in the environment "+
			"(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), none in profile %s of %s or %s, no web identity, "+
			"no container's role, and %s", profile(),
			sharedPath("AWS_SHARED_CREDENTIALS_FILE", config.DefaultSharedCredentialsFilename()),
			sharedPath("AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()), problem)
	case errors.As(e.err, &api):
		to.Code, to.Message = api.ErrorCode(), firstLine(api.ErrorMessage())
		if c := classify(to.Code, to.Status); c == throttled || to.Status >= 500 {
			to.class = c
		}
		if e.role != "" {
			to.Operation, to.Resource = "sts:AssumeRole", e.role
		}
	case errors.As(e.err, &dial), errors.As(e.err, &send), errors.Is(e.err, context.DeadlineExceeded):
		to.class = transient
		message, cause := networkProblem(e.err)
		if errors.Is(cause, context.DeadlineExceeded) {
			message = fmt.Sprintf("no answer within %s", credentialsTimeout)
		}
		to.Message, to.cause = "get credentials: "+message, cause
	default:
		to.Message = firstLine(e.err.Error())
	}
}

// metadataProblem describes why the instance metadata service gave no
// credentials. If there is such a service and it does not work, that is
// transient.
func metadataProblem(err error) (string, class) {
	var reply *smithyhttp.ResponseError
	var dial *net.OpError
	switch {
	case strings.Contains(err.Error(), "access disabled"):
		return "no instance's role (AWS_EC2_METADATA_DISABLED: the metadata service is not asked)", denied
	case errors.As(err, &reply) && reply.HTTPStatusCode() < http.StatusInternalServerError:
		return fmt.Sprintf("no instance's role (the metadata service answers with status %d)",
			reply.HTTPStatusCode()), denied
	case errors.As(err, &dial) && dial.Op == "dial":
		message, _ := networkProblem(err)
		return "no instance's role (there is no metadata service: " + message + ")", denied
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no usable answer of the metadata service within %s", credentialsTimeout), transient
	}
	message, _ := networkProblem(err)
	return "no usable answer of the metadata service: " + message, transient
}

package kinesis

import (
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
	// credentialsPatience bounds how long credentials are waited for: outside
	// AWS the instance metadata service never answers.
	credentialsTimeout = 5 * time.Second

	// credentialsMargin is how much longer they are waited for than each of
	// those who are asked: who did not answer is then known.
	credentialsMargin = 500 * time.Millisecond

	// rereadFiles is how long what was read from files is used.
	rereadInterval = 5 * time.Minute
)

// credentials is where the Source's credentials come from: base, or a role
// assumed with base.
type provider struct {
	base aws.CredentialsProvider
	used aws.CredentialsProvider // base, or the role's
	role string
}

// newCredentials chooses among a Config's credentials and those of loaded. It
// asks nobody yet.
func newCredentials(c *Credentials, loaded *aws.Config) *provider {
	all := &provider{base: loaded.Credentials, role: c.RoleARN}
	switch {
	case !c.Keys.IsZero():
		all.base = aws.NewCredentialsCache(c.Keys)
	case c.AccessKeyFile != "":
		all.base = aws.NewCredentialsCache(keyFiles{c.AccessKeyFile, c.SecretKeyFile, c.SessionTokenFile})
	case c.File != "":
		all.base = aws.NewCredentialsCache(sharedFile{c.File, profile()})
	}
	all.used = all.base
	if c.RoleARN != "" {
		as := loaded.Copy()
		as.Credentials = all.base
		all.used = newRole(c, sts.NewFromConfig(as, func(o *sts.Options) { o.HTTPClient = watchedClient{o.HTTPClient} }))
	}
	return all
}

// Retrieve implements [aws.CredentialsProvider]. Its error is a
// *credentialsError, or the context's.
func (c *provider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	limited, cancel := context.WithTimeout(ctx, credentialsTimeout+credentialsMargin)
	defer cancel()
	found, err := c.used.Retrieve(limited)
	switch {
	case err == nil:
		return found, nil
	case ctx.Err() != nil:
		return aws.Credentials{}, ctx.Err()
	}
	return aws.Credentials{}, &credentialsError{err: err, role: c.role}
}

// forget makes the next Retrieve ask again, after the service refused what
// there is.
func (c *provider) forget() {
	invalidate(c.base)
	invalidate(c.used)
}

// origin says in a few words where the credentials come from, without anything
// of them.
func (c *provider) origin(ctx context.Context) (string, error) {
	used, err := c.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	if c.role == "" {
		return used.Source, nil
	}
	base, err := c.base.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s, assumed with %s", c.role, base.Source), nil
}

// keyFiles reads each part of a key from a file of its own.
type keyFiles struct{ id, secret, token string }

// Retrieve implements [aws.CredentialsProvider].
func (k keyFiles) Retrieve(context.Context) (found aws.Credentials, err error) {
	found = aws.Credentials{Source: "the files " + k.id + " and " + k.secret, CanExpire: true, Expires: time.Now().Add(rereadInterval)}
	if found.AccessKeyID, err = readSecret(k.id); err != nil {
		return aws.Credentials{}, err
	}
	if found.SecretAccessKey, err = readSecret(k.secret); err != nil {
		return aws.Credentials{}, err
	}
	if k.token != "" {
		found.SessionToken, err = readSecret(k.token)
	}
	return found, err
}

// madeUp is a key for services that take any.
type madeUp struct{}

// Retrieve implements [aws.CredentialsProvider].
func (madeUp) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any", Source: "made up: the service takes any"}, nil
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
	if _, err := os.Stat(f.path); err != nil { // the SDK takes such a file for an empty one
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
		return aws.Credentials{}, fmt.Errorf("read credentials: profile %s of %s holds no key and secret", f.profile, f.path)
	}
	found.CanExpire, found.Expires = true, time.Now().Add(rereadInterval)
	found.Source = "profile " + f.profile + " of " + f.path
	return found, nil
}

// profile is the profile of the shared files that the environment names.
func profile() string {
	for _, name := range []string{"AWS_PROFILE", "AWS_DEFAULT_PROFILE"} {
		if p := os.Getenv(name); p != "" {
			return p
		}
	}
	return config.DefaultSharedConfigProfile
}

// sharedPath is the path of a shared file: what the environment says, or what
// is usual.
func sharedPath(variable, usual string) string {
	if path := os.Getenv(variable); path != "" {
		return path
	}
	return usual
}

// credentialsError: there are no credentials, or none now.
type credentialsError struct {
	err  error
	role string
}

func (e *credentialsError) Error() string { return "get credentials: " + e.err.Error() }

func (e *credentialsError) Unwrap() error { return e.err }

// explain writes into an Error what is wrong with the credentials. What the
// network did to them is passing; all else is not.
func (e *credentialsError) explain(to *Error) {
	to.class = denied
	var api smithy.APIError
	var dial *net.OpError
	var send *smithyhttp.RequestSendError
	switch text := e.err.Error(); {
	case strings.Contains(text, "EC2 IMDS"): // the last place that the SDK looks at
		said, class := metadataProblem(e.err)
		to.class, to.Message = class, fmt.Sprintf("no credentials: none in the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), "+
			"none in profile %s of %s or %s, no web identity, no container's role, and %s", profile(),
			sharedPath("AWS_SHARED_CREDENTIALS_FILE", config.DefaultSharedCredentialsFilename()),
			sharedPath("AWS_CONFIG_FILE", config.DefaultSharedConfigFilename()), said)
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

// metadataSaid tells what the instance metadata service said, or that it said
// nothing, and what has to be done about it: where there is one that does not
// work, try again.
func metadataProblem(err error) (string, class) {
	var reply *smithyhttp.ResponseError
	var dial *net.OpError
	switch {
	case strings.Contains(err.Error(), "access disabled"):
		return "no instance's role (AWS_EC2_METADATA_DISABLED: the metadata service is not asked)", denied
	case errors.As(err, &reply) && reply.HTTPStatusCode() < http.StatusInternalServerError:
		return fmt.Sprintf("no instance's role (the metadata service answers with status %d)", reply.HTTPStatusCode()), denied
	case errors.As(err, &dial) && dial.Op == "dial":
		message, _ := networkProblem(err)
		return "no instance's role (there is no metadata service: " + message + ")", denied
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no sound answer of the instance's metadata service within %s", credentialsTimeout), transient
	}
	message, _ := networkProblem(err)
	return "no sound answer of the instance's metadata service: " + message, transient
}

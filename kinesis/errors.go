package kinesis

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// Error is a request that failed. errors.Is finds in it, where they apply,
// gerritstream.ErrDenied, ErrStreamNotFound, ErrShardNotFound, ErrBadPosition,
// and what the network reported.
type Error struct {
	Operation string // as policies name it: "kinesis:ListShards"
	Resource  string // the stream's ARN, or its name while that is unknown; then "/" and the shard, if any
	Code      string // the service's, "AccessDeniedException"; "" if it did not answer
	Message   string // the first line of what the service or the network reported
	Status    int    // of HTTP; 0 if there was no answer
	RequestID string // the service's; "" if there was no answer

	class   class
	kind    trouble.Kind // where neither class nor Code nor Status tells
	is      error        // a sentinel
	cause   error        // of the network
	summary string       // replaces the text that Error composes
}

// Error describes the failure in one line.
func (e *Error) Error() string {
	if e.summary != "" {
		return e.summary
	}
	var b strings.Builder
	b.WriteString(e.Operation)
	if e.Resource != "" {
		b.WriteString(" on " + e.Resource)
	}
	if e.class == keyDenied {
		b.WriteString(": the policy of the stream's KMS key does not grant kms:Decrypt, or the key is unusable")
	}
	if e.Code != "" {
		b.WriteString(": " + e.Code)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + e.RequestID + ")")
	}
	return b.String()
}

// Unwrap returns the sentinel and the cause, as far as there are any.
func (e *Error) Unwrap() []error {
	return slices.DeleteFunc([]error{e.is, e.cause}, func(err error) bool { return err == nil })
}

// TroubleKind says what kind of trouble the failure is.
func (e *Error) TroubleKind() trouble.Kind {
	switch {
	case e.class == throttled:
		return trouble.Throttled
	case e.class == denied, e.class == keyDenied:
		return trouble.AccessDenied
	case errors.Is(e, gerritstream.ErrStreamNotFound):
		return trouble.StreamGone
	case e.kind != "":
		return e.kind
	case e.Code == "" && e.Status == 0:
		return trouble.SourceAway
	}
	return trouble.SourceFails
}

// class decides how an error is handled.
type class int

const (
	transient       class = iota // of the network, the service, or unknown: try again
	throttled                    // too many requests: try again, more slowly
	denied                       // credentials or permission
	keyDenied                    // the same for the key that the stream is encrypted with
	notFound                     // the stream or the shard
	notReady                     // the stream is being created or changed
	badArgument                  // the service refuses the request's contents
	badPosition                  // in particular the position
	iteratorExpired              // or a page token
	tooLarge                     // the reply exceeds what a page may have
	noRoom                       // the reply exceeds what was reserved for it
	unconfirmed                  // the reply has to come again before it is believed
	otherEncoding                // the service wants to be asked in JSON
)

// classes holds the codes of Kinesis, STS and AWS' front ends. An Observer is
// shown no others of the service. It is never written to.
var classes = func() map[string]class {
	m := map[string]class{}
	for c, codes := range map[class]string{
		throttled: `ProvisionedThroughputExceededException LimitExceededException KMSThrottlingException
			ThrottlingException Throttling ThrottledException RequestLimitExceeded RequestThrottled
			RequestThrottledException TooManyRequestsException`,
		denied: `AccessDeniedException AccessDenied UnrecognizedClientException InvalidSignatureException
			SignatureDoesNotMatch IncompleteSignatureException IncompleteSignature InvalidClientTokenId
			InvalidAccessKeyId ExpiredTokenException ExpiredToken RequestExpired RequestTimeTooSkewed
			MissingAuthenticationTokenException MissingAuthenticationToken OptInRequired NotAuthorized AuthFailure`,
		keyDenied: `KMSAccessDeniedException KMSDisabledException KMSInvalidStateException KMSNotFoundException
			KMSOptInRequired`,
		notFound:        `ResourceNotFoundException`,
		notReady:        `ResourceInUseException`,
		badArgument:     `InvalidArgumentException ValidationException`,
		iteratorExpired: `ExpiredIteratorException ExpiredNextTokenException`,
		transient: `InternalFailure InternalFailureException InternalServerError ServiceUnavailable
			ServiceUnavailableException SerializationException UnknownOperationException`,
	} {
		for code := range strings.FieldsSeq(codes) {
			m[code] = c
		}
	}
	return m
}()

// classify returns the class of a code that came with a status of HTTP.
func classify(code string, status int) class {
	if c, known := classes[code]; known {
		return c
	}
	switch status {
	case 401, 403, 407: // from a proxy that does not speak the service's protocol
		return denied
	case 429:
		return throttled
	}
	return transient
}

// errClass returns the class of an error of attempt.
func errClass(err error) class {
	var e *Error
	if errors.As(err, &e) {
		return e.class
	}
	return transient
}

// maxMessage bounds what is kept of a message.
const maxMessage = 500

// userInURL is the user, and the password, of a URL in a message.
var userInURL = regexp.MustCompile(`//[^/\s"']*@`)

// firstLine cuts a message to its first line and hides the users and passwords
// of URLs. In AWS' answers to a wrong signature the next line is the request
// that should have been signed, with the session token in it.
func firstLine(message string) string {
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n")
	message, _, _ = strings.Cut(message, "The Canonical String")
	message = userInURL.ReplaceAllString(message, "//xxxxx@")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	return strings.TrimSpace(message)
}

// replyError is a reply with a status of success that cannot be used.
type replyError struct {
	label   string // for the Observer
	class   class
	message string
}

func (e *replyError) Error() string { return e.message }

// malformed returns the error of a reply that is not what each such reply is.
func malformed(format string, args ...any) error {
	return &replyError{label: "Malformed", message: fmt.Sprintf(format, args...)}
}

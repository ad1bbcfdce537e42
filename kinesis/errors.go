package kinesis

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/gerritstream/gerritstream"
)

// Error is a request that failed. errors.Is finds in it, where they apply,
// gerritstream.ErrDenied, ErrStreamNotFound, ErrShardNotFound, ErrBadPosition,
// and what the network reported.
type Error struct {
	Operation string // as policies name it: "kinesis:ListShards"
	Resource  string // what it was about: the stream's ARN, or its name while that is unknown; then "/" and the shard, if any
	Code      string // the service's, "AccessDeniedException"; "" when the service did not answer
	Message   string // the first line of what the service, or the network, said
	Status    int    // of HTTP; 0 when there was no answer
	RequestID string // the service's; "" when there was no answer

	class   class
	is      error  // a sentinel
	cause   error  // of the network
	summary string // what Error says instead
}

// Error says what failed and why, in one line.
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

// Unwrap returns what errors.Is and errors.As go on with.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.is, e.cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// class is what has to be done about an error.
type class int

const (
	transient       class = iota // the network, the service, or something unknown: try again
	throttled                    // too many requests: try again, more slowly
	denied                       // credentials or permission
	keyDenied                    // the same for the key that the stream is encrypted with
	notFound                     // the stream or the shard
	notReady                     // the stream is being made or changed
	badArgument                  // the service does not accept what it was asked
	badPosition                  // nor the position that was asked for
	iteratorExpired              // or a page token
	tooLarge                     // the reply did not fit
	noRoom                       // nor into what was reserved for it
	unconfirmed                  // the reply has to come again before it is believed
)

// classes are the codes that Kinesis and STS use, and AWS' front ends. They are
// also the codes that an Observer is shown.
var classes = map[string]class{
	"ProvisionedThroughputExceededException": throttled,
	"LimitExceededException":                 throttled,
	"KMSThrottlingException":                 throttled,
	"ThrottlingException":                    throttled,
	"Throttling":                             throttled,
	"ThrottledException":                     throttled,
	"RequestLimitExceeded":                   throttled,
	"RequestThrottled":                       throttled,
	"RequestThrottledException":              throttled,
	"TooManyRequestsException":               throttled,

	"AccessDeniedException":               denied,
	"AccessDenied":                        denied,
	"UnrecognizedClientException":         denied,
	"InvalidSignatureException":           denied,
	"SignatureDoesNotMatch":               denied,
	"IncompleteSignatureException":        denied,
	"IncompleteSignature":                 denied,
	"InvalidClientTokenId":                denied,
	"InvalidAccessKeyId":                  denied,
	"ExpiredTokenException":               denied,
	"ExpiredToken":                        denied,
	"RequestExpired":                      denied,
	"RequestTimeTooSkewed":                denied,
	"MissingAuthenticationTokenException": denied,
	"MissingAuthenticationToken":          denied,
	"OptInRequired":                       denied,
	"NotAuthorized":                       denied,
	"AuthFailure":                         denied,

	"KMSAccessDeniedException": keyDenied,
	"KMSDisabledException":     keyDenied,
	"KMSInvalidStateException": keyDenied,
	"KMSNotFoundException":     keyDenied,
	"KMSOptInRequired":         keyDenied,

	"ResourceNotFoundException": notFound,
	"ResourceInUseException":    notReady,

	"InvalidArgumentException": badArgument,
	"ValidationException":      badArgument,

	"ExpiredIteratorException":  iteratorExpired,
	"ExpiredNextTokenException": iteratorExpired,

	"InternalFailure":             transient,
	"InternalFailureException":    transient,
	"InternalServerError":         transient,
	"ServiceUnavailable":          transient,
	"ServiceUnavailableException": transient,
	"SerializationException":      transient,
	"UnknownOperationException":   transient,
}

// classify says what has to be done about a code that came with a status of
// HTTP.
func classify(code string, status int) class {
	if c, known := classes[code]; known {
		return c
	}
	switch status {
	case 401, 403, 407: // of something in between that does not speak the service's language
		return denied
	case 429:
		return throttled
	}
	return transient
}

// sentinel is the root package's error for a class, as far as the class alone
// tells.
func (c class) sentinel() error {
	if c == denied || c == keyDenied {
		return gerritstream.ErrDenied
	}
	return nil
}

// maxMessage bounds what is kept of a message.
const maxMessage = 500

// userInURL is the user, and the password, of a URL in a message.
var userInURL = regexp.MustCompile(`//[^/\s"']*@`)

// firstLine cuts a message to its first line. What follows in AWS' answers to a
// wrong signature is the request that should have been signed, with the session
// token in it. URLs lose their user and password.
func firstLine(message string) string {
	message, _, _ = strings.Cut(strings.TrimSpace(message), "\n")
	message, _, _ = strings.Cut(message, "The Canonical String")
	message = userInURL.ReplaceAllString(message, "//xxxxx@")
	if len(message) > maxMessage {
		message = strings.ToValidUTF8(message[:maxMessage], "") + "..."
	}
	return strings.TrimSpace(message)
}

// malformedError is a reply of a success without something that each such reply
// has: it says what.
type malformedError string

func (e malformedError) Error() string { return "the reply has " + string(e) }

// retrying marks an error that the Source goes on after.
func retrying(err error) error { return fmt.Errorf("%w: %w", gerritstream.ErrRetrying, err) }

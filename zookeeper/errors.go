package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
)

// ErrConfig says that ZooKeeper is there and cannot be used as configured: the
// chroot does not exist, or one side does not accept the other's certificate.
// The error's text says which. An operator has to change something. It is a
// gerritstream.ErrUnusable.
var ErrConfig error = configError{}

type configError struct{}

func (configError) Error() string { return "ZooKeeper cannot be used as configured" }

// Is makes errors.Is(err, gerritstream.ErrUnusable) true.
func (configError) Is(target error) bool { return target == gerritstream.ErrUnusable }

var (
	// errClosed: the Store was closed.
	errClosed = errors.New("the store is closed")

	// errAway: no server answers.
	errAway = errors.New("ZooKeeper cannot be reached")

	// errUnknownOutcome: the request may have been carried out or not.
	errUnknownOutcome = errors.New("whether it was written is not known")
)

// fate is what is known of a request that failed.
type outcome int

const (
	succeeded   outcome = iota // it succeeded
	refused                    // the server refused it: nothing was written
	notSent                    // it was never sent: nothing was written
	unknown                    // it may have been carried out, or may yet be
	sessionOver                // the session is over: nothing more comes of it
)

// refusals are the answers of a server that did nothing, and what is refused
// before it is sent.
var refusals = []error{
	zk.ErrNoNode, zk.ErrNodeExists, zk.ErrBadVersion, zk.ErrNotEmpty, zk.ErrNoAuth, zk.ErrInvalidACL, zk.ErrAuthFailed,
	zk.ErrNoChildrenForEphemerals, zk.ErrAPIError, zk.ErrBadArguments, zk.ErrInvalidPath, zk.ErrInvalidFlags, zk.ErrShortBuffer,
	errTooLarge,
}

// fateOf tells what an error of the library means for the request.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return succeeded
	case errors.Is(err, zk.ErrSessionExpired), errors.Is(err, errSessionOver), errors.Is(err, zk.ErrSessionMoved):
		return sessionOver
	case errors.Is(err, zk.ErrNoServer):
		return notSent
	case isRefusal(err):
		return refused
	}
	return unknown // the connection was lost, the wait was cut short
}

func isRefusal(err error) bool {
	for _, r := range refusals {
		if errors.Is(err, r) {
			return true
		}
	}
	// The library has no names for newer codes (-119 read-only, -125 quota). -4
	// and -7 would be losses, and are never sent.
	return strings.HasPrefix(err.Error(), "unknown error: ")
}

// lasting tells whether an error will not pass by waiting and trying again.
func lasting(err error) bool {
	return errors.Is(err, ErrConfig) || errors.Is(err, errClosed) || errors.Is(err, gerritstream.ErrNewerFormat) ||
		errors.Is(err, gerritstream.ErrStaleEpoch) ||
		errors.Is(err, zk.ErrNoAuth) || errors.Is(err, zk.ErrInvalidACL) || errors.Is(err, zk.ErrInvalidPath)
}

// explain adds to a library's error what an operator needs.
func explain(err error) error {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, zk.ErrNoAuth):
		return fmt.Errorf("%w: the nodes' access control list does not let this process", err)
	case outcomeOf(err) == notSent:
		return fmt.Errorf("%w: %w", errAway, err)
	}
	return err
}

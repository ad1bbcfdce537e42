package zookeeper

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
)

// ErrConfig says that ZooKeeper answers but cannot be used as configured: the
// chroot does not exist, or one side does not accept the other's certificate.
// The error's text says which, and an operator has to change something. It is a
// gerritstream.ErrUnusable.
var ErrConfig error = configError{}

type configError struct{}

func (configError) Error() string { return "ZooKeeper cannot be used as configured" }

// Is makes errors.Is(err, gerritstream.ErrUnusable) true.
func (configError) Is(target error) bool { return target == gerritstream.ErrUnusable }

var (
	errClosed         = errors.New("the store is closed")
	errAway           = errors.New("ZooKeeper cannot be reached")
	errUnknownOutcome = errors.New("whether it was written is not known")
)

// outcome is what is known of a request.
type outcome int

const (
	succeeded   outcome = iota
	refused             // the server refused it: nothing was written
	notSent             // nothing was written
	unknown             // it may have been carried out, or may yet be
	sessionOver         // the session is over: nothing more comes of it
)

// refusals are the answers of a server that did nothing, and what is refused
// before it is sent.
var refusals = []error{
	zk.ErrNoNode, zk.ErrNodeExists, zk.ErrBadVersion, zk.ErrNotEmpty, zk.ErrNoAuth, zk.ErrInvalidACL, zk.ErrAuthFailed,
	zk.ErrNoChildrenForEphemerals, zk.ErrAPIError, zk.ErrBadArguments, zk.ErrInvalidPath, zk.ErrInvalidFlags,
	zk.ErrShortBuffer, errTooLarge,
}

// outcomeOf returns what an error of the library means for the request.
func outcomeOf(err error) outcome {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return succeeded
	case is(zk.ErrSessionExpired), is(errSessionOver), is(zk.ErrSessionMoved):
		return sessionOver
	case is(zk.ErrNoServer):
		return notSent
	// The library has no names for newer codes (-119 read-only, -125 quota). -4
	// and -7 would be losses, and are never sent.
	case slices.ContainsFunc(refusals, is), strings.HasPrefix(err.Error(), "unknown error: "):
		return refused
	}
	return unknown // the connection was lost, or the caller stopped waiting
}

// isConnectionLost reports whether a request got no answer because there was no
// connection, or it ended.
func isConnectionLost(err error) bool {
	return errors.Is(err, zk.ErrNoServer) || errors.Is(err, zk.ErrConnectionClosed)
}

// isConflict reports whether a node is not as it was read.
func isConflict(err error) bool {
	return errors.Is(err, zk.ErrBadVersion) || errors.Is(err, zk.ErrNodeExists) || errors.Is(err, zk.ErrNoNode)
}

// lasting reports whether trying again later cannot help.
func lasting(err error) bool {
	return slices.ContainsFunc([]error{
		ErrConfig, errClosed, gerritstream.ErrNewerFormat, gerritstream.ErrStaleEpoch,
		zk.ErrNoAuth, zk.ErrInvalidACL, zk.ErrInvalidPath,
	}, func(target error) bool { return errors.Is(err, target) })
}

// explain adds to a library's error what an operator needs.
func explain(err error) error {
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, zk.ErrNoAuth):
		return fmt.Errorf("%w: the nodes' access control list denies it to this process", err)
	case outcomeOf(err) == notSent:
		return fmt.Errorf("%w: %w", errAway, err)
	}
	return err
}

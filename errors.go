package gerritstream

import "errors"

// Sentinels to branch on. Errors that carry them say more; they are found with
// errors.Is.
var (
	// ErrLeadershipLost is the cause with which a term's Context ends.
	ErrLeadershipLost = errors.New("leadership lost")

	// ErrRetryLater: nothing was written, the term goes on, the same commit may
	// be tried again.
	ErrRetryLater = errors.New("not written, to be tried again")

	// ErrConflict: another process changed it first; nothing was written.
	ErrConflict = errors.New("changed by another process")

	// ErrNewerFormat: a newer version of this program wrote what was read. It
	// is refused, not guessed.
	ErrNewerFormat = errors.New("written by a newer version")

	// ErrBadPosition: a stored position that cannot be understood, or that the
	// service does not accept.
	ErrBadPosition = errors.New("bad position")

	// ErrStaleEpoch: the start record has moved on to a later epoch, because
	// the stream was deleted and recreated. Nothing was written.
	ErrStaleEpoch = errors.New("the stream was recreated: its epoch is over")

	// ErrShardNotFound: the service does not know the shard any more.
	ErrShardNotFound = errors.New("shard not found")

	// ErrStreamNotFound: the service does not know the stream: the wrong
	// region, account or name.
	ErrStreamNotFound = errors.New("stream not found")

	// ErrDenied: the service does not let us: credentials or permission.
	ErrDenied = errors.New("access denied")

	// ErrUnusable: the store is there and cannot be used as it is configured;
	// an operator has to change something.
	ErrUnusable = errors.New("the store cannot be used as configured")

	// ErrStoreGone: what the store keeps was removed, replaced or made
	// read-only while it was open. It will not do again.
	ErrStoreGone = errors.New("the store was taken away")

	// ErrOtherStream: the store belongs to another stream.
	ErrOtherStream = errors.New("the store follows another stream")

	// ErrFutureStart: a stream cannot be started at a time that has not come.
	ErrFutureStart = errors.New("the time is in the future")

	// ErrRetrying: a Source met trouble, is waiting, and will go on by itself.
	ErrRetrying = errors.New("retrying")
)

package gerritstream

import "errors"

// Sentinels to branch on, with errors.Is.
var (
	ErrLeadershipLost = errors.New("leadership lost")              // the cause with which a term's Context ends
	ErrRetryLater     = errors.New("nothing written, retry later") // the term goes on; try the same commit again
	ErrConflict       = errors.New("changed by another process")   // nothing was written
	ErrNewerFormat    = errors.New("written by a newer version")   // of this program; it is refused, not guessed
	ErrBadPosition    = errors.New("bad position")                 // cannot be decoded, or the service refuses it

	ErrStaleEpoch    = errors.New("the stream was recreated: its epoch is over") // nothing was written
	ErrForeignLeader = errors.New("a foreign leader would begin elsewhere")      // than at the position to set

	ErrNoDeadLetter = errors.New("no such dead letter")
	ErrTruncated    = errors.New("only the beginning of the record is held") // of a dead letter's

	ErrUnusable    = errors.New("the store cannot be used as configured") // needs an operator
	ErrStoreGone   = errors.New("the store was taken away")               // removed, replaced or read-only, for good
	ErrOtherStream = errors.New("the store follows another stream")
	ErrFutureStart = errors.New("the time is in the future") // a stream cannot be started then

	ErrRetrying       = errors.New("retrying")         // a Source met trouble, is waiting, and will go on by itself
	ErrShardNotFound  = errors.New("shard not found")  // the service does not know it any more
	ErrStreamNotFound = errors.New("stream not found") // wrong region, account or name
	ErrDenied         = errors.New("access denied")    // credentials or permissions are missing
)

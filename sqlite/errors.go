package sqlite

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/gerritstream/gerritstream"
)

var (
	// errClosed: the Store was closed.
	errClosed = errors.New("the store is closed")

	// errUnknownOutcome: the transaction may have been written or not.
	errUnknownOutcome = errors.New("whether it was written is not known")
)

// damaged is the error of a file that SQLite finds corrupt, or finds to be none of its own.
type damaged struct {
	path string
	err  error
}

func (e *damaged) Error() string {
	return fmt.Sprintf("%s is damaged or no database (%v): restore a back-up, or move it away together with its -wal and "+
		"-shm files to begin anew", e.path, e.err)
}

func (e *damaged) Unwrap() error { return e.err }

// code returns SQLite's primary result code; 0 when err is none of SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// passing reports whether a statement failed for a reason that may pass: another process' lock, a full disk, trouble
// of the disk, a file system that became read-only.
func passing(err error) bool {
	switch code(err) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL, lib.SQLITE_FULL, lib.SQLITE_IOERR, lib.SQLITE_READONLY,
		lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM, lib.SQLITE_INTERRUPT:
		return true
	}
	return false
}

// explain puts what SQLite says of a statement of which nothing was written into the Store's words.
func (s *Store) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case passing(err):
		return fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err)
	case code(err) == lib.SQLITE_CORRUPT, code(err) == lib.SQLITE_NOTADB:
		return &damaged{s.path, err}
	}
	return err
}

// explainCommit does the same for a COMMIT, which a failure of the disk leaves undecided: what it wrote to the WAL may
// count after the next crash. A full disk and a lock stop it before that.
func (s *Store) explainCommit(err error) error {
	switch code(err) {
	case lib.SQLITE_FULL, lib.SQLITE_BUSY:
		return s.explain(err)
	}
	return fmt.Errorf("%w: %w", errUnknownOutcome, err)
}

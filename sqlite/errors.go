package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
)

// errUnknownOutcome: the transaction may have been written or not.
var errUnknownOutcome = lease.ErrUnknownOutcome

// damaged is the error of a file that SQLite finds corrupt, or does not
// recognise.
type damaged struct {
	path string
	err  error
}

func (e *damaged) Error() string {
	return fmt.Sprintf("%s is damaged or not a database (%v): restore a backup, or move the file away together with "+
		"its -wal and -shm files to start with an empty one", e.path, e.err)
}

func (e *damaged) Unwrap() error { return e.err }

// code returns SQLite's primary result code; 0 when err is not SQLite's.
func code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// passing reports whether a statement failed for a reason that may pass:
// another process' lock, a full or failing disk, a file system that became
// read-only.
func passing(err error) bool {
	switch code(err) {
	case lib.SQLITE_BUSY, lib.SQLITE_LOCKED, lib.SQLITE_PROTOCOL, lib.SQLITE_FULL, lib.SQLITE_IOERR,
		lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_NOMEM, lib.SQLITE_INTERRUPT:
		return true
	}
	return false
}

// explain turns SQLite's error for a statement that wrote nothing into the
// Store's.
func explain(path string, err error) error {
	if passing(err) {
		return fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err)
	}
	return explainRead(path, err)
}

// explainRead does the same for a read. SQLite has several errors for a missing
// permission.
func explainRead(path string, err error) error {
	switch code(err) {
	case lib.SQLITE_CORRUPT, lib.SQLITE_NOTADB:
		return &damaged{path, err}
	case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
		if denied := checkPermission(path); denied != nil {
			return denied
		}
	}
	return err
}

// explainQueue does the same for a read of the queue, which a consumer may
// repeat.
func explainQueue(path string, err error) error {
	if err = explainRead(path, err); passing(err) {
		return fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err)
	}
	return err
}

// openError names the file, once.
func openError(verb, path string, err error) error {
	var d *damaged
	if errors.As(err, &d) {
		d.path = "it"
	}
	return fmt.Errorf("%s %s: %w", verb, path, err)
}

// checkPermission reports what this user may not write to. Even reading needs
// that: SQLite takes its locks in the -shm file, and makes it if nobody else
// has the database open.
func checkPermission(path string) error {
	for _, p := range []string{filepath.Dir(path), path, path + beside[0], path + beside[1]} {
		if err := writable(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("no write access to %s (%w): SQLite needs it even to read; "+
				"sqlite.group_access gives it to a group", p, err)
		}
	}
	return nil
}

// explainCommit does the same for a COMMIT. A failing disk leaves its outcome
// open: what it wrote to the write-ahead log may count after the next crash. A
// full disk and a lock stop it before that.
func explainCommit(path string, err error) error {
	switch code(err) {
	case lib.SQLITE_FULL, lib.SQLITE_BUSY:
		return explain(path, err)
	}
	return fmt.Errorf("%w: %w", errUnknownOutcome, err)
}

package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/queue"
)

var (
	// errUnknownOutcome: the transaction may have been written or not.
	errUnknownOutcome = lease.ErrUnknownOutcome

	// errRolledBack: the server has undone the transaction.
	errRolledBack = errors.New("nothing was written")
)

// notSent is the error of a statement that no server has got.
type notSent struct{ err error }

func (e *notSent) Error() string { return e.err.Error() }
func (e *notSent) Unwrap() error { return e.err }

// fate is what becomes of a statement that a server refused with an error of
// one class.
type fate int

const (
	lasting   fate = iota // trying again cannot help
	again                 // at once: another transaction was in the way
	later                 // after a pause: the server cannot do it now
	elsewhere             // on another connection: this server is not, or no longer, the one that writes
)

// fates has an entry for each code (SQLSTATE) or class of codes (its first two
// characters) that is not lasting. The code counts before its class. No term
// ends by any of these, and nothing is written; only where the connection was
// lost as well (FATAL) the outcome is not known, and is read back.
var fates = map[string]fate{
	"40001": again, // serialization_failure
	"40P01": again, // deadlock_detected
	"40003": later, // statement_completion_unknown
	"55P03": later, // lock_not_available: somebody's lock_timeout
	"57014": later, // query_canceled: somebody's statement_timeout, or pg_cancel_backend
	"25P03": later, // idle_in_transaction_session_timeout
	"25P04": later, // transaction_timeout
	"57P05": later, // idle_session_timeout

	"53": later,   // insufficient_resources: disk_full, out_of_memory, too_many_connections
	"58": later,   // system_error: an input or output error below the server
	"08": later,   // connection_exception, such as a pooler's
	"54": lasting, // program_limit_exceeded

	"57P01": elsewhere, // admin_shutdown: pg_terminate_backend, or a fast shutdown
	"57P02": elsewhere, // crash_shutdown
	"57P03": elsewhere, // cannot_connect_now: starting up, or shutting down
	"25006": elsewhere, // read_only_sql_transaction: a standby, or the default of the database
	"0A000": elsewhere, // feature_not_supported: BEGIN READ WRITE where a pooler, or a name, leads to a standby by now
	"26000": elsewhere, // invalid_sql_statement_name: a session that was reset, as some poolers do
	"42P05": elsewhere, // duplicate_prepared_statement: a session that somebody else has used
}

// uniqueViolation is the code of a row that is there already.
const uniqueViolation = "23505"

// serverError returns the server's error in err; nil: there is none.
func serverError(err error) *pgconn.PgError {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// code returns the server's error code; empty when err is not the server's.
func code(err error) string {
	if e := serverError(err); e != nil {
		return e.Code
	}
	return ""
}

// fateOf returns what becomes of a statement that failed.
func fateOf(err error) fate {
	if e := serverError(err); e != nil {
		if f, ok := fates[e.Code]; ok {
			return f
		}
		return fates[e.Code[:min(2, len(e.Code))]]
	}
	var scan pgx.ScanArgError
	if errors.As(err, &scan) { // a column of another type, or a value that no program of this kind has written
		return lasting
	}
	return later // the network's, or a deadline
}

// unsettled are the codes by which a pooler, or a server that is a cluster,
// says that it does not know itself what became of a transaction.
var unsettled = []string{
	"40003", // statement_completion_unknown
	"08000", // connection_exception
	"08006", // connection_failure
	"08007", // transaction_resolution_unknown
}

// wroteNothing reports whether a transaction that failed has certainly written
// nothing. A server that closes the connection (FATAL, PANIC) may do so at any
// moment, also after it has committed.
func wroteNothing(err error) bool {
	var unsent *notSent
	var connecting *pgconn.ConnectError
	if errors.As(err, &unsent) || errors.As(err, &connecting) || pgconn.SafeToRetry(err) {
		return true
	}
	e := serverError(err)
	return e != nil && severity(e) == "ERROR" && !slices.Contains(unsettled, e.Code)
}

// severity returns the severity that is not translated.
func severity(e *pgconn.PgError) string {
	if e.SeverityUnlocalized != "" {
		return e.SeverityUnlocalized
	}
	return e.Severity
}

// leadsElsewhere reports whether the connection is to a server that cannot
// serve it any more.
func leadsElsewhere(err error) bool { return fateOf(err) == elsewhere && serverError(err) != nil }

// passing reports whether a statement failed for a reason that may pass.
func passing(err error) bool {
	if err == nil || errors.Is(err, errClosed) {
		return false
	}
	return notConnected(err) || !isOurs(err) && fateOf(err) != lasting
}

// isOurs reports whether an error is one that this program has decided on.
func isOurs(err error) bool {
	for _, own := range []error{
		queue.ErrLeaseLost, queue.ErrNoConsumer, queue.ErrExists, queue.ErrHeld, queue.ErrScattered,
		gerritstream.ErrLeadershipLost, gerritstream.ErrConflict, gerritstream.ErrNewerFormat,
		gerritstream.ErrStaleEpoch, gerritstream.ErrNoDeadLetter, gerritstream.ErrTruncated,
		gerritstream.ErrUnusable, gerritstream.ErrDenied,
	} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// explain turns the error of a statement that wrote nothing into the Store's.
func explain(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, errUnknownOutcome):
		return err
	case passing(err):
		return fmt.Errorf("%w: %w", gerritstream.ErrRetryLater, err)
	}
	return explainRead(err)
}

// explainRead does the same for a read. What the server refuses, and will
// refuse again, an operator must mend: damaged data, or another program's
// trigger.
func explainRead(err error) error {
	switch code(err) {
	case "42501": // insufficient_privilege
		return fmt.Errorf("%w: the role lacks a privilege: %w", gerritstream.ErrDenied, err)
	case "42P01", "3F000", "42703": // undefined table, schema or column
		return fmt.Errorf("%w: the schema was removed or changed by another program: %w", gerritstream.ErrUnusable, err)
	}
	if err != nil && fateOf(err) == lasting && !isOurs(err) {
		return fmt.Errorf("%w: %w", gerritstream.ErrUnusable, err)
	}
	return err
}

// explainQueue does the same for a read of the queue, which a consumer may
// repeat.
func explainQueue(err error) error { return explain(err) }

// openError says in one line why a store cannot be opened. It names where it
// is, once, without a password.
func openError(verb, where string, err error) error {
	return fmt.Errorf("%s %s: %w", verb, where, oneLine{explainOpen(err)})
}

// oneLine is an error whose text has no line breaks: the library lists each
// attempt to connect in a line of its own. Attempts that failed alike, such as
// one with TLS and one without, count once.
type oneLine struct{ err error }

func (e oneLine) Error() string {
	lines := strings.FieldsFunc(e.err.Error(), func(r rune) bool { return r == '\n' || r == '\t' })
	lines = slices.CompactFunc(lines, func(next, before string) bool { return strings.HasSuffix(before, next) })
	return strings.ReplaceAll(strings.Join(lines, "; "), ":; ", ": ")
}
func (e oneLine) Unwrap() error { return e.err }

// explainOpen turns the error of a first connection into the Store's.
func explainOpen(err error) error {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var verification *tls.CertificateVerificationError
	switch c := code(err); {
	case err == nil, errors.Is(err, gerritstream.ErrUnusable), errors.Is(err, gerritstream.ErrDenied):
		return err
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &verification):
		return fmt.Errorf("%w: the server's certificate is not trusted: check sslrootcert and the host's name: %w",
			gerritstream.ErrUnusable, err)
	case c == "08P01" && strings.Contains(err.Error(), "statement pooling"): // PgBouncer's, as the next one
		return fmt.Errorf("%w: the pooler pools statements: set its pool_mode to transaction or session: %w",
			gerritstream.ErrUnusable, err)
	case c == "08P01" && strings.Contains(err.Error(), "unsupported startup parameter"):
		return fmt.Errorf("%w: the pooler does not take a parameter of the address: remove it there: %w",
			gerritstream.ErrUnusable, err)
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return fmt.Errorf("%w: the server does not use TLS: configure it there, or set sslmode; or it is no "+
			"PostgreSQL: %w", gerritstream.ErrUnusable, err)
	}
	return explainRead(err)
}

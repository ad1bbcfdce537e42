package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// The exit codes. Supervisors act on them: 64 and 78 are EX_USAGE and EX_CONFIG
// of sysexits.h, which systemd knows by name. 2 is not used: Go exits with it
// on a panic and on SIGABRT, which systemd's watchdog sends.
const (
	exitFine        = 0
	exitFailed      = 1
	exitCheck       = 3
	exitDenied      = 4
	exitUsage       = 64
	exitConfig      = 78
	exitInterrupted = 130
)

// usageError is a mistake in a command line.
type usageError struct {
	command string
	err     error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// checkError is a failed check, with its findings.
type checkError struct{ found error }

func (e *checkError) Error() string { return e.found.Error() }

func (e *checkError) Unwrap() error { return e.found }

// explain prints an error for people, a line for each problem and one for what
// to do about it, with a mark in front of each, and returns the exit code. No
// other place turns errors into hints and codes.
func explain(w io.Writer, mark string, err error) int {
	if err == nil {
		return exitFine
	}
	code, hint := judge(err)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" {
			fmt.Fprintf(w, "%sgerritstream: %s\n", mark, line)
		}
	}
	if hint != "" {
		fmt.Fprintf(w, "%sgerritstream: hint: %s\n", mark, hint)
	}
	return code
}

// judge returns an error's exit code, and a hint that the error itself does not
// give; "": none.
func judge(err error) (code int, hint string) {
	var (
		usage  *usageError
		check  *checkError
		faults config.Faults
		setup  *daemon.ConfigError
		failed *failedChecks
	)
	switch {
	case errors.As(err, &failed): // each was printed with its hint
		code, _ = judge(failed.first)
		return code, ""
	case errors.As(err, &usage):
		return exitUsage, "see " + usage.command + " --help"
	case errors.As(err, &check):
		return exitCheck, ""
	case errors.As(err, &faults), errors.As(err, &setup) && !errors.Is(err, gerritstream.ErrNewerFormat):
		return exitConfig, ""
	case errors.Is(err, gerritstream.ErrDenied):
		return exitDenied, "docs/operations.md lists the permissions needed, and where credentials are looked for; " +
			"for PostgreSQL docs/postgres.md does, and store grants prints what a role needs"
	case errors.Is(err, gerritstream.ErrOtherStream):
		return exitConfig, "each stream needs its own --connection or its own --store"
	case errors.Is(err, config.ErrForeignQueue):
		return exitConfig, ""
	case errors.Is(err, gerritstream.ErrStreamNotFound), errors.Is(err, gerritstream.ErrUnusable),
		errors.Is(err, gerritstream.ErrFutureStart):
		return exitConfig, ""
	case errors.Is(err, gerritstream.ErrNewerFormat):
		return exitConfig, "use the version that wrote it, or a newer one"
	case errors.Is(err, gerritstream.ErrStoreGone):
		return exitFailed, "a restart uses the store that is there now; the last writes are in the one that was removed"
	case errors.Is(err, syscall.EADDRINUSE):
		return exitFailed, "another process listens there; choose another address, or port 0 for any free one"
	}
	return exitFailed, ""
}

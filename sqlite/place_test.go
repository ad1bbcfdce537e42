package sqlite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

// losses are the ways in which an open store can lose its database, each with
// what the error says.
var losses = map[string]struct {
	take func(t *testing.T, path string)
	text string
}{
	"the file is removed": {
		func(t *testing.T, path string) { must(t, os.Remove(path)) }, "store.db was removed",
	},
	"the file is renamed": {
		func(t *testing.T, path string) { must(t, os.Rename(path, path+".old")) }, "store.db was removed",
	},
	"the file is replaced": {
		func(t *testing.T, path string) {
			makeStore(t, path+".new")
			must(t, os.Rename(path+".new", path))
		}, "store.db was replaced",
	},
	"the -wal file is removed": {
		func(t *testing.T, path string) { must(t, os.Remove(path+"-wal")) }, "store.db-wal was removed",
	},
	"the -shm file is removed": {
		func(t *testing.T, path string) { must(t, os.Remove(path+"-shm")) }, "store.db-shm was removed",
	},
	"the folder is renamed": {
		func(t *testing.T, path string) { must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+".old")) },
		"store.db was removed",
	},
	"the folder is a file": {
		func(t *testing.T, path string) {
			must(t, os.Rename(filepath.Dir(path), filepath.Dir(path)+".old"))
			must(t, os.WriteFile(filepath.Dir(path), nil, 0o600))
		}, "store.db was removed",
	},
}

func inFolder(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "folder", "store.db")
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	return path
}

// Losing its database ends an open store's terms within a heartbeat, and every
// call that waits or comes, with what happened.
func TestTakenAway(t *testing.T) {
	for name, loss := range losses {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := inFolder(t)
				store := openWith(t, sqlite.Config{Path: path})
				advertise(t, store)
				term := elect(t, store, shardA)
				seen := groupState(t, store)
				errs := make(chan error, 3)
				go func() { _, err := store.Campaign(t.Context(), 0, shardA); errs <- err }()
				go func() { errs <- store.WaitEnded(t.Context(), 0, shardA) }()
				go func() { _, err := store.WaitGroupChange(t.Context(), seen); errs <- err }()
				wait(t, 1100*time.Millisecond) // no heartbeat is under way
				loss.take(t, path)
				taken := time.Now()
				select {
				case <-term.Context().Done():
				case <-time.After(time.Minute):
					t.Fatal("nobody notices")
				}
				if took := time.Since(taken); took > 1100*time.Millisecond {
					t.Errorf("noticed after %v", took)
				}
				_, positions := store.Positions(t.Context(), 0)
				_, inspected := store.Inspect(t.Context())
				for _, err := range []error{context.Cause(term.Context()), <-errs, <-errs, <-errs, positions,
					inspected} {
					if !errors.Is(err, gerritstream.ErrStoreGone) || !strings.Contains(err.Error(), loss.text) {
						t.Errorf("%v does not say that the store is gone because %q", err, loss.text)
					}
				}
			})
		})
	}
}

// A commit after the loss is not confirmed, even if no heartbeat has noticed
// the loss yet; and the file that has taken the place is left alone.
func TestCommitIntoAFileThatWasReplaced(t *testing.T) {
	for name, loss := range losses {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := inFolder(t)
				store := openWith(t, sqlite.Config{Path: path, LeaseTTL: time.Hour}) // the next heartbeat is far away
				term := elect(t, store, shardA)
				must(t, term.Commit(t.Context(), commitOf("1")))
				loss.take(t, path)
				err := term.Commit(t.Context(), commitOf("2"))
				if !errors.Is(err, gerritstream.ErrStoreGone) || errors.Is(err, gerritstream.ErrRetryLater) {
					t.Errorf("the commit returned %v", err)
				}
				there, _ := os.ReadFile(path)
				must(t, store.Close(t.Context()))
				if left, _ := os.ReadFile(path); name == "the file is replaced" && !bytes.Equal(left, there) {
					t.Error("the other file was written to")
				}
			})
		})
	}
}

// A store named by a link is kept where the link leads, and notices when the
// link is changed.
func TestLinkToTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := inFolder(t)
		makeStore(t, path)
		link := filepath.Join(t.TempDir(), "link.db")
		must(t, os.Symlink(path, link))
		store := openWith(t, sqlite.Config{Path: link})
		term := elect(t, store, shardA)
		must(t, term.Commit(t.Context(), commitOf("1")))
		wait(t, time.Minute)
		must(t, term.Commit(t.Context(), commitOf("2")))

		other := filepath.Join(t.TempDir(), "other.db")
		makeStore(t, other)
		must(t, os.Remove(link))
		must(t, os.Symlink(other, link))
		err := term.Commit(t.Context(), commitOf("3"))
		if !errors.Is(err, gerritstream.ErrStoreGone) || !strings.Contains(err.Error(), "link.db was replaced") {
			t.Errorf("commit through a link that leads elsewhere returned %v", err)
		}
	})
}

// An open store whose database becomes read-only ends, and a new start reports
// what is wrong. Nothing is read-only for root, so another user tries.
func TestMadeReadOnly(t *testing.T) {
	asAnother(t, "made read-only", inFolder(t))
}

func init() { roles["made read-only"] = madeReadOnly }

func madeReadOnly(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	store, err := sqlite.Open(ctx, sqlite.Config{Path: path, LeaseTTL: time.Second})
	if err != nil {
		return err
	}
	term, err := store.Campaign(ctx, 0, shardA)
	if err != nil {
		return err
	}
	if err := os.Chmod(path, 0o400); err != nil {
		return err
	}
	select {
	case <-term.Context().Done():
	case <-ctx.Done():
		return errors.New("nobody notices")
	}
	if err := wantError(context.Cause(term.Context()), gerritstream.ErrStoreGone, "made read-only"); err != nil {
		return err
	}
	if err := store.Close(ctx); err != nil {
		return err
	}
	_, err = sqlite.Open(ctx, sqlite.Config{Path: path})
	return wantError(err, os.ErrPermission, "no write access to")
}

// A copy that lost WAL mode gets it back before anything is written to it.
func TestCopyInAnotherJournalMode(t *testing.T) {
	path := inFolder(t)
	makeStore(t, path)
	execIn(t, path, `PRAGMA journal_mode = DELETE`)
	store := openWith(t, sqlite.Config{Path: path})
	if mode, err := store.Pragma("journal_mode"); err != nil || mode != "wal" {
		t.Errorf("journal mode %q, %v", mode, err)
	}
	must(t, elect(t, store, shardA).Commit(t.Context(), commitOf("1")))
	must(t, store.Close(t.Context()))

	execIn(t, path, `PRAGMA journal_mode = DELETE`)
	must(t, openOperator(t, path).SetPosition(t.Context(), 0, shardA, setTo(position("2"))))
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Errorf("an operator wrote without WAL: %v", err)
	}
}

// A missing folder is made, and logged. One above it is not made: it may be
// where a volume is to be mounted. Nor is the target of a link.
func TestMissingFolders(t *testing.T) {
	folder := t.TempDir()
	var log recorder
	path := filepath.Join(folder, "made", "store.db")
	must(t, openWith(t, sqlite.Config{Path: path, Logger: log.logger()}).Close(t.Context()))
	for _, want := range []string{"created database folder", "created database\" "} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log.String())
		}
	}

	_, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(folder, "volume", "folder", "store.db")})
	must(t, wantError(err, nil, filepath.Join(folder, "volume")+" does not exist"))
	link := filepath.Join(folder, "link.db")
	must(t, os.Symlink(filepath.Join(folder, "volume", "store.db"), link))
	_, err = sqlite.Open(t.Context(), sqlite.Config{Path: link})
	must(t, wantError(err, nil, "link to a missing file"))
	if _, err := os.Lstat(filepath.Join(folder, "volume")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder for a volume was made: %v", err)
	}
}

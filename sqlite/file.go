package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// busyTimeout is how long a statement waits for another process' transaction. It bounds how long a call is held up.
const busyTimeout = time.Second

// prepareFile sees to it that there is a file to open, in a place where it can be kept. It returns the absolute path.
func prepareFile(path string, log *slog.Logger) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", fmt.Errorf("make its folder: %w", err)
	}
	if err := checkFilesystem(folder, log); err != nil {
		return "", err
	}
	if err := writable(folder); err != nil {
		return "", fmt.Errorf("its folder %s cannot be written to (%w): SQLite makes files beside the database", folder, err)
	}
	if err := create(path); err != nil {
		return "", err
	}
	return path, checkFile(path, log)
}

// checkFilesystem refuses network file systems and warns about those that forget.
func checkFilesystem(folder string, log *slog.Logger) error {
	name, footing, err := filesystemOf(folder)
	switch {
	case err != nil:
		return err
	case footing == remote:
		return fmt.Errorf("%s is on %s: SQLite cannot share a file over a network file system; use a local disk", folder, name)
	case footing == volatile:
		log.Warn("the database is on a file system that does not outlive a restart", "folder", folder, "filesystem", name)
	}
	return nil
}

// create makes the file, with the mode that SQLite then gives to its -wal and -shm files as well, unless it is there. It
// opens no file that is there: closing it would drop the locks that other connections of this process hold on it.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return f.Close()
}

// checkFile looks at what kind of file it is and who may read it. Payloads may be private.
func checkFile(path string, log *slog.Logger) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("it is a folder: name a file in it, such as %s", filepath.Join(path, "gerritstream.db"))
	case !info.Mode().IsRegular():
		return fmt.Errorf("it is not a regular file (%v)", info.Mode().Type())
	}
	for _, p := range []string{path, path + "-wal", path + "-shm"} {
		if info, err := os.Stat(p); err == nil && info.Mode().Perm()&0o077 != 0 {
			log.Warn("others than the owner may read or write the database", "file", p, "mode", info.Mode().Perm())
		}
	}
	return nil
}

// dsn is the name by which the driver opens a file that is there.
func dsn(path, mode string, pragmas ...string) string {
	q := url.Values{"mode": {mode}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds())}}
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

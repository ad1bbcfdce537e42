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

// busyTimeout is how long a statement waits for another process' transaction.
// It bounds how long a call is held up.
const busyTimeout = time.Second

// prepareFile sees to it that there is a file to open, in a place where it can
// be kept. It returns where it is, and the file.
func prepareFile(c *Config) (p place, main fs.FileInfo, err error) {
	log, access := c.Logger, accessFor(c.GroupAccess)
	if p.path, err = filepath.Abs(c.Path); err != nil {
		return p, nil, err
	}
	if err := makeFolder(filepath.Dir(p.path), access, log); err != nil {
		return p, nil, err
	}
	if p.real, err = realPath(p.path); err != nil {
		return p, nil, err
	}
	folder := filepath.Dir(p.real)
	if err := checkFilesystem(folder, log); err != nil {
		return p, nil, err
	}
	if err := writable(folder); err != nil {
		return p, nil, fmt.Errorf("its folder %s cannot be written to (%w): SQLite makes files beside the database", folder, err)
	}
	if err := create(p.real, log); err != nil {
		return p, nil, err
	}
	main, err = checkFile(p.real, access, log)
	return p, main, err
}

// access is who may do what with the files.
type access struct {
	folder, file fs.FileMode
	foreign      fs.FileMode // what is wider than that
}

func accessFor(group bool) access {
	if group {
		return access{folder: 0o770 | fs.ModeSetgid, file: 0o660, foreign: 0o007}
	}
	return access{folder: 0o700, file: 0o600, foreign: 0o077}
}

// makeFolder makes the last folder of a path unless it is there. What is above
// it is not made: it may be where a volume is to be mounted, and the queue
// would be begun a second time beside it.
func makeFolder(folder string, a access, log *slog.Logger) error {
	err := os.Mkdir(folder, 0o700)
	if err == nil {
		log.Info("made the folder of the database", "folder", folder)
		return os.Chmod(folder, a.folder) // the umask has no say
	}
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		if lacking := a.folder.Perm() &^ info.Mode().Perm(); lacking&0o070 != 0 {
			log.Warn("the group may not use the folder of the database", "folder", folder, "mode", modeText(info.Mode()))
		}
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: make it, or mount the volume that belongs there", filepath.Dir(folder))
	}
	return fmt.Errorf("make its folder: %w", err)
}

// realPath follows links. What the last one names is not made: that may be
// where a volume is to be mounted.
func realPath(path string) (string, error) {
	switch _, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
		folder, err := filepath.EvalSymlinks(filepath.Dir(path))
		return filepath.Join(folder, filepath.Base(path)), err
	case err != nil:
		return "", err
	}
	resolved, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("it is a link to a file that is not there: make the file, or mount the volume that belongs there (%w)", err)
	}
	return resolved, err
}

// checkFilesystem refuses network file systems and warns about those that
// forget. It is given a file or a folder.
func checkFilesystem(path string, log *slog.Logger) error {
	name, footing, err := filesystemOf(path)
	switch {
	case err != nil:
		return err
	case footing == remote:
		return fmt.Errorf("%s is on %s: SQLite cannot share a file over a network file system; use a local disk", path, name)
	case footing == volatile:
		log.Warn("the database is on a file system that does not outlive a restart", "path", path, "filesystem", name)
	}
	return nil
}

// create makes the file for its owner alone, unless it is there. It opens no
// file that is there: closing it would drop the locks that other connections of
// this process hold on it.
func create(path string, log *slog.Logger) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	log.Info("made the database: there was none", "file", path)
	return f.Close()
}

// checkFile looks at what kind of file it is, whether it can be written to, and
// who may read it. Payloads may be private. It gives the group what it is to
// have; SQLite makes the -wal and -shm files with the same mode.
func checkFile(path string, a access, log *slog.Logger) (main fs.FileInfo, err error) {
	main, err = os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case main.IsDir():
		return nil, fmt.Errorf("it is a folder: name a file in it, such as %s", filepath.Join(path, "gerritstream.db"))
	case !main.Mode().IsRegular():
		return nil, fmt.Errorf("it is not a regular file (%v)", main.Mode().Type())
	}
	if err := checkMount(path, log); err != nil {
		return nil, err
	}
	for _, p := range []string{path, path + beside[0], path + beside[1]} {
		info, err := os.Stat(p)
		if err != nil {
			continue
		}
		if err := writable(p); err != nil {
			return nil, fmt.Errorf("%s cannot be written to (%w): it belongs to another user, or was made read-only", p, err)
		}
		mode := info.Mode().Perm()
		if missing := a.file &^ mode; missing&0o070 != 0 {
			if err := os.Chmod(p, mode|a.file); err != nil {
				log.Warn("the group may not use the database", "file", p, "mode", modeText(mode), "error", err)
			}
		}
		if mode&a.foreign != 0 {
			log.Warn("others than the owner may read or write the database", "file", p, "mode", modeText(mode))
		}
	}
	return main, nil
}

// modeText is a mode as chmod takes it.
func modeText(mode fs.FileMode) string { return fmt.Sprintf("%04o", mode.Perm()) }

// checkMount refuses a file that is mounted by itself: what SQLite keeps beside
// it would lie elsewhere, where others who mount the file do not see it, and
// would be gone with the container.
func checkMount(path string, log *slog.Logger) error {
	if mounted(path) {
		return errors.New("it is mounted by itself, without the -wal and -shm files that belong to it: mount its folder")
	}
	return checkFilesystem(path, log)
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

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

// prepareFile ensures that there is a file to open, in a place where it can be
// kept. It returns where it is, and the file.
func prepareFile(c *Config) (p place, main fs.FileInfo, err error) {
	log, mode := c.Logger, modes{folder: 0o700, file: 0o600, foreign: 0o077}
	if c.GroupAccess {
		mode = modes{folder: 0o770 | fs.ModeSetgid, file: 0o660, foreign: 0o007}
	}
	if p.path, err = filepath.Abs(c.Path); err != nil {
		return p, nil, err
	}
	if err := makeFolder(filepath.Dir(p.path), mode, log); err != nil {
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
		return p, nil, fmt.Errorf("no write access to its folder %s (%w): SQLite makes files there", folder, err)
	}
	// A file that is there is not opened: closing it would release the locks
	// that other connections of this process hold on it.
	f, err := os.OpenFile(p.real, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		log.Info("created database", "file", p.real)
		err = f.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return p, nil, err
	}
	main, err = checkFile(p.real, mode, log)
	return p, main, err
}

// modes are the modes of the folder and the files.
type modes struct {
	folder, file fs.FileMode
	foreign      fs.FileMode // what a file's mode must not have
}

// makeFolder makes the last folder of a path unless it is there. The ones above
// are not made: if a volume that belongs there is not mounted yet, a second
// queue would be started beside it.
func makeFolder(folder string, mode modes, log *slog.Logger) error {
	err := os.Mkdir(folder, 0o700)
	if err == nil {
		log.Info("created database folder", "folder", folder)
		return os.Chmod(folder, mode.folder) // whatever the umask is
	}
	if info, err := os.Stat(folder); err == nil && info.IsDir() {
		if missing := mode.folder.Perm() &^ info.Mode().Perm(); missing&0o070 != 0 {
			log.Warn("group has no access to the database folder", "folder", folder, "mode", octal(info.Mode()))
		}
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist: create it, or mount the volume that belongs there", filepath.Dir(folder))
	}
	return fmt.Errorf("create its folder: %w", err)
}

// realPath follows links. The target of the last one is not made: it may be
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
		return "", fmt.Errorf("it is a link to a missing file: create it, or mount its volume (%w)", err)
	}
	return resolved, err
}

// checkFile checks the file's kind, whether it can be written to, and who may
// read it: payloads may be private. It gives the group the access that it
// should have; SQLite makes the -wal and -shm files with the same mode.
func checkFile(path string, want modes, log *slog.Logger) (main fs.FileInfo, err error) {
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
			return nil, fmt.Errorf("no write access to %s (%w): it belongs to another user, or is read-only", p, err)
		}
		mode := info.Mode().Perm()
		if missing := want.file &^ mode; missing&0o070 != 0 {
			if err := os.Chmod(p, mode|want.file); err != nil {
				log.Warn("group has no access to the database", "file", p, "mode", octal(mode), "err", err)
			}
		}
		if mode&want.foreign != 0 {
			log.Warn("other users have access to the database", "file", p, "mode", octal(mode))
		}
	}
	return main, nil
}

func octal(mode fs.FileMode) string { return fmt.Sprintf("%04o", mode.Perm()) }

// checkMount refuses a file that is mounted by itself: the files that SQLite
// keeps beside it would lie elsewhere, unseen by others who mount the database,
// and would be gone with the container.
func checkMount(path string, log *slog.Logger) error {
	if mounted(path) {
		return errors.New("it is mounted by itself, without its -wal and -shm files: mount its folder")
	}
	return checkFilesystem(path, log)
}

// fsKind is what a file system is good for.
type fsKind int

const (
	disk     fsKind = iota
	volatile        // what is written does not survive a restart
	remote          // locks or shared memory do not hold between hosts
)

// checkFilesystem refuses network file systems and warns about volatile ones.
// path is a file or a folder.
func checkFilesystem(path string, log *slog.Logger) error {
	name, kind, err := filesystemOf(path)
	switch {
	case err != nil:
		return err
	case kind == remote:
		return fmt.Errorf("%s is on %s: SQLite cannot share a file over a network file system; use a local disk",
			path, name)
	case kind == volatile:
		log.Warn("the database will not survive a restart", "path", path, "filesystem", name)
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

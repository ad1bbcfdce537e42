package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// place is where an open database lies.
type place struct {
	path  string // as it was given; it may be a link
	real  string // without links: SQLite keeps the -wal and -shm files beside this one
	files []openFile
}

// openFile is a file of the database as it was when it was opened.
type openFile struct {
	path string
	info fs.FileInfo
}

// beside are what SQLite adds to a database's name for the files that it keeps
// while the database is open.
var beside = []string{"-wal", "-shm"}

// note remembers the files of a database that has just been opened. main is its
// file as it was before that.
func (p *place) note(main fs.FileInfo) error {
	p.files = []openFile{{p.path, main}}
	for _, ending := range beside {
		info, err := os.Stat(p.real + ending)
		if err != nil {
			return fmt.Errorf("look for the file that SQLite keeps beside it: %w", err)
		}
		p.files = append(p.files, openFile{p.real + ending, info})
	}
	return p.check()
}

// check reports a file that was removed or replaced: what is written to a file
// without a name is lost. A file that cannot be looked at for now is left to
// SQLite. Nothing is opened: closing it would release SQLite's locks.
func (p *place) check() error {
	for _, f := range p.files {
		info, err := os.Stat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			return fmt.Errorf("%s was removed while it was in use", f.path)
		case err == nil && !os.SameFile(info, f.info):
			return fmt.Errorf("%s was replaced by another file while it was in use", f.path)
		}
	}
	return nil
}

// checkWritable reports a file that this process could not open for writing
// again.
func (p *place) checkWritable() error {
	for _, f := range p.files {
		if err := writable(f.path); errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
			return fmt.Errorf("%s was made read-only while it was in use: %w", f.path, err)
		}
	}
	return nil
}

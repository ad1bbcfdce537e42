package zuulconf

import (
	"errors"
	"fmt"
)

// Place is where something stands in the file, from 1, in characters. The zero
// Place is nowhere: an environment variable, or something that is not there.
type Place struct{ Line, Column int }

// Fault is one thing that is wrong with a file. No value is quoted in it unless
// it is known to be no secret.
type Fault struct {
	File    string
	Place   Place // zero: the fault has none
	Problem string
}

// Error returns the fault in one line, as compilers write it.
func (f *Fault) Error() string {
	if f.Place.Line == 0 {
		return f.File + ": " + f.Problem
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Place.Line, f.Place.Column, f.Problem)
}

// faults gathers what is wrong.
type faults []error

func (fs *faults) add(f *Fault) {
	if f != nil {
		*fs = append(*fs, f)
	}
}

func (fs *faults) err() error { return errors.Join(*fs...) }

// fault returns a fault of the file.
func (f *File) fault(at Place, format string, args ...any) *Fault {
	return &Fault{File: f.name, Place: at, Problem: fmt.Sprintf(format, args...)}
}

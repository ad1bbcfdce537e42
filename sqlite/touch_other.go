//go:build !linux

package sqlite

import (
	"errors"
	"os"
)

// touch does nothing: nobody watches for it.
func touch(string) error { return nil }

// watchTouches knows how to on Linux only.
func watchTouches(string) (*os.File, error) { return nil, errors.ErrUnsupported }

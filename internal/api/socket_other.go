//go:build !unix

package api

import "syscall"

// lockFolder does nothing: whoever starts two processes at once sees one of
// them fail, or has one that nobody reaches.
func lockFolder(string) (unlock func(), err error) { return func() {}, nil }

func hideSocket(string, string, syscall.RawConn) error { return nil }

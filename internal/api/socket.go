package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	socketMode  = 0o660
	dialTimeout = time.Second // for the process that may answer on a socket that is there

	// dyingTime is how long a process that was killed may still seem to answer.
	dyingTime = 500 * time.Millisecond
)

// socket is a listener at a path. Closing it removes the file, if it is still
// its own.
type socket struct {
	listener *net.UnixListener
	path     string
	file     fs.FileInfo
}

// Accept implements net.Listener. The remote address of a connection names the
// process at its other end, for people.
func (s *socket) Accept() (net.Conn, error) {
	c, err := s.listener.AcceptUnix()
	if err != nil {
		return nil, err
	}
	return &namedConn{c, peerAddr(peer(c))}, nil
}

// namedConn is a connection with another remote address.
type namedConn struct {
	net.Conn

	name peerAddr
}

// RemoteAddr implements net.Conn.
func (c *namedConn) RemoteAddr() net.Addr { return c.name }

// peerAddr is a net.Addr.
type peerAddr string

// Network implements net.Addr.
func (peerAddr) Network() string { return "unix" }

func (a peerAddr) String() string { return string(a) }

const unknownPeer = "another client"

// Addr implements net.Listener.
func (s *socket) Addr() net.Addr { return s.listener.Addr() }

// Close implements net.Listener.
func (s *socket) Close() error {
	err := s.listener.Close()
	if now, failed := os.Lstat(s.path); err == nil && failed == nil && os.SameFile(now, s.file) {
		err = os.Remove(s.path)
	}
	return err
}

// listen makes the socket, for a group ("": the process' own). The file of a
// process that is gone is replaced; one on which somebody answers, and goes on
// for as long as dying may take, is an error.
func listen(ctx context.Context, path, group string, dying time.Duration) (*socket, error) {
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	// Two processes that start at once must not both take the file for stale:
	// the later one would remove the socket of the other.
	unlock, err := lockFolder(filepath.Dir(path))
	if err != nil {
		return nil, explainFolder(path, err)
	}
	defer unlock()
	if err := removeStale(ctx, path, dying); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: hideSocket}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, explainFolder(path, err)
	}
	s := &socket{listener: l.(*net.UnixListener), path: path} //nolint:errcheck,forcetypeassert // of "unix"
	s.listener.SetUnlinkOnClose(false)
	if s.file, err = os.Lstat(path); err == nil {
		err = admit(path, gid, group)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// admit lets the group in.
func admit(path string, gid int, group string) error {
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("give the socket to group %s, to which this process must belong: %w", group, err)
	}
	return os.Chmod(path, socketMode)
}

// groupID returns the number of a group; -1: the process' own.
func groupID(group string) (int, error) {
	if group == "" {
		return -1, nil
	}
	if n, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(n), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("find the socket's group: %w", err)
	}
	return strconv.Atoi(g.Gid)
}

// removeStale removes the socket of a process that is gone.
func removeStale(ctx context.Context, path string, dying time.Duration) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return explainFolder(path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s is there, and it is no socket", path)
	}
	for end := time.Now().Add(dying); ; {
		err := dial(ctx, path)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return os.Remove(path)
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("%s is there, and perhaps another process serves it: %w", path, err)
		case !time.Now().Before(end):
			return fmt.Errorf("another process answers on %s; each process needs a socket of its own", path)
		}
		select {
		case <-time.After(dying / 10):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// dial returns nil if somebody answers on a socket.
func dial(ctx context.Context, path string) error {
	dialer := net.Dialer{Timeout: dialTimeout}
	c, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close() // nothing was sent
	}
	return err
}

// explainFolder adds what to do to an error about the folder of the socket.
func explainFolder(path string, err error) error {
	folder := filepath.Dir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no folder %s for the socket; systemd makes one in /run with RuntimeDirectory",
			folder)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("this user may not make a socket in %s: %w", folder, err)
	}
	return err
}

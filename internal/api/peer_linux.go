package api

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peer describes, for people, the process at the other end of a connection.
func peer(c *net.UnixConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return unknownPeer
	}
	name := unknownPeer
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			name = fmt.Sprintf("a client with process id %d of user %d", cred.Pid, cred.Uid)
		}
	})
	return name
}

package bench

import "syscall"

// childAttributes make a child end with this process, however that ends, and
// keep a terminal's Ctrl-C from it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

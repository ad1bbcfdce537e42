package sqlite

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// filesystems are the file systems that are not disks, by the number that
// statfs gives. The numbers are from statfs(2) and the kernel's
// include/uapi/linux/magic.h.
var filesystems = map[uint32]struct {
	name string
	kind fsKind
}{
	0x6969:     {"NFS", remote},
	0x517b:     {"SMB", remote},
	0xff534d42: {"CIFS", remote},
	0xfe534d42: {"SMB2", remote},
	0x01021997: {"9p", remote},
	0x00c36400: {"Ceph", remote},
	0x0bd00bd0: {"Lustre", remote},
	0x5346414f: {"AFS", remote},
	0x6b414653: {"AFS", remote},
	0x73757245: {"Coda", remote},
	0x564c:     {"NCP", remote},
	0x01161970: {"GFS2", remote},
	0x7461636f: {"OCFS2", remote},
	0x47504653: {"GPFS", remote},
	0x19830326: {"BeeGFS", remote},
	0x65735546: {"FUSE (sshfs and the like)", remote},
	0x01021994: {"tmpfs", volatile},
	0x858458f6: {"ramfs", volatile},
	0x794c7630: {"overlay (a container's own layer)", volatile},
}

// filesystemOf returns what a file or a folder is on. It opens nothing.
func filesystemOf(path string) (name string, kind fsKind, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return "", disk, fmt.Errorf("look at the file system of %s: %w", path, err)
	}
	f := filesystems[uint32(s.Type)] //nolint:gosec // the numbers have 32 bits; the field's width and sign vary
	return f.name, f.kind, nil
}

// mounted reports whether a file is a mount of its own. Kernels before 5.8
// cannot tell; then it is not.
func mounted(file string) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, file, 0, 0, &s)
	return err == nil && s.Attributes&s.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// writable reports whether this process may write to a file, or make files in a
// folder. It opens nothing.
func writable(path string) error { return unix.Access(path, unix.W_OK) }

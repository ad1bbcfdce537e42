package sqlite

// footing is what a file system is good for.
type footing int

const (
	solid    footing = iota
	volatile         // what is written does not survive a restart
	remote           // locks or shared memory do not hold between hosts
)

// judgeFilesystem tells by the number that statfs gives what a file system is
// called and is good for. Numbers that are not listed are taken for disks. They
// are from statfs(2) and the kernel's include/uapi/linux/magic.h.
func judgeFilesystem(magic uint32) (name string, f footing) {
	switch magic {
	case 0x6969:
		return "NFS", remote
	case 0x517b:
		return "SMB", remote
	case 0xff534d42:
		return "CIFS", remote
	case 0xfe534d42:
		return "SMB2", remote
	case 0x01021997:
		return "9p", remote
	case 0x00c36400:
		return "Ceph", remote
	case 0x0bd00bd0:
		return "Lustre", remote
	case 0x5346414f, 0x6b414653:
		return "AFS", remote
	case 0x73757245:
		return "Coda", remote
	case 0x564c:
		return "NCP", remote
	case 0x01161970:
		return "GFS2", remote
	case 0x7461636f:
		return "OCFS2", remote
	case 0x47504653:
		return "GPFS", remote
	case 0x19830326:
		return "BeeGFS", remote
	case 0x65735546:
		return "FUSE (sshfs and the like)", remote
	case 0x01021994:
		return "tmpfs", volatile
	case 0x858458f6:
		return "ramfs", volatile
	case 0x794c7630:
		return "overlay (a container's own layer)", volatile
	}
	return "", solid
}

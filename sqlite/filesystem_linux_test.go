package sqlite

import "testing"

func TestFilesystems(t *testing.T) {
	for magic, want := range map[uint32]fsKind{
		0x6969: remote, 0xff534d42: remote, 0xfe534d42: remote, 0x517b: remote, 0x01021997: remote, 0x00c36400: remote,
		0x0bd00bd0: remote, 0x65735546: remote,
		0x01021994: volatile, 0x794c7630: volatile,
		0xef53: disk, 0x58465342: disk, 0x9123683e: disk, 0x2fc12fc1: disk, // ext4, XFS, Btrfs, ZFS
	} {
		if f := filesystems[magic]; f.kind != want || (f.name == "") != (want == disk) {
			t.Errorf("%#x is %q, %v, want %v", magic, f.name, f.kind, want)
		}
	}
}

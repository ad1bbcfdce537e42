# Boots a copy of this machine: sh -c boot.sh sh FOLDER GROUP, in namespaces of
# its own for mounts, processes and the network. Its files are this machine's
# until one is changed, and changes go with the namespaces. Its network is
# loopback, so that each port is free.
set -e
mount -t tmpfs none "$1"
mkdir "$1/changed" "$1/work" "$1/root" "$1/groups"
root=$1/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/changed,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro none "$root/sys"
mount -t tmpfs none "$root/run"
mount --rbind /dev "$root/dev"
mount -t tmpfs none "$root/tmp"
mkdir "$root/outside"

mount -t cgroup2 none "$1/groups"
mkdir "$1/groups/$2"
echo 0 >"$1/groups/$2/cgroup.procs"

# Only this is started, and none of what looks after real hardware.
printf '[Unit]\nDescription=nothing yet\nRequires=sysinit.target\nAfter=sysinit.target\n' >"$root/etc/systemd/system/trial.target"
for name in systemd-udevd systemd-udev-trigger systemd-timesyncd systemd-tmpfiles-setup systemd-tmpfiles-setup-dev \
	systemd-networkd-wait-online networking ifupdown-wait-online; do
	ln -sf /dev/null "$root/etc/systemd/system/$name.service"
done

# A process in a changed root cannot have a user namespace: the root is
# exchanged instead.
exec unshare --cgroup sh -c "mount -t cgroup2 none $root/sys/fs/cgroup
cd $root && pivot_root . outside && umount -l /outside
exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=trial.target --log-target=console"

#!/bin/sh
# Installs what checks a release besides Go: as root on Debian. Elsewhere it names what is missing, and succeeds: the
# tests that need it are then skipped by name.
set -eu

packages=
need() { # PROGRAM PACKAGE
	command -v "$1" >/dev/null 2>&1 || packages="$packages $2"
}
need /lib/systemd/systemd systemd
need dbus-daemon dbus
need man man-db
need curl curl
need jq jq
need sqlite3 sqlite3
need promtool prometheus
[ -e /usr/share/java/zookeeper.jar ] && command -v java >/dev/null 2>&1 || packages="$packages zookeeper"
/usr/bin/python3 -c 'import kazoo' >/dev/null 2>&1 || packages="$packages python3-kazoo"
need mandoc mandoc
need rpm rpm
need skopeo skopeo

[ -n "$packages" ] || exit 0
if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
	echo "installing$packages"
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	apt-get install -qq -y --no-install-recommends $packages >/dev/null
else
	echo "missing:$packages; install with: sudo apt-get install -y --no-install-recommends$packages"
fi

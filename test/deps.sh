#!/bin/sh
# Installs what the tests need besides Go: as root on Debian. Elsewhere it names what is missing and the command that
# installs it, and succeeds: the tests that need it are then skipped by name.
set -eu
cd "$(dirname "$0")/.."

npm_dir=internal/peers/npm
packages=
command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || packages="$packages nodejs npm"
/usr/bin/python3 -c 'import boto3' >/dev/null 2>&1 || packages="$packages python3-boto3"
[ -x /usr/bin/aws ] || packages="$packages awscli"
[ -x /usr/bin/sqlite3 ] || packages="$packages sqlite3"
command -v curl >/dev/null 2>&1 && command -v jq >/dev/null 2>&1 || packages="$packages curl jq" # documented examples
[ -x /lib/systemd/systemd ] || packages="$packages systemd" # its user manager runs the documented units
[ -x /usr/bin/promtool ] || packages="$packages prometheus" # tries the alerts; no service is started
[ -x /usr/bin/chromium ] || packages="$packages chromium fonts-dejavu-core" # looks at the status page
# Its jars alone are used. Debian's service is another package, which is not installed.
[ -e /usr/share/java/zookeeper.jar ] && command -v java >/dev/null 2>&1 || packages="$packages zookeeper"
/usr/bin/python3 -c 'import kazoo' >/dev/null 2>&1 || packages="$packages python3-kazoo"

[ -x /usr/lib/postgresql/15/bin/postgres ] || packages="$packages postgresql-15" # no cluster is made: see below
[ -x /usr/sbin/pgbouncer ] || packages="$packages pgbouncer"

# npm writes .package-lock.json last, so it is newer than the lock file of a complete installation.
npm_is_current() {
	[ -e $npm_dir/node_modules/.package-lock.json ] &&
		[ ! $npm_dir/package-lock.json -nt $npm_dir/node_modules/.package-lock.json ]
}

if [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ]; then
	if [ -n "$packages" ]; then
		echo "installing$packages"
		export DEBIAN_FRONTEND=noninteractive
		apt-get update -qq
		case $packages in *postgresql-15*) # tests make their own clusters, and Debian's would take a port and memory
			apt-get install -qq -y --no-install-recommends postgresql-common >/dev/null
			sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
		esac
		# shellcheck disable=SC2086 # a list of words
		apt-get install -qq -y --no-install-recommends $packages >/dev/null
	fi
	npm_is_current || npm ci --prefix $npm_dir --no-progress
else
	[ -z "$packages" ] || echo "missing:$packages; install with: sudo apt-get install -y --no-install-recommends$packages"
	npm_is_current || echo "missing: kinesalite, kinesis-local and axe-core; install with: npm ci --prefix $npm_dir"
fi

#!/bin/sh
# The queue in /var/lib/gerritstream stays, even when the package is purged: it
# may hold events that nobody has handled yet. So does the user, who owns it.
# What was enabled is forgotten: deb calls it with "remove" and then "purge", rpm
# with 0 or, after an upgrade, 1.
set -e
case "$1" in
purge | 0) rm -f /etc/systemd/system/*.wants/gerritstream@*.service /etc/systemd/system/*.wants/gerritstream-zuul@*.service ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi

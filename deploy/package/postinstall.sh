#!/bin/sh
# Makes the user of the services, and restarts those that run, so that they run
# the version just installed. It starts and enables nothing: each connection is
# a service of its own. deb calls it with "configure", rpm with 1 or 2.
set -e
case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers gerritstream.conf
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart 'gerritstream@*.service' 'gerritstream-zuul@*.service'
fi

#!/bin/sh
# Makes the user of the services and the folder of their queues, and restarts
# those that run, so that they run the version just installed. It starts and
# enables nothing: each connection is a service of its own. deb calls it with
# "configure", rpm with 1 or 2.
set -e
case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers gerritstream.conf
fi
# So that a configuration can be checked before the first start. A folder that is
# there may have been given to a group.
if [ ! -e /var/lib/gerritstream ] && getent passwd gerritstream >/dev/null; then
	install -d -o gerritstream -g gerritstream -m 700 /var/lib/gerritstream
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	systemctl try-restart 'gerritstream@*.service' 'gerritstream-zuul@*.service'
fi

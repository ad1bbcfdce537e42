#!/bin/sh
# Stops the services when the package is removed, and not when it is upgraded.
# deb calls it with "remove" or "upgrade", rpm with 0 or 1.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl stop 'gerritstream@*.service' 'gerritstream-zuul@*.service'
fi

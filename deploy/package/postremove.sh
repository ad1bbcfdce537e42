#!/bin/sh
# The queue in /var/lib/gerritstream stays, even when the package is purged: it
# may hold events that nobody has handled yet. So does the user, who owns it.
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi

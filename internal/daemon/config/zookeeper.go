package config

import (
	"slices"
	"strings"
)

// tlsKeys are the settings that make TLS of a connection to ZooKeeper: all of
// them. They are never written to.
var tlsKeys = []string{"zookeeper.tls.cert", "zookeeper.tls.key", "zookeeper.tls.ca"}

const verifyHostname = "zookeeper.tls.verify_hostname"

// checkZooKeeper looks at how the settings of ZooKeeper go together and with
// the store.
func (l *loader) checkZooKeeper() {
	switch l.config.Store.Kind() {
	case StoreNone: // which is a fault already
	case StoreSQLite:
		for _, key := range slices.Concat(tlsKeys, []string{verifyHostname}) {
			if at := l.place(key); at != (Place{}) {
				l.faults.add(at, key, "it is given, and the store is %s: only ZooKeeper is spoken to with TLS", l.config.Store)
			}
		}
	case StoreZooKeeper:
		l.checkTLS()
		l.checkReadable(tlsKeys...)
	}
}

// checkTLS looks for what is missing: each side proves to the other who it is,
// or there is no TLS.
func (l *loader) checkTLS() {
	var given, missing []string
	for _, key := range tlsKeys {
		if lookup(key).kind.show(l.config) != "" {
			given = append(given, key)
		} else {
			missing = append(missing, key)
		}
	}
	switch {
	case len(given) > 0 && len(missing) > 0:
		l.faults.add(l.place(given[0]), given[0], "it is given without %s; TLS needs all three files", strings.Join(missing, " and "))
	case len(given) == 0 && l.config.ZooKeeper.TLS.VerifyHostname:
		l.faults.add(l.place(verifyHostname), verifyHostname, "it is asked for without TLS; give %s", strings.Join(tlsKeys, ", "))
	}
}

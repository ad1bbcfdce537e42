package config

import "slices"

// tlsKeys are the settings that make TLS of a connection to ZooKeeper. They are never written to.
var tlsKeys = []string{"zookeeper.tls.cert", "zookeeper.tls.key", "zookeeper.tls.ca"}

const verifyHostname = "zookeeper.tls.verify_hostname"

// checkZooKeeper looks at how the settings of ZooKeeper go together and with the store.
func (l *loader) checkZooKeeper() {
	tls := l.config.ZooKeeper.TLS
	switch l.config.Store.Kind() {
	case StoreNone: // which is a fault already
	case StoreSQLite:
		for _, key := range slices.Concat(tlsKeys, []string{verifyHostname}) {
			if at := l.place(key); at != (Place{}) {
				l.faults.add(at, key, "it is given, and the store is %s: only ZooKeeper is spoken to with TLS", l.config.Store)
			}
		}
	case StoreZooKeeper:
		switch {
		case tls.Cert != "" && tls.Key == "":
			l.faults.add(l.place("zookeeper.tls.cert"), "zookeeper.tls.cert", "a certificate is given without its key; give zookeeper.tls.key as well")
		case tls.Cert == "" && tls.Key != "":
			l.faults.add(l.place("zookeeper.tls.key"), "zookeeper.tls.key", "a key is given without its certificate; give zookeeper.tls.cert as well")
		}
		if tls.VerifyHostname && tls.Cert+tls.Key+tls.CA == "" {
			l.faults.add(l.place(verifyHostname), verifyHostname, "it is asked for without TLS; give zookeeper.tls.ca, or a certificate and its key")
		}
		l.checkReadable(tlsKeys...)
	}
}

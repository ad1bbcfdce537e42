// Package daemon makes a running process of a configuration: it builds every
// part, joins them, runs them, and takes them apart again. It is the only place
// that knows all of them.
//
//	New     builds and binds; nothing reads yet
//	Run     reads until its context ends, and then stops: commits in flight, leaderships given up, everything closed
//	Addr    where health and metrics are served
//	Stop    gives back what New made, for a daemon that is never run
package daemon

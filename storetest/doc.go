// Package storetest holds every gerritstream.Store to one meaning, and offers
// one that lives in memory.
//
// [Run] is the conformance suite: what store.go and operator.go promise, as
// tests. A store that passes may be used.
//
// [Memory] is a Store for tests of what uses one. Several processes share it.
// It waits only for channels and timers, so that it works inside a
// testing/synctest bubble. Each write can be made to fail in every way that a
// real store's can: refused, applied but reported as failed, to be retried, or
// with the process dying before or after the write.
package storetest

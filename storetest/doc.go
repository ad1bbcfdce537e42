// Package storetest holds every gerritstream.Store to one meaning, and offers
// one that lives in memory.
//
// [Run] is the conformance suite: what store.go and operator.go promise, as
// tests. A store that passes may be used; what a store means is stated here and
// nowhere else.
//
// [Memory] is a Store for tests of what uses one: several processes share it,
// its waiting is channels and timers alone, so that it works inside a
// testing/synctest bubble, and each of its writes can be made to fail in every
// way that a real store's can: refused, applied but reported as failed, to be
// tried again, or with the process dying before or after it.
package storetest

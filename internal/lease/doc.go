// Package lease is what the stores with leases in tables share: who is alive,
// and who may lead. It knows no database; a store reads and writes for it.
//
// A process shows that it is alive by a heartbeat, a number that it increments
// five times within its leases' time to live (TTL). Others count it as dead
// once they have seen the same number for the whole TTL by their own monotonic
// clocks.
package lease

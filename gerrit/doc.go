// Package gerrit knows one Gerrit event: [Scan] validates its bytes and takes
// out what events are told apart by, and a [Filter] says whether anybody needs
// it. Both are pure, keep nothing, and allocate nothing on the way of a good
// event.
//
// A record that passes Scan is safe for every consumer that is known to us,
// Zuul in the first place: no parser in use refuses it, and none of its members
// has a shape that stops Zuul's queue. What does not pass is put aside by the
// caller with the [Fault]'s reason; it never stops what comes behind it.
//
// Nothing here ever changes the bytes of an event. Gerrit's writer escapes < >
// & = and ' as \u003c and so on, so that an event that is parsed and written
// again is another one.
package gerrit

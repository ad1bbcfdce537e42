// Package gerrit knows one Gerrit event: [Scan] validates its bytes and
// extracts what events are told apart by, and a [Filter] decides whether
// anybody needs it. Both are pure, keep nothing, and do not allocate for a
// valid event.
//
// A record that passes Scan is safe for every known consumer, above all Zuul:
// no parser in use refuses it, and no member has a type that stops Zuul's
// queue. The caller dead-letters what does not pass, with the [Fault]'s reason;
// it never stops the records after it.
//
// Nothing here ever changes the bytes of an event. Gerrit's writer escapes < >
// & = and ' as \u003c and so on, so parsing an event and writing it again gives
// different bytes.
package gerrit

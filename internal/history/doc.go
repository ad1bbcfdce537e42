// Package history records what happens to the records of a stream, by everybody
// who touches them, and checks afterwards that every promise was kept: nothing
// lost, nothing doubled, order within a shard, parents before children, nothing
// committed by a dead term, one identity for each record, positions that never
// go back but by an operator.
//
// A history is lines of JSON, one [Event] each. Every process writes a file of
// its own with a [Writer], in single appending writes, so that a process that
// is killed leaves whole lines behind. [Read] takes such files together, and
// [Check] is a pure function of them: a history that failed can be kept and
// checked again alone.
//
// What is in the queue in the end is the truth that is judged. What processes
// say of themselves (a commit that they saw succeed, a term that they began) is
// evidence: it may be missing when a process was killed, but it is never
// allowed to contradict the queue.
package history

// Package history answers whether anything was lost, doubled or disordered.
//
// A history is a list of [Event]: what was put on a stream, what processes did
// with it, and what the queue and the dead letters hold in the end. [Check]
// judges one; it is a pure function, so that a history that failed can be kept
// and judged again. Tests and commands that have only the beginning and the end
// use [Compare].
//
// In files a history is one JSON object a line. Each process appends to a file
// of its own with a [Writer], one write an event, so that a killed process
// leaves whole lines; [Read] reads a folder of them.
//
// The queue is the truth that is judged. What processes report (a commit that
// succeeded, a term that began) is evidence: it may be missing when a process
// was killed, but it must not contradict the queue.
package history

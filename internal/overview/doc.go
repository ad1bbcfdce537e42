// Package overview says how the whole group is doing, for people: one sentence
// that is true, what is wrong by cause, and the shards, processes and numbers
// behind it. It is pure: a View is made from what a process knows of itself and
// from what the store holds of the others.
package overview

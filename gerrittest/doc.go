// Package gerrittest makes up Gerrit's traffic: every type of event, in
// lifelike proportions and sizes, written as Gerrit writes it, with a few bad
// records among them, each beside the verdict it must get. It is for tests and
// demonstrations of whatever reads such a stream. The same seed and options
// make the same records.
//
// Half to two thirds of the records are ref-updated, most of them of a change's
// notes: an upload makes two and a patchset-created, a comment makes one and a
// comment-added. All people, projects and hosts are fictional.
package gerrittest

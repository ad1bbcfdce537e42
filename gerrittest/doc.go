// Package gerrittest generates Gerrit traffic for tests and demonstrations:
// every type of event, in lifelike proportions and sizes, as Gerrit writes it,
// and a few bad records, each with the verdict that it must get. The same seed
// and options generate the same records.
//
// Half to two thirds of the records are ref-updated, most of them for a
// change's notes: an upload makes two and a patchset-created, a comment one and
// a comment-added. All people, projects and hosts are fictional.
package gerrittest

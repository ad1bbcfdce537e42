package gerrit

import "unicode/utf8"

// Event is what Scan takes out of a record. The byte slices point into the
// record where it holds no escapes in that place; they are valid as long as the
// record is, and must not be written to. Any of them may be of any length: see
// Text.
type Event struct {
	// Type is the event's type. It may be empty, never absent.
	Type []byte

	// Project is the first of these that is a string, empty if none is:
	// change.project, refUpdate.project, project, project.name (old payloads),
	// projectName, and the project of the first of refUpdates.
	Project []byte

	// Ref is the full name of the ref that the event is about. Of a ref-updated
	// it is refUpdate.refName; of a project-head-updated newHead; of a change
	// event the branch (refName, else change.branch made a full name); of a
	// replication event ref. It is empty for all others, a batch-ref-updated
	// included: that one is about many.
	Ref []byte

	// Change is change.number, a number or a string of 1 to 18 digits; 0 when
	// there is none or it is neither.
	Change int64

	// Created is eventCreatedOn in seconds since 1970; 0 when there is none or
	// it lies outside 1970..9999.
	Created int64
}

// maxText is the most that Text returns of a field, in bytes.
const maxText = 1024

// Text returns a field as a string for logs, tables and indexes: at most 1 KiB
// of it, cut between characters. Names of projects and refs are shorter in
// practice; a hostile one may fill its record.
func Text(field []byte) string {
	if len(field) <= maxText {
		return string(field)
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(field[end]) {
		end--
	}
	return string(field[:end])
}

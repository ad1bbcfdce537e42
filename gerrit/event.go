package gerrit

import (
	"bytes"
	"slices"
	"unicode/utf8"
)

// Event is what Scan extracts from a record. The byte slices point into the
// record unless it has escapes there; they are valid as long as the record is,
// and must not be written to. They may have any length: see Text.
type Event struct {
	// Type is the event's type. It may be empty, never absent.
	Type []byte

	// Project is the first of these that is a string, empty if none is:
	// change.project, refUpdate.project, project, project.name (old payloads),
	// projectName, and the project of the first of refUpdates.
	Project []byte

	// Ref is the full name of the ref that the event is about. For a
	// ref-updated it is refUpdate.refName; for a project-head-updated newHead;
	// for a change event the branch (refName, else change.branch made a full
	// name); for a replication event ref. It is empty for all others, also for
	// a batch-ref-updated, which is about many.
	Ref []byte

	// Change is change.number, a number or a string of 1 to 18 digits; 0 if
	// there is none or it is neither.
	Change int64

	// Created is eventCreatedOn in seconds since 1970; 0 if there is none or it
	// lies outside 1970..9999.
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

// Types with rules of their own.
const (
	typeRefUpdated         = "ref-updated"
	typeBatchRefUpdated    = "batch-ref-updated"
	typeProjectHeadUpdated = "project-head-updated"
	typeRefReplicated      = "ref-replicated"
	typeRefScheduled       = "ref-replication-scheduled"
)

// OtherType is the label of every type that is not among Types.
const OtherType = "other"

// gerritTypes are Gerrit's own events. It is never written to.
var gerritTypes = []string{
	"patchset-created", "comment-added", "change-merged", "change-abandoned", "change-restored", "change-deleted",
	"reviewer-added", "reviewer-deleted", "vote-deleted", "topic-changed", "hashtags-changed",
	"custom-keyed-values-changed", "wip-state-changed", "private-state-changed",
	typeRefUpdated, typeBatchRefUpdated, "project-created", typeProjectHeadUpdated,
}

// knownTypes are Gerrit's own events and those of its widespread plugins. It is
// never written to.
var knownTypes = append(slices.Clone(gerritTypes),
	typeRefReplicated, typeRefScheduled, "ref-replication-done", "fetch-ref-replicated",
	"fetch-ref-replication-scheduled", "cache-eviction", "rerun-check",
)

// labels maps each known type to itself. It is never written to.
var labels = func() map[string]string {
	m := make(map[string]string, len(knownTypes))
	for _, t := range knownTypes {
		m[t] = t
	}
	return m
}()

// Types returns the types with a label of their own: those of Gerrit itself,
// then those of plugins.
func Types() []string { return slices.Clone(knownTypes) }

// Label returns the type if it is known, else OtherType: the producer of an
// event must not choose a metric's label. It does not allocate.
func Label(eventType []byte) string {
	if l, ok := labels[string(eventType)]; ok {
		return l
	}
	return OtherType
}

// event makes an Event of the members that were seen.
func (s *scanner) event() Event {
	eventType := s.textOf(topType)
	created := s.integer(topCreated)
	if created > lastSecond {
		created = 0
	}
	return Event{
		Type:    eventType,
		Project: s.firstText(changeProject, updateProject, topProject, topProjectName, projectName, firstProject),
		Ref:     s.ref(string(eventType) == typeProjectHeadUpdated),
		Change:  s.integer(changeNumber),
		Created: created,
	}
}

// checkShape reports the first member of a wrong type, or else the first that
// breaks a rule.
func (s *scanner) checkShape(e *Event) {
	if !s.isText(topType) {
		s.failShape(ReasonType, s.seen[topType], "type", "a string")
		return
	}
	if s.wrong != nil {
		for m, at := range s.wrong {
			if r := &table[m]; at > 0 && (r.of == nil || slices.Contains(r.of, string(e.Type))) {
				s.fail(ReasonShape, at, r.path+" is not "+r.must())
				return
			}
		}
	}
	s.checkRules(e)
}

// checkRules reports the first member that is required and missing, or that
// must not have a type which its row allows.
func (s *scanner) checkRules(e *Event) {
	switch string(e.Type) {
	case typeRefUpdated:
		s.require(updateRefName, "refUpdate.refName of a ref-updated")
		branch := !bytes.HasPrefix(e.Ref, []byte("refs/")) || bytes.HasPrefix(e.Ref, []byte("refs/heads/")) // to Zuul
		if s.fault == nil && branch {
			s.require(updateProject, "refUpdate.project of a branch's ref-updated")
		}
	case typeProjectHeadUpdated:
		s.require(topNewHead, "newHead of a project-head-updated")
		if s.fault == nil {
			s.require(projectName, "projectName of a project-head-updated")
		}
	case typeRefReplicated, typeRefScheduled:
		s.forbidProjectObject("project of an event of replication")
	default:
		if s.isText(topRef) {
			s.forbidProjectObject("project of an event with a ref")
		}
	}
}

// require reports a field that is missing or not a string.
func (s *scanner) require(f field, path string) {
	if !s.isText(f) {
		s.failShape(ReasonShape, s.seen[f], path, "a string")
	}
}

// forbidProjectObject reports a `project` that is an object: Zuul with a
// replication_timeout makes a key of it and of the ref.
func (s *scanner) forbidProjectObject(path string) {
	if at := s.seen[topProject]; at.end > 0 && s.data[at.start] == '{' {
		s.failShape(ReasonShape, at, path, "a string")
	}
}

// isText reports whether a field is present and a string.
func (s *scanner) isText(f field) bool { return s.seen[f].end > 0 && s.data[s.seen[f].start] == '"' }

// textOf returns the value of a field that is a string, else nil.
func (s *scanner) textOf(f field) []byte {
	if !s.isText(f) {
		return nil
	}
	raw := s.data[s.seen[f].start+1 : s.seen[f].end-1 : s.seen[f].end-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return unescape(make([]byte, 0, len(raw)), raw)
}

// firstText returns the first of the fields that is a string.
func (s *scanner) firstText(fields ...field) []byte {
	for _, f := range fields {
		if s.isText(f) {
			return s.textOf(f)
		}
	}
	return nil
}

// ref returns Event.Ref.
func (s *scanner) ref(isHead bool) []byte {
	if isHead {
		return s.textOf(topNewHead)
	}
	if ref := s.firstText(updateRefName, topRefName, topRef); ref != nil {
		return ref
	}
	branch := s.textOf(changeBranch)
	if len(branch) == 0 || bytes.HasPrefix(branch, []byte("refs/")) {
		return branch
	}
	return append([]byte("refs/heads/"), branch...)
}

const (
	maxDigits  = 18           // of an integer; they always fit into an int64
	lastSecond = 253402300799 // of the year 9999, the last that RFC 3339 can write
)

// integer returns a field that is a number, or a string, of 1 to 18 digits and
// nothing else; otherwise 0.
func (s *scanner) integer(f field) int64 {
	at := s.seen[f]
	if s.isText(f) {
		at = span{at.start + 1, at.end - 1}
	}
	if at.end-at.start > maxDigits {
		return 0
	}
	var n int64
	for _, c := range s.data[at.start:at.end] {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

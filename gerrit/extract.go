package gerrit

import "bytes"

// event takes out of the members that were seen what an Event holds.
func (s *scanner) event() Event {
	eventType := s.textOf(topType)
	return Event{
		Type:    eventType,
		Project: s.firstText(changeProject, updateProject, topProject, topProjectName, projectName, firstProject),
		Ref:     s.ref(string(eventType) == typeProjectHeadUpdated),
		Change:  s.integer(changeNumber),
		Created: s.created(),
	}
}

// checkShape notes the first member that has not the shape it must have.
func (s *scanner) checkShape(e *Event) {
	if !s.isText(topType) {
		s.failShape(ReasonType, s.seen[topType], "type", "a string")
		return
	}
	if s.wrong != nil {
		s.checkKinds(e.Type)
	}
	if s.fault == nil {
		s.checkRules(e)
	}
}

// checkKinds notes the first member whose value is of another kind than its row
// says.
func (s *scanner) checkKinds(eventType []byte) {
	for m, at := range s.wrong {
		if r := &table[m]; at > 0 && r.appliesTo(eventType) {
			s.fail(ReasonShape, at, r.path+" is not "+r.words())
			return
		}
	}
}

// checkRules notes the first member that must be there and is not, or that must
// not be what others of its kind may.
func (s *scanner) checkRules(e *Event) {
	switch string(e.Type) {
	case typeRefUpdated:
		s.require(updateRefName, "refUpdate.refName of a ref-updated")
		if s.fault == nil && isBranch(e.Ref) {
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

// require notes that a field is no string or missing.
func (s *scanner) require(f field, path string) {
	if !s.isText(f) {
		s.failShape(ReasonShape, s.seen[f], path, "a string")
	}
}

// forbidProjectObject notes that `project` is an object: Zuul with a
// replication_timeout makes a key of it and of the ref.
func (s *scanner) forbidProjectObject(path string) {
	if at := s.seen[topProject]; at.end > 0 && s.data[at.start] == '{' {
		s.failShape(ReasonShape, at, path, "a string")
	}
}

// isBranch reports whether Zuul takes a ref-updated's ref for a branch.
func isBranch(ref []byte) bool {
	return !bytes.HasPrefix(ref, []byte("refs/")) || bytes.HasPrefix(ref, []byte("refs/heads/"))
}

// isText reports whether a field is present and a string.
func (s *scanner) isText(f field) bool { return s.seen[f].end > 0 && s.data[s.seen[f].start] == '"' }

// textOf returns what a field stands for if it is a string, else nil.
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

// firstText returns the first of some fields that is a string.
func (s *scanner) firstText(fields ...field) []byte {
	for _, f := range fields {
		if s.isText(f) {
			return s.textOf(f)
		}
	}
	return nil
}

// ref returns the full name of the ref that the event is about.
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

// maxDigits bounds the integers that are read: 18 digits always fit into an
// int64.
const maxDigits = 18

// integer returns a field that is a number, or a string, of nothing but 1 to 18
// digits; else 0.
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

// lastSecond is the last second of the year 9999, the last that RFC 3339 can
// write.
const lastSecond = 253402300799

// created returns eventCreatedOn if a time can be made of it that can be
// written, else 0.
func (s *scanner) created() int64 {
	if n := s.integer(topCreated); n <= lastSecond {
		return n
	}
	return 0
}

package gerrit

import "bytes"

// event takes out of the members that were seen what an Event holds.
func (s *scanner) event() Event {
	eventType := s.textOf(topType)
	return Event{
		Type:    eventType,
		Project: s.firstText(changeProject, updateProject, topProject, projectName, topProjectName, firstProject),
		Ref:     s.ref(string(eventType) == typeProjectHeadUpdated),
		Change:  s.integer(changeNumber),
		Created: s.created(),
	}
}

// checkShape notes the first member that has not the shape it must have.
func (s *scanner) checkShape(e *Event) {
	switch {
	case !s.isText(topType):
		s.failShape(ReasonType, s.seen[topType], "type", "a string")
	case s.isOther(topChange, '{'):
		s.failShape(ReasonShape, s.seen[topChange], "change", "an object")
	case s.isOther(topPatchSet, '{'):
		s.failShape(ReasonShape, s.seen[topPatchSet], "patchSet", "an object")
	case s.isOther(topRefUpdate, '{'):
		s.failShape(ReasonShape, s.seen[topRefUpdate], "refUpdate", "an object")
	case s.isOther(topPatchSetComments, '{'):
		s.failShape(ReasonShape, s.seen[topPatchSetComments], "patchSetComments", "an object")
	case s.isOther(changeProject, '"'):
		s.failShape(ReasonShape, s.seen[changeProject], "change.project", "a string")
	case string(e.Type) == typeRefUpdated && !s.isText(updateRefName):
		s.failShape(ReasonShape, s.seen[updateRefName], "refUpdate.refName of a ref-updated", "a string")
	case string(e.Type) == typeProjectHeadUpdated && !s.isText(topNewHead):
		s.failShape(ReasonShape, s.seen[topNewHead], "newHead of a project-head-updated", "a string")
	}
}

// isText reports whether a member is present and a string.
func (s *scanner) isText(m member) bool { return s.seen[m].end > 0 && s.data[s.seen[m].start] == '"' }

// isOther reports whether a member is present and begins with another byte.
func (s *scanner) isOther(m member, first byte) bool {
	return s.seen[m].end > 0 && s.data[s.seen[m].start] != first
}

// textOf returns what a member stands for if it is a string, else nil.
func (s *scanner) textOf(m member) []byte {
	if !s.isText(m) {
		return nil
	}
	raw := s.data[s.seen[m].start+1 : s.seen[m].end-1 : s.seen[m].end-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return unescape(make([]byte, 0, len(raw)), raw)
}

// firstText returns the first of some members that is a string.
func (s *scanner) firstText(members ...member) []byte {
	for _, m := range members {
		if s.isText(m) {
			return s.textOf(m)
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

// maxDigits bounds the integers that are read: 18 digits always fit into an int64.
const maxDigits = 18

// integer returns a member that is a number, or a string, of nothing but 1 to 18 digits; else 0.
func (s *scanner) integer(m member) int64 {
	at := s.seen[m]
	if s.isText(m) {
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

// lastSecond is the last second of the year 9999, the last that RFC 3339 can write.
const lastSecond = 253402300799

// created returns eventCreatedOn if a time can be made of it that can be written, else 0.
func (s *scanner) created() int64 {
	if n := s.integer(topCreated); n <= lastSecond {
		return n
	}
	return 0
}

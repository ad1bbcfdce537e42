package gerrit

import (
	"fmt"
	"unicode/utf8"
)

// fail notes a fault at an offset and returns the index that says so.
func (s *scanner) fail(reason Reason, offset int, what string) int {
	s.fault = &Fault{Reason: reason, Offset: offset, Detail: fmt.Sprintf("byte %d: %s", offset, what)}
	return -1
}

// failShape notes that a member, named by its path, has not the shape it must
// have. A zero span: it is missing.
func (s *scanner) failShape(reason Reason, at span, path, must string) {
	if at == (span{}) {
		s.fault = &Fault{Reason: reason, Detail: path + " is missing; it must be " + must}
		return
	}
	s.fail(reason, at.start, path+" is not "+must)
}

// unexpected notes a byte that JSON does not allow in its place, or that there
// is none.
func (s *scanner) unexpected(i int, where string) int {
	if i >= len(s.data) {
		return s.fail(ReasonJSON, len(s.data), "the record ends "+where)
	}
	if r, size := utf8.DecodeRune(s.data[i:]); r == utf8.RuneError && size == 1 {
		return s.fail(ReasonUTF8, i, "not UTF-8, "+where)
	}
	return s.fail(ReasonJSON, i, "an unexpected character "+where)
}

func (s *scanner) tooDeep(i int) int {
	return s.fail(ReasonDepth, i, fmt.Sprintf("nested deeper than %d", MaxDepth))
}

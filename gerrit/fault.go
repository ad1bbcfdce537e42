package gerrit

import (
	"fmt"
	"unicode/utf8"
)

// Reason is a kind of fault, of a bounded set: it labels a metric.
type Reason string

// The reasons for which Scan refuses a record.
const (
	ReasonJSON      Reason = "json"      // not one JSON value (RFC 8259): empty, cut, trailing bytes, a syntax error
	ReasonUTF8      Reason = "utf8"      // bytes that are not UTF-8, as a JVM with a C locale writes them
	ReasonSurrogate Reason = "surrogate" // a \uD800..\uDFFF escape without its other half: no character
	ReasonDepth     Reason = "depth"     // nested deeper than MaxDepth
	ReasonNumber    Reason = "number"    // NaN, Infinity, a number no float64 can hold, or longer than MaxNumber
	ReasonShape     Reason = "shape"     // JSON, but a member has a type that consumers do not expect
	ReasonType      Reason = "type"      // no "type" that is a string
)

// Reasons returns every Reason there is.
func Reasons() []Reason {
	return []Reason{ReasonJSON, ReasonUTF8, ReasonSurrogate, ReasonDepth, ReasonNumber, ReasonShape, ReasonType}
}

// Fault describes why a record is not a valid event. It quotes nothing of the
// record.
type Fault struct {
	Reason Reason
	Offset int    // of the first wrong byte; 0 if a member is missing
	Detail string // what is wrong and where, and Looks; less than 200 bytes

	// Looks is what the record looks like instead of an event: "gzip", "base64
	// of JSON", "several events in one record"; empty: unknown. It is a guess.
	Looks string
}

// withLooks adds what the record looks like.
func (f *Fault) withLooks(data []byte) *Fault {
	if f.Looks = looksLike(data, f); f.Looks != "" {
		f.Detail += "; it looks like " + f.Looks
	}
	return f
}

// Error returns the reason and the detail.
func (f *Fault) Error() string { return string(f.Reason) + ": " + f.Detail }

// fail reports a fault at an offset, and returns the index that stands for it.
func (s *scanner) fail(reason Reason, offset int, what string) int {
	s.fault = &Fault{Reason: reason, Offset: offset, Detail: fmt.Sprintf("byte %d: %s", offset, what)}
	return -1
}

// failShape reports a member, named by its path, that has not the type it must
// have. The zero span means that it is missing.
func (s *scanner) failShape(reason Reason, at span, path, must string) {
	if at == (span{}) {
		s.fault = &Fault{Reason: reason, Detail: path + " is missing; it must be " + must}
		return
	}
	s.fail(reason, at.start, path+" is not "+must)
}

// unexpected reports a byte that JSON does not allow in its place, or the
// record's end there.
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

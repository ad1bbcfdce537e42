package gerrit

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Limits of Scan. Zuul's Python fails at a nesting of about 1,000 and at
// integers of more than 4,300 digits.
const (
	MaxDepth  = 200  // containers within each other, the event itself included
	MaxNumber = 4000 // characters of a number
)

// Scan validates a record in one pass over its bytes and extracts an Event. The
// error is always a *Fault.
//
// A record passes if it is one JSON object (RFC 8259) in valid UTF-8, without
// unpaired surrogate escapes, NaN or Infinity, within MaxDepth and MaxNumber,
// in which:
//
//   - `type` is a string;
//   - each member that Zuul reads has, if present, the type that Gerrit writes,
//     down to the leaf: `change` and `refUpdate` are objects, `change.project`
//     and `newRev` strings, `approvals` an array of objects, and so on (see
//     members.go). null is not an object or an array: Gerrit leaves out what is
//     null, and Zuul's handler fails on some of them. A number may be a string,
//     as in old releases. `project` may be an object, as in old releases,
//     unless the event has a `ref` or is one of replication;
//   - a ref-updated has a string refUpdate.refName and, if that is a branch, a
//     string refUpdate.project; a project-head-updated has a string newHead and
//     a string projectName.
//
// A number with a fraction or an exponent that is too large for a float64 is
// refused because Python makes an infinity of it; an integer stays exact there
// and is only bound by MaxNumber. Of members with one name the last counts, as
// a whole, and escaped names are decoded, as in every known parser. Anything
// else may have any type: consumers ignore those members if the type is wrong.
//
// Scan allocates for faults, for a field of the Event with escapes, and for a
// change event that only has the short name of its branch.
func Scan(data []byte) (Event, error) {
	s := scanner{data: data}
	if s.document(); s.fault != nil {
		return Event{}, s.fault.withLooks(data)
	}
	e := s.event()
	if s.checkShape(&e); s.fault != nil {
		return Event{}, s.fault.withLooks(data)
	}
	return e, nil
}

// scanner is one pass over a record. Its methods take the index to start at and
// return the index after what they checked, or -1 with fault set.
type scanner struct {
	data  []byte
	fault *Fault
	seen  [fieldCount]span // the last value of every field
	wrong *wrong           // nil: no member is
}

// document checks the whole record.
func (s *scanner) document() {
	i := s.space(0)
	if i == len(s.data) {
		s.fail(ReasonJSON, 0, "the record is empty")
		return
	}
	start := i
	if i = s.value(i, 0, top); i < 0 {
		return
	}
	if i = s.space(i); i != len(s.data) {
		s.unexpected(i, "after the end of the value")
		return
	}
	if s.data[start] != '{' {
		s.fail(ReasonShape, start, "the event is not an object")
	}
}

// value checks the value at i, within depth containers. scope selects the rows
// for the members of an object.
func (s *scanner) value(i, depth int, scope member) int {
	switch s.at(i) {
	case '"':
		end, _ := s.text(i + 1)
		return end
	case '{':
		return s.object(i, depth+1, scope)
	case '[':
		return s.array(i, depth+1, scope)
	case 't':
		return s.literal(i, "true")
	case 'f':
		return s.literal(i, "false")
	case 'n':
		return s.literal(i, "null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return s.number(i)
	case 'N':
		return s.notFinite(i, "NaN")
	case 'I':
		return s.notFinite(i, "Infinity")
	}
	return s.unexpected(i, "where a value begins")
}

func (s *scanner) object(i, depth int, scope member) int {
	if depth > MaxDepth {
		return s.tooDeep(i)
	}
	i = s.space(i + 1)
	if s.at(i) == '}' {
		return i + 1
	}
	for {
		if i = s.pair(i, depth, scope); i < 0 {
			return i
		}
		switch i = s.space(i); s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			return i + 1
		default:
			return s.unexpected(i, "after a member of an object")
		}
	}
}

// pair checks one name and its value.
func (s *scanner) pair(i, depth int, scope member) int {
	if s.at(i) != '"' {
		return s.unexpected(i, "where the name of a member begins")
	}
	end, escaped := s.text(i + 1)
	if end < 0 {
		return end
	}
	m := noMember
	if scope != noMember {
		m = s.named(scope, s.data[i+1:end-1], escaped)
	}
	if i = s.space(end); s.at(i) != ':' {
		return s.unexpected(i, "after the name of a member")
	}
	start := s.space(i + 1)
	if m == noMember {
		return s.value(start, depth, noMember)
	}
	n := &tree[m]
	if n.scope != noMember {
		s.forget(n)
	}
	if i = s.value(start, depth, n.scope); i >= 0 {
		s.note(m, n, start, i)
	}
	return i
}

// named returns the member for a name as written.
func (s *scanner) named(scope member, name []byte, escaped bool) member {
	if !escaped {
		return lookUp(scope, name)
	}
	var buf [128]byte // more than six times the longest name
	if len(name) > len(buf) {
		return noMember
	}
	return lookUp(scope, unescape(buf[:0], name))
}

func (s *scanner) array(i, depth int, scope member) int {
	if depth > MaxDepth {
		return s.tooDeep(i)
	}
	i = s.space(i + 1)
	if s.at(i) == ']' {
		return i + 1
	}
	element := tree[scope].element
	for {
		start, n := i, &tree[element]
		if i = s.value(i, depth, n.scope); i < 0 {
			return i
		}
		if element != noMember {
			s.note(element, n, start, i)
			if tree[scope].first || s.wrong != nil && slices.Max(s.wrong[element:n.last+1]) > 0 {
				element = noMember // a later element must not hide what is wrong in this one
			}
		}
		switch i = s.space(i); s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1
		default:
			return s.unexpected(i, "after an element of an array")
		}
	}
}

func (s *scanner) literal(i int, word string) int {
	end := i + len(word)
	if end > len(s.data) || string(s.data[i:end]) != word {
		return s.fail(ReasonJSON, i, "a literal that JSON does not have")
	}
	return end
}

// at returns the byte at i, or 0 after the end, which is allowed nowhere
// outside strings.
func (s *scanner) at(i int) byte {
	if i < len(s.data) {
		return s.data[i]
	}
	return 0
}

// space returns the index of the first byte from i on that is not white space.
func (s *scanner) space(i int) int {
	for i < len(s.data) && s.data[i] <= ' ' {
		if c := s.data[i]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			break
		}
		i++
	}
	return i
}

// number checks the number at i.
func (s *scanner) number(i int) int {
	start := i
	if s.data[i] == '-' {
		i++
	}
	first := i
	switch c := s.at(i); {
	case c == '0':
		i++
	case '1' <= c && c <= '9':
		i = s.digits(i)
	case c == 'I':
		return s.notFinite(start, "-Infinity")
	default:
		return s.unexpected(i, "where a digit must be")
	}
	whole := i - first
	i, inexact, exponent := s.fraction(i)
	if i < 0 {
		return i
	}
	if i-start > MaxNumber {
		return s.fail(ReasonNumber, start, fmt.Sprintf("a number of more than %d characters", MaxNumber))
	}
	// 308 digits and no exponent are less than the largest float64.
	if inexact && (exponent || whole > 308) {
		f, err := strconv.ParseFloat(string(s.data[start:i]), 64)
		if err != nil && math.IsInf(f, 0) {
			return s.fail(ReasonNumber, start, "a number that is too large for a float64")
		}
	}
	return i
}

// fraction checks what may follow a number's whole part. It reports whether the
// number is not an integer and whether it has an exponent.
func (s *scanner) fraction(i int) (end int, inexact, exponent bool) {
	if s.at(i) == '.' {
		inexact = true
		if end = s.digits(i + 1); end == i+1 {
			return s.unexpected(end, "where a digit must be"), false, false
		}
		i = end
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		inexact, exponent = true, true
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		if end = s.digits(i); end == i {
			return s.unexpected(end, "where a digit must be"), false, false
		}
		i = end
	}
	return i, inexact, exponent
}

func (s *scanner) digits(i int) int {
	for i < len(s.data) && s.data[i]-'0' <= 9 {
		i++
	}
	return i
}

// notFinite reports a word that Python writes and reads for a number which JSON
// does not have.
func (s *scanner) notFinite(i int, word string) int {
	if end := s.literal(i, word); end < 0 {
		return end
	}
	return s.fail(ReasonNumber, i, "NaN or Infinity")
}

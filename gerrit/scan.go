package gerrit

// Limits of what Scan lets pass. Zuul's Python fails at a nesting of about
// 1,000 and at integers of more than 4,300 digits.
const (
	MaxDepth  = 200  // containers within each other, the event itself included
	MaxNumber = 4000 // characters of a number
)

// Scan validates a record in one pass over its bytes and takes out what an
// Event holds. The error is always a *Fault.
//
// What passes is one JSON object (RFC 8259) in valid UTF-8, without unpaired
// surrogate escapes, NaN or Infinity, within MaxDepth and MaxNumber, in which:
//
//   - `type` is a string;
//   - each member that Zuul reads has, when present, the type that Gerrit
//     writes, down to the leaf: `change` and `refUpdate` are objects,
//     `change.project` and `newRev` strings, `approvals` an array of objects,
//     and so on (see members.go). null is no object and no array: Gerrit leaves
//     out what is null, and Zuul's handler trips over some of them. A number
//     may be a string, as it has been. `project` may be an object, as it has
//     been, unless the event has a `ref` or is one of replication;
//   - a ref-updated has a string refUpdate.refName and, if that is a branch, a
//     string refUpdate.project; a project-head-updated has a string newHead and
//     a string projectName.
//
// A number with a fraction or an exponent that is too large for a float64 is
// refused, for Python makes an infinity of it; an integer stays exact there and
// is only bound by MaxNumber. Of members with one name the last counts, whole,
// and escaped names are decoded, as every known parser does. Anything else may
// have any shape: members that are only read when they have the right one are
// ignored otherwise.
//
// Scan allocates when a field of the Event has escapes in it, when a change
// event names its branch in no other way than by its short name, and for
// faults.
func Scan(data []byte) (Event, error) {
	s := scanner{data: data}
	if s.document(); s.fault != nil {
		return Event{}, s.fault.looked(data)
	}
	e := s.event()
	if s.checkShape(&e); s.fault != nil {
		return Event{}, s.fault.looked(data)
	}
	return e, nil
}

// scanner is one pass over a record. Its methods take the index to go on from
// and return the index behind what they checked, or -1 with fault set.
type scanner struct {
	data  []byte
	fault *Fault
	seen  [fieldCount]span // the last value of every field
	wrong *wrong           // nil: nothing is
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
		s.unexpected(i, "behind the end of the value")
		return
	}
	if s.data[start] != '{' {
		s.fail(ReasonShape, start, "the event is not an object")
	}
}

// value checks the value at i, within depth containers. The members of an
// object are taken note of as scope says.
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
			return s.unexpected(i, "behind a member of an object")
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
		return s.unexpected(i, "behind the name of a member")
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

// named returns the member that a name as written stands for.
func (s *scanner) named(scope member, name []byte, escaped bool) member {
	if !escaped {
		return lookUp(scope, name)
	}
	var buf [128]byte // six times the longest name that is looked for, and more
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
			if tree[scope].first || s.anyWrong(element) {
				element = noMember // what is wrong in one element is not right because of the next
			}
		}
		switch i = s.space(i); s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return i + 1
		default:
			return s.unexpected(i, "behind an element of an array")
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

// at returns the byte at i, and 0, which nothing outside strings allows, behind
// the end.
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

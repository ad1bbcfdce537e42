package zuulconf

import (
	"fmt"
	"strings"
)

// The bounds of one value's interpolation.
const (
	maxDepth      = 10      // ConfigParser's: a value that refers to one that refers to ...
	maxReferences = 10_000  // ours: ten levels of many references each would not end
	maxValue      = 1 << 20 // ours, in bytes
)

// value is what a key of a section says, with what it refers to filled in.
type value struct {
	text  string
	place Place
	there bool // the section, or [DEFAULT], has the key
}

// get returns a key's value. Its fault quotes names of keys, but nothing of the
// value, and for a secret not even those.
func (f *File) get(s *section, key string, secret bool) (value, *Fault) {
	e, ok := f.raw(s, key)
	if !ok {
		return value{}, nil
	}
	i := interpolation{file: f, section: s}
	if problem := i.expand(e.text, 1); problem != "" {
		if secret {
			problem = "a reference in it leads nowhere, or a percent sign is not written as %%"
		}
		return value{}, f.fault(e.place, "[%s] %s: %s", s.name, key, problem)
	}
	return value{i.text.String(), e.place, true}, nil
}

// raw returns a key's value before interpolation.
func (f *File) raw(s *section, key string) (entry, bool) {
	e, ok := s.values[key]
	if !ok {
		e, ok = f.defaults[key]
	}
	return e, ok
}

// interpolation is the work on one value.
type interpolation struct {
	file       *File
	section    *section
	text       strings.Builder
	references int
}

// expand appends a text with its references filled in. It returns what is
// wrong, or "".
func (i *interpolation) expand(text string, depth int) (problem string) {
	if depth > maxDepth {
		return fmt.Sprintf("its references lead more than %d values deep, perhaps in a circle", maxDepth)
	}
	for {
		plain, rest, found := strings.Cut(text, "%")
		i.text.WriteString(plain)
		switch {
		case i.text.Len() > maxValue:
			return "with its references it is longer than 1 MiB"
		case !found:
			return ""
		case strings.HasPrefix(rest, "%"):
			i.text.WriteByte('%')
			text = rest[1:]
		case strings.HasPrefix(rest, "("):
			name, behind, _ := strings.Cut(rest[1:], ")")
			after, ok := strings.CutPrefix(behind, "s")
			if !ok || name == "" {
				return "a reference that begins with \"%(\" does not go on with a name and \")s\""
			}
			if problem = i.refer(lower(name), depth); problem != "" {
				return problem
			}
			text = after
		default:
			return "a percent sign must be written as %%"
		}
	}
}

// refer appends the value of another key.
func (i *interpolation) refer(name string, depth int) (problem string) {
	e, ok := i.file.raw(i.section, name)
	if !ok {
		return fmt.Sprintf("%%(%s)s: there is no such key in the section, in [DEFAULT] or among the ZUUL_* variables", name)
	}
	if i.references++; i.references > maxReferences {
		return fmt.Sprintf("it leads to more than %d references", maxReferences)
	}
	if !strings.Contains(e.text, "%") { // as deep as it likes
		i.text.WriteString(e.text)
		return ""
	}
	return i.expand(e.text, depth+1)
}

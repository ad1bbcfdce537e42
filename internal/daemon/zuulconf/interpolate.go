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

// get returns a key's value with its references resolved; ok is false if
// neither the section nor [DEFAULT] has the key. The fault quotes names of keys
// but nothing of the value, and for a secret not even those.
func (f *File) get(s *section, key string, secret bool) (e entry, ok bool, fault *Fault) {
	e, ok = f.raw(s, key)
	if !ok {
		return e, false, nil
	}
	i := interpolation{file: f, section: s}
	if problem := i.expand(e.text, 1); problem != "" {
		if secret {
			problem = "it has an unknown reference, or a percent sign that is not written as %%"
		}
		return e, false, f.fault(e.place, "[%s] %s: %s", s.name, key, problem)
	}
	return entry{i.text.String(), e.place}, true, nil
}

// raw returns a key's value before interpolation.
func (f *File) raw(s *section, key string) (entry, bool) {
	e, ok := s.values[key]
	if !ok {
		e, ok = f.defaults[key]
	}
	return e, ok
}

// interpolation resolves the references of one value.
type interpolation struct {
	file       *File
	section    *section
	text       strings.Builder
	references int
}

// expand appends a text with its references resolved. It returns the problem,
// or "".
func (i *interpolation) expand(text string, depth int) (problem string) {
	if depth > maxDepth {
		return fmt.Sprintf("its references are more than %d levels deep; perhaps they are circular", maxDepth)
	}
	for {
		plain, rest, found := strings.Cut(text, "%")
		i.text.WriteString(plain)
		switch {
		case i.text.Len() > maxValue:
			return "longer than 1 MiB with its references"
		case !found:
			return ""
		case strings.HasPrefix(rest, "%"):
			i.text.WriteByte('%')
			text = rest[1:]
		case strings.HasPrefix(rest, "("):
			name, after, _ := strings.Cut(rest[1:], ")")
			after, ok := strings.CutPrefix(after, "s")
			if !ok || name == "" {
				return "a reference begins with \"%(\" but lacks a name or \")s\""
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
		return fmt.Sprintf("%%(%s)s: no such key in the section, in [DEFAULT] or among the ZUUL_* variables", name)
	}
	if i.references++; i.references > maxReferences {
		return fmt.Sprintf("more than %d references", maxReferences)
	}
	if !strings.Contains(e.text, "%") { // at any depth
		i.text.WriteString(e.text)
		return ""
	}
	return i.expand(e.text, depth+1)
}

package zuulconf

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	defaultSection = "DEFAULT"
	envPrefix      = "ZUUL_"
	byteOrderMark  = "\ufeff"
)

// File is a zuul.conf, with values as they were written.
type File struct {
	name     string
	defaults map[string]entry // [DEFAULT] over the environment
	sections []*section       // the others, in the file's order
}

// section is a section with its keys, lower-cased.
type section struct {
	name   string
	place  Place
	values map[string]entry
}

// entry is a value before interpolation, and where its key stands.
type entry struct {
	text  string
	place Place
}

// Parse reads a file's bytes. Of the environment, as os.Environ gives it, only
// the variables that begin with ZUUL_ count. Its error joins a *Fault, with a
// place, for each line that ConfigParser would refuse.
func Parse(name string, raw []byte, environ []string) (*File, error) {
	p := parser{file: &File{name: name, defaults: map[string]entry{}}, added: map[[2]string]Place{}}
	p.environment(environ)
	if at := invalidUTF8(raw); at != (Place{}) {
		p.fault(at, "not UTF-8")
		return nil, p.faults.err()
	}
	text, marked := strings.CutPrefix(string(raw), byteOrderMark)
	if marked {
		p.fault(Place{1, 1}, "a byte order mark, with which Zuul does not read the file either; save it without one")
	}
	for line := range lines(text) {
		p.number++
		p.line(line)
	}
	p.endValue()
	if err := p.faults.err(); err != nil {
		return nil, err
	}
	return p.file, nil
}

// invalidUTF8 returns where text stops being UTF-8; zero: it is all sound.
func invalidUTF8(raw []byte) Place {
	number, sound := 0, 0
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 {
			number, sound = 1+bytes.Count(raw[:i], []byte("\n")), i
			break
		}
		i += size
	}
	if number == 0 {
		return Place{}
	}
	begin := bytes.LastIndexByte(raw[:sound], '\n') + 1
	return Place{number, 1 + utf8.RuneCount(raw[begin:sound])}
}

// lines yields a text's lines as Python does: "\n", "\r\n" and "\r" end one.
func lines(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for text != "" {
			i := strings.IndexAny(text, "\r\n")
			if i < 0 {
				yield(text)
				return
			}
			line := text[:i]
			if strings.HasPrefix(text[i:], "\r\n") {
				i++
			}
			if text = text[i+1:]; !yield(line) {
				return
			}
		}
	}
}

// parser goes through a file line by line.
type parser struct {
	file   *File
	faults faults
	number int                 // of the line
	added  map[[2]string]Place // sections {name, ""} and keys {section, key} of the file so far

	section string
	values  map[string]entry // of the section; nil before the first
	indent  int              // of the last line that was none that goes on

	key   string // whose value may go on; "": none
	at    Place  // of the key
	value []string

	headless bool // a line before the first section has been reported
}

func (p *parser) fault(at Place, format string, args ...any) {
	p.faults.add(p.file.fault(at, format, args...))
}

// environment takes the defaults that Zuul hands to ConfigParser.
func (p *parser) environment(environ []string) {
	names := map[string]string{}
	for _, variable := range environ {
		name, value, ok := strings.Cut(variable, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		key := lower(name)
		if other, ok := names[key]; ok && other != name {
			p.fault(Place{}, "the environment has $%s and $%s, which are one key in it", other, name)
		}
		names[key] = name
		p.file.defaults[key] = entry{text: value}
	}
}

// line reads one line.
func (p *parser) line(line string) {
	text := trim(line)
	if text == "" {
		if p.key != "" {
			p.value = append(p.value, "")
		}
		return
	}
	if text[0] == '#' || text[0] == ';' {
		return
	}
	indent := indentation(line)
	if p.key != "" && indent > p.indent {
		p.value = append(p.value, text)
		return
	}
	p.indent = indent
	at := Place{p.number, indent + 1}
	switch end := strings.LastIndexByte(text, ']'); {
	case text[0] == '[' && end > 1: // what follows is passed over
		p.header(text[1:end], at)
	case p.values == nil:
		if !p.headless {
			p.fault(at, "no [section] stands above this line")
		}
		p.headless = true
	default:
		p.option(text, at)
	}
}

// header begins a section.
func (p *parser) header(name string, at Place) {
	p.endValue()
	p.key, p.section = "", name
	if name == defaultSection {
		p.values = p.file.defaults
		return
	}
	if first, twice := p.added[[2]string{name}]; twice {
		p.fault(at, "[%s] is there already, at line %d", name, first.Line)
		return // its keys are those of the first, as far as faults go
	}
	p.added[[2]string{name}] = at
	s := &section{name: name, place: at, values: map[string]entry{}}
	p.file.sections = append(p.file.sections, s)
	p.values = s.values
}

// option reads a line that begins a value.
func (p *parser) option(text string, at Place) {
	i := strings.IndexAny(text, "=:")
	if i < 0 {
		p.fault(at, "neither a [section] nor a \"key = value\", and not indented to go on with the value above")
		return // what is indented below it goes on with the value above
	}
	p.endValue()
	key := lower(trim(text[:i]))
	if key == "" {
		p.fault(at, "no key stands before the %q", text[i])
	} else if first, twice := p.added[[2]string{p.section, key}]; twice {
		p.fault(at, "[%s] %s is there already, at line %d", p.section, key, first.Line)
	}
	p.key, p.at, p.value = key, at, []string{trim(text[i+1:])}
	p.added[[2]string{p.section, key}] = at
}

// endValue keeps the value that has come to its end.
func (p *parser) endValue() {
	if p.key != "" {
		p.values[p.key] = entry{text: strings.TrimRightFunc(strings.Join(p.value, "\n"), isSpace), place: p.at}
	}
}

// indentation counts the characters before the first that is no space.
func indentation(line string) int {
	return utf8.RuneCountInString(line[:strings.IndexFunc(line, func(r rune) bool { return !isSpace(r) })])
}

func trim(s string) string { return strings.TrimFunc(s, isSpace) }

// isSpace reports what Python takes for white space: separators of information
// as well.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// lower is Python's str.lower, but for a capital sigma at a word's end.
func lower(s string) string { return strings.ToLower(strings.ReplaceAll(s, "İ", "i̇")) }

// find returns a section by its name; nil: there is none.
func (f *File) find(name string) *section {
	if i := slices.IndexFunc(f.sections, func(s *section) bool { return s.name == name }); i >= 0 {
		return f.sections[i]
	}
	return nil
}

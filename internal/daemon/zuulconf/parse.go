// Package zuulconf reads the parts of a zuul.conf that gerritstream needs: the
// address of ZooKeeper, and the connections that get their events from Kinesis.
// It is pure: it takes the file's bytes and the environment, and opens nothing.
//
// Zuul reads the file with Python's ConfigParser. The same rules hold here, and
// a test compares the two:
//   - Sections are case-sensitive; keys are lower-cased. Every section inherits
//     [DEFAULT], which inherits the environment variables that begin with
//     ZUUL_.
//   - "key = value" or "key: value"; the first delimiter counts. A line with
//     more indent than its key continues the value, empty lines in between
//     included. Only lines that begin with "#" or ";" are comments.
//   - %(key)s stands for another key of the section, and %% for a percent sign.
//     References are resolved when a value is read, so that unread values may
//     hold anything.
//   - A section or a key that is defined twice, a key outside of a section and
//     a line that is neither are faults.
//
// Zuul looks for /etc/zuul/zuul.conf and then for ~/zuul.conf. This package
// does not look for files.
package zuulconf

import (
	"bytes"
	"errors"
	"fmt"
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

// Place is a place in the file, from 1, in characters. The zero Place is
// nowhere: an environment variable, or something that is missing.
type Place struct{ Line, Column int }

// Fault is one mistake in a file. It quotes no value that may be a secret.
type Fault struct {
	File    string
	Place   Place // zero: none
	Problem string
}

// Error returns the fault in one line, as compilers write it.
func (f *Fault) Error() string {
	if f.Place.Line == 0 {
		return f.File + ": " + f.Problem
	}
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Place.Line, f.Place.Column, f.Problem)
}

func (f *File) fault(at Place, format string, args ...any) *Fault {
	return &Fault{File: f.name, Place: at, Problem: fmt.Sprintf(format, args...)}
}

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

// entry is a value and the place of its key.
type entry struct {
	text  string
	place Place
}

// Parse reads a file's bytes. Of the environment, as os.Environ returns it,
// only variables that begin with ZUUL_ count. Its error joins a *Fault with a
// place for each line that ConfigParser would refuse.
func Parse(name string, raw []byte, environ []string) (*File, error) {
	p := parser{file: &File{name: name, defaults: map[string]entry{}}, added: map[[2]string]Place{}}
	p.environment(environ)
	if at := invalidUTF8(raw); at != (Place{}) {
		p.fault(at, "not UTF-8")
		return nil, errors.Join(p.faults...)
	}
	text, marked := strings.CutPrefix(string(raw), byteOrderMark)
	if marked {
		p.fault(Place{1, 1}, "it begins with a byte order mark, and Zuul does not read it either; save it without one")
	}
	for line := range lines(text) {
		p.number++
		p.line(line)
	}
	p.endValue()
	if err := errors.Join(p.faults...); err != nil {
		return nil, err
	}
	return p.file, nil
}

// invalidUTF8 returns where text stops being UTF-8; zero: nowhere.
func invalidUTF8(raw []byte) Place {
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && size == 1 {
			valid := raw[:i]
			line := valid[bytes.LastIndexByte(valid, '\n')+1:]
			return Place{1 + bytes.Count(valid, []byte("\n")), 1 + utf8.RuneCount(line)}
		}
		i += size
	}
	return Place{}
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
	faults []error
	number int                 // of the line
	added  map[[2]string]Place // sections {name, ""} and keys {section, key} so far

	section string
	values  map[string]entry // of the section; nil before the first
	indent  int              // of the last line that did not continue a value

	key   string // whose value may continue; "": none
	at    Place  // of the key
	value []string

	headless bool // a line before the first section was reported
}

func (p *parser) fault(at Place, format string, args ...any) {
	p.faults = append(p.faults, p.file.fault(at, format, args...))
}

// environment takes the defaults that Zuul passes to ConfigParser.
func (p *parser) environment(environ []string) {
	names := map[string]string{}
	for _, variable := range environ {
		name, value, ok := strings.Cut(variable, "=")
		if !ok || !strings.HasPrefix(name, envPrefix) {
			continue
		}
		key := lower(name)
		if other, ok := names[key]; ok && other != name {
			p.fault(Place{}, "the environment has $%s and $%s, which are the same key", other, name)
		}
		names[key] = name
		p.file.defaults[key] = entry{text: value}
	}
}

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
	case text[0] == '[' && end > 1: // ConfigParser ignores the rest
		p.header(text[1:end], at)
	case p.values == nil:
		if !p.headless {
			p.fault(at, "a line before the first [section]")
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
		p.fault(at, "[%s] is already defined at line %d", name, first.Line)
		return // its keys count as those of the first
	}
	p.added[[2]string{name}] = at
	s := &section{name: name, place: at, values: map[string]entry{}}
	p.file.sections = append(p.file.sections, s)
	p.values = s.values
}

// option begins a value.
func (p *parser) option(text string, at Place) {
	i := strings.IndexAny(text, "=:")
	if i < 0 {
		p.fault(at, "neither a [section] nor a \"key = value\", nor indented to continue the value above")
		return // indented lines below it continue the value above
	}
	p.endValue()
	key := lower(trim(text[:i]))
	if key == "" {
		p.fault(at, "no key before the %q", text[i])
	} else if first, twice := p.added[[2]string{p.section, key}]; twice {
		p.fault(at, "[%s] %s is already defined at line %d", p.section, key, first.Line)
	}
	p.key, p.at, p.value = key, at, []string{trim(text[i+1:])}
	p.added[[2]string{p.section, key}] = at
}

// endValue keeps the value that has ended.
func (p *parser) endValue() {
	if p.key != "" {
		p.values[p.key] = entry{text: strings.TrimRightFunc(strings.Join(p.value, "\n"), isSpace), place: p.at}
	}
}

// indentation counts the spaces before the first other character.
func indentation(line string) int {
	return utf8.RuneCountInString(line[:strings.IndexFunc(line, func(r rune) bool { return !isSpace(r) })])
}

func trim(s string) string { return strings.TrimFunc(s, isSpace) }

// isSpace reports whether Python takes a character for white space. That
// includes the information separators.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// lower is Python's str.lower, except for a capital sigma at the end of a word.
func lower(s string) string { return strings.ToLower(strings.ReplaceAll(s, "İ", "i̇")) }

// find returns a section by its name; nil: there is none.
func (f *File) find(name string) *section {
	if i := slices.IndexFunc(f.sections, func(s *section) bool { return s.name == name }); i >= 0 {
		return f.sections[i]
	}
	return nil
}

package gerrit

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ConfigError is one fault of a FilterConfig.
type ConfigError struct {
	Field string // "preset", "types", "projects" or "refs"
	Index int    // within the list; -1: the field is no list
	Value string
	Err   error
}

// Error names the place, the value and what is wrong with it.
func (e *ConfigError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("%s %q: %v", e.Field, e.Value, e.Err)
	}
	return fmt.Sprintf("%s[%d] %q: %v", e.Field, e.Index, e.Value, e.Err)
}

// Unwrap returns what is wrong with the value.
func (e *ConfigError) Unwrap() error { return e.Err }

var (
	errPreset = errors.New(`must be "zuul" or "none"`)
	errEmpty  = errors.New("an empty pattern names nothing")
	errStar   = errors.New(`"*" may only stand at the end; an expression begins with "^"`)
)

// patterns is a list of which one must match.
type patterns struct {
	names       map[string]bool
	beginnings  [][]byte
	expressions []*regexp.Regexp
}

// compile returns the patterns of a list, nil if it is empty, and appends its
// faults.
func compile(field string, list []string, faults *[]error) *patterns {
	if len(list) == 0 {
		return nil
	}
	p := &patterns{names: map[string]bool{}}
	for i, text := range list {
		if err := p.add(text); err != nil {
			*faults = append(*faults, &ConfigError{Field: field, Index: i, Value: text, Err: err})
		}
	}
	return p
}

func (p *patterns) add(text string) error {
	if text == "" {
		return errEmpty
	}
	if text[0] == '^' {
		re, err := regexp.Compile(text)
		if err == nil {
			p.expressions = append(p.expressions, re)
		}
		return err
	}
	beginning, open := strings.CutSuffix(text, "*")
	switch {
	case strings.Contains(beginning, "*"):
		return errStar
	case open:
		p.beginnings = append(p.beginnings, []byte(beginning))
	default:
		p.names[text] = true
	}
	return nil
}

func (p *patterns) match(b []byte) bool {
	if p.names[string(b)] {
		return true
	}
	for _, beginning := range p.beginnings {
		if bytes.HasPrefix(b, beginning) {
			return true
		}
	}
	for _, re := range p.expressions {
		if re.Match(b) {
			return true
		}
	}
	return false
}

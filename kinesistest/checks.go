package kinesistest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	namePattern    = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	arnPattern     = regexp.MustCompile(`^arn:aws.*:kinesis:.*:\d{12}:stream/\S+$`)
	hashKeyPattern = regexp.MustCompile(`^(0|([1-9]\d{0,38}))$`)
)

// input is a request's JSON: it checks itself, and names the stream it is
// about.
type input interface {
	check(c *checks)
	ref() *streamRef // nil: no stream, or one that is named in another way
}

// streamRef is how requests name a stream: by name, by ARN, or both. Inputs
// embed it for their JSON.
type streamRef struct {
	StreamName *string
	StreamARN  *string
}

func (r *streamRef) ref() *streamRef { return r }

func (r *streamRef) check(c *checks) { c.stream(r) }

// name returns the stream's name, or "" if none is given.
func (r *streamRef) name() string {
	switch {
	case r == nil:
		return ""
	case r.StreamName != nil:
		return *r.StreamName
	case r.StreamARN != nil:
		_, name, _ := strings.Cut(*r.StreamARN, ":stream/")
		return name
	}
	return ""
}

// checks collects what is wrong with the members of a request, as AWS does: all
// at once, before the request is looked at otherwise.
type checks struct{ found []string }

func (c *checks) add(value, member, constraint string) {
	c.found = append(c.found, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: Member must %s",
		value, member, constraint))
}

// tooLong reports a value that AWS does not quote.
func (c *checks) tooLong(member string, most int) {
	c.found = append(c.found, fmt.Sprintf(
		"Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", member, most))
}

// fault returns the ValidationException, or nil.
func (c *checks) fault() *Fault {
	switch len(c.found) {
	case 0:
		return nil
	case 1:
		return fault("ValidationException", "1 validation error detected: %s", c.found[0])
	}
	return fault("ValidationException", "%d validation errors detected: %s", len(c.found), strings.Join(c.found, "; "))
}

// text describes a valid string.
type text struct {
	member   string
	required bool
	most     int            // characters; 0: any number
	pattern  *regexp.Regexp // nil: any
	shown    string         // the pattern as AWS shows it
}

func (c *checks) text(value *string, t text) {
	if value == nil {
		if t.required {
			c.add("null", t.member, "not be null")
		}
		return
	}
	quoted := "'" + *value + "'"
	if t.most > 0 && utf8.RuneCountInString(*value) > t.most {
		c.add(quoted, t.member, fmt.Sprintf("have length less than or equal to %d", t.most))
	}
	if t.most > 0 && *value == "" {
		c.add(quoted, t.member, "have length greater than or equal to 1")
	}
	if t.pattern != nil && !t.pattern.MatchString(*value) {
		c.add(quoted, t.member, "satisfy regular expression pattern: "+t.shown)
	}
}

// stream checks both ways to name a stream.
func (c *checks) stream(ref *streamRef) {
	c.name(ref.StreamName, "streamName", false)
	c.text(ref.StreamARN, text{member: "streamARN", most: 2048, pattern: arnPattern,
		shown: `arn:aws.*:kinesis:.*:\d{12}:stream/\S+`})
}

// name checks the name of a stream or a shard.
func (c *checks) name(value *string, member string, required bool) {
	c.text(value, text{member: member, required: required, most: 128, pattern: namePattern, shown: `[a-zA-Z0-9_.-]+`})
}

func (c *checks) hashKey(value *string, member string, required bool) {
	c.text(value, text{member: member, required: required, pattern: hashKeyPattern, shown: `0|([1-9]\d{0,38})`})
}

func (c *checks) sequenceNumber(value *string, member string) {
	c.text(value, text{member: member, pattern: sequencePattern, shown: `0|([1-9]\d{0,128})`})
}

func (c *checks) requiredNumber(value *int, member string, least, most int) {
	if value == nil {
		c.add("null", member, "not be null")
	}
	c.number(value, member, least, most)
}

// number checks an optional number.
func (c *checks) number(value *int, member string, least, most int) {
	switch {
	case value == nil:
	case *value < least:
		c.add(fmt.Sprintf("'%d'", *value), member, fmt.Sprintf("have value greater than or equal to %d", least))
	case *value > most:
		c.add(fmt.Sprintf("'%d'", *value), member, fmt.Sprintf("have value less than or equal to %d", most))
	}
}

// oneOf checks a required choice.
func (c *checks) oneOf(value *string, member string, choices ...string) {
	if value == nil {
		c.add("null", member, "not be null")
		return
	}
	if !slices.Contains(choices, *value) {
		c.add("'"+*value+"'", member, "satisfy enum value set: ["+strings.Join(choices, ", ")+"]")
	}
}

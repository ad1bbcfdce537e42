package kinesistest

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

var (
	namePattern    = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	arnPattern     = regexp.MustCompile(`^arn:aws.*:kinesis:.*:\d{12}:stream/\S+$`)
	hashKeyPattern = regexp.MustCompile(`^(0|([1-9]\d{0,38}))$`)
)

// checks collects what is wrong with the members of a request, the way AWS
// reports it: all at once, before anything is looked at.
type checks struct{ found []string }

func (c *checks) add(value, member, constraint string) {
	c.found = append(c.found, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: Member must %s",
		value, member, constraint))
}

// fault is the ValidationException, or nil.
func (c *checks) fault() *Fault {
	switch len(c.found) {
	case 0:
		return nil
	case 1:
		return fault("ValidationException", "1 validation error detected: %s", c.found[0])
	}
	return fault("ValidationException", "%d validation errors detected: %s", len(c.found), strings.Join(c.found, "; "))
}

// text checks a string: its presence, its length in characters (0 = any), its
// pattern (nil = any), shown as AWS shows it.
type text struct {
	member   string
	required bool
	most     int
	pattern  *regexp.Regexp
	shown    string
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

// stream checks the two ways to name a stream.
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

// number checks an optional number's range.
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
	for _, choice := range choices {
		if *value == choice {
			return
		}
	}
	c.add("'"+*value+"'", member, "satisfy enum value set: ["+strings.Join(choices, ", ")+"]")
}

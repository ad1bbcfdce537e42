package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// form says how the value of a setting is written.
type form struct {
	kind      kind
	low, high int64 // of a number; high 0: no bound
}

// kind is a kind of value, for editors.
type kind int

const (
	aText kind = iota // also a list of them, a choice, true or false
	aDuration
	aSize
	anInteger
)

// The patterns of durations and sizes. Values that fit may still be out of
// bounds.
const (
	durationPattern = `^([0-9]+d|\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)?$`
	sizePattern     = `^([0-9]+(\.[0-9]+)?) *([KkMmGg][Ii]?[Bb]|[Bb])?$`
)

// Schema returns a JSON Schema of the configuration file, for editors. It
// accepts what Load accepts. What it accepts may still be wrong: only Load
// knows how settings go together.
func Schema() []byte {
	root := schemaOf(Settings())
	hook := schemaOf(WebhookSettings())
	hook["required"] = []string{"name", "url"}
	hook["type"] = "object"
	property(root, webhooksKey)["type"] = []string{"array", "null"}
	property(root, webhooksKey)["items"] = hook
	property(root, webhooksKey)["description"] = "Receivers that events are posted to."
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "gerritstream's configuration file"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(root); err != nil { // it holds only texts and numbers
		panic(fmt.Sprintf("encode the schema: %v", err))
	}
	return b.Bytes()
}

// node is a schema, or a part of one.
type node = map[string]any

// schemaOf returns the schema of a mapping with some settings. A dot in a key
// is a mapping within.
func schemaOf(settings []Setting) node {
	root := section()
	for i := range settings {
		at, names := root, strings.Split(settings[i].Key, ".")
		for _, name := range names[:len(names)-1] {
			at = property(at, name)
			for key, v := range section() {
				if at[key] == nil {
					at[key] = v
				}
			}
		}
		settings[i].describe(property(at, names[len(names)-1]))
	}
	return root
}

// section returns the schema of a mapping without any settings.
func section() node {
	return node{"type": []string{"object", "null"}, "additionalProperties": false, "properties": node{}}
}

// property returns the schema of a key within a mapping.
func property(of node, name string) node {
	all, _ := of["properties"].(node)
	if all[name] == nil {
		all[name] = node{}
	}
	found, _ := all[name].(node)
	return found
}

// describe fills in the schema of a setting's value. A value may be quoted, and
// nothing at all counts as not given.
func (s *Setting) describe(to node) {
	to["description"] = s.Description()
	one := node{}
	switch v := &s.value; {
	case s.IsBool():
		one["type"] = []string{"boolean", "string", "null"}
		one["pattern"] = "^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])?$"
	case s.IsList() && len(v.words) > 0:
		one["enum"] = v.words
	case s.IsList():
		one["type"] = []string{"string", "number", "boolean"}
	case len(v.words) > 0:
		one["anyOf"] = []node{{"enum": v.words}, {"type": []string{"string", "null"}, "maxLength": 0}}
	case v.form.kind == anInteger:
		one["type"], one["pattern"] = []string{"integer", "string", "null"}, "^[+]?[0-9]*$"
		if one["minimum"] = v.form.low; v.form.high != 0 {
			one["maximum"] = v.form.high
		}
	case v.form.kind == aDuration:
		one["type"], one["pattern"] = []string{"string", "null"}, durationPattern
	case v.form.kind == aSize:
		one["type"], one["pattern"] = []string{"string", "integer", "null"}, "^$|"+sizePattern
		one["minimum"] = v.form.low
	default:
		one["type"] = []string{"string", "number", "boolean", "null"} // a name may be made of digits
	}
	if s.IsList() {
		to["type"], to["items"], to["uniqueItems"] = []string{"array", "null"}, one, true
		return
	}
	for key, v := range one {
		to[key] = v
	}
	switch {
	case s.Default == "":
	case s.IsBool():
		to["default"] = s.Default == "true"
	case s.value.form.kind == anInteger:
		to["default"] = json.Number(s.Default)
	default:
		to["default"] = s.Default
	}
}

// Description returns what the documentation says about the setting: Help and
// More as sentences.
func (s *Setting) Description() string {
	help := strings.ReplaceAll(s.Help, "`", "")
	text := strings.ToUpper(help[:1]) + help[1:] + ". " + s.More
	return strings.TrimRight(text, " ")
}

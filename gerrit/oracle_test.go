package gerrit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream/gerrit"
)

// members is a JSON object decoded at its top level. The standard library keeps
// the last of equal names.
type members map[string]json.RawMessage

// oracle returns what Scan must return, by other means: the standard library's
// parser, a tree, and several passes. It returns all correct reasons, none for
// a valid record: what is wrong in two ways may be refused for either.
func oracle(data []byte) (gerrit.Event, []gerrit.Reason) {
	var reasons []gerrit.Reason
	if !utf8.Valid(data) {
		reasons = append(reasons, gerrit.ReasonUTF8)
	}
	if !json.Valid(data) {
		// Scan may find one of these faults first in bytes that are not JSON.
		return gerrit.Event{},
			append(reasons, gerrit.ReasonJSON, gerrit.ReasonNumber, gerrit.ReasonDepth, gerrit.ReasonSurrogate)
	}
	if hasLoneSurrogate(data) {
		reasons = append(reasons, gerrit.ReasonSurrogate)
	}
	reasons = append(reasons, walk(data)...)
	if len(reasons) > 0 {
		return gerrit.Event{}, reasons
	}
	var event members
	if !decode(data, &event) || event == nil {
		return gerrit.Event{}, []gerrit.Reason{gerrit.ReasonShape}
	}
	return oracleEvent(event)
}

func oracleEvent(event members) (gerrit.Event, []gerrit.Reason) {
	var reasons []gerrit.Reason
	eventType, isText := text(event["type"])
	if !isText {
		reasons = append(reasons, gerrit.ReasonType)
	}
	inner := map[string]members{}
	for _, name := range []string{"change", "refUpdate"} {
		var m members
		decode(event[name], &m)
		inner[name] = m
	}
	if oracleShape(eventType, event, inner["refUpdate"]) {
		reasons = append(reasons, gerrit.ReasonShape)
	}
	if len(reasons) > 0 {
		return gerrit.Event{}, reasons
	}
	created, _ := strconv.ParseInt(digits(event["eventCreatedOn"]), 10, 64)
	if created > 253402300799 {
		created = 0
	}
	change, _ := strconv.ParseInt(digits(inner["change"]["number"]), 10, 64)
	return gerrit.Event{
		Type:    []byte(eventType),
		Project: []byte(oracleProject(event, inner)),
		Ref:     []byte(oracleRef(eventType, event, inner)),
		Change:  change,
		Created: created,
	}, nil
}

// oracleShape reports whether a member has the wrong type, or is missing.
func oracleShape(eventType string, event, update members) bool {
	whole := map[string]any{}
	for name, raw := range event {
		var v any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if dec.Decode(&v) != nil {
			return true
		}
		whole[name] = v
	}
	for _, m := range readMembers {
		if m.of != nil && !slices.Contains(m.of, eventType) {
			continue
		}
		for _, v := range valuesAt(whole, m.path) {
			if !strings.Contains(m.may, letterOf(v)) {
				return true
			}
		}
	}
	isText := func(raw json.RawMessage) bool { _, ok := text(raw); return ok }
	isObject := letterOf(whole["project"]) == "o"
	switch eventType {
	case "ref-updated":
		name, ok := text(update["refName"])
		branch := strings.HasPrefix(name, "refs/heads/") || !strings.HasPrefix(name, "refs/")
		return !ok || branch && !isText(update["project"])
	case "project-head-updated":
		return !isText(event["newHead"]) || !isText(event["projectName"])
	case "ref-replicated", "ref-replication-scheduled":
		return isObject
	}
	return isObject && isText(event["ref"])
}

func oracleProject(event members, inner map[string]members) string {
	var object members
	decode(event["project"], &object)
	candidates := []json.RawMessage{
		inner["change"]["project"], inner["refUpdate"]["project"], event["project"], object["name"],
		event["projectName"],
	}
	var updates []json.RawMessage
	if decode(event["refUpdates"], &updates) && len(updates) > 0 {
		var first members
		decode(updates[0], &first)
		candidates = append(candidates, first["project"])
	}
	s, _ := firstText(candidates...)
	return s
}

func oracleRef(eventType string, event members, inner map[string]members) string {
	if eventType == "project-head-updated" {
		s, _ := text(event["newHead"])
		return s
	}
	if s, ok := firstText(inner["refUpdate"]["refName"], event["refName"], event["ref"]); ok {
		return s
	}
	branch, _ := text(inner["change"]["branch"])
	if branch == "" || strings.HasPrefix(branch, "refs/") {
		return branch
	}
	return "refs/heads/" + branch
}

// walk looks at every token of valid JSON for depth and numbers.
func walk(data []byte) []gerrit.Reason {
	var reasons []gerrit.Reason
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	depth := 0
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return reasons
		}
		switch v := token.(type) {
		case json.Delim:
			if v == '{' || v == '[' {
				depth++
			} else {
				depth--
			}
			if depth > 200 {
				reasons = append(reasons, gerrit.ReasonDepth)
			}
		case json.Number:
			var f float64
			infinite := strings.ContainsAny(string(v), ".eE") && json.Unmarshal([]byte(v), &f) != nil
			if infinite || len(v) > 4000 {
				reasons = append(reasons, gerrit.ReasonNumber)
			}
		}
	}
}

var escapes = regexp.MustCompile(`\\(u([0-9a-fA-F]{4})|.)`)

// hasLoneSurrogate looks at the escapes of valid JSON one after the other.
func hasLoneSurrogate(data []byte) bool {
	end, high := 0, false // whether a high half ends at end
	for _, at := range escapes.FindAllSubmatchIndex(data, -1) {
		var u uint64
		if at[4] >= 0 {
			u, _ = strconv.ParseUint(string(data[at[4]:at[5]]), 16, 32)
		}
		low := u >= 0xdc00 && u <= 0xdfff
		if high && (at[0] != end || !low) || !high && low {
			return true
		}
		end, high = at[1], u >= 0xd800 && u <= 0xdbff
	}
	return high
}

func decode(raw json.RawMessage, into any) bool { return json.Unmarshal(raw, into) == nil }

func text(raw json.RawMessage) (string, bool) {
	var s *string
	if !decode(raw, &s) || s == nil {
		return "", false
	}
	return *s, true
}

func firstText(list ...json.RawMessage) (string, bool) {
	for _, raw := range list {
		if s, ok := text(raw); ok {
			return s, true
		}
	}
	return "", false
}

// digits returns 1 to 18 digits as they are written, bare or as a string, else
// "".
func digits(raw json.RawMessage) string {
	return plainDigits.FindString(strings.Trim(string(raw), `"`))
}

var plainDigits = regexp.MustCompile(`^[0-9]{1,18}$`)

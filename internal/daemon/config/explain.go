package config

import (
	"fmt"
	"strings"
)

// Origin is the kind of source that a value came from.
type Origin string

// The origins, the weakest first.
const (
	FromDefault  Origin = "default"
	FromZuulConf Origin = "zuul.conf"
	FromFile     Origin = "file"
	FromVariable Origin = "variable"
	FromFlag     Origin = "flag"
)

// Explained is a setting with its value in force and where that came from.
type Explained struct {
	Key   string `json:"key"`   // in the file: "aws.region", "webhooks[0].url"
	Value string `json:"value"` // without secrets; the values of a list are joined by commas
	From  Origin `json:"from"`
	Place string `json:"place,omitempty"` // "gerrit.yaml:3:9", "$GERRITSTREAM_STREAM", "--stream"; empty: a default
}

// masked stands for a secret.
const masked = "xxxxx"

// Explain returns every setting in the order of the table, then those of each
// webhook, and what Load would return as its error.
func Explain(src Sources) ([]Explained, error) {
	l := load(src)
	all := l.explain(l.settings, l.places, func(key string) string { return key })
	if keys := l.config.Kinesis.Credentials.Keys; !keys.IsZero() {
		all = append(all, Explained{Key: "key of zuul.conf", Value: masked, From: FromZuulConf, Place: keys.String()})
	}
	for i := range l.config.Webhooks {
		w := &l.config.Webhooks[i]
		all = append(all, l.explain(webhookSettings(w), w.places, w.key)...)
	}
	return all, l.faults.err()
}

// explain returns the settings of a table. called returns what the setting with
// a key is called.
func (l *loader) explain(settings []Setting, places map[string][]Place, called func(key string) string) []Explained {
	all := make([]Explained, len(settings))
	for i := range settings {
		s := &settings[i]
		all[i] = Explained{Key: called(s.Key), Value: s.value.show(), From: FromDefault}
		if at := places[s.Key]; len(at) > 0 {
			all[i].From, all[i].Place = l.origin(at[0]), at[0].String()
		}
	}
	return all
}

// origin returns the kind of source of a place.
func (l *loader) origin(at Place) Origin {
	switch {
	case at.Line == 0 && strings.HasPrefix(at.Name, "--"):
		return FromFlag
	case at.Line == 0 && strings.HasPrefix(at.Name, "$"):
		return FromVariable
	case at.Name == l.src.ZuulConf && at.Name != l.src.File:
		return FromZuulConf
	}
	return FromFile
}

// Given says for people how many settings are given, and where: "2 in
// gerrit.yaml, 1 variable, 1 flag".
func Given(all []Explained, src Sources) string {
	counts := map[Origin]int{}
	for i := range all {
		counts[all[i].From]++
	}
	var parts []string
	for _, p := range []struct {
		from Origin
		text string
	}{
		{FromZuulConf, "in " + src.ZuulConf}, {FromFile, "in " + src.File},
		{FromVariable, "by variables"}, {FromFlag, "by flags"},
	} {
		if n := counts[p.from]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.text))
		}
	}
	if len(parts) == 0 {
		return "all settings have their defaults"
	}
	return "settings given: " + strings.Join(parts, ", ")
}

package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestExplainNamesTheStrongest: of several sources the one whose value is in
// force is named, and the default where none gives anything.
func TestExplainNamesTheStrongest(t *testing.T) {
	src := Sources{
		File:    write(t, "stream: s\naws: {region: us-east-1}\nmemory: 64MiB\nlog: {level: warn}\n"),
		Environ: []string{"HOME=/home/x", "GERRITSTREAM_MEMORY=128MiB", "GERRITSTREAM_LOG_LEVEL=error"},
		Flags:   map[string][]string{"log-level": {"debug"}},
	}
	all, err := Explain(src)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]Explained{}
	for _, e := range all {
		found[e.Key] = e
	}
	if len(all) != len(Settings()) || len(found) != len(all) {
		t.Errorf("%d settings, want %d", len(found), len(Settings()))
	}
	for key, want := range map[string]Explained{
		"stream":        {Value: "s", From: FromFile, Place: src.File + ":1:9"},
		"memory":        {Value: "128MiB", From: FromVariable, Place: "$GERRITSTREAM_MEMORY"},
		"log.level":     {Value: "debug", From: FromFlag, Place: "--log-level"},
		"poll_interval": {Value: "200ms", From: FromDefault},
		"store":         {Value: "sqlite:/home/x/.local/state/gerritstream/gerrit.db", From: FromDefault},
	} {
		if want.Key = key; found[key] != want {
			t.Errorf("got %+v, want %+v", found[key], want)
		}
	}
	if got := Given(all, src); got != "settings given: 2 in "+src.File+", 1 by variables, 1 by flags" {
		t.Errorf("given: %q", got)
	}
}

// TestExplainShowsNoSecret: each text setting is given a URL with a password.
func TestExplainShowsNoSecret(t *testing.T) {
	for _, s := range Settings() {
		if s.IsList() {
			continue
		}
		all, _ := Explain(Sources{Flags: map[string][]string{s.Flag: {"http://u:hunter2@h"}}})
		if text := fmt.Sprint(all); strings.Contains(text, "hunter2") {
			t.Errorf("%s: %s", s.Key, text)
		}
	}
}

package main

import (
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
)

// TestVersions: semantic versions of commits are in the order of the commits.
func TestVersions(t *testing.T) {
	at := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	inOrder := []struct {
		described, semantic, tag string
		at                       time.Time
	}{
		{"0012345", "0.0.0-0.20260131080000.g0012345", "0.0.0-0.20260131080000.g0012345", at},
		{"abcdef0", "0.0.0-0.20260131080001.gabcdef0", "0.0.0-0.20260131080001.gabcdef0", at.Add(time.Second)},
		{"v1.2.0-rc.1", "1.2.0-rc.1", "1.2.0-rc.1", at},
		{"v1.2.0", "1.2.0", "1.2.0", at},
		{"v1.2.3", "1.2.3", "1.2.3", at},
	}
	var last *semver.Version
	for _, tc := range inOrder {
		got := versionOf(tc.described, tc.at)
		if got.semantic != tc.semantic || got.tag() != tc.tag || got.described != tc.described {
			t.Errorf("%s is %+v, tag %s", tc.described, got, got.tag())
		}
		parsed, err := semver.StrictNewVersion(got.semantic)
		if err != nil {
			t.Fatalf("%s: %v", got.semantic, err)
		}
		if last != nil && !parsed.GreaterThan(last) {
			t.Errorf("%s is not later than %s", parsed, last)
		}
		last = parsed
	}
	for described, semantic := range map[string]string{
		"v1.2.3-5-gabcdef0":            "1.2.3+5.gabcdef0",
		"v1.2.3-rc.1-5-gabcdef0-dirty": "1.2.3-rc.1+5.gabcdef0.dirty",
		"v1.2.3-dirty":                 "1.2.3+dirty",
		"abcdef0-dirty":                "0.0.0-0.20260131080000.gabcdef0+dirty",
	} {
		if got := versionOf(described, at).semantic; got != semantic {
			t.Errorf("%s is %s, want %s", described, got, semantic)
		}
	}
}

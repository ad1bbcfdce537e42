package main

import (
	"runtime/debug"
	"testing"
)

// TestVersionIsTheBestThatIsKnown and never Go's "(devel)".
func TestVersionIsTheBestThatIsKnown(t *testing.T) {
	const revision = "0123456789abcdef0123456789abcdef01234567"
	stamped := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	vcs := debug.BuildSetting{Key: "vcs.revision", Value: revision}
	for name, c := range map[string]struct {
		linked string
		info   *debug.BuildInfo
		want   string
	}{
		"make build":                 {"v1.2.3-4-gabc", stamped("(devel)", vcs), "v1.2.3-4-gabc"},
		"go install of a version":    {"", stamped("v1.2.3"), "v1.2.3"},
		"go install in a clone":      {"", stamped("v0.0.0-20260131080000-0123456789ab", vcs), "v0.0.0-20260131080000-0123456789ab"},
		"revision without a version": {"", stamped("(devel)", vcs), "0123456789ab"},
		"a changed clone":            {"", stamped("(devel)", vcs, debug.BuildSetting{Key: "vcs.modified", Value: "true"}), "0123456789ab-dirty"},
		"a short revision":           {"", stamped("", debug.BuildSetting{Key: "vcs.revision", Value: "7"}), "7"},
		"nothing known":              {"", stamped("(devel)"), "unknown"},
	} {
		if got := buildOf(c.linked, c.info).Version; got != c.want {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
}

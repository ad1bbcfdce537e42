package main

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// version is one version in the forms that its readers take.
type version struct {
	described string // as git describes it: what `gerritstream version` prints
	semantic  string // by semantic versioning, of packages and the chart
}

// describe returns the version of the commit that is checked out, and the time
// of the commit.
func describe(ctx context.Context, root string) (version, time.Time, error) {
	seconds, err := git(ctx, root, "log", "-1", "--format=%ct")
	if err != nil {
		return version{}, time.Time{}, err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return version{}, time.Time{}, fmt.Errorf("time of the commit: %w", err)
	}
	described, err := git(ctx, root, "describe", "--tags", "--always", "--dirty")
	at := time.Unix(unix, 0).UTC()
	return versionOf(described, at), at, err
}

func git(ctx context.Context, root string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// tagged is what git describes as a tag, and commits after it.
var tagged = regexp.MustCompile(`^v(\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?)(?:-(\d+)-g([0-9a-f]+))?$`)

// versionOf returns the version of a commit: that of its tag; of a commit after
// a tag, one that is later than the tag and earlier than the next; without
// a tag, one that is earlier than all and grows by the time of the commit.
func versionOf(described string, at time.Time) version {
	v := version{described: described}
	commit, dirty := strings.CutSuffix(described, "-dirty")
	var after []string
	if m := tagged.FindStringSubmatch(commit); m == nil {
		v.semantic = fmt.Sprintf("0.0.0-0.%s.g%s", at.Format("20060102150405"), commit)
	} else {
		v.semantic = m[1]
		if m[2] != "" {
			after = append(after, m[2], "g"+m[3])
		}
	}
	if dirty {
		after = append(after, "dirty")
	}
	if len(after) > 0 {
		v.semantic += "+" + strings.Join(after, ".")
	}
	return v
}

// tag returns the version as a tag of an image, which has no plus.
func (v version) tag() string { return strings.ReplaceAll(v.semantic, "+", "_") }

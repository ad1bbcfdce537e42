package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build identifies the binary.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source
	Time     string `json:"time,omitempty"`     // of the revision
	Modified bool   `json:"modified,omitempty"` // built from more than the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readBuild gathers what the linker and the toolchain left in the binary.
func readBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(version, info)
}

// buildOf returns the build. Its version is the linker's, else the module's,
// else made of the revision, as git describe does without a tag.
func buildOf(linked string, info *debug.BuildInfo) build {
	b := build{Version: linked, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	module := info.Main.Version
	if module == "(devel)" { // Go's word for none
		module = ""
	}
	revision := b.Revision[:min(len(b.Revision), 12)]
	if revision != "" && b.Modified {
		revision += "-dirty"
	}
	b.Version = cmp.Or(b.Version, module, revision, "unknown")
	return b
}

// String returns the build in one line.
func (b build) String() string {
	line := fmt.Sprintf("gerritstream %s %s %s", b.Version, b.Go, b.Platform)
	if b.Revision != "" {
		line += " " + b.Revision
	}
	if b.Modified {
		line += " (modified)"
	}
	return line
}

func newVersion(p process) *cobra.Command {
	output := outputFlag("text", "json")
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  gerritstream version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if output.is("json") {
				return json.NewEncoder(p.stdout).Encode(readBuild())
			}
			_, err := fmt.Fprintln(p.stdout, readBuild())
			return err
		},
	}
	output.register(cmd)
	return cmd
}

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// build says what this binary is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the repository
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

// buildOf returns the build with the version that the linker was given, else
// that of the module, else that of the repository as git describe has it
// without a tag.
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
	b.Version = cmp.Or(b.Version, module, b.described(), "unknown")
	return b
}

// described is the revision, shortened; "": it is not known.
func (b build) described() string {
	short := b.Revision[:min(len(b.Revision), 12)]
	if short != "" && b.Modified {
		short += "-dirty"
	}
	return short
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
		Short:   "Say which version this is",
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

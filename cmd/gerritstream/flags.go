package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// output is the flag that chooses the format of a result.
type output struct {
	formats []string
	value   string
}

var _ pflag.Value = (*output)(nil)

// outputFlag returns the flag with its formats, the default first.
func outputFlag(formats ...string) *output { return &output{formats: formats, value: formats[0]} }

func (o *output) String() string { return o.value }

func (o *output) Set(v string) error {
	if !slices.Contains(o.formats, v) {
		return fmt.Errorf("must be %s", either(o.formats))
	}
	o.value = v
	return nil
}

// either names several words as a choice: "table, wide or json".
func either(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (o *output) Type() string { return "format" }

func (o *output) is(format string) bool { return o.value == format }

// register adds the flag to a command.
func (o *output) register(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "`format` of the result: "+either(o.formats))
}

// settingFlags gives a command flags for the settings of a scope, and of
// further sections, "filter.", or single ones.
func settingFlags(cmd *cobra.Command, scope config.Scope, sections ...string) {
	cmd.Flags().SortFlags = false
	cmd.Flags().String("config", "", "`file` to read settings from (or $"+config.EnvPrefix+"CONFIG)")
	cmd.Flags().String("zuul-conf", "", "zuul.conf `file` with ZooKeeper and connection; other sources override it "+
		"(or $"+config.EnvPrefix+"ZUUL_CONF)")
	group := func(flag, name string) {
		_ = cmd.Flags().SetAnnotation(flag, groupOf, []string{name}) // the flag exists
	}
	group("config", "Configuration files")
	group("zuul-conf", "Configuration files")
	for _, s := range config.Settings() {
		inSection := func(section string) bool {
			return s.Key == section || strings.HasSuffix(section, ".") && strings.HasPrefix(s.Key, section)
		}
		switch {
		case s.Scope < scope && !slices.ContainsFunc(sections, inSection):
			continue
		case s.IsList():
			cmd.Flags().StringSlice(s.Flag, nil, usage(&s)+"; separate several with commas, or repeat the flag")
		case s.IsBool():
			cmd.Flags().Bool(s.Flag, s.Default == "true", usage(&s))
		default:
			cmd.Flags().String(s.Flag, "", usage(&s))
		}
		group(s.Flag, s.Group)
	}
}

// usage returns the line of the help about a setting.
func usage(s *config.Setting) string {
	line, allowed := s.Help, s.Allowed()
	switch {
	case s.IsBool():
	case s.Default == "" && allowed != "":
		line += ": " + allowed
	case allowed != "":
		line += fmt.Sprintf(": %s (default %s)", allowed, s.Default)
	case s.Default != "":
		line += fmt.Sprintf(" (default %s)", s.Default)
	}
	return line
}

// sources returns the sources of a command's configuration.
func sources(cmd *cobra.Command, p process) config.Sources {
	src := config.Sources{Environ: p.environ, Flags: map[string][]string{}}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if several, ok := f.Value.(pflag.SliceValue); ok {
			src.Flags[f.Name] = several.GetSlice()
			return
		}
		src.Flags[f.Name] = []string{f.Value.String()}
	})
	path := func(flag, variable string) string {
		name, _ := cmd.Flags().GetString(flag) // settingFlags created it
		return cmp.Or(name, p.getenv(config.EnvPrefix+variable))
	}
	src.File, src.ZuulConf = path("config", "CONFIG"), path("zuul-conf", "ZUUL_CONF")
	return src
}

// getenv returns the value of an environment variable; "": it is not set.
func (p process) getenv(name string) string {
	for _, line := range p.environ {
		if v, ok := strings.CutPrefix(line, name+"="); ok {
			return v
		}
	}
	return ""
}

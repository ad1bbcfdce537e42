package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
)

// Sources are where a configuration is read from, the weakest first.
type Sources struct {
	// File is the path of a YAML file; empty: none.
	File string

	// ZuulConf is the path of a zuul.conf; empty: none. What it says of
	// ZooKeeper and of the connection is weaker than all the others. Nothing
	// else in it is looked at.
	ZuulConf string

	// Environ is the environment, as os.Environ gives it. Variables that are no
	// settings are left alone, for Kubernetes injects some that begin like
	// ours; those that were probably meant to be settings get a note.
	Environ []string

	// Flags are the flags that were given, by name without dashes.
	Flags map[string][]string

	// StoreOnly: nothing but the store is of interest. A stream need not be
	// named.
	StoreOnly bool
}

// Load returns the configuration that the sources give. Its error is of type
// Faults and holds everything that is wrong, in every source: a wrong value is
// a fault also where a stronger source overrides it. An empty value counts as
// not given.
func Load(src Sources) (Config, error) {
	c := Defaults()
	l := loader{config: &c, places: map[string][]Place{}}
	env := environment(src.Environ)
	ours := []map[string]value{nil, fromEnviron(env), fromFlags(src.Flags)}
	if src.File != "" {
		ours[0] = readFile(src.File, &l.faults)
		l.unread = ours[0] == nil
	}
	if src.ZuulConf != "" {
		l.readZuul(src, ours)
	}
	for _, values := range ours {
		l.apply(values)
	}
	l.crossCheck(src)
	if c.Store.Kind == nil && !l.faulty("store") && !l.zuulFailed {
		l.defaultStore(env)
	}
	l.checkStore()
	c.Notes = append(c.Notes, strayVariables(env)...)
	slices.SortStableFunc(l.faults, byPlace)
	return c, l.faults.err()
}

// byPlace puts what files are blamed for first, in their order.
func byPlace(a, b Fault) int {
	if a.Place.Line == 0 || b.Place.Line == 0 {
		return cmp.Compare(min(b.Place.Line, 1), min(a.Place.Line, 1))
	}
	return cmp.Or(cmp.Compare(a.Place.Name, b.Place.Name), cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Column, b.Place.Column))
}

// loader gathers values and what is wrong with them.
type loader struct {
	config     *Config
	places     map[string][]Place // where the value in force came from, by key; one for each element of a list
	unread     bool               // there is a file, and it is not known what it says of the stream
	zuulFailed bool               // there is a zuul.conf, and it is not known what it says of the store
	faults     Faults
}

// apply sets what one source says, over what the sources before it said.
func (l *loader) apply(values map[string]value) {
	for i := range settings {
		s := &settings[i]
		v, ok := values[s.Key]
		if !ok {
			continue
		}
		if s.IsList() {
			*s.kind.list(l.config) = nil
		}
		l.places[s.Key] = v.places
		seen := make(map[string]bool, len(v.texts))
		for j, text := range v.texts {
			err := s.kind.set(l.config, text)
			if s.IsList() && seen[text] {
				err = fmt.Errorf("%q is there twice", text)
			}
			seen[text] = true
			if err != nil {
				for _, err := range each(err) {
					l.faults.add(v.places[j], s.Key, "%v", err)
				}
			}
		}
	}
}

// environment turns "NAME=value" lines into a map.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, line := range environ {
		if name, v, ok := strings.Cut(line, "="); ok {
			env[name] = v
		}
	}
	return env
}

// fromEnviron takes the settings from the environment. Lists are separated by
// commas.
func fromEnviron(env map[string]string) map[string]value {
	values := map[string]value{}
	for i := range settings {
		s := &settings[i]
		text := env[s.Env()]
		if text == "" {
			continue
		}
		texts := []string{text}
		if s.IsList() {
			texts = items(strings.Split(text, ","))
		}
		if len(texts) > 0 {
			values[s.Key] = value{texts: texts, places: slices.Repeat([]Place{{Name: "$" + s.Env()}}, len(texts))}
		}
	}
	return values
}

// items returns the elements of a list without the white space around them, and
// without those that are nothing else: people write "a, b" and "a,".
func items(list []string) []string {
	var kept []string
	for _, text := range list {
		if text = strings.TrimSpace(text); text != "" {
			kept = append(kept, text)
		}
	}
	return kept
}

// fromFlags takes the settings from the flags that were given.
func fromFlags(flags map[string][]string) map[string]value {
	values := map[string]value{}
	for i := range settings {
		s := &settings[i]
		texts := slices.DeleteFunc(slices.Clone(flags[s.Flag]), func(t string) bool { return t == "" })
		if s.IsList() {
			texts = items(texts)
		}
		if len(texts) > 0 {
			values[s.Key] = value{texts: texts, places: slices.Repeat([]Place{{Name: "--" + s.Flag}}, len(texts))}
		}
	}
	return values
}

// crossCheck looks at what no single value shows.
func (l *loader) crossCheck(src Sources) {
	if !src.StoreOnly {
		l.checkAWS(src)
	}
	l.checkFilter()
}

// checkFilter blames each pattern that cannot be understood.
func (l *loader) checkFilter() {
	_, err := gerrit.NewFilter(l.config.Filter)
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return
	}
	for _, err := range joined.Unwrap() {
		var fault *gerrit.ConfigError
		if errors.As(err, &fault) && fault.Index >= 0 { // the preset is checked where it is set
			key := "filter." + fault.Field
			l.faults.add(l.places[key][fault.Index], key, "%q: %v", fault.Value, fault.Err)
		}
	}
}

// place returns where a setting's value came from; nowhere if it has its
// default.
func (l *loader) place(key string) Place {
	if places := l.places[key]; len(places) > 0 {
		return places[0]
	}
	return Place{}
}

// faulty reports whether the setting has a fault already.
func (l *loader) faulty(key string) bool {
	return slices.ContainsFunc(l.faults, func(f Fault) bool { return f.Key == key })
}

// defaultStore settles where the store is when nothing says so: in the folder
// systemd keeps for the service, else in the user's state folder as the XDG
// base directory specification has it.
func (l *loader) defaultStore(env map[string]string) {
	folder, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":")
	home := ""
	if folder == "" {
		if home = env["XDG_STATE_HOME"]; !filepath.IsAbs(home) {
			if env["HOME"] == "" {
				l.faults.add(Place{}, "store", "not set, and there is no home folder for a default; give --store sqlite:PATH")
				return
			}
			home = filepath.Join(env["HOME"], ".local", "state")
		}
		folder = filepath.Join(home, "gerritstream")
	}
	if err := l.config.Store.Set("sqlite:" + filepath.Join(folder, l.config.Connection+".db")); err != nil {
		l.faults.add(Place{}, "store", "%v", err)
	}
	l.config.Store.StateHome = home
}

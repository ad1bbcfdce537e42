package config

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
)

// Sources are where a configuration is read from.
type Sources struct {
	// ZuulConf is the path of a zuul.conf; empty: none. It is the weakest
	// source. Only its ZooKeeper and its connections are read.
	ZuulConf string

	// File is the path of a YAML file; empty: none.
	File string

	// Environ is the environment, as os.Environ returns it. Other variables
	// than those of settings are ignored, for Kubernetes injects some that
	// begin like ours; those that were probably meant to be settings get a
	// note.
	Environ []string

	// Flags are the flags that were given, by name without dashes. They are the
	// strongest source.
	Flags map[string][]string

	// StoreOnly: only the store is needed. No stream need be named.
	StoreOnly bool
}

// Load returns the configuration that the sources give. Its error is of type
// Faults and holds all that is wrong in every source, also where a stronger
// source overrides it. An empty value counts as not given.
func Load(src Sources) (Config, error) {
	l := load(src)
	return *l.config, l.faults.err()
}

// load reads the sources.
func load(src Sources) *loader {
	c := Defaults()
	l := &loader{config: &c, settings: settingsOf(&c), src: src, places: map[string][]Place{}}
	env := make(map[string]string, len(src.Environ))
	for _, line := range src.Environ {
		if name, v, ok := strings.Cut(line, "="); ok {
			env[name] = v
		}
	}
	ours := []map[string]given{
		nil,
		l.collect(func(s *Setting) ([]string, string) {
			if s.IsList() {
				return strings.Split(env[s.Env()], ","), "$" + s.Env()
			}
			return []string{env[s.Env()]}, "$" + s.Env()
		}),
		l.collect(func(s *Setting) ([]string, string) { return src.Flags[s.Flag], "--" + s.Flag }),
	}
	if src.File != "" {
		ours[0], c.Webhooks = readFile(src.File, l.settings, &l.faults)
		l.unread = ours[0] == nil
	}
	if src.ZuulConf != "" {
		l.readZuul(ours)
	}
	for _, values := range ours {
		l.apply(values)
	}
	if !src.StoreOnly {
		l.checkKinesis()
	}
	l.checkFilter()
	if c.Store.Kind == nil && !l.zuulFailed && !l.faults.about("store") {
		l.defaultStore(env)
	}
	l.checkStore()
	l.checkWebhooks()
	l.checkSocket()
	c.Notes = append(c.Notes, l.strayVariables(env)...)
	slices.SortStableFunc(l.faults, byPlace)
	return l
}

// checkSocket looks at how the settings of the socket go together.
func (l *loader) checkSocket() {
	if at := l.place("socket_group"); l.config.Socket.Address == "" && at != (Place{}) {
		l.faults.add(at, "socket_group", "given, but there is no socket; also give socket")
	}
}

// given is what one source gives for one setting: one text, or several for a
// list, each with its place.
type given struct {
	texts  []string
	places []Place
}

// loader gathers values and what is wrong with them.
type loader struct {
	config     *Config
	settings   []Setting // of config
	src        Sources
	places     map[string][]Place // where the value in force came from, by key; one for each element of a list
	unread     bool               // a source that may name the stream could not be read
	zuulFailed bool               // the zuul.conf may name the store and could not be read
	faults     Faults
}

// collect takes the settings from a source that is not a file.
func (l *loader) collect(from func(*Setting) (texts []string, place string)) map[string]given {
	values := map[string]given{}
	for i := range l.settings {
		s := &l.settings[i]
		texts, place := from(s)
		var kept []string
		for _, text := range texts {
			if s.IsList() { // people write "a, b" and "a,"
				text = strings.TrimSpace(text)
			}
			if text != "" {
				kept = append(kept, text)
			}
		}
		if len(kept) > 0 {
			values[s.Key] = given{kept, slices.Repeat([]Place{{Name: place}}, len(kept))}
		}
	}
	return values
}

// apply sets what one source gives, over what weaker sources gave.
func (l *loader) apply(values map[string]given) {
	for i := range l.settings {
		s := &l.settings[i]
		v, ok := values[s.Key]
		if !ok {
			continue
		}
		if s.IsList() {
			*s.value.list = nil
		}
		l.places[s.Key] = v.places
		seen := make(map[string]bool, len(v.texts))
		for j, text := range v.texts {
			err := s.value.set(text)
			if s.IsList() && seen[text] {
				err = fmt.Errorf("%q is given twice", text)
			}
			seen[text] = true
			for _, err := range each(err) {
				l.faults.add(v.places[j], s.Key, "%v", err)
			}
		}
	}
}

// place returns where a setting's value came from; zero: it has its default.
func (l *loader) place(key string) Place {
	if places := l.places[key]; len(places) > 0 {
		return places[0]
	}
	return Place{}
}

// show returns a setting's value in force.
func (l *loader) show(key string) string { return lookup(l.settings, key).value.show() }

// keyFiles are the settings that name files with a key.
var keyFiles = []string{"aws.access_key_file", "aws.secret_key_file", "aws.session_token_file", "aws.credentials_file"}

// checkKinesis asks package kinesis, which knows the rules of AWS' names and
// how keys and files go together, and reports its answers under our keys and
// places. It looks at the AWS_* variables of this process as well.
func (l *loader) checkKinesis() {
	unnamed := l.config.Kinesis.Stream == ""
	if unnamed && !l.unread && !l.faults.about("stream") {
		l.faults.add(Place{}, "stream", "not set; %s", l.howToSet("stream"))
	}
	l.checkReadable(keyFiles...)
	for _, err := range each(l.config.Kinesis.Validate()) {
		fault, ok := errors.AsType[*kinesis.Fault](err)
		if !ok || unnamed && slices.Contains([]string{"Stream", "AccountEndpoints"}, fault.Field) {
			continue // what follows from a stream without a name
		}
		key := keyOf(fault.Field)
		l.faults.add(l.place(key), key, "%s", fault.Problem)
	}
}

// KinesisFault returns a fault of Config.Kinesis under the name of its setting.
func KinesisFault(f *kinesis.Fault) Fault { return Fault{Key: keyOf(f.Field), Problem: f.Problem} }

// CheckNames returns what is wrong with the names that a policy holds, those of
// the stream, the region and the consumer, where Load was not asked to look.
func (c *Config) CheckNames() error {
	var faults Faults
	for _, err := range each(c.Kinesis.Validate()) {
		if f, ok := errors.AsType[*kinesis.Fault](err); ok &&
			slices.Contains([]string{"Stream", "Region", "ConsumerName", "ConsumerARN"}, f.Field) {
			faults = append(faults, KinesisFault(f))
		}
	}
	return faults.err()
}

// FanOut reports whether shards are read by enhanced fan-out where it is
// possible.
func (c *Config) FanOut() bool {
	return c.Kinesis.Read == kinesis.ReadFanOut || c.Kinesis.Read == kinesis.ReadAuto
}

// keyOf returns the key of the setting for a field of kinesis.Config; "":
// there is none. Settings are named like their fields: aws.endpoint is
// Endpoint, kinesis.read Read, aws.role_arn Credentials.RoleARN,
// aws.credentials_file Credentials.File.
func keyOf(field string) string {
	short := field[strings.LastIndexByte(field, '.')+1:]
	for _, s := range Settings() {
		name := strings.ReplaceAll(strings.TrimPrefix(strings.TrimPrefix(s.Key, "aws."), "kinesis."), "_", "")
		if strings.EqualFold(name, short) || strings.EqualFold(name, strings.ReplaceAll(field, ".", "")) {
			return s.Key
		}
	}
	return ""
}

// checkReadable checks that the files that settings name can be read.
func (l *loader) checkReadable(keys ...string) {
	for _, key := range keys {
		if name := l.show(key); name != "" {
			f, err := os.Open(name)
			if err != nil {
				l.faults.add(l.place(key), key, "%v", err)
				continue
			}
			_ = f.Close() // opened only to see that it can be
		}
	}
}

// checkFilter reports each pattern that cannot be understood.
func (l *loader) checkFilter() { l.filterFaults(l.config.Filter, l.places, "") }

// filterFaults reports the patterns of a filter under their keys, which begin
// with a prefix in faults.
func (l *loader) filterFaults(f gerrit.FilterConfig, places map[string][]Place, prefix string) {
	_, err := gerrit.NewFilter(f)
	for _, err := range each(err) {
		var fault *gerrit.ConfigError
		if errors.As(err, &fault) && fault.Index >= 0 { // the preset is checked where it is set
			key := "filter." + fault.Field
			l.faults.add(places[key][fault.Index], prefix+key, "%q: %v", fault.Value, fault.Err)
		}
	}
}

// howToSet names the ways to give a setting.
func (l *loader) howToSet(key string) string {
	s := lookup(l.settings, key)
	if l.src.File != "" {
		return "give --" + s.Flag + ", $" + s.Env() + " or " + key + ": in the file"
	}
	return "give --" + s.Flag + " or $" + s.Env()
}

// defaultStore puts the store into the folder that systemd keeps for the
// service, or else into the user's state folder as the XDG base directory
// specification has it.
func (l *loader) defaultStore(env map[string]string) {
	folder, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":")
	state := ""
	if folder == "" {
		home := env["HOME"]
		if state = env["XDG_STATE_HOME"]; !filepath.IsAbs(state) {
			state = filepath.Join(home, ".local", "state")
		}
		if !filepath.IsAbs(state) {
			l.faults.add(Place{}, "store",
				"not set, and there is no home folder for a default; give --store sqlite:PATH")
			return
		}
		folder = filepath.Join(state, "gerritstream")
	}
	if err := l.config.Store.Set("sqlite:" + filepath.Join(folder, l.config.Connection+".db")); err != nil {
		l.faults.add(Place{}, "store", "%v", err)
	}
	l.config.Store.StateHome = state
}

// byPlace puts the faults of files first, in their order.
func byPlace(a, b Fault) int {
	if a.Place.Line == 0 || b.Place.Line == 0 {
		return cmp.Compare(min(b.Place.Line, 1), min(a.Place.Line, 1))
	}
	return cmp.Or(cmp.Compare(a.Place.Name, b.Place.Name), cmp.Compare(a.Place.Line, b.Place.Line),
		cmp.Compare(a.Place.Column, b.Place.Column))
}

// each returns the errors that err joins, at any depth; nil: none.
func each(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	switch {
	case err == nil:
		return nil
	case !ok:
		return []error{err}
	}
	var all []error
	for _, err := range joined.Unwrap() {
		all = append(all, each(err)...)
	}
	return all
}

package zuulconf

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// The names of keys that a configuration has to look up in At.
const (
	KeyRegion      = "aws_kinesis_region"
	KeyStream      = "aws_kinesis_stream"
	KeyAccess      = "aws_kinesis_access_key"
	KeySecret      = "aws_kinesis_secret_key" //nolint:gosec // the name of a key in a file
	KeyReplication = "replication_timeout"
)

// defaultStream is the stream that Zuul follows when none is named.
const defaultStream = "gerrit"

// Connection is a connection of Zuul's that gets its events from Kinesis.
type Connection struct {
	Name    string // without quotes; of a [gerrit] section, as old files have it, "gerrit"
	Section string // as it stands in the file: "connection gerrit"
	Place   Place  // of the section
	Region  string
	Stream  string

	// AccessKey and SecretKey are both given, or neither. As in Zuul, a secret
	// without a key's id counts for nothing.
	AccessKey Secret
	SecretKey Secret

	// Replication: Zuul waits for replication, and wants to see the events that
	// tell of it.
	Replication bool

	At map[string]Place // where each key stands, by its name in the file
}

// Secret is a text that does not appear where something is printed. Convert it
// to a string to use it.
type Secret string

// Format implements [fmt.Formatter]: whatever the verb, nothing of the text is
// written.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = io.WriteString(f, "xxxxx") // as the formatter of any text
	}
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// MarshalText implements [encoding.TextMarshaler]; JSON has nothing of the text
// either.
func (s Secret) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(s)), nil }

// Connections returns the names of all connections of any kind, in the file's
// order.
func (f *File) Connections() []string {
	var names []string
	for _, s := range f.sections {
		if name, ok := connectionName(s.name); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if f.find(legacySection) != nil && !slices.Contains(names, legacySection) {
		names = append(names, legacySection)
	}
	return names
}

// legacySection is a connection without the word, of the days when there was
// one.
const legacySection = "gerrit"

// connectionName returns the name of a connection by that of its section.
func connectionName(section string) (name string, ok bool) {
	const word = "connection "
	if len(section) < len(word) || !strings.EqualFold(section[:len(word)], word) {
		return "", false
	}
	name = section[len(word):]
	if n := len(name); n >= 2 && (name[0] == '"' || name[0] == '\'') && name[0] == name[n-1] {
		name = name[1 : n-1]
	}
	return name, true
}

// connection returns a connection's section. Of several the last counts, as it
// does in Zuul; nil: there is none.
func (f *File) connection(name string) *section {
	for _, s := range slices.Backward(f.sections) {
		if n, ok := connectionName(s.name); ok && n == name {
			return s
		}
	}
	if name == legacySection {
		return f.find(legacySection)
	}
	return nil
}

// KinesisConnections returns the names of the connections that get their events
// from Kinesis, in the file's order: those of Zuul's gerrit driver that have an
// aws_kinesis_region. Its error joins a *Fault for each where that cannot be
// told.
func (f *File) KinesisConnections() ([]string, error) {
	var names []string
	var all faults
	for _, name := range f.Connections() {
		r := reader{file: f, section: f.connection(name), at: map[string]Place{}}
		if r.region() != "" {
			names = append(names, name)
		}
		all = append(all, r.faults...)
	}
	return names, all.err()
}

// region returns the region of a connection's stream; "": it does not get its
// events from Kinesis.
func (r *reader) region() string {
	region, ok := r.text(KeyRegion)
	if !ok || region == "" {
		return ""
	}
	if driver, ok := r.text("driver"); ok && driver != "gerrit" && r.section.name != legacySection {
		return "" // it has the key from [DEFAULT]
	}
	return region
}

// Kinesis reads a connection; nil: there is none of that name, or it does not
// get its events from Kinesis. Its error joins a *Fault for each key that is
// wrong.
func (f *File) Kinesis(name string) (*Connection, error) {
	s := f.connection(name)
	if s == nil {
		return nil, nil //nolint:nilnil // the contract says what nil means
	}
	r := reader{file: f, section: s, at: map[string]Place{}}
	c := &Connection{Name: name, Section: s.name, Place: s.place, Region: r.region(), Stream: defaultStream}
	if c.Region == "" {
		return nil, r.faults.err()
	}
	if stream, ok := r.text(KeyStream); ok {
		if c.Stream = stream; stream == "" {
			r.fault(KeyStream, "it is empty; without the key the stream is %q", defaultStream)
		}
	}
	r.keys(c)
	if text, ok := r.text(KeyReplication); ok {
		timeout, ok := number(text)
		if !ok {
			r.fault(KeyReplication, "%q is not a number of seconds", text)
		}
		c.Replication = timeout > 0
	}
	c.At = r.at
	return c, r.faults.err()
}

// keys reads the key that Zuul signs its requests with, if it has one of its
// own.
func (r *reader) keys(c *Connection) {
	known := len(r.faults)
	c.AccessKey = r.secret(KeyAccess)
	if c.AccessKey == "" {
		return
	}
	c.SecretKey = r.secret(KeySecret)
	switch {
	case len(r.faults) > known:
	case c.SecretKey == "":
		r.fault(KeyAccess, "it is given without %s", KeySecret)
	case strings.ContainsFunc(string(c.AccessKey), isSpace):
		r.fault(KeyAccess, "it is more than one word")
	case strings.ContainsFunc(string(c.SecretKey), isSpace):
		r.fault(KeySecret, "it is more than one word")
	}
}

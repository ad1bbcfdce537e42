package zuulconf

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
)

// Keys of a connection, to look up in At.
const (
	KeyRegion      = "aws_kinesis_region"
	KeyStream      = "aws_kinesis_stream"
	KeyAccess      = "aws_kinesis_access_key"
	KeySecret      = "aws_kinesis_secret_key" //nolint:gosec // the name of a key in a file
	KeyReplication = "replication_timeout"
)

const (
	defaultStream = "gerrit" // the stream that Zuul follows when none is named
	legacySection = "gerrit" // a connection's section without the word, from the days when there was only one
)

// Connection is a connection of Zuul that gets its events from Kinesis.
type Connection struct {
	Name        string // without quotes; "gerrit" for a [gerrit] section, as in old files
	Section     string // as in the file: "connection gerrit"
	Place       Place  // of the section
	Region      string
	Stream      string
	AccessKey   Secret // with SecretKey, or neither; as in Zuul, a secret without a key's id is ignored
	SecretKey   Secret
	Replication bool             // Zuul waits for replication and needs its events
	At          map[string]Place // the places of the keys, by name
}

// Secret is a text that is never printed. Convert it to a string to use it.
type Secret string

// Format writes nothing of the text, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) {
	if s != "" {
		_, _ = io.WriteString(f, "xxxxx")
	}
}

// LogValue keeps the text out of logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// MarshalText keeps the text out of JSON.
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

// connectionName returns the name of the connection in a section.
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

// connection returns a connection's section, the last of several as in Zuul;
// nil: there is none.
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
// aws_kinesis_region. Its error joins a *Fault for each that cannot be read.
func (f *File) KinesisConnections() ([]string, error) {
	var names []string
	var all []error
	for _, name := range f.Connections() {
		r := reader{file: f, section: f.connection(name), at: map[string]Place{}}
		if r.region() != "" {
			names = append(names, name)
		}
		all = append(all, r.faults...)
	}
	return names, errors.Join(all...)
}

// region returns the region of a connection's stream; "": it does not get its
// events from Kinesis.
func (r *reader) region() string {
	region, ok := r.text(KeyRegion)
	if !ok || region == "" {
		return ""
	}
	if driver, ok := r.text("driver"); ok && driver != "gerrit" && r.section.name != legacySection {
		return "" // the key comes from [DEFAULT]
	}
	return region
}

// Kinesis reads a connection; nil: there is none of that name, or it does not
// get its events from Kinesis. Its error joins a *Fault for each invalid key.
func (f *File) Kinesis(name string) (*Connection, error) {
	s := f.connection(name)
	if s == nil {
		return nil, nil //nolint:nilnil // the comment above explains nil
	}
	r := reader{file: f, section: s, at: map[string]Place{}}
	c := &Connection{Name: name, Section: s.name, Place: s.place, Region: r.region(), Stream: defaultStream}
	if c.Region == "" {
		return nil, errors.Join(r.faults...)
	}
	if stream, ok := r.text(KeyStream); ok {
		if c.Stream = stream; stream == "" {
			r.fault(KeyStream, "empty; without the key the stream is %q", defaultStream)
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
	return c, errors.Join(r.faults...)
}

// keys reads the key that Zuul signs its requests with, if the connection has
// one.
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
		r.fault(KeyAccess, "given without %s", KeySecret)
	case strings.ContainsFunc(string(c.AccessKey), isSpace):
		r.fault(KeyAccess, "more than one word")
	case strings.ContainsFunc(string(c.SecretKey), isSpace):
		r.fault(KeySecret, "more than one word")
	}
}

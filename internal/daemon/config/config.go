package config

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
)

// Config is what a process that reads a stream is told. The table of settings
// (settings.go) explains each field, with its default and its bounds. The zero
// value is not usable: see Defaults and Load.
type Config struct {
	Connection string
	Stream     string
	AWS        AWS
	Store      Store
	SQLite     SQLite
	ZooKeeper  ZooKeeper

	StartAt            StartAt
	OnBadCheckpoint    string // BadLatest, BadTrimHorizon or BadHalt
	PollInterval       time.Duration
	DropForeignRecords bool
	Memory             int64 // bytes
	Retention          time.Duration

	Filter     Filter
	Sinks      []string
	Admin      string // HOST:PORT, or AdminOff
	AdminHosts []string
	Log        Log

	// Notes are what a person should know about where settings came from: a
	// sentence each, without secrets.
	Notes []string
}

// AWS says how Kinesis is reached.
type AWS struct {
	Region           string
	Endpoint         string
	AccountEndpoints bool
	RoleARN          string
	ExternalID       string
	AccessKeyFile    string
	SecretKeyFile    string
	SessionTokenFile string
	CredentialsFile  string

	// Keys is the key that a zuul.conf holds for the connection. There is no
	// setting for it: others could see it.
	Keys kinesis.Keys
}

// SQLite says how a SQLite store is kept.
type SQLite struct{ GroupAccess bool }

// ZooKeeper says how a ZooKeeper store is reached and used.
type ZooKeeper struct {
	TLS            TLS
	SessionTimeout time.Duration
	QueueLimit     int
}

// TLS names PEM files. All three make TLS; without them there is none.
type TLS struct {
	Cert, Key, CA  string
	VerifyHostname bool
}

// Filter drops events that nobody needs before they are written anywhere.
type Filter struct {
	Preset      string // PresetZuul or PresetNone
	Types       []string
	Projects    []string
	Refs        []string
	Replication bool
}

// Gerrit returns the filter as package gerrit wants it.
func (f Filter) Gerrit() gerrit.FilterConfig {
	return gerrit.FilterConfig{
		Preset: f.Preset, Replication: f.Replication, Types: f.Types, Projects: f.Projects, Refs: f.Refs,
	}
}

// Log says what is logged, to standard error.
type Log struct {
	Format string // LogAuto, LogText or LogJSON
	Level  slog.Level
}

// StartAt is where a stream begins that nobody has followed yet: with the
// oldest record kept, at a time, or, when it is zero, from now on.
type StartAt struct {
	TrimHorizon bool
	Time        time.Time
}

// String returns the setting's value: "latest", "trim-horizon" or a time.
func (s StartAt) String() string {
	switch {
	case s.TrimHorizon:
		return "trim-horizon"
	case s.Time.IsZero():
		return "latest"
	}
	return s.Time.Format(time.RFC3339Nano)
}

// Store is a store's address: that of a file, or of ZooKeeper.
type Store struct {
	SQLite  string   // the file's path
	Home    string   // the user's state folder, which may have to be made, where the file lies there by default; else ""
	Servers []string // ZooKeeper's, "HOST:PORT" each
	Chroot  string   // the node in ZooKeeper below which everything is, "/zuul"; "": the root
}

// StoreKind is what keeps a store. There is an adapter for each.
type StoreKind string

// The kinds of stores.
const (
	StoreNone      StoreKind = ""
	StoreSQLite    StoreKind = "sqlite"
	StoreZooKeeper StoreKind = "zookeeper"
)

// Kind returns what keeps the store; StoreNone: the Store is zero.
func (s Store) Kind() StoreKind {
	switch {
	case s.SQLite != "":
		return StoreSQLite
	case len(s.Servers) > 0:
		return StoreZooKeeper
	}
	return StoreNone
}

// String returns the setting's value: "sqlite:PATH" or
// "zookeeper://HOST:PORT,HOST:PORT/CHROOT".
func (s Store) String() string {
	switch s.Kind() {
	case StoreSQLite:
		return sqlitePrefix + s.SQLite
	case StoreZooKeeper:
		return zookeeperPrefix + strings.Join(s.Servers, ",") + s.Chroot
	}
	return ""
}

// LogValue lists every setting with its value in force. A password in a URL is
// left out.
func (c *Config) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, len(settings))
	for i := range settings {
		attrs = append(attrs, slog.String(settings[i].Key, settings[i].kind.show(c)))
	}
	return slog.GroupValue(attrs...)
}

// String lists every setting as "key=value", without secrets.
func (c *Config) String() string {
	var b strings.Builder
	for i := range settings {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(settings[i].Key + "=" + settings[i].kind.show(c))
	}
	return b.String()
}

// redactURL returns a URL without its password and user name. So it does with
// what url.Parse takes for something else, or for nothing ("u:password@host");
// what else is no URL is returned as it is.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	switch at := strings.LastIndexByte(raw, '@'); {
	case err == nil && u.User != nil:
		u.User = url.User("xxxxx")
		return u.String()
	case at >= 0 && (err != nil || strings.Contains(u.Opaque, "@")):
		return "xxxxx" + raw[at:]
	}
	return raw
}

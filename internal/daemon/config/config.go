package config

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/gerrit"
)

// Config is everything a process that reads a stream is told. Each field's comment is its manual; the key in the file is
// given in front. The zero value is not usable: see Defaults and Load.
type Config struct {
	// connection: the name under which everything is stored: positions, events, leaderships. In Zuul it is the name of
	// the connection. Processes that work together have the same; each stream needs its own. Letters, digits and "._-".
	Connection string

	// stream: the Kinesis stream, by name or by ARN. An ARN also says which region and account; across accounts it must be
	// the ARN. It has no default.
	Stream string

	AWS AWS

	// store: where events, positions and leaderships are kept. "sqlite:PATH" is one file, shared by processes of one host.
	// Default: $STATE_DIRECTORY/<connection>.db as systemd sets it, else the user's state folder.
	Store Store

	// start_at: where a stream begins that nobody has followed yet: "latest" (from now on), "trim-horizon" (with the oldest
	// record kept) or a time as in RFC 3339. It is used once per stream; afterwards the stored positions count.
	StartAt StartAt

	// on_bad_checkpoint: what to do when Kinesis does not accept a stored position: "latest" (go on from now, as Zuul does),
	// "trim-horizon" (from the oldest record kept) or "halt" (wait for an operator). It is reported each time.
	OnBadCheckpoint string

	// poll_interval: the pause between reads of a shard that is at its tip. Kinesis allows five reads a second for each
	// shard, by all readers together.
	PollInterval time.Duration

	// memory: the upper bound for the bytes of pages held at once, by all shards together: "256MiB".
	Memory int64

	// retention: how long queued events are kept in the store. What is deleted is counted.
	Retention time.Duration

	Filter Filter

	// sinks: where events go besides the store's queue, by name: "stdout" writes one line of JSON for each.
	Sinks []string

	// admin: where health, metrics and the status page are served: HOST:PORT, or "off". Everything but a loopback address
	// makes them readable by others.
	Admin string

	Log Log
}

// AWS says how Kinesis is reached. Credentials are looked for where AWS' own tools look: environment, shared files, web
// identity, container, instance.
type AWS struct {
	// aws.region: "us-west-2". Default: the region of the stream's ARN, else AWS' environment variables and files.
	Region string

	// aws.endpoint: a URL to use instead of AWS': an emulator, a proxy, a private endpoint.
	Endpoint string

	// aws.role_arn: a role to assume with the credentials found.
	RoleARN string

	// aws.external_id: the external id that the role's trust policy asks for.
	ExternalID string

	// aws.access_key_file, aws.secret_key_file, aws.session_token_file: files that hold nothing but the key's id, its secret, and
	// the session token of temporary credentials, instead of looking around. They are read again every five minutes.
	AccessKeyFile    string
	SecretKeyFile    string
	SessionTokenFile string

	// aws.credentials_file: the same with one file in the format of ~/.aws/credentials.
	CredentialsFile string
}

// Filter drops events that nobody needs before they are written anywhere.
type Filter struct {
	// filter.preset: "zuul" drops what Zuul drops (replication, cache eviction, /meta updates); "none" drops nothing.
	Preset string

	// filter.types, filter.projects, filter.refs: keep only these; empty keeps all. Each is a whole name, or its beginning
	// if it ends in "*", or a regular expression (RE2) if it begins with "^". An event without a project or without one ref
	// of its own is not judged by projects or refs.
	Types    []string
	Projects []string
	Refs     []string
}

// Gerrit returns the filter as package gerrit wants it.
func (f Filter) Gerrit() gerrit.FilterConfig {
	return gerrit.FilterConfig{Preset: f.Preset, Types: f.Types, Projects: f.Projects, Refs: f.Refs}
}

// Log says what is logged, to standard error.
type Log struct {
	// log.format: "text", "json", or "auto": text on a terminal, else JSON.
	Format string

	// log.level: "debug" (one line an event), "info", "warn" or "error".
	Level slog.Level
}

// StartAt is where a stream begins that nobody has followed yet: with the oldest record kept, at a time, or, when it is
// zero, from now on.
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

// Store is a store's address.
type Store struct {
	SQLite string // the file's path
}

// String returns the setting's value: "sqlite:PATH".
func (s Store) String() string {
	if s.SQLite == "" {
		return ""
	}
	return sqlitePrefix + s.SQLite
}

// LogValue lists every setting with its value in force. A password in a URL is left out.
func (c *Config) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, len(settings))
	for i := range settings {
		attrs = append(attrs, slog.String(settings[i].Key, settings[i].show(c)))
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
		b.WriteString(settings[i].Key + "=" + settings[i].show(c))
	}
	return b.String()
}

// redactURL returns a URL without its password and user name. What is no URL is returned as it is.
func redactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return raw
	}
	u.User = url.User("xxxxx")
	return u.String()
}

package config

import (
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
)

// Config is everything a process that reads a stream is told. Each field's
// comment is its manual; the key in the file is given in front. The zero value
// is not usable: see Defaults and Load.
type Config struct {
	// connection: the name under which everything is stored: positions, events,
	// leaderships. In Zuul it is the name of the connection. Processes that
	// work together have the same; each stream needs its own. Letters, digits
	// and "._-".
	Connection string

	// stream: the Kinesis stream, by name or by ARN. An ARN also says which
	// region and account; across accounts it must be the ARN. It has no
	// default.
	Stream string

	AWS AWS

	// store: where events, positions and leaderships are kept. "sqlite:PATH" is
	// one file, shared by processes of one host.
	// "zookeeper://HOST:PORT,HOST:PORT/CHROOT" is Zuul's ZooKeeper, where its
	// schedulers take the events; the port may be left out, and the chroot
	// where Zuul has none. Default: $STATE_DIRECTORY/<connection>.db as systemd
	// sets it, else a file in the user's state folder. Of a path that is given
	// only the last folder is made when it is missing.
	Store Store

	SQLite SQLite

	ZooKeeper ZooKeeper

	// start_at: where a stream begins that nobody has followed yet: "latest"
	// (from now on), "trim-horizon" (with the oldest record kept) or a time as
	// in RFC 3339. It is used once per stream; afterwards the stored positions
	// count.
	StartAt StartAt

	// on_bad_checkpoint: what to do when Kinesis does not accept a stored
	// position: "latest" (go on from now, as Zuul does), "trim-horizon" (from
	// the oldest record kept) or "halt" (wait for an operator). It is reported
	// each time.
	OnBadCheckpoint string

	// poll_interval: the pause between reads of a shard that is at its tip.
	// Kinesis allows five reads a second for each shard, by all readers
	// together.
	PollInterval time.Duration

	// drop_foreign_records: drop records within aggregates of the Kinesis
	// Producer Library whose hash key is not the shard's, as the KCL does. That
	// library puts such records again after a stream was resharded; producers
	// that do not, and such that ignore hash keys, would lose them.
	DropForeignRecords bool

	// memory: the upper bound for the bytes of pages held at once, by all
	// shards together: "256MiB".
	Memory int64

	// retention: how long events are kept in a SQLite store after they arrived
	// or were queued, whichever is later. What is deleted is counted. In
	// ZooKeeper Zuul deletes them.
	Retention time.Duration

	Filter Filter

	// sinks: where events go besides the store's queue, by name: "stdout"
	// writes one line of JSON for each.
	Sinks []string

	// admin: where health, metrics and the status page are served: HOST:PORT,
	// or "off". Everything but a loopback address makes them readable by
	// others.
	Admin string

	// admin_hosts: names by which health, metrics and page may be asked for,
	// besides addresses, loopback names and the name in admin: a service's name
	// in a cluster.
	AdminHosts []string

	Log Log

	// Notes are what a person should be told about where settings came from: a
	// sentence each, without secrets.
	Notes []string
}

// AWS says how Kinesis is reached. Credentials are looked for where AWS' own
// tools look: environment, shared files, web identity, container, instance.
type AWS struct {
	// aws.region: "us-west-2". Default: the region of the stream's ARN, else
	// AWS' environment variables and files.
	Region string

	// aws.endpoint: a URL to use instead of AWS': an emulator, a proxy, a
	// private endpoint.
	Endpoint string

	// aws.account_endpoints: send requests to
	// <account>.control-kinesis.<region> and <account>.data-kinesis.<region>
	// instead of kinesis.<region>. The stream must then be given by its ARN.
	AccountEndpoints bool

	// aws.role_arn: a role to assume with the credentials found.
	RoleARN string

	// aws.external_id: the external id that the role's trust policy asks for.
	ExternalID string

	// aws.access_key_file, aws.secret_key_file, aws.session_token_file: files
	// that hold nothing but the key's id, its secret, and the session token of
	// temporary credentials, instead of looking around. They are read again
	// every five minutes.
	AccessKeyFile    string
	SecretKeyFile    string
	SessionTokenFile string

	// aws.credentials_file: the same with one file in the format of
	// ~/.aws/credentials.
	CredentialsFile string

	// Keys is the key that a zuul.conf holds for the connection. There is no
	// setting for it: it would be seen.
	Keys kinesis.Keys
}

// SQLite says how a SQLite store is kept. It means nothing for another store.
type SQLite struct {
	// sqlite.group_access: the folder is made with mode 2770 and the files with
	// 0660, so that users of the folder's group can read the queue. SQLite lets
	// nobody read who cannot write to the files beside the database. Without it
	// both are the owner's alone.
	GroupAccess bool
}

// ZooKeeper says how a ZooKeeper store is spoken to. It means nothing for
// another store.
type ZooKeeper struct {
	TLS TLS

	// zookeeper.session_timeout: how long ZooKeeper waits for a sign of a
	// process before others take over what it led. The servers have bounds of
	// their own; what they grant is logged.
	SessionTimeout time.Duration

	// zookeeper.queue_limit: reading pauses while so many events wait in Zuul's
	// queue, and goes on at 80% of it. Long queues slow Zuul down.
	QueueLimit int
}

// TLS says how the servers and this process prove to each other who they are.
// All three files make TLS; without them there is none.
type TLS struct {
	// zookeeper.tls.cert, zookeeper.tls.key: PEM files with this process'
	// certificate and its key.
	Cert string
	Key  string

	// zookeeper.tls.ca: a PEM file with the authorities that may have signed
	// the servers' certificates.
	CA string

	// zookeeper.tls.verify_hostname: the servers' certificates must have their
	// names, too. Zuul does not ask for that.
	VerifyHostname bool
}

// Filter drops events that nobody needs before they are written anywhere.
type Filter struct {
	// filter.preset: "zuul" drops what Zuul drops (replication, cache eviction,
	// /meta updates); "none" drops nothing.
	Preset string

	// filter.types, filter.projects, filter.refs: keep only these; empty keeps
	// all. Each is a whole name, or its beginning if it ends in "*", or a
	// regular expression (RE2) if it begins with "^". An event without a
	// project or without one ref of its own is not judged by projects or refs.
	Types    []string
	Projects []string
	Refs     []string

	// filter.replication: with preset zuul, keep ref-replicated and
	// ref-replication-scheduled. Zuul needs them when its replication_timeout
	// is above 0.
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
	// log.format: "text", "json", or "auto": text on a terminal, else JSON.
	Format string

	// log.level: "debug" (one line an event), "info", "warn" or "error".
	Level slog.Level
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

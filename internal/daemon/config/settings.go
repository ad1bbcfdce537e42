package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/postgres"
)

// EnvPrefix begins the name of every environment variable that is a setting.
const EnvPrefix = "GERRITSTREAM_"

// Setting is one row of the table: everything there is to know of a setting.
type Setting struct {
	Key     string // in the file, sections joined by dots: "aws.region"
	Flag    string // without dashes
	Default string // the value in force where none is given; "": none, or one that depends on the host
	Help    string // one line without a full stop; a word in backquotes stands for the value
	More    string // further sentences, for docs/configuration.md
	Scope   Scope
	Group   string // the heading that it stands under in help
	value   value
}

// Scope tells which commands have a setting.
type Scope int

// The scopes. A command of one scope has the settings of the greater ones too.
const (
	ForRun    Scope = iota // reading a stream
	ForStream              // finding the stream
	ForStore               // finding the store
)

// value is where the value of a setting lies, and how it is read and written.
type value struct {
	set     func(string) error // sets the value, or appends it to a list
	show    func() string      // the value in force, without secrets
	list    *[]string          // the values of a list; else nil
	flag    bool               // it is true or false
	words   []string           // the only values allowed; nil: any
	allowed string             // the bounds: "200ms to 1m"; "": none
	form    form               // of what is written
}

// Env returns the name of the environment variable: EnvPrefix and the key in
// capitals.
func (s *Setting) Env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// IsList reports whether the setting takes several values.
func (s *Setting) IsList() bool { return s.value.list != nil }

// IsBool reports whether the setting is true or false. Its flag alone means
// true.
func (s *Setting) IsBool() bool { return s.value.flag }

// Allowed returns the values that the setting takes, "200ms to 1m" or
// "auto, text or json"; "": no such words describe them.
func (s *Setting) Allowed() string {
	if len(s.value.words) > 0 {
		return orList(s.value.words)
	}
	return s.value.allowed
}

// Words returns the only values that the setting takes; none: it takes others.
func (s *Setting) Words() []string { return slices.Clone(s.value.words) }

// Settings returns the table, in the order in which a person reads about them.
func Settings() []Setting { return settingsOf(new(Config)) }

// lookup returns a setting by its key; nil: there is none.
func lookup(settings []Setting, key string) *Setting {
	if i := slices.IndexFunc(settings, func(s Setting) bool { return s.Key == key }); i >= 0 {
		return &settings[i]
	}
	return nil
}

// settingsOf is the table, for the values of one Config. It is the only place
// that knows the default, the bounds and the meaning of a setting; `make docs`
// writes docs/configuration.md from it.
func settingsOf(c *Config) (all []Setting) {
	for _, group := range []struct {
		name     string
		settings []Setting
	}{
		{"Stream and credentials", streamSettings(c)},
		{"Store", storeSettings(c)},
		{"Reading", readSettings(c)},
		{"Events", eventSettings(c)},
		{"Process", processSettings(c)},
	} {
		for _, s := range group.settings {
			s.Group = group.name
			all = append(all, s)
		}
	}
	return all
}

func streamSettings(c *Config) []Setting {
	return []Setting{
		{Key: "connection", Flag: "connection", Default: "gerrit", Scope: ForStore,
			value: text(&c.Connection, checkConnection),
			Help:  "`name` under which everything is stored",
			More: "Processes that work together use the same name; each stream needs its own. In Zuul it is the name " +
				"of the connection. It also names the file of the default store."},
		{Key: "stream", Flag: "stream", Scope: ForStream, value: text(&c.Kinesis.Stream, nil),
			Help: "Kinesis stream, by `name` or ARN",
			More: "Required. An ARN also names the region and the account; a stream of another account is found only " +
				"by its ARN."},
		{Key: "aws.region", Flag: "region", Scope: ForStream, value: text(&c.Kinesis.Region, nil),
			Help: "AWS `region` (default: the ARN's, or where AWS' tools look)",
			More: "AWS' tools look at `AWS_REGION`, at `AWS_DEFAULT_REGION` and at the profile, in this order."},
		{Key: "aws.endpoint", Flag: "endpoint", Scope: ForStream, value: text(&c.Kinesis.Endpoint, nil),
			Help: "`URL` to use instead of AWS' own",
			More: "An emulator, a proxy or a private endpoint."},
		{Key: "aws.account_endpoints", Flag: "account-endpoints", Default: "false",
			value: boolean(&c.Kinesis.AccountEndpoints),
			Help:  "send requests to the account's own endpoints instead of the region's",
			More: "These are `<account>.control-kinesis.<region>` and `<account>.data-kinesis.<region>` instead of " +
				"`kinesis.<region>`. The stream must be given by its ARN."},
		{Key: "aws.role_arn", Flag: "role-arn", Scope: ForStream, value: text(&c.Kinesis.Credentials.RoleARN, nil),
			Help: "role to assume with the credentials found, by `ARN`"},
		{Key: "aws.external_id", Flag: "external-id", Scope: ForStream,
			value: text(&c.Kinesis.Credentials.ExternalID, nil),
			Help:  "external `id` that the role's trust policy asks for"},
		{Key: "aws.access_key_file", Flag: "access-key-file", Scope: ForStream,
			value: text(&c.Kinesis.Credentials.AccessKeyFile, nil),
			Help:  "`file` that holds the id of an access key and nothing else",
			More: "This file, the secret's and the token's replace the search for credentials. They are read again " +
				"every five minutes."},
		{Key: "aws.secret_key_file", Flag: "secret-key-file", Scope: ForStream,
			value: text(&c.Kinesis.Credentials.SecretKeyFile, nil),
			Help:  "`file` that holds the key's secret and nothing else"},
		{Key: "aws.session_token_file", Flag: "session-token-file", Scope: ForStream,
			value: text(&c.Kinesis.Credentials.SessionTokenFile, nil),
			Help:  "`file` that holds the session token of temporary credentials"},
		{Key: "aws.credentials_file", Flag: "credentials-file", Scope: ForStream,
			value: text(&c.Kinesis.Credentials.File, nil),
			Help:  "`file` in the format of ~/.aws/credentials to use instead of these"},
	}
}

func storeSettings(c *Config) []Setting {
	return slices.Concat(placeSettings(c), postgresSettings(c), zooKeeperSettings(c), retentionSettings(c))
}

func placeSettings(c *Config) []Setting {
	return []Setting{
		{Key: "store", Flag: "store", Scope: ForStore, value: value{set: c.Store.Set, show: c.Store.String},
			Help: "`address` of the store: sqlite:PATH, postgres://..., or zookeeper://HOST:PORT,.../CHROOT " +
				"(default: a SQLite file)",
			More: "Events, positions and leaderships are kept there. `sqlite:PATH` is one file, shared by the " +
				"processes of one host; of a missing path only the last folder is created. `postgres://` is a " +
				"database of PostgreSQL, for any number of hosts: an address as libpq has it, with several servers " +
				"and parameters such as `sslmode=verify-full`. Passwords belong in a `passfile`, `PGPASSFILE` or " +
				"`PGPASSWORD`, or come from `postgres.password_command`; one in the address is never shown. " +
				"`zookeeper://` is Zuul's ZooKeeper, where its schedulers take the events; the port may be left " +
				"out, and so may the chroot where Zuul has none. Without the setting the store is `<connection>.db` " +
				"in `$STATE_DIRECTORY`, as systemd sets it, or else in the user's state folder."},
		{Key: "sqlite.group_access", Flag: "sqlite-group-access", Default: "false",
			value: boolean(&c.Store.SQLite.GroupAccess),
			Help:  "let the group of a SQLite store's folder read the queue",
			More: "The folder then has mode 2770 and the files have 0660 instead of 0700 and 0600: SQLite lets " +
				"nobody read who cannot write to the files beside the database."},
	}
}

func postgresSettings(c *Config) []Setting {
	return []Setting{
		{Key: "postgres.schema", Flag: "postgres-schema", Scope: ForStore,
			value: text(&c.Store.Postgres.Schema, checkSchema),
			Help:  "`schema` of the tables in PostgreSQL (default: gerritstream_<connection>)",
			More: "It is made if it is missing and the role may make it. By default it is the connection's name in " +
				"small letters, with `_` for what would need quotes."},
		{Key: "postgres.password_command", Flag: "postgres-password-command", Scope: ForStore,
			value: text(&c.Store.Postgres.PasswordCommand, nil),
			Help:  "`command` for /bin/sh that prints the password, such as a token of IAM",
			More: "It runs before a connection is made, at most once a minute, and has ten seconds. It prints one " +
				"line; a line break at its end does not count. What it prints on standard output is neither shown " +
				"nor logged; where it fails, the first line of what it says on standard error is both. While a " +
				"process runs, a command that fails is tried again each second that a new connection is needed."},
		{Key: "postgres.connections", Flag: "postgres-connections", Default: strconv.Itoa(postgres.DefaultConnections),
			Scope: ForStore, value: bounded(&c.Store.Postgres.Connections, parseInt, strconv.Itoa, 1, 1000),
			Help: "upper bound for the `number` of connections to PostgreSQL",
			More: "Besides these a process has two for heartbeats, and one that listens where no pooler is between."},
	}
}

func zooKeeperSettings(c *Config) []Setting {
	return []Setting{
		{Key: "zookeeper.tls.cert", Flag: "zookeeper-tls-cert", Scope: ForStore, value: text(&c.Store.TLS.Cert, nil),
			Help: "PEM `file` with the certificate to show to ZooKeeper",
			More: "TLS needs certificate, key and authorities. All three files are read at each new connection."},
		{Key: "zookeeper.tls.key", Flag: "zookeeper-tls-key", Scope: ForStore, value: text(&c.Store.TLS.Key, nil),
			Help: "PEM `file` with the certificate's key"},
		{Key: "zookeeper.tls.ca", Flag: "zookeeper-tls-ca", Scope: ForStore, value: text(&c.Store.TLS.CA, nil),
			Help: "PEM `file` with the authorities that sign the certificates of ZooKeeper's servers"},
		{Key: "zookeeper.tls.verify_hostname", Flag: "zookeeper-tls-verify-hostname", Default: "false", Scope: ForStore,
			value: boolean(&c.Store.TLS.VerifyHostname),
			Help:  "require the servers' names in their certificates",
			More:  "Zuul does not require that."},
		{Key: "zookeeper.session_timeout", Flag: "zookeeper-session-timeout", Default: "10s", Scope: ForStore,
			value: duration(&c.Store.ZooKeeper.SessionTimeout, time.Second, 10*time.Minute),
			Help:  "`duration` that ZooKeeper waits for a silent process before others take over",
			More:  "The servers have bounds of their own; the log reports what they granted."},
		{Key: "zookeeper.queue_limit", Flag: "zookeeper-queue-limit", Default: "10000",
			value: bounded(&c.Store.ZooKeeper.QueueLimit, parseInt, strconv.Itoa, 1, 1_000_000),
			Help:  "`number` of events in Zuul's queue at which reading pauses",
			More:  "Reading resumes at 80% of the limit. Long queues slow Zuul down."},
	}
}

func retentionSettings(c *Config) []Setting {
	return []Setting{
		{Key: "retention", Flag: "retention", Default: "7d",
			value: duration(&c.Store.SQLite.Retention, time.Minute, 10*365*24*time.Hour),
			Help:  "`duration` that SQLite and PostgreSQL keep queued events",
			More: "The time counts from when an event arrived or was queued, whichever is later, by the service's " +
				"clock. Removed events are counted. In ZooKeeper Zuul removes the events that it has handled."},
		{Key: "retention_max", Flag: "retention-max", Default: "30d",
			value: duration(&c.Store.SQLite.RetentionMax, time.Minute, 10*365*24*time.Hour),
			Help:  "`duration` that SQLite and PostgreSQL keep events for a consumer that is behind",
			More: "What is removed then counts as expired for the consumer. A shorter time than `retention` " +
				"counts as that one."},
		{Key: "retention_max_size", Flag: "retention-max-size", Default: "16GiB",
			value: bounded(&c.Store.SQLite.RetentionMaxBytes, parseSize, formatSize, 1<<20, 0),
			Help: "`size` of a SQLite file, or of the events in PostgreSQL, " +
				"beyond which none is kept longer than retention",
			More: "Consumers that are behind then lose what is older."},
	}
}

func readSettings(c *Config) []Setting {
	return []Setting{
		{Key: "start_at", Flag: "start-at", Default: "latest", value: of(&c.StartAt, parseStartAt, formatStartAt),
			Help: "where to begin a stream at first: latest (about 10 s ago), trim-horizon or a `time`",
			More: "`trim-horizon` is the oldest record that the stream still holds. Times are written like " +
				"2026-01-31T08:00:00Z, \"2026-01-31 08:00\", \"yesterday 08:00\" or -24h. The setting is used " +
				"once per stream; from then on the stored positions count."},
		{Key: "on_bad_checkpoint", Flag: "on-bad-checkpoint", Default: "latest", value: choice(&c.OnBadCheckpoint,
			consumer.BadCheckpointLatest, consumer.BadCheckpointTrimHorizon, consumer.BadCheckpointHalt),
			Help: "`policy` for a stored position that is damaged or that Kinesis refuses",
			More: "`latest` goes on from now, as Zuul does; `trim-horizon` from the oldest record; `halt` waits for " +
				"an operator. Each case is reported."},
		{Key: "poll_interval", Flag: "poll-interval", Default: "200ms",
			value: duration(&c.Kinesis.PollInterval, 200*time.Millisecond, time.Minute),
			Help:  "`pause` between reads of a shard at its tip",
			More: "Kinesis allows five reads a second of each shard, by all readers together: 200ms takes all five. " +
				"A refused read shows that there is another reader. Then a shard is read four times a second at " +
				"most, or less often, as both need, until none was refused for ten minutes. A process that reads " +
				"more than 100 shards reads those that stay silent less often: with 1,000 shards, every two seconds " +
				"after a minute, until their first record."},
		{Key: "kinesis.read", Flag: "read", Default: string(kinesis.ReadPoll),
			value: choice(&c.Kinesis.Read, kinesis.ReadPoll, kinesis.ReadFanOut, kinesis.ReadAuto),
			Help:  "`way` to read shards: by asking for pages, or by enhanced fan-out, which AWS charges for",
			More: "With `fan-out` Kinesis pushes records as they arrive, at up to 2 MiB a second for each shard, " +
				"whatever others read. A shard is polled until its subscription stands and whenever it ends. Where " +
				"fan-out is not possible all shards are polled, which is reported, and it is tried again every ten " +
				"minutes. `auto` does the same and only logs it."},
		{Key: "kinesis.consumer_name", Flag: "consumer-name", value: text(&c.Kinesis.ConsumerName, nil),
			Help: "`name` of the consumer of enhanced fan-out (default: gerritstream)",
			More: "It is registered if the stream does not have it, and never deregistered. All processes of a " +
				"connection use the same one. Two connections, or other programs, that read the same stream need one " +
				"each: they would take the subscriptions away from one another."},
		{Key: "kinesis.consumer_arn", Flag: "consumer-arn", value: text(&c.Kinesis.ConsumerARN, nil),
			Help: "`ARN` of a consumer of enhanced fan-out that is registered already",
			More: "It is then neither registered nor described."},
		{Key: "drop_foreign_records", Flag: "drop-foreign-records", Default: "false",
			value: boolean(&c.Kinesis.MarkForeign),
			Help:  "drop records within aggregates whose hash key belongs to another shard, as the KCL does",
			More: "The Kinesis Producer Library puts such records again after the stream was resharded. A producer " +
				"that does not, or that ignores hash keys, loses them. The filter's rule is `foreign`."},
		{Key: "memory", Flag: "memory", Default: "256MiB", value: bounded(&c.Memory, parseSize, formatSize, 64<<20, 0),
			Help: "upper `bound` for the bytes of pages held at once, by all shards together"},
	}
}

func eventSettings(c *Config) []Setting {
	return []Setting{
		{Key: "filter.preset", Flag: "filter-preset", Default: gerrit.PresetZuul,
			value: choice(&c.Filter.Preset, gerrit.PresetZuul, gerrit.PresetNone),
			Help:  "`rules` that drop events before they are written anywhere",
			More: "`zuul` drops replication, cache eviction, batch-ref-updated and the ref-updated of a change's " +
				"notes; `none` drops nothing."},
		{Key: "filter.types", Flag: "filter-types", value: list(&c.Filter.Types, nil),
			Help: "keep only events of these `types`",
			More: "Each entry is a whole name, the beginning of one if it ends in `*`, or a regular expression (RE2) " +
				"if it begins with `^`. An empty list keeps all."},
		{Key: "filter.projects", Flag: "filter-projects", value: list(&c.Filter.Projects, nil),
			Help: "keep only events of these `projects`",
			More: "Entries are like those of `filter.types`. An event without a project is kept."},
		{Key: "filter.refs", Flag: "filter-refs", value: list(&c.Filter.Refs, nil),
			Help: "keep only events of these `refs`",
			More: "Entries are like those of `filter.types`. An event without one ref of its own is kept."},
		{Key: "filter.replication", Flag: "filter-replication", Default: "false", value: boolean(&c.Filter.Replication),
			Help: "keep ref-replicated and ref-replication-scheduled, for a Zuul with a replication_timeout",
			More: "A zuul.conf sets it by itself."},
		{Key: "sinks", Flag: "sink", value: list(&c.Sinks, nil, SinkStdout),
			Help: "`sink` that also receives the events",
			More: "`stdout` writes one line of JSON for each event."},
	}
}

func processSettings(c *Config) []Setting {
	return []Setting{
		{Key: "admin", Flag: "admin", Default: "127.0.0.1:9419", value: text(&c.Admin, checkAdmin),
			Help: "`address` of health, metrics and status page, HOST:PORT, or off",
			More: "At an address that is not loopback's, other hosts can read them."},
		{Key: "admin_hosts", Flag: "admin-host", value: list(&c.AdminHosts, checkHostName),
			Help: "host `name` that requests for health, metrics and status page may carry",
			More: "Addresses, loopback names and the name in `admin` always may. Requests for other names get status " +
				"421, so that no web page can read the answers through a visitor's browser. List the name of a " +
				"service in a cluster here."},
		{Key: "pprof", Flag: "pprof", Default: "false", value: boolean(&c.Pprof),
			Help: "also serve profiles of this process, at /debug/pprof/ of the address admin",
			More: "`go tool pprof http://127.0.0.1:9419/debug/pprof/heap` reads them. Everybody who can reach the " +
				"address can have a profile made, which takes processor time. No profile holds an event."},
		{Key: "socket", Flag: "socket", value: text(&c.Socket.Address, checkSocket),
			Help: "`address` of the API for consumers and tail: unix:PATH (default: none)",
			More: "Programs of other users read the queue there without touching the database; docs/consumers.md " +
				"describes how. The socket has mode 0660. Its folder must exist; systemd makes it with " +
				"`RuntimeDirectory`. Each process needs a socket of its own."},
		{Key: "socket_group", Flag: "socket-group", value: text(&c.Socket.Group, nil),
			Help: "`group` that may use the socket (default: the group of the process)",
			More: "A name or a number. The process must belong to the group, or be root's."},
		{Key: "log.format", Flag: "log-format", Default: LogAuto,
			value: choice(&c.Log.Format, LogAuto, LogText, LogJSON),
			Help:  "`format` of the log on standard error",
			More: "`auto` is text on a terminal and in systemd's journal, there with the levels that `journalctl -p` " +
				"knows, and JSON elsewhere."},
		{Key: "log.level", Flag: "log-level", Default: "info", value: level(&c.Log.Level),
			Help: "lowest `level` to log",
			More: "`debug` logs a line for each event, never its payload."},
	}
}

// The values of settings that name a choice.
const (
	SinkStdout = "stdout"
	AdminOff   = "off"
	LogAuto    = "auto"
	LogText    = "text"
	LogJSON    = "json"
)

// Defaults returns the configuration in force where no source gives anything.
// Stream has no default; Load chooses the default Store.
func Defaults() Config {
	var c Config
	for _, s := range settingsOf(&c) {
		if s.Default != "" {
			if err := s.value.set(s.Default); err != nil {
				panic(fmt.Sprintf("the default of %s: %v", s.Key, err))
			}
		}
	}
	return c
}

package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
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
	kind    kind
}

// Scope says which commands have a setting.
type Scope int

// The scopes. A command of one scope has the settings of the greater ones too.
const (
	ForRun    Scope = iota // reading a stream
	ForStream              // finding the stream
	ForStore               // finding the store
)

// kind is how the values of a setting are read and written.
type kind struct {
	set     func(*Config, string) error // sets the value, or appends it to a list
	show    func(*Config) string        // the value in force, without secrets
	list    func(*Config) *[]string     // the values of a list; else nil
	flag    bool                        // is true or false
	words   []string                    // the only values allowed; nil: any
	allowed string                      // the bounds: "200ms to 1m"; "": none
}

// Env returns the name of the environment variable: EnvPrefix and the key in
// capitals.
func (s *Setting) Env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// IsList reports whether the setting takes several values.
func (s *Setting) IsList() bool { return s.kind.list != nil }

// IsBool reports whether the setting is true or false. Its flag alone means
// true.
func (s *Setting) IsBool() bool { return s.kind.flag }

// Allowed returns the values that the setting takes, "200ms to 1m" or
// "auto, text or json"; "": no such words describe them.
func (s *Setting) Allowed() string {
	if len(s.kind.words) > 0 {
		return orList(s.kind.words)
	}
	return s.kind.allowed
}

// Settings returns the table, in the order in which a person reads about them.
func Settings() []Setting { return slices.Clone(settings) }

// settings is the table, and the only place that knows the default, the bounds
// and the meaning of a setting. It is never written to. `make docs` makes
// docs/configuration.md of it.
var settings = []Setting{
	{
		Key: "connection", Flag: "connection", Default: "gerrit", Scope: ForStore,
		Help: "`name` under which everything is stored",
		More: "Processes that work together use the same name; each stream needs its own. In Zuul it is the name of the " +
			"connection. It also names the file of the default store.",
		kind: text(func(c *Config) *string { return &c.Connection }, checkConnection),
	},
	{
		Key: "stream", Flag: "stream", Scope: ForStream,
		Help: "Kinesis stream, by `name` or ARN",
		More: "Required. An ARN also names the region and the account; a stream of another account is found only by its ARN.",
		kind: text(func(c *Config) *string { return &c.Kinesis.Stream }, nil),
	},
	{
		Key: "aws.region", Flag: "region", Scope: ForStream,
		Help: "AWS `region` (default: the ARN's, or where AWS' tools look)",
		More: "AWS' tools look at `AWS_REGION`, at `AWS_DEFAULT_REGION` and at the profile, in this order.",
		kind: text(func(c *Config) *string { return &c.Kinesis.Region }, nil),
	},
	{
		Key: "aws.endpoint", Flag: "endpoint", Scope: ForStream,
		Help: "`URL` to use instead of AWS' own",
		More: "An emulator, a proxy or a private endpoint.",
		kind: text(func(c *Config) *string { return &c.Kinesis.Endpoint }, nil),
	},
	{
		Key: "aws.account_endpoints", Flag: "account-endpoints", Default: "false",
		Help: "send requests to the account's own endpoints instead of the region's",
		More: "These are `<account>.control-kinesis.<region>` and `<account>.data-kinesis.<region>` instead of " +
			"`kinesis.<region>`. The stream must be given by its ARN.",
		kind: boolean(func(c *Config) *bool { return &c.Kinesis.AccountEndpoints }),
	},
	{
		Key: "aws.role_arn", Flag: "role-arn", Scope: ForStream,
		Help: "role to assume with the credentials found, by `ARN`",
		kind: text(func(c *Config) *string { return &c.Kinesis.Credentials.RoleARN }, nil),
	},
	{
		Key: "aws.external_id", Flag: "external-id", Scope: ForStream,
		Help: "external `id` that the role's trust policy asks for",
		kind: text(func(c *Config) *string { return &c.Kinesis.Credentials.ExternalID }, nil),
	},
	{
		Key: "aws.access_key_file", Flag: "access-key-file", Scope: ForStream,
		Help: "`file` that holds the id of an access key and nothing else",
		More: "This file, the secret's and the token's replace the search for credentials. They are read again every five " +
			"minutes.",
		kind: text(func(c *Config) *string { return &c.Kinesis.Credentials.AccessKeyFile }, nil),
	},
	{
		Key: "aws.secret_key_file", Flag: "secret-key-file", Scope: ForStream,
		Help: "`file` that holds the key's secret and nothing else",
		kind: text(func(c *Config) *string { return &c.Kinesis.Credentials.SecretKeyFile }, nil),
	},
	{
		Key: "aws.session_token_file", Flag: "session-token-file", Scope: ForStream,
		Help: "`file` that holds the session token of temporary credentials",
		kind: text(func(c *Config) *string { return &c.Kinesis.Credentials.SessionTokenFile }, nil),
	},
	{
		Key: "aws.credentials_file", Flag: "credentials-file", Scope: ForStream,
		Help: "`file` in the format of ~/.aws/credentials to use instead of these",
		kind: text(func(c *Config) *string { return &c.Kinesis.Credentials.File }, nil),
	},
	{
		Key: "store", Flag: "store", Scope: ForStore,
		Help: "`address` of the store: sqlite:PATH or zookeeper://HOST:PORT,.../CHROOT (default: a file in the state folder)",
		More: "Events, positions and leaderships are kept there. `sqlite:PATH` is one file, shared by the processes of one " +
			"host; of a missing path only the last folder is created. `zookeeper://` is Zuul's ZooKeeper, where its " +
			"schedulers take the events; the port may be left out, and so may the chroot where Zuul has none. Without the " +
			"setting the store is `<connection>.db` in `$STATE_DIRECTORY`, as systemd sets it, or else in the user's state " +
			"folder.",
		kind: kind{
			set:  func(c *Config, v string) error { return c.Store.Set(v) },
			show: func(c *Config) string { return c.Store.String() },
		},
	},
	{
		Key: "sqlite.group_access", Flag: "sqlite-group-access", Default: "false",
		Help: "let the group of a SQLite store's folder read the queue",
		More: "The folder then has mode 2770 and the files have 0660 instead of 0700 and 0600: SQLite lets nobody read who " +
			"cannot write to the files beside the database.",
		kind: boolean(func(c *Config) *bool { return &c.Store.SQLite.GroupAccess }),
	},
	{
		Key: "zookeeper.tls.cert", Flag: "zookeeper-tls-cert", Scope: ForStore,
		Help: "PEM `file` with the certificate to show to ZooKeeper",
		More: "TLS needs certificate, key and authorities. All three files are read at each new connection.",
		kind: text(func(c *Config) *string { return &c.Store.TLS.Cert }, nil),
	},
	{
		Key: "zookeeper.tls.key", Flag: "zookeeper-tls-key", Scope: ForStore,
		Help: "PEM `file` with the certificate's key",
		kind: text(func(c *Config) *string { return &c.Store.TLS.Key }, nil),
	},
	{
		Key: "zookeeper.tls.ca", Flag: "zookeeper-tls-ca", Scope: ForStore,
		Help: "PEM `file` with the authorities that sign the certificates of ZooKeeper's servers",
		kind: text(func(c *Config) *string { return &c.Store.TLS.CA }, nil),
	},
	{
		Key: "zookeeper.tls.verify_hostname", Flag: "zookeeper-tls-verify-hostname", Default: "false", Scope: ForStore,
		Help: "require the servers' names in their certificates",
		More: "Zuul does not require that.",
		kind: boolean(func(c *Config) *bool { return &c.Store.TLS.VerifyHostname }),
	},
	{
		Key: "zookeeper.session_timeout", Flag: "zookeeper-session-timeout", Default: "10s", Scope: ForStore,
		Help: "`duration` that ZooKeeper waits for a silent process before others take over",
		More: "The servers have bounds of their own; the log reports what they granted.",
		kind: duration(func(c *Config) *time.Duration { return &c.Store.ZooKeeper.SessionTimeout }, time.Second, 10*time.Minute),
	},
	{
		Key: "zookeeper.queue_limit", Flag: "zookeeper-queue-limit", Default: "10000",
		Help: "`number` of events in Zuul's queue at which reading pauses",
		More: "Reading resumes at 80% of the limit. Long queues slow Zuul down.",
		kind: bounded(func(c *Config) *int { return &c.Store.ZooKeeper.QueueLimit }, parseInt, strconv.Itoa, 1, 1_000_000),
	},
	{
		Key: "start_at", Flag: "start-at", Default: "latest",
		Help: "where to begin a stream that was never followed: latest (about 10 s ago), trim-horizon or an RFC 3339 `time`",
		More: "`trim-horizon` is the oldest record that the stream still holds. The setting is used once per stream; from then " +
			"on the stored positions count.",
		kind: of(func(c *Config) *gerritstream.StartingPosition { return &c.StartAt }, parseStartAt, formatStartAt),
	},
	{
		Key: "on_bad_checkpoint", Flag: "on-bad-checkpoint", Default: "latest",
		Help: "`policy` for a stored position that is damaged or that Kinesis refuses",
		More: "`latest` goes on from now, as Zuul does; `trim-horizon` from the oldest record; `halt` waits for an operator. " +
			"Each case is reported.",
		kind: choice(func(c *Config) *consumer.BadCheckpointPolicy { return &c.OnBadCheckpoint },
			consumer.BadCheckpointLatest, consumer.BadCheckpointTrimHorizon, consumer.BadCheckpointHalt),
	},
	{
		Key: "poll_interval", Flag: "poll-interval", Default: "250ms",
		Help: "`pause` between reads of a shard at its tip",
		More: "Kinesis allows five reads a second of each shard, by all readers together.",
		kind: duration(func(c *Config) *time.Duration { return &c.Kinesis.PollInterval }, 200*time.Millisecond, time.Minute),
	},
	{
		Key: "drop_foreign_records", Flag: "drop-foreign-records", Default: "false",
		Help: "drop records within aggregates whose hash key belongs to another shard, as the KCL does",
		More: "The Kinesis Producer Library puts such records again after the stream was resharded. A producer that does not, " +
			"or that ignores hash keys, loses them. The filter's rule is `foreign`.",
		kind: boolean(func(c *Config) *bool { return &c.Kinesis.MarkForeign }),
	},
	{
		Key: "memory", Flag: "memory", Default: "256MiB",
		Help: "upper `bound` for the bytes of pages held at once, by all shards together",
		kind: bounded(func(c *Config) *int64 { return &c.Memory }, parseSize, formatSize, minMemory, 0),
	},
	{
		Key: "retention", Flag: "retention", Default: "7d",
		Help: "`duration` that a SQLite store keeps queued events",
		More: "The time counts from when an event arrived or was queued, whichever is later, by the service's clock. Removed " +
			"events are counted. In ZooKeeper Zuul removes the events that it has handled.",
		kind: duration(func(c *Config) *time.Duration { return &c.Store.SQLite.Retention }, time.Minute, 10*365*24*time.Hour),
	},
	{
		Key: "filter.preset", Flag: "filter-preset", Default: gerrit.PresetZuul,
		Help: "`rules` that drop events before they are written anywhere",
		More: "`zuul` drops replication, cache eviction, batch-ref-updated and the ref-updated of a change's notes; `none` " +
			"drops nothing.",
		kind: choice(func(c *Config) *string { return &c.Filter.Preset }, gerrit.PresetZuul, gerrit.PresetNone),
	},
	{
		Key: "filter.types", Flag: "filter-types",
		Help: "keep only events of these `types`",
		More: "Each entry is a whole name, the beginning of one if it ends in `*`, or a regular expression (RE2) if it begins " +
			"with `^`. An empty list keeps all.",
		kind: list(func(c *Config) *[]string { return &c.Filter.Types }, nil),
	},
	{
		Key: "filter.projects", Flag: "filter-projects",
		Help: "keep only events of these `projects`",
		More: "Entries are like those of `filter.types`. An event without a project is kept.",
		kind: list(func(c *Config) *[]string { return &c.Filter.Projects }, nil),
	},
	{
		Key: "filter.refs", Flag: "filter-refs",
		Help: "keep only events of these `refs`",
		More: "Entries are like those of `filter.types`. An event without one ref of its own is kept.",
		kind: list(func(c *Config) *[]string { return &c.Filter.Refs }, nil),
	},
	{
		Key: "filter.replication", Flag: "filter-replication", Default: "false",
		Help: "keep ref-replicated and ref-replication-scheduled, for a Zuul with a replication_timeout",
		More: "A zuul.conf sets it by itself.",
		kind: boolean(func(c *Config) *bool { return &c.Filter.Replication }),
	},
	{
		Key: "sinks", Flag: "sink",
		Help: "`sink` that also receives the events",
		More: "`stdout` writes one line of JSON for each event.",
		kind: list(func(c *Config) *[]string { return &c.Sinks }, nil, SinkStdout),
	},
	{
		Key: "admin", Flag: "admin", Default: "127.0.0.1:9419",
		Help: "`address` of health, metrics and status page, HOST:PORT, or off",
		More: "At an address that is not loopback's, other hosts can read them.",
		kind: text(func(c *Config) *string { return &c.Admin }, checkAdmin),
	},
	{
		Key: "admin_hosts", Flag: "admin-host",
		Help: "host `name` that requests for health, metrics and status page may carry",
		More: "Addresses, loopback names and the name in `admin` always may. Requests for other names get status 421, so that " +
			"no web page can read the answers through a visitor's browser. List the name of a service in a cluster here.",
		kind: list(func(c *Config) *[]string { return &c.AdminHosts }, checkHostName),
	},
	{
		Key: "log.format", Flag: "log-format", Default: LogAuto,
		Help: "`format` of the log on standard error",
		More: "`auto` is text on a terminal and JSON elsewhere.",
		kind: choice(func(c *Config) *string { return &c.Log.Format }, LogAuto, LogText, LogJSON),
	},
	{
		Key: "log.level", Flag: "log-level", Default: "info",
		Help: "lowest `level` to log",
		More: "`debug` logs a line for each event, never its payload.",
		kind: kind{
			set:   func(c *Config, v string) (err error) { c.Log.Level, err = parseLevel(v); return err },
			show:  func(c *Config) string { return strings.ToLower(c.Log.Level.String()) },
			words: levels,
		},
	},
}

// The values of settings that name a choice.
const (
	SinkStdout = "stdout"
	AdminOff   = "off"
	LogAuto    = "auto"
	LogText    = "text"
	LogJSON    = "json"
)

// minMemory is room for three reads at once (kinesis.PageReserve).
const minMemory = 64 << 20

// Defaults returns the configuration in force where no source gives anything.
// Stream has no default; Load settles Store.
func Defaults() Config {
	var c Config
	for i := range settings {
		if s := &settings[i]; s.Default != "" {
			if err := s.kind.set(&c, s.Default); err != nil {
				panic(fmt.Sprintf("the default of %s: %v", s.Key, err))
			}
		}
	}
	return c
}

// of is the kind of values that a pair of functions reads and writes.
func of[T any](at func(*Config) *T, parse func(string) (T, error), show func(T) string) kind {
	return kind{
		set: func(c *Config, v string) error {
			parsed, err := parse(v)
			if err == nil {
				*at(c) = parsed
			}
			return err
		},
		show: func(c *Config) string { return show(*at(c)) },
	}
}

// bounded is the kind of values between two bounds. A high bound of zero is
// none.
func bounded[T int | int64 | time.Duration](
	at func(*Config) *T, parse func(string) (T, error), show func(T) string, low, high T,
) kind {
	k := of(at, func(v string) (T, error) {
		n, err := parse(v)
		switch {
		case err != nil:
			return n, err
		case n < low:
			return n, fmt.Errorf("%s is below the minimum of %s", v, show(low))
		case high != 0 && n > high:
			return n, fmt.Errorf("%s is above the maximum of %s", v, show(high))
		}
		return n, nil
	}, show)
	if k.allowed = show(low) + " to " + show(high); high == 0 {
		k.allowed = "at least " + show(low)
	}
	return k
}

func duration(at func(*Config) *time.Duration, low, high time.Duration) kind {
	return bounded(at, parseDuration, formatDuration, low, high)
}

// text is the kind of texts that obey a rule; nil: any, or one whose rule
// package kinesis knows (see aws.go).
func text(at func(*Config) *string, rule func(string) error) kind {
	return of(at, func(v string) (string, error) {
		if rule == nil {
			return v, nil
		}
		return v, rule(v)
	}, redactURL)
}

// choice is the kind of a few words.
func choice[T ~string](at func(*Config) *T, choices ...T) kind {
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = string(c)
	}
	k := of(at, func(v string) (T, error) { return T(v), oneOf(v, words) }, func(v T) string { return string(v) })
	k.words = words
	return k
}

func boolean(at func(*Config) *bool) kind {
	k := of(at, func(v string) (bool, error) {
		v = strings.ToLower(v) // YAML has True and TRUE as well
		return v == "true", oneOf(v, []string{"true", "false"})
	}, strconv.FormatBool)
	k.flag = true
	return k
}

// list is the kind of several texts: of any that obey a rule, or of a few
// words.
func list(at func(*Config) *[]string, rule func(string) error, words ...string) kind {
	return kind{
		set: func(c *Config, v string) error {
			*at(c) = append(*at(c), v) // also a wrong one: faults are found by its index
			switch {
			case words != nil:
				return oneOf(v, words)
			case rule != nil:
				return rule(v)
			}
			return nil
		},
		show:  func(c *Config) string { return strings.Join(*at(c), ",") },
		list:  at,
		words: words,
	}
}

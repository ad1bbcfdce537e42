package config

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// EnvPrefix begins the name of every environment variable that is a setting.
const EnvPrefix = "GERRITSTREAM_"

// Setting is one row of the table: a setting with its names and its rule.
type Setting struct {
	Key   string // in the file, sections joined by dots: "aws.region"
	Flag  string // without dashes
	Usage string // the flag's help; a word in backquotes stands for the value
	List  bool   // takes several values
	Bool  bool   // is true or false; the flag alone means true

	set  func(*Config, string) error // sets the value; appends it if List
	show func(*Config) string        // the value in force, without secrets
	list func(*Config) *[]string     // where the values are; set if List
}

// Env returns the name of the environment variable: the key in capitals behind
// EnvPrefix.
func (s *Setting) Env() string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(s.Key, ".", "_"))
}

// Default returns the value in force where nothing is said; "": none, or one
// that depends on where it runs.
func (s *Setting) Default() string {
	c := Defaults()
	return s.show(&c)
}

// Settings returns the table, in the order in which a person reads about them.
func Settings() []Setting { return slices.Clone(settings) }

// settings is the table. It is never written to.
var settings = []Setting{
	text("connection", "connection", "`name` under which everything is stored; in Zuul, the connection's name",
		func(c *Config) *string { return &c.Connection }, checkConnection),
	text("stream", "stream", "Kinesis stream, by `name` or ARN",
		func(c *Config) *string { return &c.Stream }, nil),
	text("aws.region", "region", "AWS `region` (default: from the stream's ARN, or where AWS' tools look)",
		func(c *Config) *string { return &c.AWS.Region }, nil),
	text("aws.endpoint", "endpoint", "`URL` to use instead of AWS'",
		func(c *Config) *string { return &c.AWS.Endpoint }, nil),
	boolean("aws.account_endpoints", "account-endpoints", "send requests to the account's own endpoints instead of the region's",
		func(c *Config) *bool { return &c.AWS.AccountEndpoints }),
	text("aws.role_arn", "role-arn", "role to assume, by `ARN`",
		func(c *Config) *string { return &c.AWS.RoleARN }, nil),
	text("aws.external_id", "external-id", "external `id` that the role asks for",
		func(c *Config) *string { return &c.AWS.ExternalID }, nil),
	text("aws.access_key_file", "access-key-file", "`file` that holds a key's id and nothing else",
		func(c *Config) *string { return &c.AWS.AccessKeyFile }, nil),
	text("aws.secret_key_file", "secret-key-file", "`file` that holds the key's secret and nothing else",
		func(c *Config) *string { return &c.AWS.SecretKeyFile }, nil),
	text("aws.session_token_file", "session-token-file", "`file` that holds the session token of temporary credentials",
		func(c *Config) *string { return &c.AWS.SessionTokenFile }, nil),
	text("aws.credentials_file", "credentials-file", "`file` like ~/.aws/credentials with the key to use",
		func(c *Config) *string { return &c.AWS.CredentialsFile }, nil),
	{
		Key: "store", Flag: "store", Usage: "`address` of where events and positions are kept: sqlite:PATH or zookeeper://HOST:PORT,.../CHROOT (default: a file in the state folder)",
		set:  func(c *Config, v string) (err error) { c.Store, err = parseStore(v); return },
		show: func(c *Config) string { return c.Store.String() },
	},
	boolean("sqlite.group_access", "sqlite-group-access", "let the group of a SQLite store's folder read the queue",
		func(c *Config) *bool { return &c.SQLite.GroupAccess }),
	text("zookeeper.tls.cert", "zookeeper-tls-cert", "PEM `file` with the certificate that ZooKeeper is shown",
		func(c *Config) *string { return &c.ZooKeeper.TLS.Cert }, nil),
	text("zookeeper.tls.key", "zookeeper-tls-key", "PEM `file` with the certificate's key",
		func(c *Config) *string { return &c.ZooKeeper.TLS.Key }, nil),
	text("zookeeper.tls.ca", "zookeeper-tls-ca", "PEM `file` with the authorities that sign ZooKeeper's certificates",
		func(c *Config) *string { return &c.ZooKeeper.TLS.CA }, nil),
	boolean("zookeeper.tls.verify_hostname", "zookeeper-tls-verify-hostname", "ZooKeeper's certificates must have its servers' names",
		func(c *Config) *bool { return &c.ZooKeeper.TLS.VerifyHostname }),
	duration("zookeeper.session_timeout", "zookeeper-session-timeout", "how `long` ZooKeeper waits for a process before others take over",
		func(c *Config) *time.Duration { return &c.ZooKeeper.SessionTimeout }, time.Second, 10*time.Minute),
	integer("zookeeper.queue_limit", "zookeeper-queue-limit", "`number` of events in Zuul's queue at which reading pauses",
		func(c *Config) *int { return &c.ZooKeeper.QueueLimit }, 1, 1_000_000),
	{
		Key: "start_at", Flag: "start-at", Usage: "where a stream begins that nobody has followed yet: latest (about 10 s before now), trim-horizon or an RFC 3339 `time`",
		set:  func(c *Config, v string) (err error) { c.StartAt, err = parseStartAt(v); return },
		show: func(c *Config) string { return c.StartAt.String() },
	},
	choice("on_bad_checkpoint", "on-bad-checkpoint", "`what` to do when Kinesis does not accept a stored position: latest, trim-horizon or halt",
		func(c *Config) *string { return &c.OnBadCheckpoint }, BadLatest, BadTrimHorizon, BadHalt),
	duration("poll_interval", "poll-interval", "`pause` between reads of a shard at its tip",
		func(c *Config) *time.Duration { return &c.PollInterval }, 200*time.Millisecond, time.Minute),
	boolean("drop_foreign_records", "drop-foreign-records", "drop records within aggregates whose hash key is another shard's, as the KCL does",
		func(c *Config) *bool { return &c.DropForeignRecords }),
	size("memory", "memory", "upper `bound` for the pages held at once: 256MiB",
		func(c *Config) *int64 { return &c.Memory }, minMemory),
	duration("retention", "retention", "how `long` queued events are kept in a SQLite store",
		func(c *Config) *time.Duration { return &c.Retention }, time.Minute, 10*365*24*time.Hour),
	choice("filter.preset", "filter-preset", "`rules` that drop events: zuul or none",
		func(c *Config) *string { return &c.Filter.Preset }, PresetZuul, PresetNone),
	list("filter.types", "filter-types", "keep only events of these `types`",
		func(c *Config) *[]string { return &c.Filter.Types }, nil),
	list("filter.projects", "filter-projects", "keep only events of these `projects`",
		func(c *Config) *[]string { return &c.Filter.Projects }, nil),
	list("filter.refs", "filter-refs", "keep only events of these `refs`",
		func(c *Config) *[]string { return &c.Filter.Refs }, nil),
	boolean("filter.replication", "filter-replication", "keep events of replication, for a Zuul with a replication_timeout",
		func(c *Config) *bool { return &c.Filter.Replication }),
	list("sinks", "sink", "`where` events go besides the store: stdout",
		func(c *Config) *[]string { return &c.Sinks }, []string{SinkStdout}),
	text("admin", "admin", "`address` of health, metrics and status page, HOST:PORT, or off",
		func(c *Config) *string { return &c.Admin }, checkAdmin),
	checked(list("admin_hosts", "admin-host", "`name` that health, metrics and page may be asked for by, besides addresses and loopback",
		func(c *Config) *[]string { return &c.AdminHosts }, nil), checkHostName),
	choice("log.format", "log-format", "`form` of log lines: auto, text or json",
		func(c *Config) *string { return &c.Log.Format }, LogAuto, LogText, LogJSON),
	{
		Key: "log.level", Flag: "log-level", Usage: "lowest `level` to log: debug, info, warn or error",
		set:  func(c *Config, v string) (err error) { c.Log.Level, err = parseLevel(v); return },
		show: func(c *Config) string { return strings.ToLower(c.Log.Level.String()) },
	},
}

// The values of settings that name a choice.
const (
	BadLatest      = "latest"
	BadTrimHorizon = "trim-horizon"
	BadHalt        = "halt"

	PresetZuul = "zuul"
	PresetNone = "none"

	SinkStdout = "stdout"

	AdminOff = "off"

	LogAuto = "auto"
	LogText = "text"
	LogJSON = "json"
)

// minMemory is the smallest memory setting: room for three reads at once
// (kinesis.PageReserve).
const minMemory = 64 << 20

// Defaults returns the configuration in force where nothing is said. Stream has
// no default; Store is settled by Load.
func Defaults() Config {
	return Config{
		Connection:      "gerrit",
		OnBadCheckpoint: BadLatest,
		PollInterval:    250 * time.Millisecond,
		Memory:          256 << 20,
		Retention:       7 * 24 * time.Hour,
		ZooKeeper:       ZooKeeper{SessionTimeout: 10 * time.Second, QueueLimit: 10_000},
		Filter:          Filter{Preset: PresetZuul},
		Admin:           "127.0.0.1:9419",
		Log:             Log{Format: LogAuto, Level: slog.LevelInfo},
	}
}

// text is a setting that is a text obeying a rule; nil: any, or one whose rule
// package kinesis knows (see aws.go).
func text(key, flag, usage string, at func(*Config) *string, rule func(string) error) Setting {
	return Setting{
		Key: key, Flag: flag, Usage: usage,
		set: func(c *Config, v string) error {
			*at(c) = v
			if rule == nil {
				return nil
			}
			return rule(v)
		},
		show: func(c *Config) string { return redactURL(*at(c)) },
	}
}

// choice is a setting that is one of a few words.
func choice(key, flag, usage string, at func(*Config) *string, words ...string) Setting {
	return text(key, flag, usage, at, func(v string) error { return oneOf(v, words) })
}

// boolean is a setting that is true or false.
func boolean(key, flag, usage string, at func(*Config) *bool) Setting {
	return Setting{
		Key: key, Flag: flag, Usage: usage, Bool: true,
		set: func(c *Config, v string) error {
			v = strings.ToLower(v) // YAML has True and TRUE as well
			*at(c) = v == "true"
			return oneOf(v, []string{"true", "false"})
		},
		show: func(c *Config) string { return strconv.FormatBool(*at(c)) },
	}
}

// integer is a setting that is a whole number within bounds.
func integer(key, flag, usage string, at func(*Config) *int, low, high int) Setting {
	return Setting{
		Key: key, Flag: flag, Usage: usage,
		set: func(c *Config, v string) error {
			n, err := strconv.Atoi(v)
			if err != nil || n < low || n > high {
				return fmt.Errorf("%q is not a number from %d to %d", v, low, high)
			}
			*at(c) = n
			return nil
		},
		show: func(c *Config) string { return strconv.Itoa(*at(c)) },
	}
}

// list is a setting of several texts, of any or of a few words.
func list(key, flag, usage string, at func(*Config) *[]string, words []string) Setting {
	return Setting{
		Key: key, Flag: flag, Usage: usage, List: true, list: at,
		set: func(c *Config, v string) error {
			*at(c) = append(*at(c), v)
			if words == nil {
				return nil
			}
			return oneOf(v, words)
		},
		show: func(c *Config) string { return strings.Join(*at(c), ",") },
	}
}

// checked is a setting whose texts have a rule besides.
func checked(s Setting, check func(string) error) Setting {
	set := s.set
	s.set = func(c *Config, v string) error { return cmp.Or(check(v), set(c, v)) }
	return s
}

// duration is a setting that is a length of time within bounds.
func duration(key, flag, usage string, at func(*Config) *time.Duration, low, high time.Duration) Setting {
	return Setting{
		Key: key, Flag: flag, Usage: usage,
		set: func(c *Config, v string) error {
			d, err := parseDuration(v)
			if err != nil {
				return err
			}
			if d < low || d > high {
				return fmt.Errorf("%s is not between %s and %s", v, low, high)
			}
			*at(c) = d
			return nil
		},
		show: func(c *Config) string { return at(c).String() },
	}
}

// size is a setting that is a number of bytes, with a least value.
func size(key, flag, usage string, at func(*Config) *int64, low int64) Setting {
	return Setting{
		Key: key, Flag: flag, Usage: usage,
		set: func(c *Config, v string) error {
			n, err := parseSize(v)
			if err != nil {
				return err
			}
			if n < low {
				return fmt.Errorf("%s is too small; the least is %s", v, formatSize(low))
			}
			*at(c) = n
			return nil
		},
		show: func(c *Config) string { return formatSize(*at(c)) },
	}
}

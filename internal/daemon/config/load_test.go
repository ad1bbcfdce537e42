package config

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// home is an environment in which the store has a default.
var home = []string{"HOME=/home/gerrit"}

// write puts a configuration into a file named gerrit.yaml and returns its
// path.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "gerrit.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// everything sets every setting to something that is not its default.
const everything = `
connection: review.example.org
stream: arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit
aws: {region: eu-west-1, endpoint: "http://127.0.0.1:4567", role_arn: "arn:aws:iam::123456789012:role/r",
      external_id: x-1, credentials_file: CREDENTIALS}
store: zookeeper://zk1.example.org,[::1]:2281/zuul/one
sqlite: {group_access: true}
zookeeper:
  tls: {cert: CREDENTIALS, key: CREDENTIALS, ca: CREDENTIALS, verify_hostname: True}
  session_timeout: 15s
  queue_limit: 500
start_at: 2026-01-31T08:00:00Z
on_bad_checkpoint: halt
poll_interval: 1s
drop_foreign_records: true
kinesis: {read: fan-out, consumer_arn: "arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit/consumer/c:1700000000"}
memory: 1GiB
retention: 3d
retention_max: 5d
retention_max_size: 2GiB
filter:
  preset: none
  types: [ref-updated, change-merged]
  projects:
    - platform/*
  refs: [refs/heads/main]
  replication: true
sinks: [stdout]
admin: "off"
admin_hosts: [events.ci.svc, ci1]
pprof: true
socket: unix:/run/g.sock
socket_group: gerrit-events
log: {format: json, level: debug}
`

func TestLoadFile(t *testing.T) {
	creds := write(t, "[default]")
	got, err := Load(Sources{File: write(t, strings.ReplaceAll(everything, "CREDENTIALS", creds))})
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Connection: "review.example.org",
		Kinesis: kinesis.Config{
			Stream: "arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit",
			Region: "eu-west-1", Endpoint: "http://127.0.0.1:4567", PollInterval: time.Second, MarkForeign: true,
			Read:        kinesis.ReadFanOut,
			ConsumerARN: "arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit/consumer/c:1700000000",
			Credentials: kinesis.Credentials{RoleARN: "arn:aws:iam::123456789012:role/r", ExternalID: "x-1",
				File: creds},
		},
		Store: Store{
			Kind: got.Store.Kind,
			SQLite: sqlite.Config{
				GroupAccess: true, Retention: 72 * time.Hour, RetentionMax: 120 * time.Hour, RetentionMaxBytes: 2 << 30,
			},
			Postgres: Postgres{Connections: postgres.DefaultConnections},
			ZooKeeper: zookeeper.Config{
				Hosts: []string{"zk1.example.org:2181", "[::1]:2281"}, Chroot: "/zuul/one",
				SessionTimeout: 15 * time.Second, QueueLimit: 500,
			},
			TLS: zookeeper.TLS{Cert: creds, Key: creds, CA: creds, VerifyHostname: true},
		},
		StartAt:         gerritstream.StartingPosition{Time: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)},
		OnBadCheckpoint: consumer.BadCheckpointHalt,
		Memory:          1 << 30,
		Filter: gerrit.FilterConfig{Preset: gerrit.PresetNone, Types: []string{"ref-updated", "change-merged"},
			Projects: []string{"platform/*"}, Refs: []string{"refs/heads/main"}, Replication: true},
		Sinks: []string{SinkStdout},
		Admin: AdminOff, AdminHosts: []string{"events.ci.svc", "ci1"}, Pprof: true,
		Socket: Socket{Address: "unix:/run/g.sock", Group: "gerrit-events"},
		Log:    Log{Format: LogJSON, Level: slog.LevelDebug},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	again := got.Store
	if err := again.Set(got.Store.String()); err != nil || !reflect.DeepEqual(again, got.Store) {
		t.Errorf("%s is read as %+v, %v", &got.Store, again, err)
	}
	defaults := Defaults()
	unset := settingsOf(&defaults)
	for i, s := range settingsOf(&got) {
		excluded := s.Key == "aws.account_endpoints" || s.Key == "kinesis.consumer_name" ||
			strings.HasPrefix(s.Key, "postgres.") || s.Key == "aws.access_key_file" ||
			s.Key == "aws.secret_key_file" || s.Key == "aws.session_token_file"
		// Excluded by the store, the endpoint, a consumer's ARN, a file.
		if s.value.show() == unset[i].value.show() && !excluded {
			t.Errorf("%s: the test sets it to its default", s.Key)
		}
	}
}

// TestKeyFiles: every setting of AWS reaches package kinesis.
func TestKeyFiles(t *testing.T) {
	id, secret, token := write(t, "id"), write(t, "secret"), write(t, "token")
	c, err := Load(Sources{Environ: home, Flags: map[string][]string{
		"read": {"auto"}, "consumer-name": {"c"},
		"stream": {"s"}, "region": {"eu-west-1"}, "endpoint": {"http://127.0.0.1:1"}, "poll-interval": {"2s"}, "drop-foreign-records": {"true"},
		"role-arn": {"arn:aws:iam::123456789012:role/r"}, "external-id": {"x"},
		"access-key-file": {id}, "secret-key-file": {secret}, "session-token-file": {token},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := kinesis.Config{
		Stream: "s", Region: "eu-west-1", Endpoint: "http://127.0.0.1:1", PollInterval: 2 * time.Second,
		Credentials: kinesis.Credentials{
			AccessKeyFile: id, SecretKeyFile: secret, SessionTokenFile: token,
			RoleARN: "arn:aws:iam::123456789012:role/r", ExternalID: "x",
		},
		MarkForeign: true, Read: kinesis.ReadAuto, ConsumerName: "c",
	}
	if got := c.Kinesis; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestFieldsOfKinesisHaveSettings: a fault of package kinesis is reported under
// the setting's name.
func TestFieldsOfKinesisHaveSettings(t *testing.T) {
	for field, want := range map[string]string{
		"Stream": "stream", "Region": "aws.region", "Endpoint": "aws.endpoint", "AccountEndpoints": "aws.account_endpoints",
		"Credentials.RoleARN": "aws.role_arn", "Credentials.ExternalID": "aws.external_id",
		"Credentials.AccessKeyFile": "aws.access_key_file", "Credentials.SecretKeyFile": "aws.secret_key_file",
		"Credentials.SessionTokenFile": "aws.session_token_file", "Credentials.File": "aws.credentials_file",
		"PollInterval": "poll_interval", "Read": "kinesis.read", "ConsumerName": "kinesis.consumer_name",
		"ConsumerARN": "kinesis.consumer_arn", "Credentials.Keys": "", "": "",
	} {
		if got := keyOf(field); got != want {
			t.Errorf("%q leads to %q, want %q", field, got, want)
		}
	}
}

func TestAccountEndpoints(t *testing.T) {
	flags := map[string][]string{"stream": {"arn:aws:kinesis:eu-west-1:123456789012:stream/gerrit"},
		"account-endpoints": {"true"}}
	c, err := Load(Sources{Environ: home, Flags: flags})
	if err != nil || !c.Kinesis.AccountEndpoints {
		t.Errorf("got %+v, %v", c.Kinesis, err)
	}
}

func TestDefaults(t *testing.T) {
	got, err := Load(Sources{Environ: home, Flags: map[string][]string{"stream": {"gerrit"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := Defaults()
	want.Kinesis.Stream = "gerrit"
	want.Store.Kind, want.Store.StateHome = got.Store.Kind, "/home/gerrit/.local/state"
	want.Store.SQLite.Path = "/home/gerrit/.local/state/gerritstream/gerrit.db"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestPrecedence(t *testing.T) {
	src := Sources{
		File: write(t, "stream: file\nconnection: file\nlog: {level: warn}\nfilter: {types: [file]}\n"),
		Environ: append([]string{
			"GERRITSTREAM_STREAM=env", "GERRITSTREAM_CONNECTION=env", "GERRITSTREAM_FILTER_TYPES=env1,env2",
			"GERRITSTREAM_LOG_LEVEL=", // empty: not given
		}, home...),
		Flags: map[string][]string{"stream": {"flag"}},
	}
	c, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if c.Kinesis.Stream != "flag" || c.Connection != "env" || c.Log.Level != slog.LevelWarn {
		t.Errorf("stream %q, connection %q, level %v", c.Kinesis.Stream, c.Connection, c.Log.Level)
	}
	if want := []string{"env1", "env2"}; !reflect.DeepEqual(c.Filter.Types, want) {
		t.Errorf("types %q, want %q: a stronger list replaces a weaker one", c.Filter.Types, want)
	}
}

func TestForeignVariablesAreIgnored(t *testing.T) {
	injected := []string{
		"GERRITSTREAM_PORT=tcp://10.0.0.1:9419", "GERRITSTREAM_SERVICE_HOST=10.0.0.1", "GERRITSTREAM_SERVICE_PORT=9419",
		"GERRITSTREAM_PORT_9419_TCP=tcp://10.0.0.1:9419", "GERRITSTREAM_STRAEM=x",
		"GERRITSTREAM_REGION=us-west-2", "GERRITSTREAM_CONFIG=", "GERRITSTREAM_ANYTHING_ELSE=x",
	}
	c, err := Load(Sources{
		Environ: append(injected, home...), Flags: map[string][]string{"stream": {"gerrit"}},
	})
	if err != nil {
		t.Error(err)
	}
	want := []string{
		"$GERRITSTREAM_REGION is not a setting; did you mean $GERRITSTREAM_AWS_REGION?",
		"$GERRITSTREAM_STRAEM is not a setting; did you mean $GERRITSTREAM_STREAM?",
	}
	if !slices.Equal(c.Notes, want) {
		t.Errorf("notes %q, want %q", c.Notes, want)
	}
	for _, s := range Settings() {
		if e := s.Env(); strings.HasSuffix(e, "_PORT") || strings.HasSuffix(e, "_SERVICE_HOST") ||
			strings.Contains(e, "_PORT_") {
			t.Errorf("%s could be injected by Kubernetes", e)
		}
	}
}

func TestDefaultStore(t *testing.T) {
	tests := []struct {
		name    string
		environ []string
		want    string
	}{
		{"systemd", []string{"STATE_DIRECTORY=/var/lib/gerritstream", "HOME=/root"}, "/var/lib/gerritstream/gerrit.db"},
		{"systemd with two", []string{"STATE_DIRECTORY=/var/lib/a:/var/lib/b"}, "/var/lib/a/gerrit.db"},
		{"XDG", []string{"XDG_STATE_HOME=/state", "HOME=/home/u"}, "/state/gerritstream/gerrit.db"},
		{"relative XDG is invalid by its specification", []string{"XDG_STATE_HOME=state", "HOME=/home/u"},
			"/home/u/.local/state/gerritstream/gerrit.db"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Load(Sources{Environ: tt.environ, Flags: map[string][]string{"stream": {"s"}}})
			if err != nil || c.Store.SQLite.Path != tt.want {
				t.Errorf("store %q, %v; want %q", c.Store.SQLite.Path, err, tt.want)
			}
		})
	}
}

// TestAllFaultsAtOnce compares all faults and their places.
func TestAllFaultsAtOnce(t *testing.T) {
	file := write(t, `conection: gerrit
stream: "no spaces"
aws:
  region: us-west-2
  regoin: eu-west-1
  endpoint: localhost:4567
  role_arn: [a, b]
zookeeper: {session_timeout: 1ms, queue_limit: 0, tls: {verify_hostname: perhaps, crt: x}}
region: us-west-2
start_at: latets
memory: 12MiB
poll_interval: 1ms
filter:
  preset: zul
  types: ref-updated
  refs: [{a: b}]
sinks: [stdout, stdout, kafka]
log: text
1: 2
`)
	_, err := Load(Sources{
		File:    file,
		Environ: []string{"GERRITSTREAM_ADMIN=9419"},
		Flags:   map[string][]string{"store": {"zookeeper://zk1:zk,:1/../chroot/"}, "log-level": {"wran"}},
	})
	if err == nil {
		t.Fatal("no faults found")
	}
	want := `F:1:1: unknown key "conection"; did you mean "connection"?
F:2:9: stream: "no spaces" is not a stream's name: 1 to 128 letters, digits, '_', '.' and '-'
F:5:3: unknown key "aws.regoin"; did you mean "region"?
F:6:13: aws.endpoint: "localhost:4567" is not a URL, such as http://localhost:4567
F:7:13: aws.role_arn: expected a single value
F:8:30: zookeeper.session_timeout: 1ms is below the minimum of 1s
F:8:48: zookeeper.queue_limit: 0 is below the minimum of 1
F:8:74: zookeeper.tls.verify_hostname: "perhaps" is not one of true, false
F:8:83: unknown key "zookeeper.tls.crt"; did you mean "cert"?
F:9:1: unknown key "region"; did you mean "aws.region"?
F:10:11: start_at: "latets" is not latest, trim-horizon or a time (-24h, 2026-01-31T08:00:00Z); did you mean "latest"?
F:11:9: memory: 12MiB is below the minimum of 64MiB
F:12:16: poll_interval: 1ms is below the minimum of 200ms
F:14:11: filter.preset: "zul" is not one of zuul, none; did you mean "zuul"?
F:15:10: filter.types: expected a list, as in [one, two]
F:16:10: filter.refs: expected a single value
F:17:17: sinks: "stdout" is given twice
F:17:25: sinks: "kafka" is unknown; there is only stdout
F:18:6: log: expected keys and values here, as in "connection: gerrit"
F:19:1: only plain keys are understood here
$GERRITSTREAM_ADMIN: admin: "9419" is not an address such as 127.0.0.1:9419, nor off
--store: store: "zk1:zk": the port is not a number from 1 to 65535
--store: store: "" is not a host's name or address
--store: store: the chroot "/../chroot" has a relative part
--log-level: log.level: "wran" is not one of debug, info, warn, error; did you mean "warn"?`
	got := strings.ReplaceAll(err.Error(), file, "F")
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := "", ""
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Errorf("line %d\n got %s\nwant %s", i, g, w)
		}
	}
}

func TestOtherFaults(t *testing.T) {
	tests := []struct {
		name, file string
		flags      map[string][]string
		want       string
	}{
		{"no stream", "connection: gerrit", nil, "stream: not set; give --stream, $GERRITSTREAM_STREAM or stream: in the file"},
		{"tab", "stream: s\naws:\n\tregion: x", nil, "F:3:1: a tab cannot indent; use spaces"},
		{"not closed", "stream: [s", nil, "F:1:9: "},
		{"a list", "- stream", map[string][]string{"stream": {"s"}}, "F:1:1: expected keys and values here"},
		{"a text", "stream", map[string][]string{"stream": {"s"}}, "F:1:1: expected keys and values here"},
		{"a list without a stream", "- connection", nil, "F:1:1: expected keys and values here"},
		{"stream is a list", "stream: [s]", nil, "F:1:9: stream: expected a single value"},
		{"alias of a section", "stream: s\naws: *x", nil, "F:2:6: aws: anchors, aliases and tags"},
		{"alias of a list", "stream: s\nfilter: {types: *x}", nil, "F:2:17: filter.types: anchors, aliases and tags"},
		{"webhook whose URL is a list", "stream: s\nwebhooks: [{name: a, url: [x]}]", nil,
			"F:2:27: webhooks[0].url: expected a single value"},
		{"twice", "stream: a\nstream: b", nil, `F:2:1: mapping key "stream" already defined at [1:1]`},
		{"two documents", "stream: a\n---\nstream: b", nil, "F:3:7: a second document"},
		{"anchor", "stream: &s a", map[string][]string{"stream": {"s"}}, "F:1:9: stream: anchors, aliases and tags"},
		{"alias", "stream: s\nfilter: {types: [x], projects: [*x]}", nil, "F:2:33: filter.projects: anchors, aliases and tags"},
		{"tag", "stream: !!str a", map[string][]string{"stream": {"s"}}, "F:1:9: stream: anchors, aliases and tags"},
		{"merge", "<<: {stream: a}", map[string][]string{"stream": {"s"}}, "F:1:1: only plain keys"},
		{"region against ARN", "stream: arn:aws:kinesis:eu-west-1:123456789012:stream/s\naws: {region: us-west-2}", nil,
			"F:2:15: aws.region: us-west-2 is not the region of the stream's ARN, eu-west-1"},
		{"bad ARN", "stream: arn:aws:sns:eu-west-1:123456789012:s", nil, "F:1:9: stream: "},
		{"external id alone", "stream: s\naws: {external_id: x}", nil, "F:2:20: aws.external_id: given without a role to assume"},
		{"no credentials file", "stream: s\naws: {credentials_file: /no/such/file}", nil,
			"F:2:25: aws.credentials_file: open /no/such/file: no such file or directory"},
		{"key without secret", "stream: s\naws: {access_key_file: /dev/null}", nil,
			"aws.secret_key_file: a key's id is given without its secret"},
		{"two kinds of files", "stream: s\naws: {access_key_file: /dev/null, secret_key_file: /dev/null, credentials_file: /dev/null}", nil,
			"F:2:81: aws.credentials_file: cannot be combined with a key"},
		{"store", "stream: s\nstore: /var/lib/g.db", nil, `F:2:8: store: "/var/lib/g.db" is not a store; use sqlite:PATH, postgres://USER@HOST:PORT/DATABASE or zookeeper://HOST:PORT,HOST:PORT/CHROOT`},
		{"empty sqlite", "stream: s\nstore: 'sqlite:'", nil, "F:2:8: store: sqlite: needs the path of a file"},
		{"unknown scheme", "stream: s\nstore: zk://u:hunter2@zk1", nil, `F:2:8: store: "zk://xxxxx@zk1" is not a store; use sqlite:PATH, postgres`},
		{"no server", "stream: s\nstore: zookeeper://", nil, "F:2:8: store: no server is named"},
		{"only a chroot", "stream: s\nstore: zookeeper:///zuul", nil, "F:2:8: store: no server is named"},
		{"one slash", "stream: s\nstore: zookeeper:/zk", nil, `F:2:8: store: "zookeeper:/zk" is not a store`},
		{"port", "stream: s\nstore: zookeeper://zk1:0", nil, `F:2:8: store: "zk1:0": the port is not a number from 1 to 65535`},
		{"address without brackets", "stream: s\nstore: zookeeper://::1", nil, `F:2:8: store: "::1": several colons; an IPv6 address goes in brackets`},
		{"user", "stream: s\nstore: zookeeper://u:hunter2@zk1", nil, "F:2:8: store: a user in a server's address is not supported"},
		{"relative chroot", "stream: s\nstore: zookeeper://zk1/../zuul", nil, `F:2:8: store: the chroot "/../zuul" has a relative part`},
		{"certificate without key", "stream: s\nstore: zookeeper://zk1\nzookeeper: {tls: {cert: /dev/null}}", nil,
			"F:3:25: zookeeper.tls.cert: given without zookeeper.tls.key and zookeeper.tls.ca; TLS needs all of zookeeper.tls.cert, zookeeper.tls.key, zookeeper.tls.ca"},
		{"key without certificate", "stream: s\nstore: zookeeper://zk1\nzookeeper: {tls: {key: /dev/null}}", nil,
			"F:3:24: zookeeper.tls.key: given without zookeeper.tls.cert and zookeeper.tls.ca; TLS needs all of "},
		{"names without TLS", "stream: s\nstore: zookeeper://zk1\nzookeeper: {tls: {verify_hostname: true}}", nil,
			"F:3:36: zookeeper.tls.verify_hostname: given without TLS"},
		{"no certificate", "stream: s\nstore: zookeeper://zk1\nzookeeper: {tls: {cert: /dev/null, key: /dev/null, ca: /no/such/file}}", nil,
			"F:3:56: zookeeper.tls.ca: open /no/such/file: no such file or directory"},
		{"TLS with a file", "stream: s\nstore: sqlite:g.db\nzookeeper: {tls: {ca: /dev/null}}", nil,
			"F:3:23: zookeeper.tls.ca: given, but the store is sqlite:g.db; the setting is for zookeeper://"},
		{"TLS with the default", "stream: s\nzookeeper: {tls: {verify_hostname: true}}", nil,
			"F:2:36: zookeeper.tls.verify_hostname: given, but the store is sqlite:/home/gerrit/.local/state/gerritstream/gerrit.db; "},
		{"TLS is no text", "stream: s\nstore: zookeeper://zk1\nzookeeper: {tls: true}", nil,
			"F:3:18: zookeeper.tls: expected keys and values here"},
		{"zuul.conf in the file", "stream: s\nzuul_conf: zuul.conf", nil, "F:2:1: name a zuul.conf outside of this file, with --zuul-conf or "},
		{"connection", "stream: s\nconnection: ../x", nil, "F:2:13: connection: "},
		{"port", "stream: s\nadmin: localhost:99999", nil, "F:2:8: admin: "},
		{"host with a port", "stream: s\nadmin_hosts: [a.svc, 'a.svc:9419']", nil, `F:2:22: admin_hosts: "a.svc:9419" is not the name of a host`},
		{"host as a URL", "stream: s\nadmin_hosts: ['http://u:hunter2@a/']", nil, `F:2:15: admin_hosts: "http://xxxxx@a/" is not the name of a host`},
		{"socket without a scheme", "stream: s\nsocket: /run/s", nil, `F:2:9: socket: "/run/s" is not a socket such as unix:/run`},
		{"socket without a path", "stream: s\nsocket: 'unix:'", nil, `F:2:9: socket: "unix:" is not a socket such as`},
		{"socket in no folder", "stream: s\nsocket: unix:@s", nil, `F:2:9: socket: "@s" is not the path of a file`},
		{"socket too long", "stream: s\nsocket: unix:/" + strings.Repeat("x", 107), nil, "F:2:9: socket: the path of the socket has 108 bytes; the system takes 107"},
		{"group without a socket", "stream: s\nsocket_group: g", nil, "F:2:15: socket_group: given, but there is no socket"},
		{"retention", "stream: s\nretention: 7 days", nil, `F:2:12: retention: "7 days" is not a duration`},
		{"size", "stream: s\nmemory: 256 Mebi", nil, `F:2:9: memory: "256 Mebi" is not a size: "Mebi" is none of`},
		{"pattern", "stream: s\nfilter: {refs: [a*, '^(']}", nil, "F:2:21: filter.refs: \"^(\": error parsing regexp"},
		{"star", "stream: s\nfilter: {projects: ['*a']}", nil, "F:2:21: filter.projects: \"*a\": "},
		{"role", "stream: s\naws: {role_arn: me}", nil, "F:2:17: aws.role_arn: "},
		{"overridden but wrong", "stream: s\nmemory: x", map[string][]string{"memory": {"1GiB"}}, "F:2:9: memory: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := write(t, tt.file)
			_, err := Load(Sources{File: file, Environ: home, Flags: tt.flags})
			if err == nil {
				t.Fatal("no fault found")
			}
			got := strings.ReplaceAll(err.Error(), file, "F")
			if !strings.HasPrefix(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestNoStreamHidesNoFault: without a stream's name the other settings of AWS
// are looked at all the same.
func TestNoStreamHidesNoFault(t *testing.T) {
	file := write(t, `aws: {endpoint: localhost, region: us west, role_arn: me, credentials_file: /no/such/file}
kinesis: {consumer_name: a b}
`)
	_, err := Load(Sources{File: file, Environ: home})
	for _, want := range []string{
		"F:1:17: aws.endpoint: ", "F:1:36: aws.region: ", "F:1:55: aws.role_arn: ", "F:1:77: aws.credentials_file: ",
		"F:2:26: kinesis.consumer_name: ", "stream: not set; give ",
	} {
		if err == nil || strings.Count("\n"+strings.ReplaceAll(err.Error(), file, "F"), "\n"+want) != 1 {
			t.Errorf("not once %q:\n%v", want, err)
		}
	}
}

// TestStoreOnly: a command for the store alone needs no stream, and still gets
// every fault.
func TestStoreOnly(t *testing.T) {
	if _, err := Load(Sources{Environ: home, StoreOnly: true}); err != nil {
		t.Error(err)
	}
	_, err := Load(Sources{Environ: append([]string{"GERRITSTREAM_MEMORY=x"}, home...), StoreOnly: true})
	if err == nil {
		t.Error("a fault was overlooked")
	}
}

func TestNoHome(t *testing.T) {
	_, err := Load(Sources{Flags: map[string][]string{"stream": {"s"}}})
	const want = "store: not set, and there is no home folder for a default; give --store sqlite:PATH"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Load(Sources{File: "/no/such/gerrit.yaml", Environ: home, Flags: map[string][]string{"stream": {"s"}}})
	if err == nil || err.Error() != "read configuration: open /no/such/gerrit.yaml: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

func TestHugeFile(t *testing.T) {
	file := write(t, "stream: "+strings.Repeat("s", maxFile))
	_, err := Load(Sources{File: file, Environ: home, Flags: map[string][]string{"stream": {"s"}}})
	if err == nil || !strings.Contains(err.Error(), "is larger than 1MiB") {
		t.Errorf("got %.100v", err)
	}
}

// TestEmptyFile: comments, and keys without values, change nothing.
func TestEmptyFile(t *testing.T) {
	const empty = "aws:\nfilter: {types: }\nmemory:\nsinks: []\nlog: {}\n"
	for _, text := range []string{"", "# nothing\n", "---\n", empty} {
		c, err := Load(Sources{File: write(t, text), Environ: home, Flags: map[string][]string{"stream": {"s"}}})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		want := Defaults()
		want.Kinesis.Stream, want.Store = "s", c.Store
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%q: got %+v", text, c)
		}
	}
}

// TestNothingSecretIsPrinted: the only secret a setting can hold is in a URL.
func TestNothingSecretIsPrinted(t *testing.T) {
	c := Defaults()
	c.Kinesis.Endpoint = "http://user:hunter2@127.0.0.1:4567/"
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("configuration", "config", &c)
	for _, got := range []string{c.LogValue().String(), log.String()} {
		if strings.Contains(got, "hunter2") || !strings.Contains(got, "xxxxx@127.0.0.1:4567") {
			t.Errorf("printed: %s", got)
		}
	}
	for flag, forms := range map[string][]string{
		"endpoint": {"http://user:hunter2@h/", "user:hunter2@h", "user:hunter2@", "http://user:hunter2%zz@h/", "//user:hunter2@h"},
		"store":    {"zookeeper://user:hunter2@h", "user:hunter2@h", "http://user:hunter2%zz@h/", "//user:hunter2@h", "zk:user:hunter2@h"},
		"admin":    {"http://user:hunter2@h/", "user:hunter2@h:1"},
	} {
		for _, form := range forms {
			flags := map[string][]string{"stream": {"s"}, "endpoint": {"http://h"}}
			flags[flag] = []string{form}
			c, err := Load(Sources{Environ: home, Flags: flags})
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("--%s %s: got %v", flag, form, err)
			}
			if strings.Contains(c.LogValue().String(), "hunter2") {
				t.Errorf("--%s %s: printed: %s", flag, form, c.LogValue())
			}
		}
	}
}

func TestTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		for _, name := range []string{"key " + s.Key, "flag " + s.Flag, "env " + s.Env()} {
			if seen[name] {
				t.Errorf("%s is defined twice", name)
			}
			seen[name] = true
		}
		quotes := strings.Count(s.Help, "`")
		if s.value.set == nil || s.value.show == nil || quotes == 2 == s.IsBool() || strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s: incomplete", s.Key)
		}
	}
}

// FuzzParseFile: whatever a file holds, reading it ends in values or faults
// with a place.
func FuzzParseFile(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte("a: [b, {c: d}]\n? x\n: y\n--- !t &a\n*a : |\n  text\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var faults Faults
		values, _ := parseFile("F", raw, Settings(), &faults)
		for key, v := range values {
			if lookup(Settings(), key) == nil || len(v.texts) != len(v.places) {
				t.Errorf("key %q: %+v", key, v)
			}
		}
		for _, fault := range faults {
			if fault.Place.Name != "F" || strings.Contains(fault.Error(), "\n") {
				t.Errorf("fault %q", fault.Error())
			}
		}
	})
}

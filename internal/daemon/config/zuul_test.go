package config

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesis"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// writeAs puts a text into a file of that name and returns its path.
func writeAs(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// zuulConf is like real files: we need only parts of it.
const zuulConf = `[statsd]
server = 127.0.0.1

[zookeeper]
hosts = zk1.example.org:2281,
        zk2.example.org/zuul
tls_cert = %(tls)s
tls_key = %(tls)s
tls_ca = %(tls)s
session_timeout = 40.0

[keystore]
password = 100%hunter2

[connection "gerrit"]
driver = gerrit
server = review.example.org
password = hunter2
aws_kinesis_region = us-west-2
aws_kinesis_stream = events
aws_kinesis_access_key = AKIDhunter2
aws_kinesis_secret_key = %(ZUUL_SECRET)s
replication_timeout = 30

[connection mysql]
driver = sql

[DEFAULT]
tls = /dev/null
`

var zuulHome = append([]string{"ZUUL_SECRET=hunter2hunter2"}, home...)

// TestZuulConf: nothing but a zuul.conf is needed.
func TestZuulConf(t *testing.T) {
	file := writeAs(t, "zuul.conf", zuulConf)
	got, err := Load(Sources{ZuulConf: file, Environ: zuulHome})
	if err != nil {
		t.Fatal(err)
	}
	id, secret := retrieve(t, &got)
	if id != "AKIDhunter2" || secret != "hunter2hunter2" ||
		got.Kinesis.Credentials.Keys.String() != file+` [connection "gerrit"]` {
		t.Errorf("key %q, %q of %s", id, secret, got.Kinesis.Credentials.Keys)
	}
	want := Defaults()
	want.Connection, want.Kinesis.Stream, want.Kinesis.Region = "gerrit", "events", "us-west-2"
	want.Filter.Replication = true
	want.Store.Kind, want.Store.ZooKeeper.Chroot = got.Store.Kind, "/zuul"
	want.Store.ZooKeeper.Hosts = []string{"zk1.example.org:2281", "zk2.example.org:2181"}
	want.Store.ZooKeeper.SessionTimeout = 40 * time.Second
	want.Store.TLS = zookeeper.TLS{Cert: "/dev/null", Key: "/dev/null", CA: "/dev/null"}
	if !equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// equal compares configurations except for their keys, which cannot be
// compared.
func equal(a, b Config) bool {
	a.Kinesis.Credentials.Keys, b.Kinesis.Credentials.Keys = kinesis.Keys{}, kinesis.Keys{}
	return reflect.DeepEqual(a, b)
}

// retrieve returns the key that reaches package kinesis.
func retrieve(t *testing.T, c *Config) (id, secret string) {
	t.Helper()
	k := &c.Kinesis
	if k.Credentials.Keys.IsZero() {
		return "", ""
	}
	found, err := k.Credentials.Keys.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found.AccessKeyID, found.SecretAccessKey
}

// TestZuulConfIsTheWeakest: file, environment and flags are stronger.
func TestZuulConfIsTheWeakest(t *testing.T) {
	creds := write(t, "[default]")
	src := Sources{
		ZuulConf: writeAs(t, "zuul.conf", zuulConf),
		File: write(t, "stream: file\nfilter: {replication: false}\naws: {region: eu-west-1}\n"+
			"zookeeper: {session_timeout: 5s, tls: {ca: "+creds+"}}\n"),
		Environ: append([]string{"GERRITSTREAM_AWS_REGION=eu-west-2", "GERRITSTREAM_AWS_CREDENTIALS_FILE=" + creds,
			"GERRITSTREAM_CONNECTION=nowhere"}, zuulHome...),
		Flags: map[string][]string{"store": {"zookeeper://zk9"}, "connection": {"gerrit"}}, // over the environment's
	}
	c, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if c.Kinesis.Stream != "file" || c.Filter.Replication || c.Kinesis.Region != "eu-west-2" ||
		!c.Kinesis.Credentials.Keys.IsZero() ||
		c.Store.String() != "zookeeper://zk9:2181" || c.Store.ZooKeeper.SessionTimeout != 5*time.Second ||
		c.Store.TLS != (zookeeper.TLS{Cert: "/dev/null", Key: "/dev/null", CA: creds}) {
		t.Errorf("got %+v", c)
	}
	want := []string{"the key of " + src.ZuulConf +
		` [connection "gerrit"] is not used: $GERRITSTREAM_AWS_CREDENTIALS_FILE names another`}
	if !reflect.DeepEqual(c.Notes, want) {
		t.Errorf("notes %q", c.Notes)
	}
}

// TestZuulConfWithAnotherStore: the file's ZooKeeper is then ignored, with a
// note.
func TestZuulConfWithAnotherStore(t *testing.T) {
	file := writeAs(t, "zuul.conf", strings.Replace(zuulConf, "zk1.example.org:2281", ":bad", 1))
	c, err := Load(Sources{ZuulConf: file, Environ: zuulHome, Flags: map[string][]string{"store": {"sqlite:g.db"}}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Store.String() != "sqlite:g.db" || c.Kinesis.Stream != "events" ||
		!reflect.DeepEqual(c.Store.ZooKeeper, Defaults().Store.ZooKeeper) {
		t.Errorf("got %+v", c)
	}
	if want := []string{"the ZooKeeper of " + file +
		" is not used: --store names another store"}; !reflect.DeepEqual(c.Notes, want) {
		t.Errorf("notes %q", c.Notes)
	}
}

// TestZuulConfKeysAreNotPrinted: neither with a configuration nor in its
// faults.
func TestZuulConfKeysAreNotPrinted(t *testing.T) {
	file := writeAs(t, "zuul.conf", zuulConf)
	c, err := Load(Sources{ZuulConf: file, Environ: zuulHome})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		fmt.Fprintf(&b, verb+"\n", c)
	}
	b.WriteString(c.LogValue().String())
	slog.New(slog.NewTextHandler(&b, nil)).Info("configuration", "config", &c, "by_value", c)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("configuration", "config", &c, "by_value", c)
	_, err = Load(Sources{ZuulConf: file, Environ: home}) // without the variable that holds the secret
	if err == nil {
		t.Fatal("no fault found")
	}
	b.WriteString(err.Error())
	for _, secret := range []string{"hunter2", fmt.Sprintf("%x", "hunter2")} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("printed:\n%s", &b)
		}
	}
}

// several has two connections on Kinesis, and one that is not.
const several = `[zookeeper]
hosts=zk
[connection gerrit]
driver=gerrit
aws_kinesis_region=us-west-2
[connection review]
driver=gerrit
aws_kinesis_region=us-east-1
aws_kinesis_stream=review
[connection ssh]
driver=gerrit
`

func TestZuulConfChoice(t *testing.T) {
	tests := []struct {
		name  string
		file  string
		flags map[string][]string
		want  string // connection, stream and region; or the fault
	}{
		{"the only one", strings.Replace(several, "aws_kinesis_region=us-east-1", "", 1), nil, "gerrit gerrit us-west-2"},
		{"the only one has another name", strings.Replace(several, "aws_kinesis_region=us-west-2", "", 1), nil, "review review us-east-1"},
		{"chosen", several, map[string][]string{"connection": {"review"}}, "review review us-east-1"},
		{"not chosen", several, nil,
			"Z: connection: 2 connections in it get their events from Kinesis: gerrit, review; give --connection or $GERRITSTREAM_CONNECTION"},
		{"not there", several, map[string][]string{"connection": {"gerit"}},
			"--connection: connection: Z has no [connection gerit]; those that get their events from Kinesis: gerrit, review"},
		{"not on Kinesis", several, map[string][]string{"connection": {"ssh"}},
			"--connection: connection: [connection ssh] of Z has no aws_kinesis_region and gets no events from Kinesis; " +
				"give --stream or $GERRITSTREAM_STREAM"},
		{"not on Kinesis, with our own stream", several, map[string][]string{"connection": {"ssh"}, "stream": {"own"}}, "ssh own "},
		{"none", "[zookeeper]\nhosts=zk\n[connection ssh]\ndriver=gerrit\n", nil,
			"Z: connection: no [connection ...] in it gets its events from Kinesis: none has aws_kinesis_region"},
		{"empty file", "", nil, "Z: store: no ZooKeeper is named (hosts in [zookeeper]); give --store or $GERRITSTREAM_STORE\n" +
			"Z: connection: no [connection ...] in it gets its events from Kinesis: none has aws_kinesis_region"},
		{"broken, but not chosen", several + "[connection broken]\naws_kinesis_region=%(none)s\n", map[string][]string{"connection": {"review"}},
			"review review us-east-1"},
		{"broken", several + "[connection broken]\naws_kinesis_region=5%\n", nil,
			"Z:13:1: [connection broken] aws_kinesis_region: a percent sign must be written as %%"},
		{"the name is no path", "[zookeeper]\nhosts=zk\n[connection a/b]\naws_kinesis_region=us-west-2\n", nil,
			`Z:3:1: connection: "a/b" is not a connection's name: at most 128 letters, digits and ._-; no dot or dash first`},
		{"region and stream", "[zookeeper]\nhosts=zk\n[gerrit]\naws_kinesis_region=US West\naws_kinesis_stream=a b\n", nil,
			`Z:4:1: aws.region: "US West" is not a region's name, such as us-west-2
Z:5:1: stream: "a b" is not a stream's name: 1 to 128 letters, digits, '_', '.' and '-'`},
		{"ZooKeeper", "[zookeeper]\nhosts=zk:x,/a/..\nsession_timeout=0.5\ntls_cert=/dev/null\n[gerrit]\naws_kinesis_region=r\n", nil,
			`Z:2:1: [zookeeper] hosts: "zk:x": the port is not a number from 1 to 65535
Z:2:1: [zookeeper] hosts: a server is missing before or after a comma
Z:2:1: [zookeeper] hosts: the chroot "/a/.." has a relative part
Z:3:1: zookeeper.session_timeout: 500ms is below the minimum of 1s`},
		{"certificate without key", "[zookeeper]\nhosts=zk\ntls_cert=/dev/null\ntls_ca=/no/such/file\n[gerrit]\naws_kinesis_region=r\n", nil,
			`Z:3:1: zookeeper.tls.cert: given without zookeeper.tls.key; TLS needs all of zookeeper.tls.cert, zookeeper.tls.key, zookeeper.tls.ca
Z:4:1: zookeeper.tls.ca: open /no/such/file: no such file or directory`},
		{"not ConfigParser's", "zookeeper:\n  hosts: zk\n", nil, "Z:1:1: a line before the first [section]"},
		{"twice", several + "[zookeeper]\n", nil, "Z:12:1: [zookeeper] is already defined at line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			file := writeAs(t, "zuul.conf", tt.file)
			c, err := Load(Sources{ZuulConf: file, Environ: home, Flags: tt.flags})
			got := c.Connection + " " + c.Kinesis.Stream + " " + c.Kinesis.Region
			if err != nil {
				got = strings.ReplaceAll(err.Error(), file, "Z")
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestZuulConfForTheStoreOnly: a command for the store alone gets the store and
// the connection.
func TestZuulConfForTheStoreOnly(t *testing.T) {
	file := writeAs(t, "zuul.conf", several)
	c, err := Load(Sources{ZuulConf: file, StoreOnly: true, Environ: home,
		Flags: map[string][]string{"connection": {"ssh"}}})
	if err != nil || c.Connection != "ssh" || c.Store.String() != "zookeeper://zk:2181" {
		t.Errorf("%s of %s, %v", c.Connection, &c.Store, err)
	}
}

// TestZuulConfAndFile: the faults of both, each file's in its order.
func TestZuulConfAndFile(t *testing.T) {
	file := write(t, "\n\nmemory: 1\n"+strings.Repeat("\n", 20)+"admin: x\n")
	zuul := writeAs(t, "zuul.conf", several+"[connection ssh]\n")
	_, err := Load(Sources{File: file, ZuulConf: zuul, Environ: home, Flags: map[string][]string{"log-level": {"x"}}})
	want := []string{
		"F:3:9: memory: 1 is below the minimum of 64MiB",
		`F:24:8: admin: "x" is not an address such as 127.0.0.1:9419, nor off`,
		"Z:12:1: [connection ssh] is already defined at line 10",
		`--log-level: log.level: "x" is not one of debug, info, warn, error`,
	}
	if strings.Compare(file, zuul) > 0 { // the folders' names are made up
		want = []string{want[2], want[0], want[1], want[3]}
	}
	got := strings.Split(strings.NewReplacer(file, "F", zuul, "Z").Replace(fmt.Sprint(err)), "\n")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestMissingZuulConf(t *testing.T) {
	_, err := Load(Sources{ZuulConf: "/no/such/zuul.conf", Environ: home})
	if err == nil || err.Error() != "read configuration: open /no/such/zuul.conf: no such file or directory" {
		t.Errorf("got %v", err)
	}
}

// TestZuulConfKeyIsReadAgain: a changed key in the file reaches a running
// process. A file that lacks the key or is half written is an error that
// reveals no secret, until the file is complete again.
func TestZuulConfKeyIsReadAgain(t *testing.T) {
	file := writeAs(t, "zuul.conf", zuulConf)
	c, err := Load(Sources{ZuulConf: file, Environ: zuulHome})
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(strings.ReplaceAll(zuulConf, "AKIDhunter2", "AKIDrotated"))
	if id, secret := retrieve(t, &c); id != "AKIDrotated" || secret != "hunter2hunter2" {
		t.Errorf("key %q, %q", id, secret)
	}
	for name, text := range map[string]string{
		"empty":         "",
		"half of it":    zuulConf[:strings.Index(zuulConf, "aws_kinesis_secret_key")],
		"no key":        strings.ReplaceAll(strings.ReplaceAll(zuulConf, "aws_kinesis_access_key", "x"), "aws_kinesis_secret_key", "y"),
		"no connection": strings.ReplaceAll(zuulConf, `[connection "gerrit"]`, "[connection other]"),
		"no sense":      "hunter2\n" + zuulConf,
	} {
		rewrite(text)
		if _, err := c.Kinesis.Credentials.Keys.Retrieve(t.Context()); err == nil ||
			!strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	rewrite(zuulConf)
	if id, _ := retrieve(t, &c); id != "AKIDhunter2" {
		t.Errorf("key %q", id)
	}
}

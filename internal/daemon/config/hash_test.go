package config

import (
	"errors"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
)

// agreed returns a configuration to change.
func agreed() Config {
	c := Defaults()
	c.Kinesis.Stream = "gerrit"
	if err := c.Store.Set("zookeeper://zk:2181"); err != nil {
		panic(err)
	}
	c.Filter.Types = []string{"a", "b"}
	return c
}

// TestHash: the hash changes with what must be the same in all processes, and
// with nothing else.
func TestHash(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		agrees bool
	}{
		{"nothing", func(*Config) {}, true},
		{"stream by ARN", func(c *Config) { c.Kinesis.Stream = "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit" }, true},
		{"order of a list", func(c *Config) { c.Filter.Types = []string{"b", "a"} }, true},
		{"region", func(c *Config) { c.Kinesis.Region = "us-west-2" }, true},
		{"credentials", func(c *Config) { c.Kinesis.Credentials.Keys = kinesis.NewKeys("a", "b", "c") }, true},
		{"role", func(c *Config) { c.Kinesis.Credentials.RoleARN = "x" }, true},
		{"where it begins", func(c *Config) { c.StartAt.TrimHorizon = true }, true},
		{"servers", func(c *Config) { c.Store.ZooKeeper.Hosts = []string{"zk1:1", "zk2:2"} }, true},
		{"TLS", func(c *Config) { c.Store.TLS.CA = "x" }, true},
		{"limits", func(c *Config) {
			c.Memory, c.Kinesis.PollInterval, c.Store.ZooKeeper.QueueLimit = 1<<30, time.Second, 5
		}, true},
		{"admin", func(c *Config) { c.Admin = AdminOff }, true},
		{"log", func(c *Config) { c.Log = Log{LogJSON, slog.LevelDebug} }, true},
		{"retention in ZooKeeper", func(c *Config) { c.Store.SQLite.Retention = time.Hour }, true},

		{"connection", func(c *Config) { c.Connection = "review" }, false},
		{"stream", func(c *Config) { c.Kinesis.Stream = "gerrit2" }, false},
		{"preset", func(c *Config) { c.Filter.Preset = gerrit.PresetNone }, false},
		{"replication", func(c *Config) { c.Filter.Replication = true }, false},
		{"types", func(c *Config) { c.Filter.Types = nil }, false},
		{"projects", func(c *Config) { c.Filter.Projects = []string{"x"} }, false},
		{"refs", func(c *Config) { c.Filter.Refs = []string{"x"} }, false},
		{"policy", func(c *Config) { c.OnBadCheckpoint = consumer.BadCheckpointHalt }, false},
		{"sinks", func(c *Config) { c.Sinks = []string{SinkStdout} }, false},
	}
	base := agreed()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := agreed()
			tt.change(&c)
			if (c.Hash() == base.Hash()) != tt.agrees {
				t.Errorf("%s against %s", c.Hash(), base.Hash())
			}
		})
	}
	a, b := agreed(), agreed()
	a.Filter.Preset, b.Filter.Preset, b.Filter.Replication = gerrit.PresetNone, gerrit.PresetNone, true
	if a.Hash() != b.Hash() {
		t.Error("replication makes a difference where nothing is dropped")
	}
	if err := errors.Join(a.Store.Set("sqlite:x"), b.Store.Set("sqlite:y")); err != nil {
		t.Fatal(err)
	}
	if a.Hash() != b.Hash() {
		t.Error("the path of a file makes a difference")
	}
	if b.Store.SQLite.Retention = time.Hour; a.Hash() == b.Hash() {
		t.Error("the retention of SQLite makes no difference")
	}
	if !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(a.Hash()) {
		t.Errorf("hash %q", a.Hash())
	}
}

// TestHashStays: processes of one version and of the next agree.
func TestHashStays(t *testing.T) {
	c := agreed()
	if got, want := c.Hash(), "4620cd7e8ff9"; got != want {
		t.Errorf("%s, and released versions have %s", got, want)
	}
}

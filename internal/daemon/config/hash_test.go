package config

import (
	"log/slog"
	"regexp"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesis"
)

// agreed is a configuration to depart from.
func agreed() Config {
	c := Defaults()
	c.Stream, c.Store = "gerrit", Store{Servers: []string{"zk:2181"}}
	c.Filter.Types = []string{"a", "b"}
	return c
}

// TestHash: it changes with what must be the same everywhere, and with nothing
// else.
func TestHash(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		agrees bool
	}{
		{"nothing", func(*Config) {}, true},
		{"stream by ARN", func(c *Config) { c.Stream = "arn:aws:kinesis:us-west-2:123456789012:stream/gerrit" }, true},
		{"order of a list", func(c *Config) { c.Filter.Types = []string{"b", "a"} }, true},
		{"region", func(c *Config) { c.AWS.Region = "us-west-2" }, true},
		{"credentials", func(c *Config) { c.AWS.Keys = kinesis.NewKeys("a", "b", "c") }, true},
		{"role", func(c *Config) { c.AWS.RoleARN = "x" }, true},
		{"where it begins", func(c *Config) { c.StartAt.TrimHorizon = true }, true},
		{"servers", func(c *Config) { c.Store.Servers = []string{"zk1:1", "zk2:2"} }, true},
		{"TLS", func(c *Config) { c.ZooKeeper.TLS.CA = "x" }, true},
		{"limits", func(c *Config) { c.Memory, c.PollInterval, c.ZooKeeper.QueueLimit = 1<<30, time.Second, 5 }, true},
		{"admin", func(c *Config) { c.Admin = AdminOff }, true},
		{"log", func(c *Config) { c.Log = Log{LogJSON, slog.LevelDebug} }, true},
		{"retention in ZooKeeper", func(c *Config) { c.Retention = time.Hour }, true},

		{"connection", func(c *Config) { c.Connection = "review" }, false},
		{"stream", func(c *Config) { c.Stream = "gerrit2" }, false},
		{"preset", func(c *Config) { c.Filter.Preset = PresetNone }, false},
		{"replication", func(c *Config) { c.Filter.Replication = true }, false},
		{"types", func(c *Config) { c.Filter.Types = nil }, false},
		{"projects", func(c *Config) { c.Filter.Projects = []string{"x"} }, false},
		{"refs", func(c *Config) { c.Filter.Refs = []string{"x"} }, false},
		{"policy", func(c *Config) { c.OnBadCheckpoint = BadHalt }, false},
		{"sinks", func(c *Config) { c.Sinks = []string{SinkStdout} }, false},
	}
	base := agreed()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := agreed()
			tt.change(&c)
			if (c.Hash(1, 2) == base.Hash(1, 2)) != tt.agrees {
				t.Errorf("%s against %s", c.Hash(1, 2), base.Hash(1, 2))
			}
		})
	}
	if base.Hash(1, 2) == base.Hash(1, 3) {
		t.Error("a newer format makes no difference")
	}
	a, b := agreed(), agreed()
	a.Filter.Preset, b.Filter.Preset, b.Filter.Replication = PresetNone, PresetNone, true
	if a.Hash() != b.Hash() {
		t.Error("replication makes a difference where nothing is dropped")
	}
	a.Store, b.Store = Store{SQLite: "x"}, Store{SQLite: "y"}
	if a.Hash() != b.Hash() {
		t.Error("the path of a file makes a difference")
	}
	if b.Retention = time.Hour; a.Hash() == b.Hash() {
		t.Error("the retention of SQLite makes no difference")
	}
	if !regexp.MustCompile(`^[0-9a-f]{12}$`).MatchString(a.Hash()) {
		t.Errorf("hash %q", a.Hash())
	}
}

// TestHashStays: processes of one version and of the next agree.
func TestHashStays(t *testing.T) {
	c := agreed()
	if got, want := c.Hash(1), "c6a82fec7e25"; got != want {
		t.Errorf("%s, and released versions have %s", got, want)
	}
}

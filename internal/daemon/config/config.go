package config

import (
	"log/slog"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
)

// Config is the configuration of a process that reads a stream. The table of
// settings (settings.go) explains each value. A setting for one package lies in
// that package's own Config. The zero value is not usable: see Defaults and
// Load.
type Config struct {
	Connection      string
	Kinesis         kinesis.Config
	Store           Store
	StartAt         gerritstream.StartingPosition
	OnBadCheckpoint consumer.BadCheckpointPolicy
	Memory          int64 // bytes
	Filter          gerrit.FilterConfig
	Sinks           []string
	Webhooks        []Webhook
	Admin           string // HOST:PORT, or AdminOff
	AdminHosts      []string
	Pprof           bool
	Socket          Socket // of the API
	Log             Log

	// Notes are what a person should know about where settings came from: a
	// sentence each, without secrets.
	Notes []string

	exposed bool // a flag has a password, which other users of the host can read
}

// Socket is where consumers and tail are served.
type Socket struct {
	Address string // unix:PATH; empty: none
	Group   string // name or number; empty: the process' own
}

// Path returns the path of the socket; "": there is none.
func (s *Socket) Path() string { return strings.TrimPrefix(s.Address, socketPrefix) }

// Log configures the log on standard error.
type Log struct {
	Format string // LogAuto, LogText or LogJSON
	Level  slog.Level
}

// LogValue lists every setting with its value in force. A password in a URL is
// left out.
func (c *Config) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, s := range settingsOf(c) {
		attrs = append(attrs, slog.String(s.Key, s.value.show()))
	}
	for i := range c.Webhooks {
		h := &c.Webhooks[i].Hook
		attrs = append(attrs, slog.String(webhooksKey+"."+h.Name, h.URL.String()))
	}
	return slog.GroupValue(attrs...)
}

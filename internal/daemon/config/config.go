package config

import (
	"log/slog"
	"net/url"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/kinesis"
)

// Config is what a process that reads a stream is told. The table of settings
// (settings.go) explains each field, with its default and its bounds. Where a
// setting is for one package, it lies in that package's own Config. The zero
// value is not usable: see Defaults and Load.
type Config struct {
	Connection      string
	Kinesis         kinesis.Config
	Store           Store
	StartAt         gerritstream.StartingPosition
	OnBadCheckpoint consumer.BadCheckpointPolicy
	Memory          int64 // bytes
	Filter          gerrit.FilterConfig
	Sinks           []string
	Admin           string // HOST:PORT, or AdminOff
	AdminHosts      []string
	Log             Log

	// Notes are what a person should know about where settings came from: a
	// sentence each, without secrets.
	Notes []string
}

// Log says what is logged, to standard error.
type Log struct {
	Format string // LogAuto, LogText or LogJSON
	Level  slog.Level
}

// LogValue lists every setting with its value in force. A password in a URL is
// left out.
func (c *Config) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, len(settings))
	for i := range settings {
		attrs = append(attrs, slog.String(settings[i].Key, settings[i].kind.show(c)))
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
		b.WriteString(settings[i].Key + "=" + settings[i].kind.show(c))
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

package zookeeper

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"
)

// Config configures a Store. Hosts and Connection must be given.
type Config struct {
	// Hosts are the servers, "host:port" or "host", in any order. The port
	// defaults to 2181.
	Hosts []string

	// Chroot is the node that all paths are below: the part of Zuul's `hosts`
	// from the first slash on. It must exist. Empty: none.
	Chroot string

	// Connection is the connection's name in zuul.conf.
	Connection string

	// SessionTimeout is the timeout to ask for. The servers grant one between 2
	// and 20 of their ticks, which is logged. A process that dies keeps its
	// leaderships for that long. Zero: DefaultSessionTimeout.
	SessionTimeout time.Duration

	// TLS connects with TLS. nil: in plain text.
	TLS *TLS

	// QueueLimit is how many events Zuul's queue may hold before commits wait,
	// because Zuul lists the whole queue for each event. It is a soft limit.
	// Zero: DefaultQueueLimit. Negative: none.
	QueueLimit int

	// Process names this process in Inspect, in logs and in its lock nodes.
	// Default: host name and process id.
	Process string

	// Logger gets what an operator should know. nil: nothing is logged.
	Logger *slog.Logger

	// Now is the clock that dates events and reports. No decision depends on
	// it. nil: time.Now.
	Now func() time.Time
}

// TLS names the files of a client certificate, as Zuul's tls_cert, tls_key and
// tls_ca do. They are read at each new connection, so that a running process
// takes renewed ones.
type TLS struct {
	Cert, Key, CA string

	// VerifyHostname checks the server's certificate against the name by which
	// the server was reached. By default only the CA's signature is checked, as
	// Zuul does.
	VerifyHostname bool
}

// What a Config's zero values mean.
const (
	DefaultSessionTimeout = 10 * time.Second
	DefaultQueueLimit     = 10_000
)

const defaultPort = "2181"

// complete checks the configuration and fills in what was left out.
func (c *Config) complete() error {
	var errs []error
	if len(c.Hosts) == 0 {
		errs = append(errs, errors.New("no hosts given"))
	}
	hosts := make([]string, len(c.Hosts))
	for i, host := range c.Hosts {
		var err error
		if hosts[i], err = withPort(host); err != nil {
			errs = append(errs, err)
		}
	}
	c.Hosts = hosts
	chroot, err := parseChroot(c.Chroot)
	c.Chroot = chroot
	errs = append(errs, err, parseConnection(c.Connection))
	if c.SessionTimeout == 0 {
		c.SessionTimeout = DefaultSessionTimeout
	}
	if c.SessionTimeout < time.Millisecond {
		errs = append(errs, fmt.Errorf("session timeout %v is too short", c.SessionTimeout))
	}
	if c.QueueLimit == 0 {
		c.QueueLimit = DefaultQueueLimit
	}
	if c.TLS != nil {
		errs = append(errs, c.TLS.check(time.Now()))
	}
	if c.Process == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		c.Process = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

// withPort adds the default port to a host that has none.
func withPort(host string) (string, error) {
	if host == "" || strings.ContainsAny(host, "/, \t") {
		return "", fmt.Errorf("%q is not a host", host)
	}
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host, nil
	}
	full := net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
	if _, _, err := net.SplitHostPort(full); err != nil {
		return "", fmt.Errorf("%q is not a host: %w", host, err)
	}
	return full, nil
}

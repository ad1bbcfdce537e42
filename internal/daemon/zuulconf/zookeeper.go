package zuulconf

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// ZooKeeper is the section [zookeeper].
type ZooKeeper struct {
	Servers        []string         // "HOST:PORT"; none: the section or its hosts are missing
	Chroot         string           // "/zuul"; "": none
	Cert, Key, CA  string           // paths of PEM files; "": not given
	SessionTimeout time.Duration    // 0: not given; Zuul's own default does not matter
	At             map[string]Place // the places of the keys, by name: "hosts"
}

// ZooKeeper reads the section [zookeeper]. Its error joins a *Fault for each
// invalid key.
func (f *File) ZooKeeper() (ZooKeeper, error) {
	z := ZooKeeper{}
	s := f.find("zookeeper")
	if s == nil {
		return z, nil
	}
	r := reader{file: f, section: s, at: map[string]Place{}}
	if hosts, ok := r.text("hosts"); ok {
		var err error
		z.Servers, z.Chroot, err = SplitHosts(hosts)
		r.report("hosts", err)
	}
	z.Cert, _ = r.text("tls_cert")
	z.Key, _ = r.text("tls_key")
	z.CA, _ = r.text("tls_ca")
	if text, ok := r.text("session_timeout"); ok {
		z.SessionTimeout = r.seconds("session_timeout", text)
	}
	z.At = r.at
	return z, errors.Join(r.faults...)
}

// reader reads the keys of one section.
type reader struct {
	file    *File
	section *section
	at      map[string]Place
	faults  []error
}

// text returns a key's value; ok is false if there is none, or a fault.
func (r *reader) text(key string) (text string, ok bool) { return r.read(key, false) }

// secret is text for a value that is never quoted.
func (r *reader) secret(key string) Secret {
	text, _ := r.read(key, true)
	return Secret(text)
}

func (r *reader) read(key string, secret bool) (text string, ok bool) {
	e, ok, fault := r.file.get(r.section, key, secret)
	if fault != nil {
		r.faults = append(r.faults, fault)
	}
	if !ok {
		return "", false
	}
	r.at[key] = e.place
	return e.text, true
}

// report adds a fault for each of the errors that err joins.
func (r *reader) report(key string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			r.report(key, err)
		}
	} else if err != nil {
		r.fault(key, "%v", err)
	}
}

func (r *reader) fault(key, format string, args ...any) {
	r.faults = append(r.faults,
		r.file.fault(r.at[key], "[%s] %s: "+format, append([]any{r.section.name, key}, args...)...))
}

// maxSeconds is the longest accepted time.
const maxSeconds = 1e6

// seconds reads a positive number of seconds.
func (r *reader) seconds(key, text string) time.Duration {
	n, ok := number(text)
	if !ok || n <= 0 || n > maxSeconds {
		r.fault(key, "%q is not a number of seconds", text)
		return 0
	}
	return time.Duration(math.Ceil(n * float64(time.Second)))
}

// pythonNumber matches what Python's float reads, except for infinity and NaN.
var pythonNumber = regexp.MustCompile(`^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)([eE][+-]?\d+(_\d+)*)?$`)

// number reads a finite number as Python's float does.
func number(text string) (n float64, ok bool) {
	text = strings.TrimSpace(text)
	if !pythonNumber.MatchString(text) {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	return n, err == nil
}

const defaultPort = "2181"

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

// splitServers reads ZooKeeper's servers as Zuul's client kazoo does:
// "HOST[:PORT],...", with optional space around each, and IPv6 addresses in
// brackets. It returns them with ports. Its error joins one for each invalid
// server.
func splitServers(list string) ([]string, error) {
	if trim(list) == "" {
		return nil, errors.New("no server is named")
	}
	var servers []string
	var faults []error
	for item := range strings.SplitSeq(list, ",") {
		server, err := parseServer(trim(item))
		if err != nil {
			faults = append(faults, err)
			continue
		}
		servers = append(servers, server)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return servers, nil
}

func parseServer(item string) (string, error) {
	host, port, _ := strings.Cut(item, ":")
	switch {
	case item == "":
		return "", errors.New("a server is missing before or after a comma")
	case strings.Contains(item, "@"): // a password may come before it
		return "", errors.New("a user in a server's address is not supported")
	case item[0] == '[':
		inside, after, closed := strings.Cut(item[1:], "]")
		address, err := netip.ParseAddr(inside)
		if !closed || err != nil || !address.Is6() || after != "" && after[0] != ':' {
			return "", fmt.Errorf("%q is not an IPv6 address in brackets, such as [::1]:2181", item)
		}
		host, port = inside, strings.TrimPrefix(after, ":")
	case strings.Count(item, ":") > 1:
		return "", fmt.Errorf("%q: several colons; an IPv6 address goes in brackets: [::1]:2181", item)
	case !hostName.MatchString(host):
		return "", fmt.Errorf("%q is not a host's name or address", host)
	}
	if port == "" {
		port = defaultPort
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("%q: the port is not a number from 1 to 65535", item)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// checkChroot checks the parts of a chroot.
func checkChroot(path string) error {
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch {
		case part == "." || part == "..":
			return fmt.Errorf("the chroot %q has a relative part", path)
		case strings.ContainsFunc(part, isRefused):
			return fmt.Errorf("the chroot %q has a character that ZooKeeper refuses", path)
		}
	}
	return nil
}

// isRefused reports whether ZooKeeper refuses a character in the name of a
// node.
func isRefused(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0xd800 && r < 0xf900 || r >= 0xfff0 && r <= 0xffff
}

// SplitHosts reads the value of hosts: servers, and a chroot from the first
// slash on. The chroot is normalised as kazoo does: without superfluous
// slashes.
func SplitHosts(hosts string) (servers []string, chroot string, err error) {
	list, path, _ := strings.Cut(hosts, "/")
	servers, err = splitServers(list)
	for part := range strings.SplitSeq(trim(path), "/") {
		if part != "" {
			chroot += "/" + part
		}
	}
	return servers, chroot, errors.Join(err, checkChroot(chroot))
}

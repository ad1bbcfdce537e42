package zuulconf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// defaultPort is ZooKeeper's, as kazoo has it.
const defaultPort = "2181"

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?$`)

// splitServers reads ZooKeeper's servers as kazoo does, the client that Zuul
// uses: "HOST[:PORT],...", with space around each where one likes, and IPv6
// addresses in brackets. It returns them with a port each. Its error joins one
// for each that is wrong.
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

// parseServer reads one server.
func parseServer(item string) (string, error) {
	host, port, _ := strings.Cut(item, ":")
	switch {
	case item == "":
		return "", errors.New("a server's name is missing before or behind a comma")
	case strings.Contains(item, "@"): // it may be a password that stands before it
		return "", errors.New("a user in a server's address is not supported")
	case item[0] == '[':
		inside, behind, closed := strings.Cut(item[1:], "]")
		address, err := netip.ParseAddr(inside)
		if !closed || err != nil || !address.Is6() || behind != "" && behind[0] != ':' {
			return "", fmt.Errorf("%q is not an IPv6 address in brackets, such as [::1]:2181", item)
		}
		host, port = inside, strings.TrimPrefix(behind, ":")
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

// checkChroot says what is wrong with the parts of a chroot.
func checkChroot(path string) error {
	for part := range strings.SplitSeq(strings.TrimPrefix(path, "/"), "/") {
		switch {
		case part == "." || part == "..":
			return fmt.Errorf("the chroot %q has a relative part", path)
		case strings.ContainsFunc(part, refusedInPath):
			return fmt.Errorf("the chroot %q has a character that ZooKeeper refuses", path)
		}
	}
	return nil
}

// refusedInPath reports the characters that ZooKeeper refuses in the name of a
// node.
func refusedInPath(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0xd800 && r < 0xf900 || r >= 0xfff0 && r <= 0xffff
}

// SplitHosts reads the value of hosts: servers, and a chroot behind the first
// slash. The chroot is put into the form that kazoo gives it, without slashes
// that are too many.
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

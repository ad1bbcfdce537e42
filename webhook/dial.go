package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ErrForbiddenAddress says that the receiver has no address but such as a hook
// without AllowPrivate must not connect to.
var ErrForbiddenAddress = errors.New("the address is not public; allow_private permits it")

// Network is how hooks reach their receivers. Its zero value is the system's
// network.
type Network struct {
	// Resolve returns the addresses of a host; nil: the system's resolver.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

	// Dial connects to an address, an IP address with a port that may be
	// connected to; nil: a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// dialer connects to a receiver. It resolves the name itself, for each
// connection, and connects to an address that it has looked at: a name whose
// addresses change between two looks gains nothing.
type dialer struct {
	network      Network
	allowPrivate bool
}

func newDialer(n Network, allowPrivate bool) *dialer {
	if n.Resolve == nil {
		n.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if n.Dial == nil {
		n.Dial = (&net.Dialer{}).DialContext
	}
	return &dialer{network: n, allowPrivate: allowPrivate}
}

// dial tries the addresses of a host one after the other, and divides the time
// that is left among them.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	var failed error
	for i, addr := range addrs {
		conn, err := d.dialOne(ctx, network, net.JoinHostPort(addr.String(), port), len(addrs)-i)
		switch {
		case err == nil:
			return conn, nil
		case failed == nil:
			failed = err
		default:
			failed = fmt.Errorf("%w; %w", failed, err)
		}
	}
	return nil, failed
}

func (d *dialer) dialOne(ctx context.Context, network, address string, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(left))
		defer cancel()
	}
	return d.network.Dial(ctx, network, address)
}

// resolve returns the addresses of a host that may be connected to, at most a
// few.
func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs := []netip.Addr{}
	if addr, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, addr)
	} else if addrs, err = d.network.Resolve(ctx, host); err != nil {
		return nil, err
	}
	var may []netip.Addr
	for _, addr := range addrs {
		if d.allowPrivate || IsPublic(addr) {
			may = append(may, addr.Unmap())
		}
	}
	switch {
	case len(addrs) == 0:
		return nil, fmt.Errorf("%s has no address", host)
	case len(may) == 0:
		return nil, fmt.Errorf("%s: %w", addrs[0].Unmap(), ErrForbiddenAddress)
	}
	return may[:min(len(may), maxAddresses)], nil
}

const maxAddresses = 4

// special are the networks that are not public although netip.Addr calls their
// addresses global, from the registries of special-purpose addresses, and the
// addresses at which clouds serve metadata and keys of their machines.
var special = parsePrefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
	"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"168.63.129.16/32", // metadata that is not link-local
	"2001::/23", "2001:db8::/32", "3fff::/20",
	"2002::/16", // 6to4: it embeds an IPv4 address
)

// ipv6 is what of IPv6 is assigned as global unicast; nat64 embeds an IPv4
// address in its last four bytes.
var (
	ipv6  = netip.MustParsePrefix("2000::/3")
	nat64 = netip.MustParsePrefix("64:ff9b::/96")
)

func parsePrefixes(texts ...string) []netip.Prefix {
	prefixes := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		prefixes[i] = netip.MustParsePrefix(text)
	}
	return prefixes
}

// IsPublic reports whether an address is one of the public internet.
func IsPublic(addr netip.Addr) bool {
	if addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		bytes := addr.As16()
		addr = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	if addr.Is6() && !ipv6.Contains(addr) || !addr.IsGlobalUnicast() || addr.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

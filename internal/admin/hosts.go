package admin

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosts says for which names requests are answered. A page of elsewhere that
// has its own name resolve to this address, DNS rebinding, could otherwise have
// a visitor's browser read what is served here. Such a request carries that
// name, so that names are checked and addresses are not.
type hosts struct {
	names []string // lower case, without a port
}

// newHosts returns the rule for a server that was given an address to bind.
func newHosts(address string, more []string) hosts {
	names := slices.Clone(more)
	if host, _, err := net.SplitHostPort(address); err == nil {
		names = append(names, host)
	}
	for i, name := range names {
		names[i] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return hosts{names: names}
}

// allow reports whether a request for this Host header is answered: an IP
// address does, a loopback name, the name that was bound, one that was
// configured, and no name at all, which HTTP/1.0 allows and no browser sends.
func (h hosts) allow(header string) bool {
	host := header
	if name, _, err := net.SplitHostPort(header); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || header == "" {
		return true
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(h.names, name)
}

// guard answers requests for other names with 421, and leaves the rest to next.
func (h hosts) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			plain(w, http.StatusMisdirectedRequest, "this name is not served here: ask by address, or set --admin-host\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

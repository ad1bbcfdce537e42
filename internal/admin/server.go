// Package admin shows a running process to people and machines over HTTP:
// /healthz, /readyz, /metrics, and at / a page about the whole group, which
// keeps itself up to date. It sees the process and its store only through
// functions that return their state, and can change nothing.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/crowd"
	"github.com/gerritstream/gerritstream/internal/overview"
)

// Options say what a Server shows and where.
type Options struct {
	Address string                     // HOST:PORT; port 0: any free one
	Hosts   []string                   // names that requests may carry besides loopback's and the address' own
	Status  func() gerritstream.Status // called for each request, by several goroutines at once
	Alive   func() error               // likewise; returns what is stuck. nil: nothing ever is
	Metrics *Metrics

	// View returns what the page shows, likewise. nil: there is no page.
	View func() overview.View

	Pprof bool // serve Go's profiles

	Logger *slog.Logger // nil: nothing is logged
}

// Server serves the pages. New creates it, Run runs it.
type Server struct {
	listener net.Listener
	http     *http.Server
	stop     func() // ends answers that go on and on
}

// The bounds on one request. Answers are small and made in memory.
const (
	headerTimeout = 5 * time.Second
	totalTimeout  = 15 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10

	// maxConnections are served at once; a further one takes the place of one
	// without a request.
	maxConnections = 64
	stopTimeout    = 500 * time.Millisecond // for requests in flight at the end
)

// New binds the address. From then on connections queue up; Run serves them.
// The error names an address that cannot be bound; errors.Is finds
// syscall.EADDRINUSE in it.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("serve health and metrics: %w", err)
	}
	if ap, err := netip.ParseAddrPort(l.Addr().String()); err != nil || !ap.Addr().Unmap().IsLoopback() {
		o.Logger.Warn("other hosts can read health, metrics and status page", "address", l.Addr().String())
	}
	stopping, stop := context.WithCancel(context.Background())
	bounded := crowd.NewListener(l, maxConnections)
	return &Server{
		stop:     stop,
		listener: bounded,
		http: &http.Server{
			ConnState:         bounded.State,
			Handler:           newHosts(o.Address, o.Hosts).guard(handler(o, stopping.Done())),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       totalTimeout,
			WriteTimeout:      totalTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		},
	}, nil
}

// Addr returns the address it is bound to.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends, and returns once no request is in flight. A stop
// is nil.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve health and metrics: %w", err)
	case <-ctx.Done():
	}
	s.stop()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if s.http.Shutdown(stop) != nil { // it cuts requests that do not end
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health and metrics: %w", err)
	}
	return nil
}

// Close releases the address if Run was not called. After Run it does nothing.
func (s *Server) Close() error {
	s.stop()
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// handler returns what answers the requests. stopping is closed when the server
// stops.
func handler(o Options, stopping <-chan struct{}) http.Handler {
	if o.Alive == nil {
		o.Alive = func() error { return nil }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Alive(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		plain(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status := o.Status()
		if reasons := notReady(&status); len(reasons) > 0 {
			plain(w, http.StatusServiceUnavailable, strings.Join(reasons, "\n")+"\n")
			return
		}
		plain(w, http.StatusOK, "ready\n")
	})
	mux.Handle("GET /metrics", o.Metrics.Handler())
	if o.Pprof {
		handlePprof(mux)
	}
	if o.View != nil {
		p := &pages{view: o.View, stopping: stopping}
		mux.HandleFunc("GET /{$}", p.serve)
		mux.HandleFunc("GET /updates", p.serveUpdates)
		mux.HandleFunc("GET /page.css", serveFile("page.css", "text/css; charset=utf-8"))
		mux.HandleFunc("GET /page.js", serveFile("page.js", "text/javascript; charset=utf-8"))
		for level, color := range icons() {
			mux.HandleFunc("GET /icon-"+level.String()+".svg", serveIcon(color))
		}
	}
	return mux
}

// plain answers with a text.
func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // the client has gone
}

// hosts are the names for which requests are answered: lower case, without a
// port. With DNS rebinding, a web page from elsewhere could make its own name
// resolve to this address and have a visitor's browser read what is served
// here. Such a request carries the page's name, so names are checked and
// addresses are not.
type hosts []string

// newHosts returns the names for a server with a given address.
func newHosts(address string, more []string) hosts {
	names := slices.Clone(more)
	if host, _, err := net.SplitHostPort(address); err == nil {
		names = append(names, host)
	}
	for i, name := range names {
		names[i] = strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return names
}

// allow reports whether a request with this Host header is answered: one for an
// IP address, a loopback name or one of the names, and one without a name,
// which HTTP/1.0 allows and no browser sends.
func (h hosts) allow(header string) bool {
	host := header
	if name, _, err := net.SplitHostPort(header); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || header == "" {
		return true
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(h, name)
}

// guard answers requests for other names with 421, and passes the rest to next.
func (h hosts) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			plain(w, http.StatusMisdirectedRequest, "this name is not served: use an address, or set --admin-host\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"

	"github.com/gerritstream/gerritstream"
)

// Options say what a Server shows and where.
type Options struct {
	Address string                     // HOST:PORT; port 0: any free one
	Hosts   []string                   // names that requests may carry besides loopback's and the address' own
	Status  func() gerritstream.Status // called for each request, by several goroutines at once
	Alive   func() error               // returns what stands still for good; likewise. nil: nothing ever does
	Metrics *Metrics
	Version string       // for the page
	Logger  *slog.Logger // nil: nothing is logged
}

// Server serves the pages. It is made by New and runs in Run.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// The bounds on one request. What is served is small and made in memory.
const (
	headerTimeout = 5 * time.Second
	totalTimeout  = 15 * time.Second
	idleTimeout   = time.Minute
	maxHeader     = 16 << 10

	// maxConnections are served at once; further ones wait to be accepted.
	maxConnections = 64
	stopTimeout    = 500 * time.Millisecond // for requests under way when it stops
)

// New binds the address; from then on connections queue up, and Run serves
// them. The error says which address could not be bound and why;
// syscall.EADDRINUSE is found in it.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("serve health and metrics: %w", err)
	}
	if !isLoopback(l.Addr()) {
		o.Logger.Warn("health, metrics and status page can be read by other hosts", "address", l.Addr().String())
	}
	return &Server{
		listener: netutil.LimitListener(l, maxConnections),
		http: &http.Server{
			Handler:           newHosts(o.Address, o.Hosts).guard(handler(o)),
			ReadHeaderTimeout: headerTimeout,
			ReadTimeout:       totalTimeout,
			WriteTimeout:      totalTimeout,
			IdleTimeout:       idleTimeout,
			MaxHeaderBytes:    maxHeader,
			ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
		},
	}, nil
}

// isLoopback reports whether only this host can reach the address.
func isLoopback(a net.Addr) bool {
	ap, err := netip.ParseAddrPort(a.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// Addr returns the address it is bound to.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends, and returns once no request is under way any more.
// A stop is nil.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve health and metrics: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if s.http.Shutdown(stop) != nil { // a request that does not end is cut
		_ = s.http.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve health and metrics: %w", err)
	}
	return nil
}

// Close gives the address back if Run was not called. After Run it does
// nothing.
func (s *Server) Close() error {
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// alive returns what stands still.
func (o *Options) alive() error {
	if o.Alive == nil {
		return nil
	}
	return o.Alive()
}

// handler returns what answers the requests.
func handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.alive(); err != nil {
			plain(w, http.StatusServiceUnavailable, err.Error()+"\n")
			return
		}
		plain(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status := o.Status()
		if reasons := notReady(&status); len(reasons) > 0 {
			plain(w, http.StatusServiceUnavailable, lines(reasons))
			return
		}
		plain(w, http.StatusOK, "ready\n")
	})
	mux.Handle("GET /metrics", o.Metrics.Handler())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		status := o.Status()
		servePage(w, &status, o.Version)
	})
	return mux
}

// plain answers with a text.
func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // whoever asked has gone
}

package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/crowd"
	"github.com/gerritstream/gerritstream/queue"
)

// Options say what a Server serves and where.
type Options struct {
	Path  string // of the socket
	Group string // that may use it, besides its owner: a name or a number; empty: the process' own

	Feed   *Feed
	Status func() gerritstream.Status // called for each tail, by several goroutines at once
	Queue  queue.Store                // nil: another program consumes the queue
	Acked  func(arrived time.Time)    // called for each event that a client acknowledged, likewise; nil: nobody asks
	Logger *slog.Logger               // nil: nothing is logged
}

// Server serves the API. New creates it, Run runs it.
type Server struct {
	options  Options
	socket   *socket
	http     *http.Server
	sessions *sessions
	tails    atomic.Int32
}

// The bounds on requests.
const (
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeader      = 16 << 10
	maxBody        = 64 << 10
	maxConnections = 128                    // at once; a further one takes the place of one without a request
	stopTimeout    = 500 * time.Millisecond // for requests in flight at the end
)

// New makes the socket. From then on connections queue up; Run serves them. A
// *user.UnknownGroupError is among the causes if there is no such group.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l, err := listen(ctx, o.Path, o.Group, dyingTime)
	if err != nil {
		return nil, fmt.Errorf("serve the API: %w", err)
	}
	s := &Server{options: o, socket: l}
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// Run serves until ctx ends, and returns once no request is in flight and every
// session has given up its lease. A stop is nil.
func (s *Server) Run(ctx context.Context) error {
	work, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	s.sessions = newSessions(work, &s.options)
	s.http.BaseContext = func(net.Listener) context.Context { return work }
	bounded := crowd.NewListener(s.socket, maxConnections)
	s.http.ConnState = bounded.State
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(bounded) }()
	var err error
	select {
	case err = <-served:
		cancel(nil)
	case <-ctx.Done():
		cancel(errStopping) // ends what waits
		stop, done := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer done()
		if s.http.Shutdown(stop) != nil { // it cuts requests that do not end
			_ = s.http.Close()
		}
		err = <-served
	}
	s.sessions.wait()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

// Close removes the socket if Run was not called. After Run it does nothing.
func (s *Server) Close() error {
	if err := s.socket.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

var errStopping = problem(http.StatusServiceUnavailable, CodeStopping, "this process is stopping")

// route is one operation of the API.
type route struct {
	method, path string
	serve        func(*Server, http.ResponseWriter, *http.Request) error
}

// routes are all operations. They are documented in docs/openapi.yaml.
var routes = []route{
	{http.MethodGet, "/v1/tail", (*Server).tail},
	{http.MethodGet, "/v1/consumers", ofQueue((*Server).listConsumers)},
	{http.MethodGet, "/v1/consumers/{name}", ofQueue((*Server).showConsumer)},
	{http.MethodPut, "/v1/consumers/{name}", ofQueue((*Server).makeConsumer)},
	{http.MethodDelete, "/v1/consumers/{name}", ofQueue((*Server).removeConsumer)},
	{http.MethodPost, "/v1/consumers/{name}/seek", ofQueue((*Server).seek)},
	{http.MethodGet, "/v1/consumers/{name}/events", ofQueue((*Server).read)},
	{http.MethodPost, "/v1/consumers/{name}/ack", ofQueue((*Server).ack)},
	{http.MethodDelete, "/v1/consumers/{name}/session", ofQueue((*Server).endSession)},
}

// ofQueue refuses what needs a queue where another program consumes it.
func ofQueue(serve func(*Server, http.ResponseWriter, *http.Request) error,
) func(*Server, http.ResponseWriter, *http.Request) error {
	return func(s *Server, w http.ResponseWriter, r *http.Request) error {
		if s.options.Queue == nil {
			return problem(http.StatusNotImplemented, CodeForeignQueue,
				"Zuul consumes the queue in ZooKeeper; consumers need a store such as sqlite:PATH")
		}
		return serve(s, w, r)
	}
}

// errAnswered: the answer has begun, or nobody waits for it any more.
var errAnswered = errors.New("the client has gone")

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, route := range routes {
		mux.HandleFunc(route.method+" "+route.path, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != route.method { // GET's pattern takes HEAD as well
				writeProblem(w, notAllowed(w, r, route.method))
				return
			}
			err := route.serve(s, w, r)
			switch {
			case err == nil:
			case errors.Is(err, errAnswered):
				s.options.Logger.Debug("API client gone", "err", err)
			case errors.Is(context.Cause(r.Context()), errStopping):
				writeProblem(w, errStopping)
			default:
				writeProblem(w, err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, route := range routes {
			other := *r
			other.Method = route.method
			if _, pattern := mux.Handler(&other); pattern != "/" && !slices.Contains(allowed, route.method) {
				allowed = append(allowed, route.method)
			}
		}
		if len(allowed) > 0 {
			writeProblem(w, notAllowed(w, r, allowed...))
			return
		}
		writeProblem(w, problem(http.StatusNotFound, CodeNotFound, "there is no %q here", r.URL.Path))
	})
	return mux
}

func notAllowed(w http.ResponseWriter, r *http.Request, allowed ...string) error {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return problem(http.StatusMethodNotAllowed, CodeMethod, "%s is not possible here, %s is", r.Method,
		strings.Join(allowed, " or "))
}

package kinesistest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrTruncated is what a [Handler] returns to break the connection instead of
// replying.
var ErrTruncated = errors.New("connection cut")

// Handler answers a request. An error other than the context's breaks the
// connection, without a reply.
type Handler func(ctx context.Context, r *Request) (*Reply, error)

// Action wraps a handler: it returns one that may call next or not. [Fail],
// [Delay], [CutRequest], [CutReply], [CutBody] and [Observe] make the usual
// ones; any other function of this type will do.
type Action func(next Handler) Handler

// Hook applies an Action to chosen requests.
type Hook struct {
	Operation string              // "": every operation
	Match     func(*Request) bool // nil: every request
	Times     int                 // how many requests it acts on before it is spent; 0: any number
	Do        Action
}

// On installs a hook until it is spent or removed. If several choose a request,
// the one installed first sees it first and its reply last. remove may be
// called more than once.
func (s *Server) On(h Hook) (remove func()) {
	installed := &installedHook{hook: h}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.list = append(s.hooks.list, installed)
	return func() {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		s.hooks.removeLocked(installed)
	}
}

type installedHook struct {
	hook Hook
	used int // under hooks.mu
}

type hooks struct {
	mu   sync.Mutex
	list []*installedHook // under mu
}

func (h *hooks) removeLocked(installed *installedHook) {
	h.list = slices.DeleteFunc(h.list, func(o *installedHook) bool { return o == installed })
}

// of returns the hooks that may choose a request of that operation.
func (h *hooks) of(operation string) (list []*installedHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, installed := range h.list {
		if o := installed.hook.Operation; o == "" || o == operation {
			list = append(list, installed)
		}
	}
	return list
}

// use counts a request against a hook, and reports whether the hook acts on it.
func (h *hooks) use(installed *installedHook) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	times := installed.hook.Times
	if times == 0 {
		return true
	}
	installed.used++
	if installed.used == times {
		h.removeLocked(installed)
	}
	return installed.used <= times
}

// wrap puts the hooks that choose the request before a handler. It calls Match
// without a lock held.
func (h *hooks) wrap(list []*installedHook, r *Request, next Handler) Handler {
	var actions []Action
	for _, installed := range list {
		if match := installed.hook.Match; (match == nil || match(r)) && h.use(installed) {
			actions = append(actions, installed.hook.Do)
		}
	}
	for _, do := range slices.Backward(actions) {
		next = do(next)
	}
	return next
}

// Fail answers with a fault; the operation is not applied. status 0 means 400.
func Fail(code, message string, status int) Action {
	return func(Handler) Handler {
		return func(context.Context, *Request) (*Reply, error) {
			return NewFault(&Fault{Code: code, Message: message, Status: status}), nil
		}
	}
}

// Delay applies the operation after a while, unless the request's context ends
// meanwhile.
func Delay(d time.Duration) Action {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*Reply, error) {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
				return next(ctx, r)
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
}

// CutRequest breaks the connection; the operation is not applied.
func CutRequest(Handler) Handler {
	return func(context.Context, *Request) (*Reply, error) { return nil, ErrTruncated }
}

// CutReply applies the operation and breaks the connection before the reply.
func CutReply(next Handler) Handler {
	return func(ctx context.Context, r *Request) (*Reply, error) {
		if _, err := next(ctx, r); err != nil {
			return nil, err
		}
		return nil, ErrTruncated
	}
}

// CutBody applies the operation and breaks the connection after so many bytes
// of the reply's body.
func CutBody(after int64) Action {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*Reply, error) {
			reply, err := next(ctx, r)
			if err != nil {
				return nil, err
			}
			cut := *reply
			cut.cut, cut.keep = true, after
			return &cut, nil
		}
	}
}

// Observe calls see with each request and its reply, after the operation was
// applied. It does not if there is no reply.
func Observe(see func(*Request, *Reply)) Action {
	return func(next Handler) Handler {
		return func(ctx context.Context, r *Request) (*Reply, error) {
			reply, err := next(ctx, r)
			if err == nil {
				see(r, reply)
			}
			return reply, err
		}
	}
}

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

// Action is what a hook does with a request: it returns a handler that stands
// in front of next, and may ask next or not. Any function of this form will do;
// the ones most wanted are [Fail], [Delay], [CutRequest], [CutReply], [CutBody]
// and [Observe].
type Action func(next Handler) Handler

// Hook chooses requests and says what to do with them.
type Hook struct {
	Operation string              // "" chooses every operation
	Match     func(*Request) bool // nil chooses every request
	Times     int                 // how many requests it acts on before it is spent; 0: it is kept
	Do        Action
}

// On installs a hook until it is spent or removed. When several choose a
// request, the one installed first sees it first and its reply last. remove may
// be called more than once.
func (s *Server) On(h Hook) (remove func()) {
	installed := &installedHook{Hook: h}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.list = append(s.hooks.list, installed)
	return func() { s.hooks.remove(installed) }
}

type installedHook struct {
	Hook
	used int // under hooks.mu
}

type hooks struct {
	mu   sync.Mutex
	list []*installedHook // under mu
}

func (h *hooks) remove(hook *installedHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(o *installedHook) bool { return o == hook })
}

// of returns the hooks that may choose a request of that operation.
func (h *hooks) of(operation string) (list []*installedHook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, hook := range h.list {
		if hook.Operation == "" || hook.Operation == operation {
			list = append(list, hook)
		}
	}
	return list
}

// use counts a request against a hook; false: it is spent.
func (h *hooks) use(hook *installedHook) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hook.Times == 0 {
		return true
	}
	hook.used++
	if hook.used == hook.Times {
		h.list = slices.DeleteFunc(h.list, func(o *installedHook) bool { return o == hook })
	}
	return hook.used <= hook.Times
}

// wrap puts those hooks of a list that choose the request in front of a
// handler. Match runs without a lock held.
func (h *hooks) wrap(list []*installedHook, r *Request, next Handler) Handler {
	var chosen []*installedHook
	for _, hook := range list {
		if (hook.Match == nil || hook.Match(r)) && h.use(hook) {
			chosen = append(chosen, hook)
		}
	}
	for _, hook := range slices.Backward(chosen) {
		next = hook.Do(next)
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

// Delay applies the operation after a while. A request whose context ends
// meanwhile is not applied.
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

// CutReply applies the operation and breaks the connection before any of the
// reply.
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

// Observe shows each request with its reply, after the operation was applied.
// It is not called when there is no reply.
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

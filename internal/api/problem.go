package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gerritstream/gerritstream/internal/trouble"
)

// Problem is how the server answers what it cannot do (RFC 9457).
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Code   string `json:"code"`   // one of the Code constants: what a program acts on
	Detail string `json:"detail"` // one line for people
}

func (p *Problem) Error() string { return p.Detail }

// The codes of problems.
const (
	CodeBadRequest   = "bad-request"        // 400: a parameter, the body or the name is not as it must be
	CodeNotFound     = "not-found"          // 404: there is no such path
	CodeMethod       = "method-not-allowed" // 405
	CodeNoConsumer   = "no-consumer"        // 404: there is no consumer of this name
	CodeHeld         = "held"               // 409: somebody else reads as this consumer; the detail says who
	CodeExists       = "exists"             // 409: the consumer is there with another filter
	CodeSessionLost  = "session-lost"       // 409: there is no such session, or not any more: read without a token
	CodeBusy         = "busy"               // 409: another request of the same session is under way
	CodeNotHandedOut = "not-handed-out"     // 409: the number is beyond what was handed out
	CodeBackwards    = "backwards"          // 409: a later number is acknowledged already
	CodeForeignQueue = "foreign-queue"      // 501: another program consumes the queue
	CodeTooMany      = "too-many"           // 503: as many clients as are served are there already
	CodeStore        = "store"              // 503: the store failed; what was asked for may have been done
	CodeStopping     = "stopping"           // 503: the process is ending
)

// problem returns a Problem whose detail is formatted.
func problem(status int, code, format string, args ...any) *Problem {
	return &Problem{Status: status, Title: http.StatusText(status), Code: code, Detail: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *Problem {
	return problem(http.StatusBadRequest, CodeBadRequest, format, args...)
}

// writeProblem answers with an error.
func writeProblem(w http.ResponseWriter, err error) {
	var p *Problem
	if !errors.As(err, &p) {
		p = problem(http.StatusServiceUnavailable, CodeStore, "%s", trouble.OneLine(err.Error()))
	}
	if p.Status == http.StatusServiceUnavailable || p.Code == CodeHeld {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, p.Status, "application/problem+json", p)
}

// writeJSON answers with a value.
func writeJSON(w http.ResponseWriter, status int, contentType string, v any) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "no-store")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has none
	w.WriteHeader(status)
	_ = newEncoder(w).Encode(v) // else the client has gone
}

// newEncoder returns an encoder that leaves payloads as they are, but for the
// space between tokens.
func newEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

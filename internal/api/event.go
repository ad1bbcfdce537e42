package api

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
)

// Event is an event of the queue as JSON: what `queue read`, `tail` and the API
// write.
type Event struct {
	N        int64     `json:"n,omitempty"` // place in the queue; 0: not known, or not queued
	ID       string    `json:"id"`
	Type     string    `json:"type"`
	Project  string    `json:"project,omitempty"`
	Ref      string    `json:"ref,omitempty"`
	Change   int64     `json:"change,omitempty"`
	Shard    string    `json:"shard"`
	Sequence string    `json:"sequence"`
	Sub      *int      `json:"sub,omitempty"` // index within an aggregate; nil: not in one
	Arrived  time.Time `json:"arrived"`
	Created  time.Time `json:"created,omitzero"`
	Queued   time.Time `json:"queued,omitzero"`

	Marks // its members are the event's

	Attributes map[string]string `json:"attributes,omitempty"`
	Payload    Payload           `json:"payload,omitempty"`
	Bytes      []byte            `json:"payload_base64,omitempty"` // if the payload is no JSON
}

// Payload is JSON, which a template writes as it is.
type Payload json.RawMessage

// String implements fmt.Stringer.
func (p Payload) String() string { return string(p) }

// MarshalJSON implements json.Marshaler.
func (p Payload) MarshalJSON() ([]byte, error) { return json.RawMessage(p).MarshalJSON() }

// UnmarshalJSON implements json.Unmarshaler.
func (p *Payload) UnmarshalJSON(text []byte) error { return (*json.RawMessage)(p).UnmarshalJSON(text) }

// Marks say how a consumer got an event: see queue.Event.
type Marks struct {
	Redelivered bool `json:"redelivered,omitempty"`
	Replayed    bool `json:"replayed,omitempty"`
	Late        bool `json:"late,omitempty"`
}

// NewEvent returns the JSON form of an event, which shares its bytes.
func NewEvent(e *queue.Event) Event {
	v := newEvent(&e.Entry)
	v.N, v.Queued = e.Number, e.Queued
	v.Marks = Marks{Redelivered: e.Redelivered, Replayed: e.Replayed, Late: e.Late}
	return v
}

func newEvent(e *gerritstream.Entry) Event {
	v := Event{
		ID: e.ID.String(), Type: e.Event.Type, Project: e.Event.Project, Ref: e.Event.Ref, Change: e.Event.Change,
		Shard: string(e.Shard), Sequence: string(e.Seq), Arrived: e.Arrived, Created: e.Event.Created,
		Attributes: e.Event.Attributes,
	}
	if e.Sub != gerritstream.NoSub {
		v.Sub = &e.Sub
	}
	v.setPayload(e.Payload)
	return v
}

func (v *Event) setPayload(payload []byte) {
	if json.Valid(payload) && utf8.Valid(payload) {
		v.Payload = payload
	} else {
		v.Bytes = payload
	}
}

// Verdict is what became of a record, with its event, as JSON.
type Verdict struct {
	Event // its fields come first

	Verdict string    `json:"verdict"`          // Queued, Filtered or Dead
	Rule    string    `json:"rule,omitempty"`   // of the filter, that dropped it
	Reason  string    `json:"reason,omitempty"` // for which it is a dead letter
	Detail  string    `json:"detail,omitempty"` // likewise, for people
	At      time.Time `json:"at"`               // when that was decided, by the process' clock
}

// The verdicts.
const (
	Queued   = "queued"
	Filtered = "filtered"
	Dead     = "dead"
)

// Verdicts are all of them.
func Verdicts() []string { return []string{Queued, Filtered, Dead} }

// NewVerdict returns the JSON form of the verdict on a record, which shares its
// bytes.
func NewVerdict(e *gerritstream.Entry, v *gerritstream.Verdict, at time.Time) Verdict {
	line := Verdict{Event: newEvent(e), Verdict: Queued, At: at}
	switch {
	case v.Bad != "":
		line.Verdict, line.Reason, line.Detail = Dead, v.Bad, v.Detail
	case v.Filter != "":
		line.Verdict, line.Rule = Filtered, v.Filter
	default:
		line.Queued = at
	}
	return line
}

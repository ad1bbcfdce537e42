package gerritstream

import (
	"encoding/json"
	"time"
)

// State is what a process does with a shard.
type State string

// The states of a shard in one process.
const (
	StateStandby State = "standing by"        // another process leads or is planned to, or none does yet
	StateReading State = "reading"            // this process leads
	StateWaiting State = "waiting for parent" // a parent is not handled to its end yet
	StateEnded   State = "ended"              // handled to its end
	StateHalted  State = "halted"             // leads and reads nothing: a bad position waits for an operator
)

// Status is what one process sees at one moment: a copy.
type Status struct {
	Process  string        `json:"process"`        // host, process id, and something unique
	Began    time.Time     `json:"began,omitzero"` // by the local clock
	Stream   Stream        `json:"stream"`
	Origin   *Origin       `json:"start"`   // nil: not known yet
	Listed   time.Time     `json:"listed"`  // the service's time at the last complete listing; zero: none
	Trouble  string        `json:"trouble"` // why nothing can be listed or planned; empty: all is well
	Lagging  int           `json:"behind"`  // shards read here that are not at the tip
	Shards   []ShardStatus `json:"shards"`  // by id
	CaughtUp bool          `json:"caught_up"`

	Members    []MemberStatus     `json:"members,omitempty"`    // with this process, as of the last plan
	Unreadable bool               `json:"unreadable,omitempty"` // this process cannot read the stream while another can
	DeadRate   *DeadRate          `json:"dead_rate,omitempty"`  // nil: no dead letter since the process began
	Causes     map[ShardID]string `json:"causes,omitempty"`     // each Trouble's kind; "": the process'
	Extra      json.RawMessage    `json:"extra,omitempty"`      // what its program tells other processes
}

// MemberStatus is one process on the store, as this one sees it.
type MemberStatus struct {
	ID          string `json:"id"`
	Process     string `json:"process,omitempty"` // as in Status
	Host        string `json:"host,omitempty"`
	PID         int    `json:"pid,omitempty"`
	Version     string `json:"version,omitempty"`
	Self        bool   `json:"self,omitempty"`
	Readable    bool   `json:"readable"`
	Leads       int    `json:"leads"`                  // how many shards it leads
	Planned     int    `json:"planned"`                // how many it is planned to lead
	OtherConfig bool   `json:"other_config,omitempty"` // it is configured differently from this process
	Damaged     string `json:"damaged,omitempty"`      // why its MemberInfo cannot be decoded
}

// ShardStatus is one shard of a Status. Its JSON form is flat.
type ShardStatus struct {
	Shard      ShardID   `json:"shard"`
	Parents    []ShardID `json:"parents,omitempty"`
	State      State     `json:"state"`
	Since      time.Time `json:"since,omitzero"` // when the State or the term began, by the local clock
	WaitingFor []ShardID `json:"waiting_for,omitempty"`
	Term       uint64    `json:"term,omitempty"`
	Position   Position  `json:"position"` // as committed last, as far as this process knows
	AtTip      bool      `json:"at_tip"`   // everything that had arrived is handled and committed

	// Lag is the distance from the tip, as the service tells the reader, plus
	// the report's age above 30 s; elsewhere the position's age above 90 s.
	Lag time.Duration `json:"behind_ns"`

	// OpenAfterEnd: the position is ended, but the stream has listed the shard
	// as open and childless for half a minute. Only setting its position helps.
	OpenAfterEnd bool `json:"open_after_end,omitempty"`

	HandledUntil time.Time `json:"handled_until,omitzero"` // what arrived before is committed; zero: not known
	Trouble      string    `json:"trouble,omitempty"`      // why the shard is stalled; empty: it is not

	Leader ShardLeader `json:"-"`
	Last   ShardTimes  `json:"-"`
	Counts ShardCounts `json:"-"`
}

// ShardLeader is who leads a shard, as of the last plan.
type ShardLeader struct {
	Process string `json:"leader,omitempty"`      // empty: none
	Foreign bool   `json:"foreign,omitempty"`     // a foreign leader
	Planned string `json:"planned_for,omitempty"` // the process that is to lead the shard, or to stand by

	// Unread is when the first record arrived that a foreign leader has not
	// handled in a minute or more: perhaps nobody holds its lock any more.
	// Zero: none is known. Only the process that stands by looks for it.
	Unread time.Time `json:"foreign_unread_since,omitzero"`
}

// ShardTimes is when things last happened to a shard.
type ShardTimes struct {
	Event  time.Time `json:"last_event,omitzero"`  // arrival of the last record read
	Page   time.Time `json:"last_page,omitzero"`   // a page was read, by the local clock
	Commit time.Time `json:"last_commit,omitzero"` // by the local clock
}

// ShardCounts counts records of a shard since the process began.
type ShardCounts struct {
	Read     uint64 `json:"read"`
	Queued   uint64 `json:"queued"`
	Filtered uint64 `json:"filtered"`
	Dead     uint64 `json:"dead"`
}

// flat returns a view of s without groups.
func (s *ShardStatus) flat() any {
	type rest ShardStatus // without methods
	return &struct {
		*rest
		*ShardLeader
		*ShardTimes
		*ShardCounts
	}{(*rest)(s), &s.Leader, &s.Last, &s.Counts}
}

// MarshalJSON implements json.Marshaler.
func (s ShardStatus) MarshalJSON() ([]byte, error) { return json.Marshal(s.flat()) }

// UnmarshalJSON implements json.Unmarshaler.
func (s *ShardStatus) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, s.flat()) }

// DeadRate estimates the share of dead letters; later records weigh more.
type DeadRate struct {
	Records int       `json:"records"` // 200 at most
	Dead    int       `json:"dead"`    // of these
	Last    time.Time `json:"last"`    // when the newest was committed, by the local clock
	Reason  string    `json:"reason"`  // of the newest
	Detail  string    `json:"detail"`  // of the newest
}

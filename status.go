package gerritstream

import "time"

// State is what a process does with a shard.
type State string

// The states of a shard in one process.
const (
	StateStandby State = "standing by"        // another process leads, or is to lead, or nobody does yet
	StateReading State = "reading"            // this process leads
	StateWaiting State = "waiting for parent" // a parent is not handled to its end yet
	StateEnded   State = "ended"              // handled to its end
	StateHalted  State = "halted"             // leads and reads nothing: a bad position, and the policy is to wait for an operator
)

// Status is what one process sees, at one moment. It is a copy: nobody changes
// it.
type Status struct {
	Process  string        `json:"process"`        // host, process id, and something unique
	Began    time.Time     `json:"began,omitzero"` // when it began to run, by the local clock
	Stream   Stream        `json:"stream"`
	Origin   *Origin       `json:"start"`   // nil: not known yet
	Listed   time.Time     `json:"listed"`  // the service's time of the last complete listing; zero: none yet
	Trouble  string        `json:"trouble"` // why nothing can be listed or planned; empty: all is well
	Lagging  int           `json:"behind"`  // shards read here that are not at the tip
	Shards   []ShardStatus `json:"shards"`  // by id
	CaughtUp bool          `json:"caught_up"`

	Members    []MemberStatus `json:"members,omitempty"`    // the processes on the store, this one included, as planned with last
	Unreadable bool           `json:"unreadable,omitempty"` // this process cannot read the stream while another can
	DeadRate   *DeadRate      `json:"dead_rate,omitempty"`  // nil: no record became a dead letter since it began
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
	Leads       int    `json:"leads"`                  // shards
	Planned     int    `json:"planned"`                // shards that it is to lead
	OtherConfig bool   `json:"other_config,omitempty"` // it is configured differently from this process
	Damaged     string `json:"damaged,omitempty"`      // why what it announces cannot be understood
}

// ShardStatus is one shard of a Status.
type ShardStatus struct {
	Shard      ShardID   `json:"shard"`
	Parents    []ShardID `json:"parents,omitempty"`
	State      State     `json:"state"`
	Since      time.Time `json:"since,omitzero"`        // when that State began, or the term, by the local clock
	Leader     string    `json:"leader,omitempty"`      // the process that leads it, as planned with last
	Foreign    bool      `json:"foreign,omitempty"`     // that is none of this program's
	PlannedFor string    `json:"planned_for,omitempty"` // the process that is to lead it, or to stand by for it
	WaitingFor []ShardID `json:"waiting_for,omitempty"`
	Term       uint64    `json:"term,omitempty"`
	Position   Position  `json:"position"` // as committed last, as far as this process knows
	AtTip      bool      `json:"at_tip"`   // everything that had arrived is handled and committed

	// Behind is the distance from the tip. While this process reads the shard,
	// the service tells, and when it has told nothing for 30 s the time since
	// counts as well. Otherwise it is the age of the position, once that is
	// above 90 s.
	Lag time.Duration `json:"behind_ns"`

	// HandledUntil is a moment: everything that arrived before has been handled
	// and committed, whoever reads the shard. Zero: not known, as while another
	// program leads, which keeps a position of its own.
	HandledUntil time.Time `json:"handled_until,omitzero"`

	// OpenAfterEnd: its position says that it was handled to its end, and the
	// stream has listed it as open for half a minute and more, without
	// children. Nothing reads it until its position is set.
	OpenAfterEnd bool `json:"open_after_end,omitempty"`

	// ForeignUnread is when the first record arrived that another program,
	// which leads the shard, has not handled, although it had a minute and more
	// for it: perhaps nobody holds its lock any more. Zero: none is known. Only
	// the process that stands by for the shard finds out.
	ForeignUnread time.Time `json:"foreign_unread_since,omitzero"`

	LastEvent  time.Time `json:"last_event,omitzero"`  // arrival of the last record read
	LastPage   time.Time `json:"last_page,omitzero"`   // when a page was read, by the local clock
	LastCommit time.Time `json:"last_commit,omitzero"` // by the local clock
	Trouble    string    `json:"trouble,omitempty"`    // why it does not go on, while it does not
	Read       uint64    `json:"read"`                 // counted by this process since it started
	Queued     uint64    `json:"queued"`
	Filtered   uint64    `json:"filtered"`
	Dead       uint64    `json:"dead"`
}

package consumer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/pauses"
)

// BadCheckpointPolicy says what happens to a shard whose checkpoint is damaged,
// or is not accepted by the service.
type BadCheckpointPolicy string

// The policies. Records given up are reported as a possible loss, in the log,
// the metrics and the status.
const (
	BadCheckpointLatest      BadCheckpointPolicy = "latest"       // continue with what arrives from now on
	BadCheckpointTrimHorizon BadCheckpointPolicy = "trim-horizon" // read everything the stream still keeps again
	BadCheckpointHalt        BadCheckpointPolicy = "halt"         // keep the leadership, read nothing, and report it
)

// Config says what a Consumer is made of.
type Config struct {
	Source   gerritstream.Source
	Store    gerritstream.Store
	Classify gerritstream.Classifier // nil: every record is queued as it is
	Sinks    []gerritstream.Sink     // in addition to the store's queue
	Pauses   pauses.Store            // the Store as one that can pause shards; nil: it cannot

	// StartAt is where a stream begins that has no origin yet. The zero value
	// means about 10 s before now; beside a foreign leader, from now on.
	StartAt gerritstream.StartingPosition

	OnBadCheckpoint BadCheckpointPolicy // empty: BadCheckpointLatest
	UntilCaughtUp   bool                // end Run, with nil, once all that had arrived before it began is committed

	// WaitForSetup makes Run wait for the stream, or for the store's chroot or
	// certificates, when they do not exist yet. Without it, Run ends with
	// ErrStreamNotFound or ErrUnusable.
	WaitForSetup bool

	// Self is how this process introduces itself to the other members. Host,
	// PID and Version are filled in where empty; what changes over time
	// (Process, Leads, Readable, Plan) always is.
	Self gerritstream.MemberInfo

	Process  string       // names this process in Status; empty: host and process id
	Logger   *slog.Logger // nil: nothing is logged
	Observer Observer     // nil: NopObserver
	Tracer   Tracer       // nil: commits have no spans, and entries carry none

	// Extra returns what each report to the store tells other processes
	// besides: Status.Extra, some kilobytes at most. nil: nothing.
	Extra func() json.RawMessage
}

// complete checks the configuration and fills in its defaults.
func (cfg *Config) complete() error {
	if cfg.Source == nil || cfg.Store == nil {
		return errors.New("new consumer: a source and a store are needed")
	}
	switch cfg.OnBadCheckpoint {
	case "":
		cfg.OnBadCheckpoint = BadCheckpointLatest
	case BadCheckpointLatest, BadCheckpointTrimHorizon, BadCheckpointHalt:
	default:
		return fmt.Errorf("new consumer: unknown policy for bad checkpoints %q", cfg.OnBadCheckpoint)
	}
	if cfg.Classify == nil {
		cfg.Classify = func(gerritstream.ShardID, *gerritstream.Record) (queued gerritstream.Verdict) { return queued }
	}
	if cfg.Observer == nil {
		cfg.Observer = NopObserver{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	self := &cfg.Self
	if self.Host == "" {
		self.Host, _ = os.Hostname()
		self.Host = cmp.Or(self.Host, "localhost")
	}
	if self.PID == 0 {
		self.PID = os.Getpid()
	}
	if info, ok := debug.ReadBuildInfo(); ok && self.Version == "" {
		self.Version = info.Main.Version
	}
	cfg.Process = cmp.Or(cfg.Process, self.Host+"-"+strconv.Itoa(self.PID))
	self.Process = cfg.Process
	return nil
}

// Observer is called as a Consumer works: for metrics, a person watching, or a
// checker. Its methods are called from several goroutines at once, delay the
// shard they are called for, and must not keep their arguments. Embed
// NopObserver to implement only some of them.
type Observer interface {
	// Elected: a term has begun, from this position. ok is false if there is
	// none yet.
	Elected(shard gerritstream.ShardID, term uint64, from gerritstream.Position, ok bool)

	// PageRead: a page was read; its records are yet to be judged.
	PageRead(shard gerritstream.ShardID, page *gerritstream.Page)

	// Judged: a new record got its verdict. It is not committed yet, and may be
	// judged again.
	Judged(shard gerritstream.ShardID, record *gerritstream.Record, verdict *gerritstream.Verdict)

	// Committed: this commit is durable.
	Committed(shard gerritstream.ShardID, term uint64, commit *gerritstream.Commit, took time.Duration)

	// Lost: records that arrived in the interval may have gone unread. Its Why
	// is one of Causes. An empty shard means the whole stream; each process
	// that notices reports such a loss.
	Lost(shard gerritstream.ShardID, interval gerritstream.Interval)

	// TermEnded: the leadership is over. cause is nil after a clean end.
	TermEnded(shard gerritstream.ShardID, term uint64, cause error)
}

// NopObserver is an Observer that does nothing.
type NopObserver struct{}

// Elected does nothing.
func (NopObserver) Elected(gerritstream.ShardID, uint64, gerritstream.Position, bool) {}

// PageRead does nothing.
func (NopObserver) PageRead(gerritstream.ShardID, *gerritstream.Page) {}

// Judged does nothing.
func (NopObserver) Judged(gerritstream.ShardID, *gerritstream.Record, *gerritstream.Verdict) {}

// Committed does nothing.
func (NopObserver) Committed(gerritstream.ShardID, uint64, *gerritstream.Commit, time.Duration) {}

// Lost does nothing.
func (NopObserver) Lost(gerritstream.ShardID, gerritstream.Interval) {}

// TermEnded does nothing.
func (NopObserver) TermEnded(gerritstream.ShardID, uint64, error) {}

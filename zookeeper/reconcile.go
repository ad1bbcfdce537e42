package zookeeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// zuulCheckpoint is the node of Zuul's checkpoint.
type zuulCheckpoint struct {
	node    node
	written time.Time // by ZooKeeper's clock
}

func checkpointOf(n node) zuulCheckpoint { return zuulCheckpoint{n, storekit.FromMillis(n.stat.Mtime)} }

func (z *zuulCheckpoint) version() int32 { return z.node.version() }

// equals reports whether the checkpoint is there and says just that.
func (z *zuulCheckpoint) equals(raw []byte) bool {
	return z.node.present && bytes.Equal(z.node.data, raw)
}

// next is the checkpoint after a write of ours.
func (z *zuulCheckpoint) next(raw []byte) zuulCheckpoint {
	n := node{data: raw, present: true}
	n.stat.Version = z.version() + 1 // from absent to 0 as well
	return zuulCheckpoint{node: n}
}

// sequence returns the checkpoint's value: empty for none (absent, null). The
// error says why it cannot be understood.
func (z *zuulCheckpoint) sequence() (gerritstream.SequenceNumber, error) {
	if !z.node.present {
		return "", nil
	}
	var members map[string]json.RawMessage // as in Python, names are case-sensitive and the last of equal ones counts
	if err := json.Unmarshal(z.node.data, &members); err != nil || members == nil || !utf8.Valid(z.node.data) {
		return "", errors.New("read Zuul's checkpoint: it is not what Zuul writes")
	}
	var value *string
	if raw, ok := members["checkpoint"]; ok {
		if err := json.Unmarshal(raw, &value); err != nil {
			return "", errors.New("read Zuul's checkpoint: it is neither a sequence number nor null")
		}
	}
	if value == nil {
		return "", nil
	}
	return gerritstream.ParseSequenceNumber(*value)
}

// encodeCheckpoint returns what Zuul's node holds: the last record handled
// completely. Nothing else is ever stored there.
func encodeCheckpoint(after gerritstream.SequenceNumber) []byte {
	if after == "" {
		return []byte(`{"checkpoint": null}`)
	}
	return []byte(`{"checkpoint": "` + string(after) + `"}`)
}

// shardState is what ZooKeeper holds of a shard when a term begins.
type shardState struct {
	position      gerritstream.Position // ours
	stored        bool                  // there is one
	zuul          zuulCheckpoint
	earlierStream bool // Zuul's checkpoint may be of an earlier stream of that name
}

// beginning is what a term makes of that.
type beginning struct {
	found   gerritstream.Beginning
	warning string // for the log; empty: none
	led     bool   // a Python process has led since the position was written
}

// reconcile decides where a term begins: z is Zuul's value, p is ours.
//
//   - z = p, or z null, absent or unreadable and p an anchor or nothing: p.
//   - z > p, or z a sequence and p an anchor, unreadable or nothing: a Python
//     process led. Take z. Without a checkpoint it starts at the tip: what
//     arrived between an anchor and then may be lost.
//   - z < p, null, absent or unreadable while p is a sequence: somebody wrote
//     unconditionally, or deleted. Take p.
func reconcile(s shardState) beginning {
	z, err := s.zuul.sequence()
	p := s.position
	ours := func(warning string) beginning {
		return beginning{found: gerritstream.Beginning{Position: p, Stored: s.stored}, warning: warning}
	}
	readable := s.stored && p.Unreadable == nil
	order := z.Compare(p.After)
	switch {
	case err != nil:
		return ours("Zuul's checkpoint is unreadable; overwriting it")
	case s.earlierStream && z != "" && !readable:
		return ours("Zuul's checkpoint predates the recreated stream; overwriting it")
	case z == "" && readable && p.After != "":
		return ours("Zuul's checkpoint is gone; restoring it")
	case z == "" || readable && order == 0:
		return ours("")
	case readable && order < 0:
		return ours("Zuul's checkpoint was set back by another program; restoring it")
	}
	b := beginning{led: true}
	// When the last record of a Python process arrived is not known.
	b.found.Position = gerritstream.Position{After: z, CheckpointedAt: s.zuul.written, Lost: p.Lost}
	b.found.Stored = true
	switch {
	case s.stored && !readable:
		b.warning = "position is unreadable; continuing from Zuul's checkpoint"
	case readable && p.After == "":
		b.found.Lost = &gerritstream.Interval{
			From: p.HandledUntil(), Until: s.zuul.written, Why: gerritstream.WhyForeignLed,
		}
		b.warning = "Zuul's listener led before anything was read here"
	}
	return b
}

package zookeeper

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
)

// checkpoint is Zuul's node as read.
type zuulCheckpoint struct {
	present bool
	raw     []byte
	version int32
	written time.Time // by ZooKeeper's clock
}

// sequence returns the checkpoint's value: empty for none (absent, null). The
// error says why it cannot be understood.
func (z *zuulCheckpoint) sequence() (gerritstream.SequenceNumber, error) {
	if !z.present {
		return "", nil
	}
	var members map[string]json.RawMessage // names count as written, and of equal ones the last, as Python has it
	if err := json.Unmarshal(z.raw, &members); err != nil || members == nil || !utf8.Valid(z.raw) {
		return "", fmt.Errorf("read Zuul's checkpoint: it is not what Zuul writes")
	}
	var value *string
	if raw, ok := members["checkpoint"]; ok {
		if err := json.Unmarshal(raw, &value); err != nil {
			return "", fmt.Errorf("read Zuul's checkpoint: it is neither a sequence number nor null")
		}
	}
	if value == nil {
		return "", nil
	}
	return gerritstream.ParseSequenceNumber(*value)
}

// encodeCheckpoint is what Zuul's node holds: the last record handled
// completely. Nothing else ever goes in there.
func encodeCheckpoint(after gerritstream.SequenceNumber) []byte {
	if after == "" {
		return []byte(`{"checkpoint": null}`)
	}
	return []byte(`{"checkpoint": "` + string(after) + `"}`)
}

// stored is what ZooKeeper holds of a shard as a term begins.
type shardState struct {
	position gerritstream.Position // ours
	ok       bool                  // there is one
	zuul     zuulCheckpoint        // Zuul's
	foreign  bool                  // Zuul's may be of an earlier stream of that name: nothing vouches for it
}

// beginning is what a term makes of that.
type beginning struct {
	found   gerritstream.Beginning
	warning string // what an operator should know; empty: nothing
	led     bool   // a Python process led since
}

// reconcile decides where a term begins: z is Zuul's value, p is ours.
//
//   - z = p, or z null, absent or unreadable and p an anchor or nothing: p.
//   - z > p, or z a sequence and p an anchor, unreadable or nothing: a Python
//     process led. Take z. It starts without a checkpoint at the tip: what
//     arrived between an anchor and then may be lost.
//   - z < p, null, absent or unreadable while p is a sequence: somebody wrote
//     unconditionally, or deleted. Take p.
func reconcile(s shardState) beginning {
	z, err := s.zuul.sequence()
	p := s.position
	asIs := beginning{found: gerritstream.Beginning{Position: p, Stored: s.ok}}
	switch {
	case err != nil:
		asIs.warning = "Zuul's checkpoint cannot be understood: it is written anew"
		return asIs
	case s.foreign && z != "" && (!s.ok || p.Unreadable != nil):
		asIs.warning = "Zuul's checkpoint is from before the stream was made anew: it is written anew"
		return asIs
	case s.ok && p.Unreadable == nil && p.After != "":
		return reconcileSequence(asIs, z, &s.zuul)
	case z == "":
		return asIs
	}
	b := takeOver(z, &s.zuul, p.Lost)
	switch {
	case s.ok && p.Unreadable != nil:
		b.warning = "the position cannot be understood: going on from Zuul's checkpoint"
	case s.ok:
		b.found.Lost = &gerritstream.Interval{From: p.HandledUntil(), Until: s.zuul.written, Why: gerritstream.WhyForeignLed}
		b.warning = "Zuul's listener led before anything was read here"
	}
	return b
}

// reconcileSequence compares z with a position that is a sequence number.
func reconcileSequence(asIs beginning, z gerritstream.SequenceNumber, zuul *zuulCheckpoint) beginning {
	p := asIs.found.Position
	switch c := z.Compare(p.After); {
	case c > 0:
		return takeOver(z, zuul, p.Lost)
	case c < 0 && z == "":
		asIs.warning = "Zuul's checkpoint is gone: it is written anew"
	case c < 0:
		asIs.warning = "Zuul's checkpoint was set back by another program: it is written anew"
	}
	return asIs
}

// takeOver is the position behind what a Python process handled. When its last
// record arrived is not known.
func takeOver(z gerritstream.SequenceNumber, zuul *zuulCheckpoint, lost []gerritstream.Interval) beginning {
	pos := gerritstream.Position{After: z, CheckpointedAt: zuul.written, Lost: lost}
	return beginning{found: gerritstream.Beginning{Position: pos, Stored: true}, led: true}
}

package zookeeper

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
)

// layout knows the paths of all nodes. They are complete: they begin with the
// chroot.
type layout struct {
	chroot string // empty, or a path without a slash at its end
	zuul   string // Zuul's nodes of this connection
	own    string // ours; Zuul never looks there
}

func newLayout(chroot, connection string) layout {
	return layout{
		chroot: chroot,
		zuul:   chroot + "/zuul/events/connection/" + connection,
		own:    chroot + "/gerritstream/" + connection,
	}
}

// componentKinds are the kinds of Zuul's components that register the model API
// that they speak.
var componentKinds = []string{"scheduler", "executor", "merger", "fingergw", "web", "launcher"}

const (
	electionPrefix   = "election-aws_kinesis_"
	checkpointPrefix = "checkpoint-aws_kinesis_"
)

func (l layout) queue() string                { return l.zuul + "/events/queue" }
func (l layout) queueNode() string            { return l.queue() + "/q" } // a sequence is appended
func (l layout) largeEvents() string          { return l.zuul + "/events/data" }
func (l layout) largeEvent(id string) string  { return l.largeEvents() + "/" + id }
func (l layout) component(kind string) string { return l.chroot + "/zuul/components/" + kind }

func (l layout) election(shard gerritstream.ShardID) string {
	return l.zuul + "/" + electionPrefix + string(shard)
}

func (l layout) checkpoint(shard gerritstream.ShardID) string {
	return l.zuul + "/" + checkpointPrefix + string(shard)
}

// unprefixed returns a path without the chroot, which Zuul's client adds by
// itself.
func (l layout) unprefixed(path string) string { return strings.TrimPrefix(path, l.chroot) }

func (l layout) origin() string             { return l.own + "/start" }
func (l layout) members() string            { return l.own + "/members" }
func (l layout) reports() string            { return l.own + "/reports" }
func (l layout) deadLetters() string        { return l.own + "/dead" }
func (l layout) discardedCounts() string    { return l.own + "/discarded" }
func (l layout) intents() string            { return l.own + "/intents" }
func (l layout) pauses() string             { return l.own + "/pauses" }
func (l layout) positions(epoch int) string { return l.own + "/e" + strconv.Itoa(epoch) + "/positions" }

func (l layout) position(epoch int, shard gerritstream.ShardID) string {
	return l.positions(epoch) + "/" + string(shard)
}

func (l layout) discarded(shard gerritstream.ShardID) string {
	return l.discardedCounts() + "/" + string(shard)
}

func (l layout) intent(shard gerritstream.ShardID) string {
	return l.intents() + "/" + string(shard)
}

// deadLetter is the node of a dead letter. A record always has the same one, so
// that it is never held twice.
func (l layout) deadLetter(d *gerritstream.DeadLetter) string {
	path := l.deadLetters() + "/" + string(d.Shard) + "-" + string(d.Seq)
	if d.Sub != gerritstream.NoSub {
		path += "-" + strconv.Itoa(d.Sub)
	}
	return path
}

// maxNameLength bounds the chroot and the connection name, because entries'
// weights assume paths of a bounded length.
const maxNameLength = 100

// parseChroot returns a chroot in the form of layout.
func parseChroot(chroot string) (string, error) {
	chroot = strings.TrimSuffix(chroot, "/")
	switch {
	case chroot == "":
		return "", nil
	case chroot[0] != '/':
		return "", fmt.Errorf("chroot %q does not begin with /", chroot)
	case len(chroot) > maxNameLength:
		return "", fmt.Errorf("chroot has %d bytes, the maximum is %d", len(chroot), maxNameLength)
	}
	for name := range strings.SplitSeq(chroot[1:], "/") {
		if err := checkName(name); err != nil {
			return "", fmt.Errorf("chroot %q: %w", chroot, err)
		}
	}
	return chroot, nil
}

func parseConnection(name string) error {
	switch {
	case name == "":
		return errors.New("no connection name given")
	case len(name) > maxNameLength:
		return fmt.Errorf("connection name has %d bytes, the maximum is %d", len(name), maxNameLength)
	}
	if err := checkName(name); err != nil {
		return fmt.Errorf("connection name %q: %w", name, err)
	}
	return nil
}

// checkName refuses what cannot be a part of a path.
func checkName(name string) error {
	unfit := func(r rune) bool { // what ZooKeeper refuses in paths, and the slash
		return r == '/' || r <= 0x1f || r >= 0x7f && r <= 0x9f || r >= 0xd800 && r <= 0xf8ff ||
			r >= 0xfff0 && r <= 0xffff
	}
	switch {
	case name == "":
		return errors.New("an empty part of a path")
	case name == "." || name == "..":
		return fmt.Errorf("%q cannot be a part of a path", name)
	case strings.ContainsFunc(name, unfit) || !utf8.ValidString(name):
		return errors.New("it has a character that ZooKeeper does not take")
	}
	return nil
}

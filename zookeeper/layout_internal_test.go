package zookeeper

import (
	"slices"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
)

func TestLayout(t *testing.T) {
	const shard gerritstream.ShardID = "shardId-000000000002"
	whole := &gerritstream.DeadLetter{Shard: shard, Seq: "49", Sub: gerritstream.NoSub}
	part := &gerritstream.DeadLetter{Shard: shard, Seq: "49", Sub: 7}
	for _, chroot := range []string{"", "/ci/zuul-a"} {
		at := newLayout(chroot, "gerrit")
		for got, want := range map[string]string{
			at.queue():             "/zuul/events/connection/gerrit/events/queue",
			at.queueNode():         "/zuul/events/connection/gerrit/events/queue/q",
			at.largeEvent("id"):    "/zuul/events/connection/gerrit/events/data/id",
			at.election(shard):     "/zuul/events/connection/gerrit/election-aws_kinesis_shardId-000000000002",
			at.checkpoint(shard):   "/zuul/events/connection/gerrit/checkpoint-aws_kinesis_shardId-000000000002",
			at.component("merger"): "/zuul/components/merger",
			at.origin():            "/gerritstream/gerrit/start",
			at.position(3, shard):  "/gerritstream/gerrit/e3/positions/shardId-000000000002",
			at.members():           "/gerritstream/gerrit/members",
			at.reports():           "/gerritstream/gerrit/reports",
			at.deadLetter(whole):   "/gerritstream/gerrit/dead/shardId-000000000002-49",
			at.deadLetter(part):    "/gerritstream/gerrit/dead/shardId-000000000002-49-7",
			at.discarded(shard):    "/gerritstream/gerrit/discarded/shardId-000000000002",
			at.intent(shard):       "/gerritstream/gerrit/intents/shardId-000000000002",
		} {
			if got != chroot+want {
				t.Errorf("%s, want %s", got, chroot+want)
			}
		}
		if got := at.unprefixed(at.largeEvent("id")); got != "/zuul/events/connection/gerrit/events/data/id" {
			t.Errorf("Zuul would read %s", got)
		}
	}
}

func TestNames(t *testing.T) {
	for chroot, want := range map[string]string{"": "", "/": "", "/a": "/a", "/a/b/": "/a/b"} {
		if got, err := parseChroot(chroot); err != nil || got != want {
			t.Errorf("parseChroot(%q) = %q, %v", chroot, got, err)
		}
	}
	for _, chroot := range []string{"a", "/a//b", "/a/../b", "/./a", "/\x00", "/\x7f", "/a\u2029\uf000",
		"/" + strings.Repeat("x", 101)} {
		if got, err := parseChroot(chroot); err == nil {
			t.Errorf("parseChroot(%q) = %q", chroot, got)
		}
	}
	for _, name := range []string{"gerrit", "review.example.org", "gerrit 2", "ß"} {
		if err := parseConnection(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\n", "\xff", strings.Repeat("x", 101)} {
		if parseConnection(name) == nil {
			t.Errorf("connection name %q is accepted", name)
		}
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"zk1": "zk1:2181", "zk1:2281": "zk1:2281", "10.0.0.1": "10.0.0.1:2181", "[::1]:2281": "[::1]:2281",
		"::1":       "[::1]:2181",
		"[fe80::2]": "[fe80::2]:2181",
	} {
		if got, err := withPort(host); err != nil || got != want {
			t.Errorf("withPort(%q) = %q, %v", host, got, err)
		}
	}
	for _, host := range []string{"", "zk1/chroot", "zk1,zk2", "a b"} {
		if got, err := withPort(host); err == nil {
			t.Errorf("withPort(%q) = %q", host, got)
		}
	}
}

// Every server is offered once before any is offered again, and all is set when
// a round is complete.
func TestHostsByTurns(t *testing.T) {
	h := newHosts([]string{"a:1", "b:1", "c:1"})
	for round := range 3 {
		var names []string
		for i := range 3 {
			name, all := h.Next()
			if all != (i == 0 && round > 0) {
				t.Errorf("round %d: %s is offered with all = %v", round, name, all)
			}
			names = append(names, name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"a:1", "b:1", "c:1"}) {
			t.Errorf("round %d offers %v", round, names)
		}
	}
}

// kazoo looks for its mark anywhere in a name and sorts by what follows.
func TestCandidatesOf(t *testing.T) {
	const ours, zuuls = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
	children := []string{
		zuuls + "__lock__0000000012", ours + "__lock__0000000003", "_c_x-lock-0000000001", "lock-0000000002",
		ours + "__rlock__0000000000", ours + "__lock__12345", "odd__lock__0000000004", "__lock__0000000005",
	}
	var got []string
	for _, c := range candidatesOf(children) {
		got = append(got, c.sequence+" "+c.process())
	}
	want := []string{"0000000003 0011223344556677", "0000000004 ", "0000000005 ", "0000000012 ffeeddccbbaa9988"}
	if !slices.Equal(got, want) {
		t.Errorf("the candidates are %q, want %q", got, want)
	}
}

func TestLockOwner(t *testing.T) {
	for data, want := range map[string]string{"": zuulListener, "host1": zuulListener,
		"gerritstream host-7": "host-7"} {
		if got, ours := lockOwner([]byte(data)); got != want || ours != (want != zuulListener) {
			t.Errorf("lockOwner(%q) = %q, %v", data, got, ours)
		}
	}
	if got := string(lockData("caf\xe9")); got != "gerritstream caf?" {
		t.Errorf("kazoo would read %q", got)
	}
}

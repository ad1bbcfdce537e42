package e2e

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// TestRestartDeliversOnlyNewEvents looks at what a sink is given: the database
// alone would hide a second delivery.
func TestRestartDeliversOnlyNewEvents(t *testing.T) {
	t.Parallel()
	endpoint, database, tr := emulate(t), newDatabase(t), newTraffic(4)
	putter := peers.Putter{Endpoint: endpoint, Stream: streamName, Create: 2}
	before := tr.put(t, putter, 500)
	first := runUntilCaughtUp(t, endpoint, database, "--sink", "stdout")
	putter.Create = 0
	after := tr.put(t, putter, 300)
	second := runUntilCaughtUp(t, endpoint, database, "--sink", "stdout")

	checkExact(t, database, slices.Concat(before, after))
	checkDelivered(t, first, before)
	checkDelivered(t, second, after)
}

// checkDelivered compares what a run gave its sink with what was put for it.
func checkDelivered(t *testing.T, output []byte, puts []wantedPut) {
	t.Helper()
	var delivered []history.Item
	for line := range bytes.Lines(output) {
		item := history.Item{Sub: gerritstream.NoSub}
		entry := struct {
			Shard *gerritstream.ShardID        `json:"shard"`
			Seq   *gerritstream.SequenceNumber `json:"seq"`
		}{&item.Shard, &item.Seq}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		delivered = append(delivered, item)
	}
	var put []history.Item
	for i := range puts {
		if item := puts[i].item(); item.Outcome == history.Queued {
			item.Sum = "" // a sink gets the event among other fields
			put = append(put, item)
		}
	}
	report := history.Compare(put, delivered, nil)
	if err := report.Err(); err != nil {
		t.Errorf("delivered: %v", err)
	}
}

// damages make a checkpoint garbage: an unreadable one, and one that Kinesis
// refuses.
var damages = map[string]string{
	"unreadable": `UPDATE positions SET position = 'garbage'`,
	"refused": `UPDATE positions SET position =
		json_set(position, '$.after', '99999999999999999999999999999999999999999999999999999999')`,
}

// TestGarbageCheckpointFollowsPolicy damages the positions, puts more events,
// and runs again under each policy.
func TestGarbageCheckpointFollowsPolicy(t *testing.T) {
	t.Parallel()
	for damage, statement := range damages {
		for _, policy := range []string{"latest", "trim-horizon", "halt"} {
			t.Run(damage+"/"+policy, func(t *testing.T) {
				t.Parallel()
				g := garbage{database: newDatabase(t), traffic: newTraffic(5)}
				g.stream, g.endpoint = embedded(t, 1)
				g.before = g.traffic.putDirectly(t, g.stream, 100)
				runUntilCaughtUp(t, g.endpoint, g.database)
				query(t, g.database, statement)
				g.missed = g.traffic.putDirectly(t, g.stream, 100)
				policies[policy](t, g)
			})
		}
	}
}

// garbage is a stream whose position was damaged.
type garbage struct {
	endpoint, database string
	stream             *kinesistest.Server
	traffic            *traffic
	before, missed     []wantedPut
}

// policies check the result of each policy.
var policies = map[string]func(*testing.T, garbage){
	// Nothing is lost: everything is read again, and stays in the queue once.
	"trim-horizon": func(t *testing.T, g garbage) {
		t.Helper()
		p := g.start(t, "trim-horizon", "--until-caught-up")
		if code := p.wait(t, patience); code != 0 {
			t.Fatalf("exit code %d, want 0", code)
		}
		g.checkLoud(t, p)
		checkExact(t, g.database, slices.Concat(g.before, g.missed))
	},
	// What was put in between is passed, and status shows that. "Now" is by the
	// service's clock, a second or two early.
	"latest": func(t *testing.T, g garbage) {
		t.Helper()
		put := time.Now()
		eventually(t, "what was put is no longer of now", func() bool { return time.Since(put) > 5*time.Second })
		p := g.start(t, "latest", "--until-caught-up")
		if code := p.wait(t, patience); code != 0 {
			t.Fatalf("exit code %d, want 0", code)
		}
		g.checkLoud(t, p)
		after := g.traffic.putDirectly(t, g.stream, 100)
		runUntilCaughtUp(t, g.endpoint, g.database)
		checkExact(t, g.database, slices.Concat(g.before, after))
		if s := readStatus(t, g.database); len(s.Shards) != 1 || len(s.Shards[0].Lost) == 0 {
			t.Errorf("status does not show what may be lost: %+v", s)
		}
	},
	// Nothing is read until an operator has decided.
	"halt": func(t *testing.T, g garbage) {
		t.Helper()
		p := g.start(t, "halt")
		eventually(t, "status shows that the shard is halted", func() bool {
			s := readStatus(t, g.database)
			return len(s.Shards) == 1 && s.Shards[0].State == "halted"
		})
		if _, code := run(t, "status", "--store", "sqlite:"+g.database, "--check"); code != 3 {
			t.Errorf("status --check: exit code %d, want 3", code)
		}
		g.checkLoud(t, p)
		stop(t, p)
		checkExact(t, g.database, g.before)
	},
}

func (g garbage) start(t *testing.T, policy string, more ...string) *program {
	t.Helper()
	return start(t, fromStart(g.endpoint, g.database, append(more, "--on-bad-checkpoint", policy)...)...)
}

// checkLoud fails the test unless the log warns of the shard.
func (g garbage) checkLoud(t *testing.T, p *program) {
	t.Helper()
	for line := range strings.Lines(string(p.log(t))) {
		loud := strings.Contains(line, "WARN") || strings.Contains(line, "ERROR")
		if loud && strings.Contains(line, "bad checkpoint") && strings.Contains(line, g.before[0].Shard) {
			return
		}
	}
	t.Errorf("no warning about the bad checkpoint of %s", g.before[0].Shard)
}

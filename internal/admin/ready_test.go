package admin

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
)

func TestNotReady(t *testing.T) {
	listed := time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)
	shard := func(state gerritstream.State, trouble string) []gerritstream.ShardStatus {
		return []gerritstream.ShardStatus{{Shard: "shardId-000000000000", State: state, Trouble: trouble}}
	}
	tests := []struct {
		name   string
		status gerritstream.Status
		want   []string
	}{
		{"just begun", gerritstream.Status{}, []string{"the stream has not been listed yet"}},
		{"cannot list", gerritstream.Status{Trouble: "denied:\n\tkinesis:ListShards"}, []string{"denied: kinesis:ListShards"}},
		{"could once", gerritstream.Status{Listed: listed, Trouble: "denied"}, []string{"denied"}},
		{"reading", gerritstream.Status{Listed: listed, Shards: shard(gerritstream.StateReading, "")}, nil},
		{"standing by", gerritstream.Status{Listed: listed, Shards: shard(gerritstream.StateStandby, "")}, nil},
		{"standing by after a term that failed", gerritstream.Status{Listed: listed, Shards: shard(gerritstream.StateStandby, "disk")}, nil},
		{"no shard yet", gerritstream.Status{Listed: listed}, nil},
		{"waiting", gerritstream.Status{Listed: listed, Shards: shard(gerritstream.StateWaiting, "")}, nil},
		{"stalled", gerritstream.Status{Listed: listed, Shards: shard(gerritstream.StateReading, "KMS denied")},
			[]string{"shardId-000000000000: KMS denied"}},
		{"the stream is gone", gerritstream.Status{Listed: listed, Trouble: "gone", Shards: shard(gerritstream.StateReading, "gone")}, []string{"gone"}},
		{"halted", gerritstream.Status{Listed: listed, Shards: shard(gerritstream.StateHalted, "halted: bad position")},
			[]string{"shardId-000000000000: halted: bad position"}},
	}
	many := gerritstream.Status{Listed: listed}
	for i := range 200 {
		many.Shards = append(many.Shards, gerritstream.ShardStatus{
			Shard: gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i)), State: gerritstream.StateReading,
			Trouble: fmt.Sprintf("kinesis:GetRecords on gerrit/shardId-%012d: InternalFailure (request %08x-a)", i,
				i*7919),
		})
	}
	many.Shards[7].Trouble = "deliver to stdout: broken"
	tests = append(tests, struct {
		name   string
		status gerritstream.Status
		want   []string
	}{"one cause on many shards, and another", many, []string{
		"shardId-000000000000, shardId-000000000001, shardId-000000000002 and 196 more: " + many.Shards[0].Trouble,
		"shardId-000000000007: deliver to stdout: broken",
	}})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := notReady(&tt.status); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

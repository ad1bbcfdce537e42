package kinesistest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestRetentionTrims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{NoLimits: true}, 1)
		_, old, err := srv.Put("s", "k", []byte("old"))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if _, _, err := srv.Put("s", "k", []byte("new")); err != nil {
			t.Fatal(err)
		}
		after := func(in *kinesis.GetShardIteratorInput) { in.StartingSequenceNumber = &old }
		time.Sleep(23 * time.Hour)
		if got := seek(t, c, types.ShardIteratorTypeTrimHorizon, nil); got != "oldnew" {
			t.Errorf("after exactly 24 hours: %q", got)
		}
		time.Sleep(time.Millisecond)
		if got := seek(t, c, types.ShardIteratorTypeTrimHorizon, nil); got != "new" {
			t.Errorf("from the trim horizon: %q", got)
		}
		for _, kind := range []types.ShardIteratorType{"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"} {
			if got := seek(t, c, kind, after); got != "new" {
				t.Errorf("%s of a trimmed record: %q, want what follows the trim horizon", kind, got)
			}
		}
		time.Sleep(2 * time.Hour)
		if got := seek(t, c, types.ShardIteratorTypeAfterSequenceNumber, after); got != "" {
			t.Errorf("with nothing left: %q", got)
		}
	})
}

func TestClosedShardGoesWithItsRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 1)
		fill(t, srv, 1, 1)
		if _, _, err := srv.Split("s", id(0)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		if n := len(shards(t, c)); n != 3 {
			t.Errorf("%d shards after 24 hours, want 3", n)
		}
		it := fromStart(t, c, id(0))
		time.Sleep(time.Millisecond)
		listed := shards(t, c)
		if len(listed) != 2 || *listed[0].ShardId != id(1) || *listed[0].ParentShardId != id(0) {
			t.Errorf("the closed shard is still listed, or its children forgot it")
		}
		_, err := read(t, c, it)
		wantFault(t, err, "ResourceNotFoundException",
			"Shard shardId-000000000000 in stream s under account 000000000000 does not exist")
	})
}

func TestChangeRetention(t *testing.T) {
	_, c := start(t, kinesistest.Options{}, 1)
	increase := func(hours int32) error {
		_, err := c.IncreaseStreamRetentionPeriod(t.Context(),
			&kinesis.IncreaseStreamRetentionPeriodInput{StreamName: aws.String("s"), RetentionPeriodHours: &hours})
		return err
	}
	decrease := func(hours int32) error {
		_, err := c.DecreaseStreamRetentionPeriod(t.Context(),
			&kinesis.DecreaseStreamRetentionPeriodInput{StreamName: aws.String("s"), RetentionPeriodHours: &hours})
		return err
	}
	hours := func() int32 {
		return *summary(t, c).RetentionPeriodHours
	}
	const code = "InvalidArgumentException"
	wantFault(t, increase(23), code,
		"Minimum allowed retention period is 24 hours. Requested retention period (23 hours) is too short.")
	wantFault(t, increase(8761), code,
		"Maximum allowed retention period is 8760 hours. Requested retention period (8761 hours) is too long.")
	if err := increase(48); err != nil || hours() != 48 {
		t.Fatalf("%v: %d hours", err, hours())
	}
	wantFault(t, increase(47), code,
		"can not be shorter than existing retention period (48 hours). Use DecreaseRetentionPeriod API.")
	wantFault(t, decrease(49), code,
		"can not be longer than existing retention period (48 hours). Use IncreaseRetentionPeriod API.")
	if err := decrease(24); err != nil || hours() != 24 {
		t.Fatalf("%v: %d hours", err, hours())
	}
}

// What has expired stays gone when the retention is raised, by whatever method:
// records, closed shards, and the horizon of a filter.
func TestRaisedRetentionBringsNothingBack(t *testing.T) {
	raise := map[string]func(*testing.T, *kinesistest.Server, *kinesis.Client) error{
		"by a call": func(t *testing.T, _ *kinesistest.Server, c *kinesis.Client) error {
			_, err := c.IncreaseStreamRetentionPeriod(t.Context(),
				&kinesis.IncreaseStreamRetentionPeriodInput{
					StreamName: aws.String("s"), RetentionPeriodHours: aws.Int32(168)})
			return err
		},
		"directly": func(_ *testing.T, srv *kinesistest.Server, _ *kinesis.Client) error {
			return srv.SetRetention("s", 168*time.Hour)
		},
	}
	for name, raise := range raise {
		for _, delay := range []time.Duration{0, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				srv, c := start(t, kinesistest.Options{NoLimits: true, UpdateDelay: delay}, 2)
				put := func(shard, data string) {
					if _, err := srv.PutTo("s", shard, "k", []byte(data)); err != nil {
						t.Fatal(err)
					}
				}
				put(id(0), "old")
				if _, _, err := srv.Split("s", id(1)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				put(id(0), "new")
				time.Sleep(23*time.Hour + time.Second) // without a read, which would trim
				if err := raise(t, srv, c); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Hour)
				if got := seek(t, c, types.ShardIteratorTypeTrimHorizon, nil); got != "new" {
					t.Errorf("%s, %s: from the trim horizon %q, want only what had not expired", name, delay, got)
				}
				if left := must[[]kinesistest.Record](t)(srv.Records("s", id(0))); len(left) != 1 {
					t.Errorf("%s, %s: %d records are kept", name, delay, len(left))
				}
				if n := len(shards(t, c)); n != 3 {
					t.Errorf("%s, %s: %d shards are listed, want the open ones", name, delay, n)
				}
				time.Sleep(4 * 24 * time.Hour)
				if got := seek(t, c, types.ShardIteratorTypeTrimHorizon, nil); got != "new" {
					t.Errorf("%s, %s: after four days %q: the longer retention is not kept", name, delay, got)
				}
			})
		}
	}
}

func TestSetRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, c := start(t, kinesistest.Options{}, 1)
		fill(t, srv, 1, 1)
		if err := srv.SetRetention("s", time.Minute); err != nil {
			t.Fatal(err)
		}
		srv.AdvanceClock(time.Minute + time.Millisecond)
		if got := seek(t, c, types.ShardIteratorTypeTrimHorizon, nil); got != "" {
			t.Errorf("read %q", got)
		}
		if left := must[[]kinesistest.Record](t)(srv.Records("s", id(0))); len(left) != 0 {
			t.Errorf("%d records are kept", len(left))
		}
	})
}

// summary describes "s".
func summary(t *testing.T, c *kinesis.Client) *types.StreamDescriptionSummary {
	t.Helper()
	out := must[*kinesis.DescribeStreamSummaryOutput](t)(c.DescribeStreamSummary(t.Context(),
		&kinesis.DescribeStreamSummaryInput{StreamName: aws.String("s")}))
	return out.StreamDescriptionSummary
}

package kinesis

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// laterPages matches requests for pages after the first.
func laterPages(r *kinesistest.Request) bool {
	var in requestInput
	return r.Decode(&in) == nil && in.NextToken != ""
}

// edited changes a reply's JSON.
func edited(change func(map[string]any)) kinesistest.Action {
	return func(next kinesistest.Handler) kinesistest.Handler {
		return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
			reply, err := next(ctx, r)
			if err != nil {
				return nil, err
			}
			var out map[string]any
			if err := reply.Decode(&out); err != nil {
				return nil, err
			}
			change(out)
			body, err := json.Marshal(out)
			return kinesistest.NewReply(http.StatusOK, body), err
		}
	}
}

func summary(out map[string]any) map[string]any {
	return out["StreamDescriptionSummary"].(map[string]any) //nolint:errcheck,forcetypeassert // the emulator's own
}

func TestListingHasTheStreamAndEveryShardWithItsParents(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 2, nil, func(t *testing.T, w *world) {
		const second = "shardId-000000000001"
		time.Sleep(time.Minute)
		left, right, err := w.srv.Split("gerrit", string(shard0))
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		child, err := w.srv.Merge("gerrit", right, second)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.srv.SetRetention("gerrit", 48*time.Hour); err != nil {
			t.Fatal(err)
		}
		got, err := w.src.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if want := "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit"; got.Stream.ARN != want {
			t.Errorf("the ARN is %s, want %s", got.Stream.ARN, want)
		}
		if want := time.Date(2000, 1, 1, 1, 30, 0, 0, time.UTC); !got.Stream.Created.Equal(want) {
			t.Errorf("created %s, want %s", got.Stream.Created, want)
		}
		if got.Retention != 48*time.Hour {
			t.Errorf("the retention is %s", got.Retention)
		}
		parents := map[gerritstream.ShardID][]gerritstream.ShardID{
			shard0: nil, second: nil, gerritstream.ShardID(left): {shard0}, gerritstream.ShardID(right): {shard0},
			gerritstream.ShardID(child): {second, gerritstream.ShardID(right)},
		}
		if len(got.Shards) != len(parents) {
			t.Fatalf("got %d shards, want %d", len(got.Shards), len(parents))
		}
		for _, s := range got.Shards {
			want, known := parents[s.ID]
			if slices.Sort(s.Parents); !known || !slices.Equal(s.Parents, want) {
				t.Errorf("%s has the parents %s, want %s", s.ID, s.Parents, want)
			}
			open := s.ID == gerritstream.ShardID(left) || s.ID == gerritstream.ShardID(child)
			if s.First == "" || (s.Last == "") != open {
				t.Errorf("%s reaches from %q to %q", s.ID, s.First, s.Last)
			}
		}
	})
}

func TestListingIsComplete(t *testing.T) {
	many := kinesistest.Options{ShardLimit: 10000}
	t.Run("many pages", func(t *testing.T) {
		inBubble(t, many, 2500, nil, func(t *testing.T, w *world) {
			wantShards(t, w, 2500)
			pages := w.sent("ListShards")
			if len(pages) != 3 || pages[0].in.NextToken != "" || pages[2].in.NextToken == "" ||
				pages[2].in.NextToken == pages[1].in.NextToken {
				t.Errorf("asked for %+v", pages)
			}
		})
	})
	t.Run("a page that fails for a while", func(t *testing.T) {
		for name, tr := range troubles {
			// the last takes too long for a second try
			if tr.denied || name == "stream is changing" || name == "no answer" {
				continue
			}
			inBubble(t, many, 1500, nil, func(t *testing.T, w *world) {
				w.srv.On(kinesistest.Hook{Operation: "ListShards", Match: laterPages, Times: 1, Do: tr.do})
				wantListing(t, w, name, 1500)
			})
		}
	})
	t.Run("a page that fails for good", func(t *testing.T) {
		for name, tr := range troubles {
			inBubble(t, many, 1500, nil, func(t *testing.T, w *world) {
				w.srv.On(kinesistest.Hook{Operation: "ListShards", Match: laterPages, Do: tr.do})
				began := time.Now()
				got, err := w.src.List(t.Context())
				if err == nil || len(got.Shards) > 0 || got.Stream != (gerritstream.Stream{}) {
					t.Errorf("%s: got %d shards and %v: a part of a listing", name, len(got.Shards), err)
				}
				if errors.Is(err, gerritstream.ErrDenied) != tr.denied ||
					errors.Is(err, gerritstream.ErrStreamNotFound) {
					t.Errorf("%s: got %v", name, err)
				}
				if took := time.Since(began); took > progressTimeout+3*time.Second {
					t.Errorf("%s: it was tried for %s", name, took)
				}
			})
		}
	})
}

func wantShards(t *testing.T, w *world, n int) {
	t.Helper()
	wantListing(t, w, "", n)
}

func wantListing(t *testing.T, w *world, name string, n int) {
	t.Helper()
	got, err := w.src.List(t.Context())
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	different := map[gerritstream.ShardID]bool{}
	for _, s := range got.Shards {
		different[s.ID] = true
	}
	if len(got.Shards) != n || len(different) != n {
		t.Errorf("%s: got %d shards, %d different ones, want %d", name, len(got.Shards), len(different), n)
	}
}

// A page token lasts 300 seconds. The listing then starts again, and is
// complete or an error.
func TestExpiredPageTokenStartsTheListingAgain(t *testing.T) {
	for times, complete := range map[int]bool{1: true, 2: false} {
		inBubble(t, kinesistest.Options{ShardLimit: 10000}, 1500, nil, func(t *testing.T, w *world) {
			firstPage := func(r *kinesistest.Request) bool { return !laterPages(r) }
			w.srv.On(kinesistest.Hook{Operation: "ListShards", Match: firstPage, Times: times,
				Do: kinesistest.Observe(
					func(*kinesistest.Request, *kinesistest.Reply) { w.srv.AdvanceClock(301 * time.Second) })})
			if complete {
				wantShards(t, w, 1500)
				return
			}
			got, err := w.src.List(t.Context())
			if err == nil || len(got.Shards) > 0 || !strings.Contains(err.Error(), "ExpiredNextTokenException") {
				t.Errorf("got %d shards and %v", len(got.Shards), err)
			}
		})
	}
}

// A shard or a stream with missing parts is refused.
func TestListingOfHalvesIsRefused(t *testing.T) {
	shard := func(change func(map[string]any)) (string, kinesistest.Action) {
		return "ListShards", edited(func(out map[string]any) {
			change(out["Shards"].([]any)[1].(map[string]any)) //nolint:errcheck,forcetypeassert // the emulator's own
		})
	}
	stream := func(key string) (string, kinesistest.Action) {
		return "DescribeStreamSummary", edited(func(out map[string]any) { delete(summary(out), key) })
	}
	for name, hook := range map[string]func() (string, kinesistest.Action){
		"no shard id": func() (string, kinesistest.Action) {
			return shard(func(s map[string]any) { delete(s, "ShardId") })
		},
		"no sequence numbers": func() (string, kinesistest.Action) {
			return shard(func(s map[string]any) { delete(s, "SequenceNumberRange") })
		},
		"a bad sequence number": func() (string, kinesistest.Action) {
			return shard(func(s map[string]any) {
				s["SequenceNumberRange"] = map[string]any{"StartingSequenceNumber": "x1"}
			})
		},
		"no ARN":           func() (string, kinesistest.Action) { return stream("StreamARN") },
		"no creation time": func() (string, kinesistest.Action) { return stream("StreamCreationTimestamp") },
		"no retention":     func() (string, kinesistest.Action) { return stream("RetentionPeriodHours") },
	} {
		inBubble(t, kinesistest.Options{}, 3, nil, func(t *testing.T, w *world) {
			operation, do := hook()
			w.srv.On(kinesistest.Hook{Operation: operation, Do: do})
			if got, err := w.src.List(t.Context()); err == nil || len(got.Shards) > 0 {
				t.Errorf("%s: got %+v", name, got)
			}
		})
	}
}

// A stream that is being created is neither usable nor missing: the caller
// tries again.
func TestStreamThatIsNotActiveIsTransient(t *testing.T) {
	for status, want := range map[string]string{
		"CREATING": "is still being created", "DELETING": "is being deleted", "UPDATING": ""} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.srv.On(kinesistest.Hook{
				Operation: "DescribeStreamSummary", Do: edited(
					func(out map[string]any) { summary(out)["StreamStatus"] = status })})
			_, err := w.src.List(t.Context())
			switch {
			case want == "" && err != nil:
				t.Errorf("%s: %v", status, err)
			case want == "":
			case err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "stream/gerrit"):
				t.Errorf("%s: got %v", status, err)
			case errors.Is(err, gerritstream.ErrStreamNotFound) || errors.Is(err, gerritstream.ErrDenied):
				t.Errorf("%s: %v is not transient", status, err)
			}
		})
	}
}

// The stream by its name, by its ARN, and by names and ARNs of no stream.
func TestStreamIsFoundByNameOrARN(t *testing.T) {
	const arn = "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit"
	for _, c := range []struct{ stream, region, missing string }{
		{"gerrit", "us-east-1", ""},
		{arn, "", ""},
		{arn, "us-east-1", ""},
		{"other", "us-east-1", "stream other not found in us-east-1 under account 000000000000"},
		{"arn:aws:kinesis:us-east-1:000000000000:stream/other", "",
			"stream other not found in us-east-1 under account 000000000000"},
		{"arn:aws:kinesis:us-east-1:222222222222:stream/gerrit", "",
			"stream gerrit not found in us-east-1 under account 222222222222"},
		{"arn:aws:kinesis:eu-west-1:000000000000:stream/gerrit", "",
			"stream gerrit not found in eu-west-1 under account 000000000000"},
	} {
		change := func(config *Config) { config.Stream, config.Region = c.stream, c.region }
		inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
			w.put("a")
			listing, err := w.src.List(t.Context())
			if c.missing != "" {
				if !errors.Is(err, gerritstream.ErrStreamNotFound) ||
					!strings.HasPrefix(err.Error(), c.missing+": check ") {
					t.Errorf("%s: got %v, want %s", c.stream, err, c.missing)
				}
				return
			}
			if err != nil || listing.Stream.ARN != arn {
				t.Fatalf("%s: got %+v, %v", c.stream, listing, err)
			}
			wantData(t, w.read(trimHorizon(), atTip), "a")
			for _, operation := range []string{"GetShardIterator", "GetRecords"} {
				for _, r := range w.sent(operation) {
					if r.in.StreamARN != arn {
						t.Errorf("%s: %s without the ARN, which other accounts' streams need", c.stream, operation)
					}
				}
			}
		})
	}
}

// A shard can be read before anything is listed.
func TestReadByNameBeforeTheARNIsKnown(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		wantData(t, w.read(trimHorizon(), atTip), "a")
		if in := w.lastSeek(); in.StreamName != "gerrit" || in.StreamARN != "" {
			t.Errorf("asked by %+v", in)
		}
	})
}

// A reply about another stream of the name is refused: the ids of events are
// derived from the ARN.
func TestAnswerForAnotherARNIsRefused(t *testing.T) {
	const asked, found = "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit",
		"arn:aws:kinesis:us-east-1:333333333333:stream/gerrit"
	other := kinesistest.Hook{
		Operation: "DescribeStreamSummary", Do: edited(func(out map[string]any) { summary(out)["StreamARN"] = found })}
	refused := func(t *testing.T, w *world) {
		t.Helper()
		w.srv.On(other)
		_, err := w.src.List(t.Context())
		if !errors.Is(err, gerritstream.ErrStreamNotFound) || !strings.Contains(err.Error(), asked) ||
			!strings.Contains(err.Error(), found) {
			t.Errorf("got %v", err)
		}
	}
	inBubble(t, kinesistest.Options{}, 1, func(c *Config) { c.Stream = asked }, refused)
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		if _, err := w.src.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(t, w)
	})
}

// If the first request is denied, the error names the action, the stream and
// the user.
func TestDeniedListingNamesTheActionAndTheStream(t *testing.T) {
	const message = "User: arn:aws:iam::000000000000:user/u is not authorized to perform: kinesis:ListShards on " +
		"resource: arn:aws:kinesis:us-east-1:000000000000:stream/gerrit"
	for _, operation := range []string{"DescribeStreamSummary", "ListShards"} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.fail(operation, 0, "AccessDeniedException", message, 0)
			_, err := w.src.List(t.Context())
			if !errors.Is(err, gerritstream.ErrDenied) {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{
				"kinesis:" + operation + " on ", "stream/gerrit", "AccessDeniedException", message} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not have %q", err, want)
				}
			}
			if n := len(w.sent(operation)); n != 1 {
				t.Errorf("it was tried %d times", n)
			}
		})
	}
}

func TestDescribeNamesTheAccount(t *testing.T) {
	inBubble(t, kinesistest.Options{Account: "123456789012"}, 1, nil, func(t *testing.T, w *world) {
		got, err := w.src.Describe(t.Context())
		want := Description{"arn:aws:kinesis:us-east-1:123456789012:stream/gerrit", "123456789012", "us-east-1",
			"EnvConfigCredentials"}
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

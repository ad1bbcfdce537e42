package kinesis

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// answered replies with a body to any request.
func answered(body string) kinesistest.Action {
	return func(kinesistest.Handler) kinesistest.Handler {
		return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
			return kinesistest.NewReply(http.StatusOK, []byte(body)), nil
		}
	}
}

// without removes members from a reply.
func without(members ...string) kinesistest.Action {
	return edited(func(out map[string]any) {
		maps.DeleteFunc(out, func(name string, _ any) bool {
			for _, m := range members {
				if m == name {
					return true
				}
			}
			return false
		})
	})
}

// with sets a member of a reply.
func with(name string, value any) kinesistest.Action {
	return edited(func(out map[string]any) { out[name] = value })
}

// badReplies are successful replies that GetRecords never gives.
var badReplies = map[string]kinesistest.Action{
	"nothing":                         answered(""),
	"an empty object":                 answered("{}"),
	"null":                            answered("null"),
	"an array":                        answered("[]"),
	"a page of HTML":                  answered("<html>please log in</html>"),
	"cut JSON":                        answered(`{"Records":[],"NextShardIterator":"x"`),
	"two objects":                     answered(`{"Records":[],"NextShardIterator":"x"}{}`),
	"no next iterator":                without("NextShardIterator"),
	"a next iterator of null":         with("NextShardIterator", nil),
	"an empty next iterator":          with("NextShardIterator", ""),
	"a next iterator of a wrong type": with("NextShardIterator", 7),
	"records only":                    without("NextShardIterator", "MillisBehindLatest"),
	"no records":                      without("Records"),
	"records of null":                 with("Records", nil),
	"records of a wrong type":         with("Records", map[string]any{}),
	"a record of a wrong type":        with("Records", []any{"a"}),
	"a record of null":                with("Records", []any{nil}),
	"a record without a number":       with("Records", []any{map[string]any{"Data": "QQ=="}}),
	"a record without data":           with("Records", []any{map[string]any{"SequenceNumber": "1"}}),
	"a record with data of null":      with("Records", []any{map[string]any{"SequenceNumber": "1", "Data": nil}}),
	"a distance of a wrong type":      with("MillisBehindLatest", "0"),
	"no children and no next iterator": edited(
		func(out map[string]any) { out["ChildShards"] = []any{}; delete(out, "NextShardIterator") }),
	"children of null, no next": edited(
		func(out map[string]any) { out["ChildShards"] = nil; delete(out, "NextShardIterator") }),
	"children without ids, no next": edited(func(out map[string]any) {
		out["ChildShards"] = []any{map[string]any{}}
		delete(out, "NextShardIterator")
	}),
	"children of a wrong type, no next": edited(
		func(out map[string]any) { out["ChildShards"] = "none"; delete(out, "NextShardIterator") }),
}

// A malformed reply neither ends an open shard nor skips records: it is
// reported, and asked for again with the same iterator.
func TestBadReplyIsAskedForAgainWithTheSameIterator(t *testing.T) {
	const times = 4
	for name, bad := range badReplies {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.put("a")
				pairs := w.read(trimHorizon(), func(p pair) bool {
					if len(p.Records) == 1 && p.data()[0] == "a" {
						w.put("b", "c")
						w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: times, Do: bad})
					}
					return p.End || atTip(p)
				})
				wantData(t, pairs, "a", "b", "c")
				wantRetrying(t, errorsOf(pairs), times)
				if pairs[len(pairs)-1].End {
					t.Error("the shard has ended")
				}
				if n := len(w.sent("GetShardIterator")); n != 1 {
					t.Errorf("%d iterators were asked for, want 1", n)
				}
				for _, r := range w.sent("GetRecords")[2 : 2+times] {
					if r.in.ShardIterator != w.sent("GetRecords")[1].in.ShardIterator {
						t.Error("another iterator was used")
					}
				}
				w.wantFree()
			})
		})
	}
}

// A service that keeps sending such replies is asked less and less often.
func TestBadRepliesAreBackedOffFrom(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: without("NextShardIterator")})
		w.readFor(time.Hour, trimHorizon())
		if n := len(w.sent("GetRecords")); n > 400 {
			t.Errorf("%d reads in an hour", n)
		}
		if n, most := len(w.sent("ListShards")), len(w.sent("GetRecords")); n > most {
			t.Errorf("%d listings for %d reads", n, most)
		}
	})
}

// One or two malformed replies do not end a closed shard that was not read to
// its end.
func TestBadReplyDoesNotEndAClosedShard(t *testing.T) {
	for _, times := range []int{1, 2} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.put("a", "b")
			if _, _, err := w.srv.Split("gerrit", string(shard0)); err != nil {
				t.Fatal(err)
			}
			w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: times,
				Do: answered(`{"Records":[],"MillisBehindLatest":0}`)})
			pairs := w.read(trimHorizon(), never)
			wantData(t, pairs, "a", "b")
			if last := pairs[len(pairs)-1]; !last.End || len(last.Children) != 2 {
				t.Errorf("the last pair is %+v", last)
			}
		})
	}
}

// A service that has named children is not believed when it does not, however
// often.
func TestServiceThatNamesChildrenIsHeldToIt(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		left, _, err := w.srv.Split("gerrit", string(shard0))
		if err != nil {
			t.Fatal(err)
		}
		w.read(trimHorizon(), never) // which names them
		if _, err := w.srv.PutTo("gerrit", left, "k", []byte("b")); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.srv.Split("gerrit", left); err != nil {
			t.Fatal(err)
		}
		w.srv.On(kinesistest.Hook{
			Operation: "GetRecords", Times: 2 * endReplies, Do: answered(`{"Records":[],"MillisBehindLatest":0}`)})
		var pairs []pair
		for page, err := range w.src.Read(t.Context(), gerritstream.ShardID(left), trimHorizon()) {
			p := pair{Page: page, err: err}
			if page.Done != nil {
				defer page.Done()
			}
			pairs = append(pairs, p)
		}
		wantData(t, pairs, "b")
		wantRetrying(t, errorsOf(pairs), 2*endReplies)
	})
}

// A service that never names children, like kinesalite, ends a shard that is
// listed with its last number, after one listing.
func TestServiceThatNeverNamesChildrenEndsAListedShard(t *testing.T) {
	for _, separate := range []bool{false, true} {
		inBubble(t, kinesistest.Options{EmptyLastPage: separate}, 1, nil, func(t *testing.T, w *world) {
			w.put("a")
			if _, _, err := w.srv.Split("gerrit", string(shard0)); err != nil {
				t.Fatal(err)
			}
			w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: without("ChildShards")})
			began := time.Now()
			pairs := w.read(trimHorizon(), never)
			wantData(t, pairs, "a")
			wantRetrying(t, errorsOf(pairs), 0)
			if last := pairs[len(pairs)-1]; !last.End || len(last.Children) > 0 {
				t.Errorf("the last pair is %+v", last)
			}
			if n := len(w.sent("ListShards")); n != 1 {
				t.Errorf("%d listings were made", n)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			w.wantFree()
		})
	}
}

// A failed listing is trouble like any other. A listing without the shard means
// that the shard is gone.
func TestUnprovenEndIsTrouble(t *testing.T) {
	for name, do := range map[string]kinesistest.Action{
		"failing": failWith("InternalFailure", "", 500), "denied": failWith("AccessDeniedException", "", 0),
		"without shards": answered("{}"), "empty": answered(`{"Shards":[]}`), "of halves": answered(`{"Shards":[{}]}`),
		"of expired tokens": failWith("ExpiredNextTokenException", "", 0),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.put("a")
				w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 2, Do: without("NextShardIterator")})
				w.srv.On(kinesistest.Hook{Operation: "ListShards", Do: do})
				pairs := w.read(trimHorizon(), atTip)
				wantData(t, pairs, "a")
				wantRetrying(t, errorsOf(pairs), 2)
				if n := len(w.sent("GetShardIterator")); n != 1 {
					t.Errorf("%d iterators were asked for, want 1", n)
				}
			})
		})
	}
	inBubble(t, kinesistest.Options{}, 2, nil, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: without("NextShardIterator")})
		w.srv.On(kinesistest.Hook{Operation: "ListShards", Do: edited(func(out map[string]any) {
			out["Shards"] = out["Shards"].([]any)[1:] //nolint:errcheck,forcetypeassert // the emulator's own
		})})
		pairs := w.read(trimHorizon(), never)
		if len(pairs) != 1 || !errors.Is(pairs[0].err, gerritstream.ErrShardNotFound) ||
			errors.Is(pairs[0].err, gerritstream.ErrRetrying) {
			t.Errorf("got %+v, want one ErrShardNotFound", pairs)
		}
	})
}

// Children beside a next iterator do not end the shard.
func TestChildrenBesideANextIteratorAreNoEnd(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		w.srv.On(kinesistest.Hook{
			Operation: "GetRecords", Do: with("ChildShards", []any{map[string]any{"ShardId": "shardId-000000000001"}})})
		pairs := w.read(trimHorizon(), func(p pair) bool {
			if len(p.Records) > 0 && p.data()[0] == "a" {
				w.put("b")
			}
			return p.End || atTip(p)
		})
		wantData(t, pairs, "a", "b")
		for _, p := range pairs {
			if p.End || len(p.Children) > 0 {
				t.Errorf("got %+v", p)
			}
		}
	})
}

// A negative MillisBehindLatest is an unknown lag, not the tip.
func TestNegativeLagIsNotTheTip(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: with("MillisBehindLatest", -1)})
		for _, p := range w.read(trimHorizon(), after(3)) {
			if p.err != nil || p.Lag <= 0 {
				t.Errorf("got %+v", p)
			}
		}
	})
}

// Replies of the other operations that lack what each of them has are reported
// too, as malformed.
func TestReplyWithoutItsOnePartIsMalformed(t *testing.T) {
	for _, body := range []string{"{}", `{"ShardIterator":null}`, `{"ShardIterator":""}`} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.put("a")
			w.srv.On(kinesistest.Hook{Operation: "GetShardIterator", Times: 2, Do: answered(body)})
			pairs := w.read(trimHorizon(), atTip)
			wantData(t, pairs, "a")
			wantRetrying(t, errorsOf(pairs), 2)
			if n := w.seen("GetShardIterator Malformed"); n != 2 {
				t.Errorf("%s: the observer was shown %q", body, w.codes)
			}
		})
	}
	for body, once := range map[string]bool{"{}": false, `{"Shards":null}`: false, `{"Shards":[]}`: true} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.srv.On(kinesistest.Hook{Operation: "ListShards", Do: answered(body)})
			got, err := w.src.List(t.Context())
			if err == nil || got.Shards != nil || !strings.Contains(err.Error(), "gerrit") {
				t.Errorf("%s: got %+v, %v", body, got, err)
			}
			if n := len(w.sent("ListShards")); once != (n == 1) {
				t.Errorf("%s: asked %d times", body, n)
			}
		})
	}
}

package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// disturbance is something that can disturb any request.
type disturbance struct {
	do     kinesistest.Action
	denied bool   // errors.Is finds ErrDenied
	text   string // that the error contains
	code   string // that the Observer is shown
	quiet  bool   // not reported unless it lasts
}

// shown is how many errors a reading yields when this happens so many times.
func (tr *disturbance) shown(times int) int {
	if tr.quiet {
		return 0
	}
	return times
}

// kinds are those of which its error may be.
func (tr *disturbance) kinds() []trouble.Kind {
	switch {
	case tr.denied:
		return []trouble.Kind{trouble.AccessDenied}
	case tr.quiet:
		return []trouble.Kind{trouble.Throttled}
	case tr.code == "Network", tr.code == "Timeout":
		return []trouble.Kind{trouble.SourceAway}
	case tr.code == "": // a part of an answer came
		return []trouble.Kind{trouble.SourceAway, trouble.SourceFails}
	}
	return []trouble.Kind{trouble.SourceFails}
}

var (
	failWith = kinesistest.Fail
	// halfReply cuts a reply's JSON, though the connection stands.
	halfReply kinesistest.Action = func(kinesistest.Handler) kinesistest.Handler {
		return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
			return kinesistest.NewReply(http.StatusOK, []byte(`{"Records":[`)), nil
		}
	}
	htmlReply kinesistest.Action = func(kinesistest.Handler) kinesistest.Handler {
		return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
			return kinesistest.NewReply(http.StatusBadGateway, []byte("<html>bad gateway</html>")), nil
		}
	}
)

var troubles = map[string]disturbance{
	"throttled": {
		failWith("ProvisionedThroughputExceededException", "Rate exceeded for shard", 0), false, "Rate exceeded",
		"ProvisionedThroughputExceededException", true},
	"limit exceeded": {
		failWith("LimitExceededException", "Rate exceeded for stream", 0), false, "LimitExceeded",
		"LimitExceededException", true},
	"too many requests": {failWith("", "", http.StatusTooManyRequests), false, "", "Other", true},
	"KMS throttled": {
		failWith("KMSThrottlingException", "slow down", 0), false, "KMSThrottling", "KMSThrottlingException", true},
	"internal failure": {
		failWith("InternalFailure", "oops", 500), false, "InternalFailure", "InternalFailure", false},
	"unavailable": {
		failWith("ServiceUnavailable", "", 503), false, "ServiceUnavailable", "ServiceUnavailable", false},
	"unknown fault": {failWith("NobodyKnowsException", "x", 0), false, "NobodyKnows", "Other", false},
	"bad gateway":   {htmlReply, false, "502", "", false},
	"not permitted": {
		failWith("AccessDeniedException", "User: u is not authorized to perform: kinesis:X", 0), true, "not authorized",
		"AccessDeniedException", false},
	"wrong key": {
		failWith("UnrecognizedClientException", "The security token is invalid", 0), true, "security token",
		"UnrecognizedClientException", false},
	"expired token": {
		failWith("ExpiredTokenException", "expired", 0), true, "Expired", "ExpiredTokenException", false},
	"KMS not permitted": {
		failWith("KMSAccessDeniedException", "User u is not authorized to decrypt records", 0), true, "kms:Decrypt",
		"KMSAccessDeniedException", false},
	"KMS key disabled": {
		failWith("KMSDisabledException", "disabled", 0), true, "KMSDisabled", "KMSDisabledException", false},
	"KMS key deleted": {
		failWith("KMSInvalidStateException", "pending deletion", 0), true, "KMSInvalidState",
		"KMSInvalidStateException", false},
	"KMS key missing": {
		failWith("KMSNotFoundException", "no key", 0), true, "KMSNotFound", "KMSNotFoundException", false},
	"connection broken":    {kinesistest.CutRequest, false, "connection reset", "Network", false},
	"reply lost":           {kinesistest.CutReply, false, "connection reset", "Network", false},
	"reply broken off":     {kinesistest.CutBody(20), false, "unexpected EOF", "", false},
	"reply is half a JSON": {halfReply, false, "", "", false},
	"stream is changing": {
		failWith("ResourceInUseException", "not ACTIVE", 0), false, "ResourceInUse", "ResourceInUseException", false},
	"no answer": {kinesistest.Delay(time.Hour), false, "no progress for 10s", "Timeout", false},
}

// Whatever disturbs seeking or reading is reported and retried until it ends:
// the reading then goes on where it was, with nothing lost or doubled, and the
// position never counts as bad.
func TestTroubleIsRetriedFromWhereTheReadingWas(t *testing.T) {
	const times = 3
	for _, operation := range []string{"GetShardIterator", "GetRecords"} {
		for name, tr := range troubles {
			t.Run(operation+"/"+name, func(t *testing.T) {
				inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
					seqs := w.put("a", "b", "c")
					w.srv.On(kinesistest.Hook{Operation: operation, Times: times, Do: tr.do})
					pairs := w.read(gerritstream.Position{After: seqs[0], Arrived: time.Now()}, atTip)
					wantData(t, pairs, "b", "c")
					errs := errorsOf(pairs)
					wantRetrying(t, errs, tr.shown(times))
					for _, err := range errs {
						tr.check(t, operation, err)
					}
					if tr.code != "" && w.seen(operation+" "+tr.code) != times {
						t.Errorf("the observer was shown %q", w.codes)
					}
					for _, seek := range w.sent("GetShardIterator") {
						if seek.in.StartingSequenceNumber != string(seqs[0]) {
							t.Errorf("sought from %+v", seek.in)
						}
					}
					w.wantFree()
				})
			})
		}
	}
}

func (tr *disturbance) check(t *testing.T, operation string, err error) {
	t.Helper()
	if errors.Is(err, gerritstream.ErrDenied) != tr.denied {
		t.Errorf("%v: denied is %v, want %v", err, !tr.denied, tr.denied)
	}
	if k := trouble.KindOf(err, "none"); !slices.Contains(tr.kinds(), k) {
		t.Errorf("%v: its kind is %q, want one of %q", err, k, tr.kinds())
	}
	for _, wrong := range []error{
		gerritstream.ErrBadPosition, gerritstream.ErrShardNotFound, gerritstream.ErrStreamNotFound} {
		if errors.Is(err, wrong) {
			t.Errorf("%v is also %v", err, wrong)
		}
	}
	text := err.Error()
	if !strings.Contains(text, "kinesis:"+operation) || !strings.Contains(text, "gerrit/"+string(shard0)) ||
		!strings.Contains(text, tr.text) ||
		strings.Contains(text, "\n") {
		t.Errorf("%q does not say in one line what failed: want %q", text, tr.text)
	}
}

// In the middle of a shard the same holds, and the iterator is kept: a failed
// read is repeated without a new seek.
func TestTroubleInTheMiddleKeepsTheIterator(t *testing.T) {
	for name, tr := range troubles {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.put("a")
				pairs := w.read(trimHorizon(), func(p pair) bool {
					if len(p.Records) == 1 && p.data()[0] == "a" {
						w.put("b", "c")
						w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 2, Do: tr.do})
					}
					return atTip(p)
				})
				wantData(t, pairs, "a", "b", "c")
				wantRetrying(t, errorsOf(pairs), tr.shown(2))
				if n := len(w.sent("GetShardIterator")); n != 1 {
					t.Errorf("%d iterators were asked for, want 1", n)
				}
			})
		})
	}
}

// Only a refused sequence number is a bad position. The same refusal of
// anything else is trouble.
func TestOnlyARefusedSequenceNumberIsABadPosition(t *testing.T) {
	const (
		otherStream = "StartingSequenceNumber 1 used in GetShardIterator on shard s in stream x under account 1 is " +
			"invalid because it did not come from this stream."
		corrupt = "1 validation error detected: Value 'x' at 'startingSequenceNumber' failed to satisfy " +
			"constraint: Member must satisfy regular expression pattern: 0|([1-9]\\d{0,128})"
		shardName = "1 validation error detected: Value 'x' at 'shardId' failed to satisfy constraint: Member must " +
			"satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
	)
	now := time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)
	after := gerritstream.Position{After: "12345", Arrived: now}
	for name, c := range map[string]struct {
		from          gerritstream.Position
		code, message string
		bad           bool
	}{
		"another stream's":   {after, "InvalidArgumentException", otherStream, true},
		"corrupt":            {after, "ValidationException", corrupt, true},
		"another part of it": {after, "ValidationException", shardName, false},
		"a time": {
			gerritstream.Position{From: gerritstream.StartingPosition{Time: now}}, "InvalidArgumentException", "no",
			false},
		"a time caught up at": {
			gerritstream.Position{After: "12345", Arrived: now.Add(-time.Hour), CaughtUp: now},
			"InvalidArgumentException", "no", false},
		"the trim horizon":           {trimHorizon(), "InvalidArgumentException", "no", false},
		"denied":                     {after, "AccessDeniedException", otherStream, false},
		"throttled":                  {after, "ProvisionedThroughputExceededException", otherStream, false},
		"KMS":                        {after, "KMSAccessDeniedException", otherStream, false},
		"a fault of the service":     {after, "InternalFailure", otherStream, false},
		"a fault nobody knows":       {after, "SurpriseException", otherStream, false},
		"something between us two":   {after, "", otherStream, false},
		"an iterator that is no one": {after, "ExpiredIteratorException", otherStream, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.fail("GetShardIterator", 0, c.code, c.message, 0)
				var pairs []pair
				for _, p := range w.readFor(time.Minute, c.from) {
					if p.err == nil {
						t.Fatalf("read %+v", p)
					}
					pairs = append(pairs, p)
				}
				if c.bad {
					if len(pairs) != 1 || !errors.Is(pairs[0].err, gerritstream.ErrBadPosition) ||
						errors.Is(pairs[0].err, gerritstream.ErrRetrying) {
						t.Fatalf("got %v, want one bad position", errorsOf(pairs))
					}
					return
				}
				if len(pairs) < 2 {
					t.Fatalf("got %v: it was not retried", errorsOf(pairs))
				}
				for _, p := range pairs {
					if errors.Is(p.err, gerritstream.ErrBadPosition) || !errors.Is(p.err, gerritstream.ErrRetrying) {
						t.Fatalf("got %v", p.err)
					}
				}
			})
		})
	}
}

// A refusal of an iterator that the service made is trouble too: a new one is
// sought from the same place.
func TestRefusedIteratorIsSoughtAgain(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		seqs := w.put("a", "b")
		w.fail("GetRecords", 1, "InvalidArgumentException", "Invalid ShardIterator.", 0)
		pairs := w.read(gerritstream.Position{After: seqs[0], Arrived: time.Now()}, atTip)
		wantData(t, pairs, "b")
		wantRetrying(t, errorsOf(pairs), 1)
		if sought := w.sent("GetShardIterator"); len(sought) != 2 || sought[1].in != sought[0].in {
			t.Errorf("sought %+v", sought)
		}
	})
}

func TestShardThatIsGoneWhileReadingIsNotFound(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		pairs := w.read(trimHorizon(), func(p pair) bool {
			if len(p.Records) > 0 {
				w.fail("GetRecords", 0, "ResourceNotFoundException",
					"Shard "+string(shard0)+" in stream gerrit under account 1 does not exist", 0)
			}
			return false
		})
		wantData(t, pairs, "a")
		last := pairs[len(pairs)-1].err
		if len(pairs) != 2 || !errors.Is(last, gerritstream.ErrShardNotFound) ||
			errors.Is(last, gerritstream.ErrRetrying) {
			t.Errorf("got %v, want one ErrShardNotFound", errorsOf(pairs))
		}
		w.wantFree()
	})
}

// Iterators that expire at once, as those of a service with a broken clock, are
// reported. Those of a slow consumer are not.
func TestIteratorThatExpiresUnreadIsTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		w.fail("GetRecords", 5, "ExpiredIteratorException", "Iterator expired.", 0)
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, "a")
		wantRetrying(t, errorsOf(pairs), 5)
	})
}

// The SDK's own retries stay off, whatever the environment asks for: they would
// make reads that are not paced, and hide trouble.
func TestEnvironmentDoesNotTurnTheSDKsRetriesOn(t *testing.T) {
	t.Setenv("AWS_MAX_ATTEMPTS", "5")
	t.Setenv("AWS_RETRY_MODE", "adaptive")
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		w.fail("GetRecords", 3, "InternalFailure", "", 500)
		pairs := w.read(trimHorizon(), atTip)
		wantRetrying(t, errorsOf(pairs), 3)
		if sent, seen := len(w.sent("GetRecords")), len(pairs); sent != seen {
			t.Errorf("%d requests for %d pairs", sent, seen)
		}
	})
}

// stalling is a network where replies come in pieces, one every nine seconds,
// and stop after some bytes until their request is given up.
type stalling struct {
	next  http.RoundTripper
	times int
	bytes int
	piece int
}

// RoundTrip implements http.RoundTripper.
func (s *stalling) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := s.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetRecords") && s.times > 0 {
		s.times--
		resp.Body = &stalledBody{resp.Body, r.Context(), s.bytes, s.piece}
	}
	return resp, err
}

type stalledBody struct {
	io.ReadCloser
	ctx   context.Context
	left  int
	piece int
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	if err := sleep(b.ctx, 9*time.Second); err != nil { // slow, not stalled
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left, b.piece)])
	b.left -= n
	return n, err
}

// A slow reply is allowed. It is given up when nothing comes for ten seconds,
// or when it takes ten seconds more than its bytes at the minimum rate.
func TestReplyThatStopsOrTricklesIsGivenUpAndASlowOneIsNot(t *testing.T) {
	const slow = 40_000 // in nine seconds
	for name, c := range map[string]struct {
		bytes, piece int
		took         time.Duration // zero: it is not given up
		text         string
	}{
		"nothing":           {0, slow, progressTimeout, "no progress for 10s"},
		"slow, and stops":   {5 * slow, slow, 5*9*time.Second + progressTimeout, "no progress for 10s"},
		"slow to its end":   {1 << 30, slow, 0, ""},
		"trickles":          {1 << 30, 10, progressTimeout + 10*time.Second/minRate, "less than 4096 bytes a second"},
		"below the rate":    {1 << 30, 30_000, 0, "less than 4096 bytes a second"},
		"slow, and trickle": {1 << 30, minRate, progressTimeout + time.Second, "less than 4096 bytes a second"},
	} {
		t.Run(name, func(t *testing.T) {
			network := &stalling{times: 1, bytes: c.bytes, piece: c.piece}
			inBubble(t, kinesistest.Options{}, 1, func(c *Config) { network.next, c.Transport = c.Transport, network },
				func(t *testing.T, w *world) {
					w.put(strings.Repeat("x", 1_000_000))
					began := time.Now()
					pairs := w.read(trimHorizon(), func(pair) bool { return true })
					took := time.Since(began)
					if c.text == "" {
						wantRetrying(t, errorsOf(pairs), 0)
						return
					}
					wantRetrying(t, errorsOf(pairs), 1)
					if took < progressTimeout ||
						c.took > 0 && took.Round(100*time.Millisecond) != c.took.Round(100*time.Millisecond) {
						t.Errorf("it took %s, want %s", took, c.took)
					}
					if !strings.Contains(pairs[0].err.Error(), c.text) || w.seen("GetRecords Timeout") != 1 {
						t.Errorf("the error is %v, and the observer was shown %q", pairs[0].err, w.codes)
					}
				})
		})
	}
}

// After a page that was too large, the limit of records grows back to the
// maximum.
func TestLimitGrowsAgainAfterAPageThatWasTooLarge(t *testing.T) {
	inBubble(t, kinesistest.Options{NoLimits: true}, 1, nil, func(t *testing.T, w *world) {
		for i := range 40 {
			w.put(fmt.Sprint(i))
		}
		remove := w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: padded(1)})
		w.read(trimHorizon(), func(p pair) bool {
			if len(p.Records) > 0 {
				remove()
			}
			return len(w.sent("GetRecords")) > 80
		})
		asked := w.sent("GetRecords")
		least, last := maxRecords, 0
		for _, r := range asked {
			last = r.in.Limit
			least = min(least, last)
		}
		if least > 2 || last != maxRecords {
			t.Errorf("as few as %d records were asked for, and %d in the end", least, last)
		}
	})
}

// A reply that exceeds what a page may have is asked for with fewer records,
// until it fits.
func TestPageTooLargeIsAskedForInParts(t *testing.T) {
	inBubble(t, kinesistest.Options{NoLimits: true}, 1, nil, func(t *testing.T, w *world) {
		var want []string
		for i := range 40 {
			want = append(want, fmt.Sprint(i))
		}
		w.put(want...)
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: padded(10)})
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, want...)
		wantRetrying(t, errorsOf(pairs), 0)
		w.wantFree()
	})
}

// A single record that does not fit is reported, not asked for silently for
// ever.
func TestRecordTooLargeIsTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{NoLimits: true}, 1, nil, func(t *testing.T, w *world) {
		w.put("a")
		remove := w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: padded(0)})
		pairs := w.read(trimHorizon(), func(p pair) bool {
			if p.err != nil {
				remove()
			}
			return atTip(p)
		})
		wantData(t, pairs, "a")
		wantRetrying(t, errorsOf(pairs), 1)
	})
}

// padded makes replies with more than so many records too large.
func padded(most int) kinesistest.Action {
	return func(next kinesistest.Handler) kinesistest.Handler {
		return func(ctx context.Context, r *kinesistest.Request) (*kinesistest.Reply, error) {
			reply, err := next(ctx, r)
			var out struct{ Records []any }
			if err != nil || reply.Decode(&out) != nil || len(out.Records) <= most {
				return reply, err
			}
			return kinesistest.NewReply(http.StatusOK, append(reply.Body(), make([]byte, maxBody)...)), nil
		}
	}
}

// Faults of every kind at random, and a consumer that sometimes pauses for
// longer than an iterator lives: every record comes once, in order.
func TestNothingIsLostOrDoubledInAnyTrouble(t *testing.T) {
	names := make([]string, 0, len(troubles))
	for name := range troubles {
		names = append(names, name)
	}
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		hooks := kinesistest.Hook{Match: func(r *kinesistest.Request) bool {
			return strings.HasPrefix(r.Operation, "Get") && rand.N(3) == 0
		}, Do: func(next kinesistest.Handler) kinesistest.Handler {
			return troubles[names[rand.N(len(names))]].do(next)
		}}
		defer w.srv.On(hooks)()
		var want []string
		ctx, cancel := context.WithTimeout(t.Context(), 23*time.Hour)
		defer cancel()
		pairs := w.readUntil(ctx, trimHorizon(), func(p pair) bool {
			if len(want) >= 300 {
				return atTip(p)
			}
			if p.err == nil {
				if rand.N(10) == 0 {
					time.Sleep(6 * time.Minute)
				}
				for range rand.N(6) {
					want = append(want, fmt.Sprint(len(want)))
					w.put(want[len(want)-1])
				}
			}
			return false
		})
		if got := dataOf(pairs); !slices.Equal(got, want) {
			t.Errorf("got %d records, and not in order those that were put: %d", len(got), len(want))
		}
		wantRetrying(t, errorsOf(pairs), len(errorsOf(pairs)))
		w.wantFree()
	})
}

func TestErrorsAreOneLineWithoutSecrets(t *testing.T) {
	const signed = "The request signature we calculated does not match the signature you provided.\n\nThe Canonical " +
		"String for this request should have been\n'POST\n/\nx-amz-security-token:SECRETTOKEN'"
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.fail("GetRecords", 1, "InvalidSignatureException", signed, 0)
		pairs := w.read(trimHorizon(), after(1))
		var e *Error
		if !errors.As(pairs[0].err, &e) {
			t.Fatalf("%v is no *Error", pairs[0].err)
		}
		if text := pairs[0].err.Error(); strings.Contains(text, "SECRETTOKEN") || strings.Contains(text, "\n") ||
			!strings.Contains(text, "does not match") {
			t.Errorf("got %q", text)
		}
		if e.Operation != "kinesis:GetRecords" || e.Code != "InvalidSignatureException" || e.Status != 400 ||
			e.RequestID == "" {
			t.Errorf("got %+v", e)
		}
	})
	for _, c := range []struct {
		url, message, want string
	}{
		{"https://user:SECRETTOKEN@proxy.test/x", "refused", "proxy.test: refused"},
		{"https://user:SECRETTOKEN%zz@proxy.test/x", "refused", "the URL: refused"},
		{"https://h/x", `proxyconnect tcp: "http://u:SECRETTOKEN@proxy:1" refused`,
			`h: proxyconnect tcp: "http://xxxxx@proxy:1" refused`},
	} {
		if text, _ := networkProblem(&url.Error{Op: "Post", URL: c.url, Err: errors.New(c.message)}); text != c.want {
			t.Errorf("got %q, want %q", text, c.want)
		}
	}
}

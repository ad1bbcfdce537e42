package kinesis

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// inCBOR counts the requests of an operation that came in CBOR.
func (w *world) inCBOR(operation string) (n int) {
	for _, r := range w.sent(operation) {
		if r.header.Get("Content-Type") == cborType {
			n++
		}
	}
	return n
}

// onlyCBOR makes a hook act on requests in CBOR only.
func onlyCBOR(r *kinesistest.Request) bool { return r.Header.Get("Content-Type") == cborType }

func TestPagesAreAskedForInCBOR(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		data := "not \"base64\": \x00\xff" + strings.Repeat("x", 10_000)
		seqs := w.put(data, "b")
		began := time.Now()
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, data, "b")
		wantRetrying(t, errorsOf(pairs), 0)
		last := pairs[0].Records[1]
		if last.Seq != seqs[1] || string(last.Key) != "k" || !last.Arrived.Equal(began) {
			t.Errorf("read %+v, arrived at %v, put at %v", last, last.Arrived, began)
		}
		if n := w.inCBOR("GetRecords"); n != len(w.sent("GetRecords")) || n < 2 {
			t.Errorf("%d of %d pages were asked for in CBOR", n, len(w.sent("GetRecords")))
		}
		if n := w.inCBOR("GetShardIterator"); n != 0 {
			t.Errorf("%d iterators were asked for in CBOR", n)
		}
		if most := 10_000 + 1_500; w.bytes > most {
			t.Errorf("the pages had %d bytes, more than %d: base64", w.bytes, most)
		}
	})
}

// A service that does not speak CBOR is asked in JSON from then on, by all
// readings, and that is said once and is no trouble.
func TestServiceWithoutCBORIsAskedInJSON(t *testing.T) {
	answer := func(status int, body string) kinesistest.Action {
		return func(kinesistest.Handler) kinesistest.Handler {
			return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
				return kinesistest.NewReply(status, []byte(body)), nil
			}
		}
	}
	for name, do := range map[string]kinesistest.Action{
		"media type":        kinesistest.Fail("UnsupportedMediaTypeException", "only JSON", http.StatusUnsupportedMediaType),
		"any code with 415": kinesistest.Fail("Whatever", "only JSON", http.StatusUnsupportedMediaType),
		"not JSON":          kinesistest.Fail("SerializationException", "no JSON", 0),
		"operation":         kinesistest.Fail("UnknownOperationException", "", http.StatusNotFound),
		"a proxy's page":    answer(http.StatusBadRequest, "<html>bad request</html>"),
		"nothing":           answer(http.StatusNotAcceptable, ""),
		"XML":               answer(http.StatusNotFound, "<UnknownOperationException/>\n"),
	} {
		t.Run(name, func(t *testing.T) {
			var log logLines
			change := func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
			inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
				w.srv.On(kinesistest.Hook{Operation: "GetRecords", Match: onlyCBOR, Do: do})
				w.put("a", "b")
				for range 2 {
					pairs := w.read(trimHorizon(), atTip)
					wantData(t, pairs, "a", "b")
					wantRetrying(t, errorsOf(pairs), 0)
				}
				if n := w.inCBOR("GetRecords"); n != 1 {
					t.Errorf("%d pages were asked for in CBOR", n)
				}
				if n := log.count("does not speak CBOR"); n != 1 {
					t.Errorf("said %d times:\n%s", n, &log.buf)
				}
			})
		})
	}
}

// Several readings may find out at the same time.
func TestAllReadingsFindOutAboutCBORTogether(t *testing.T) {
	var log logLines
	change := func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) }
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Match: onlyCBOR, Do: kinesistest.Delay(5 * time.Second)})
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Match: onlyCBOR,
			Do: kinesistest.Fail("SerializationException", "", 0)})
		w.put("a")
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { wantData(t, w.read(trimHorizon(), atTip), "a") })
		}
		wg.Wait()
		if n := w.inCBOR("GetRecords"); n < 2 || log.count("does not speak CBOR") != 1 {
			t.Errorf("%d pages were asked for in CBOR:\n%s", n, &log.buf)
		}
	})
}

// A service may just fail if it is asked in CBOR. One that fails for another
// reason, before it has ever answered in CBOR, is given the benefit of the
// doubt twice.
func TestServiceThatFailsWithCBORIsAskedInJSON(t *testing.T) {
	for times, want := range map[int]int{2: 0, 3: 3, 0: 3} {
		inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
			w.srv.On(kinesistest.Hook{Operation: "GetRecords", Match: onlyCBOR, Times: times,
				Do: kinesistest.Fail("InternalFailure", "", 500)})
			w.put("a")
			wantData(t, w.read(trimHorizon(), atTip), "a")
			switch n, all := w.inCBOR("GetRecords"), len(w.sent("GetRecords")); {
			case want > 0 && n != want:
				t.Errorf("%d failures: %d pages were asked for in CBOR", times, n)
			case want == 0 && n != all:
				t.Errorf("%d failures: %d of %d pages were asked for in CBOR", times, n, all)
			}
		})
	}
}

// What the service refuses for another reason stays a refusal of what was asked
// for.
func TestOtherRefusalsDoNotEndCBOR(t *testing.T) {
	for name, do := range map[string]kinesistest.Action{
		"throttled": kinesistest.Fail("ProvisionedThroughputExceededException", "Rate exceeded", 0),
		"denied":    kinesistest.Fail("AccessDeniedException", "no", 0),
		"unknown":   kinesistest.Fail("NobodyKnowsException", "no", 0),
		"failure":   kinesistest.Fail("InternalFailure", "", 500),
		"cut":       kinesistest.CutBody(20),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.read(trimHorizon(), atTip)
				w.srv.On(kinesistest.Hook{Operation: "GetRecords", Times: 3, Do: do})
				w.put("a")
				wantData(t, w.read(trimHorizon(), atTip), "a")
				if n := len(w.sent("GetRecords")); n != w.inCBOR("GetRecords") {
					t.Errorf("%d of %d pages were asked for in CBOR", w.inCBOR("GetRecords"), n)
				}
			})
		})
	}
}

// CBOR that is not understood is trouble like any malformed reply, and ends the
// CBOR: something between may break what is not text.
func TestMalformedCBORIsReportedAndEndsCBOR(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		broken := func(kinesistest.Handler) kinesistest.Handler {
			return func(context.Context, *kinesistest.Request) (*kinesistest.Reply, error) {
				return kinesistest.NewReply(http.StatusOK, unhex(t, "bf"+hexRecords+"9f")), nil
			}
		}
		w.srv.On(kinesistest.Hook{Operation: "GetRecords", Match: onlyCBOR, Do: broken})
		w.put("a")
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, "a")
		wantRetrying(t, errorsOf(pairs), 1)
		if n := w.inCBOR("GetRecords"); n != 1 || w.seen("GetRecords Malformed") != 1 {
			t.Errorf("%d pages were asked for in CBOR; the observer was shown %q", n, w.codes)
		}
	})
}

// rewriting is a transport that changes requests or replies.
type rewriting struct {
	next http.RoundTripper
	do   func(next http.RoundTripper, r *http.Request) (*http.Response, error)
}

func (r rewriting) RoundTrip(req *http.Request) (*http.Response, error) { return r.do(r.next, req) }

// A service may answer in JSON whatever it is asked in.
func TestAnswerInJSONIsRead(t *testing.T) {
	toJSON := func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		if r.Header.Get("Content-Type") != cborType {
			return next.RoundTrip(r)
		}
		var in struct{ iterator string }
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		scan := cborScanner{b: body}
		err = scan.object(func(key []byte) error {
			if string(key) != "ShardIterator" {
				return scan.skip()
			}
			text, err := scan.text()
			in.iterator = string(text.of(body))
			return err
		})
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Header.Set("Content-Type", "application/x-amz-json-1.1")
		asked := `{"ShardIterator":"` + in.iterator + `"}`
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(asked)), int64(len(asked))
		return next.RoundTrip(r)
	}
	change := func(c *Config) { c.Transport = rewriting{c.Transport, toJSON} }
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		w.put("a", "b")
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, "a", "b")
		wantRetrying(t, errorsOf(pairs), 0)
	})
}

// The reply's bytes count, not what a header says of them.
func TestContentTypeOfAReplyIsNotNeeded(t *testing.T) {
	unlabelled := func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err == nil {
			resp.Header.Del("Content-Type")
		}
		return resp, err
	}
	change := func(c *Config) { c.Transport = rewriting{c.Transport, unlabelled} }
	inBubble(t, kinesistest.Options{}, 1, change, func(t *testing.T, w *world) {
		w.fail("GetRecords", 1, "ExpiredIteratorException", "too old", 0)
		w.put("a")
		pairs := w.read(trimHorizon(), atTip)
		wantData(t, pairs, "a")
		wantRetrying(t, errorsOf(pairs), 1) // an iterator that was just made does not expire
		if w.seen("GetRecords ExpiredIteratorException") != 1 || w.inCBOR("GetRecords") < 2 {
			t.Errorf("the observer was shown %q", w.codes)
		}
	})
}

func TestEnvironmentTurnsCBOROff(t *testing.T) {
	for value, want := range map[string]bool{
		"": true, "false": true, "0": true, "true": false, "1": false, "TRUE": false, "yes": false,
	} {
		t.Run(value, func(t *testing.T) {
			t.Setenv(disableCBOR, value)
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.put("a")
				wantData(t, w.read(trimHorizon(), atTip), "a")
				if got := w.inCBOR("GetRecords") > 0; got != want {
					t.Errorf("CBOR: %t, want %t", got, want)
				}
			})
			isolated := func(c *Config) { c.Isolated = true }
			inBubble(t, kinesistest.Options{}, 1, isolated, func(t *testing.T, w *world) {
				if wantData(t, w.read(trimHorizon(), atTip)); w.inCBOR("GetRecords") == 0 {
					t.Error("the environment reaches an isolated Source")
				}
			})
		})
	}
}

func TestRequestInCBORNamesTheStream(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		if _, err := w.src.List(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.read(trimHorizon(), atTip)
		sent := w.sent("GetRecords")[0]
		if sent.in.StreamARN != *w.src.arn.Load() || sent.in.Limit != maxRecords || sent.in.ShardIterator == "" {
			t.Errorf("asked for %+v", sent.in)
		}
		if !strings.HasPrefix(sent.header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
			t.Errorf("signed %q", sent.header.Get("Authorization"))
		}
	})
}

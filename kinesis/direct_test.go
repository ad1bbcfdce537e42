package kinesis

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// requestsSeen records the GetRecords requests that go to the service, and
// their bodies.
type requestsSeen struct {
	next http.RoundTripper

	mu     sync.Mutex
	all    []*http.Request // under mu
	bodies [][]byte        // under mu
}

// RoundTrip implements http.RoundTripper.
func (s *requestsSeen) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetRecords") {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.mu.Lock()
		s.all, s.bodies = append(s.all, r), append(s.bodies, body)
		s.mu.Unlock()
	}
	return s.next.RoundTrip(r)
}

// bySDK reports whether the SDK's middleware made a request.
func bySDK(h http.Header) bool { return h.Get("Amz-Sdk-Invocation-Id") != "" }

// signature is the signature that a request should have.
func signature(t *testing.T, r *http.Request, body []byte, key aws.Credentials, at time.Time) string {
	t.Helper()
	again, err := http.NewRequestWithContext(t.Context(), r.Method, r.URL.String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	again.Host, again.Header = r.Host, r.Header.Clone()
	again.Header.Del("Authorization")
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(t.Context(), key, again, hex.EncodeToString(hash[:]), "kinesis", "us-east-1",
		at); err != nil {
		t.Fatal(err)
	}
	return again.Header.Get("Authorization")
}

// The SDK makes the first request. The others have the same endpoint, headers
// and contents, and the right signature.
func TestDirectRequestsAreLikeTheSDKs(t *testing.T) {
	file := func(word string) string {
		path := filepath.Join(t.TempDir(), "word")
		if err := os.WriteFile(path, []byte(word), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	temporary := Credentials{AccessKeyFile: file("ASIA"), SecretKeyFile: file("s"), SessionTokenFile: file("t")}
	for name, change := range map[string]func(*Config){
		"by name":     func(c *Config) { c.Endpoint = "" },
		"a path":      func(c *Config) { c.Endpoint = "http://kinesis.test:4567/behind/a/proxy" },
		"the account": func(c *Config) { c.Endpoint, c.Stream, c.AccountEndpoints = "", gerritARN, true },
		"a session":   func(c *Config) { c.Credentials = temporary },
		"JSON":        func(*Config) {},
	} {
		t.Run(name, func(t *testing.T) {
			seen := &requestsSeen{}
			around := func(c *Config) {
				change(c)
				seen.next, c.Transport = toAnyPath{c.Transport}, seen
			}
			inBubble(t, kinesistest.Options{}, 1, around, func(t *testing.T, w *world) {
				w.src.poller.encoding.onlyJSON.Store(name == "JSON")
				w.put("a")
				pairs := w.readFor(time.Second, trimHorizon())
				wantData(t, pairs, "a")
				wantRetrying(t, errorsOf(pairs), 0)
				if len(seen.all) < 4 {
					t.Fatalf("%d requests", len(seen.all))
				}
				key, err := w.src.credentials.Retrieve(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				first := seen.all[0]
				for i, r := range seen.all {
					if bySDK(r.Header) != (i == 0) {
						t.Errorf("request %d: by the SDK is %t", i, bySDK(r.Header))
					}
					if r.URL.String() != first.URL.String() || r.Host != first.Host || r.Method != first.Method {
						t.Errorf("request %d: %s %s %s", i, r.Method, r.URL, r.Host)
					}
					for _, name := range []string{
						"User-Agent", "Content-Type", "X-Amz-Target", "X-Amz-Security-Token",
					} {
						if got, want := r.Header.Values(name), first.Header.Values(name); !slices.Equal(got, want) {
							t.Errorf("request %d: %s is %q, want %q", i, name, got, want)
						}
					}
					at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
					if err != nil {
						t.Fatal(err)
					}
					want := signature(t, r, seen.bodies[i], key, at)
					if got := r.Header.Get("Authorization"); got != want {
						t.Errorf("request %d: signed %s, want %s", i, got, want)
					}
					if i > 0 && (r.GetBody == nil || r.ContentLength != int64(len(seen.bodies[i]))) {
						t.Errorf("request %d: net/http cannot send the %d bytes again", i, r.ContentLength)
					}
				}
				in := seen.bodies[1]
				if isCBOR(in) != (name != "JSON") || first.Header.Get("Content-Type") == cborType != isCBOR(in) ||
					!bytes.Contains(in, []byte("Limit")) || !bytes.Contains(in, []byte("ShardIterator")) ||
					bytes.Contains(in, []byte("StreamARN")) != bytes.Contains(seen.bodies[0], []byte("StreamARN")) {
					t.Errorf("the request is %q", in)
				}
			})
		})
	}
}

const gerritARN = "arn:aws:kinesis:us-east-1:000000000000:stream/gerrit"

// toAnyPath is a service that may be asked at any path.
type toAnyPath struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a toAnyPath) RoundTrip(r *http.Request) (*http.Response, error) {
	root := r.Clone(r.Context())
	root.URL.Path, root.GetBody = "/", nil
	return a.next.RoundTrip(root)
}

// A direct request fails with the same error as one of the SDK, in CBOR as in
// JSON, whatever goes wrong. Unless it was throttled or stalled, the next
// request is the SDK's.
func TestDirectRequestsFailLikeTheSDKs(t *testing.T) {
	for name, tr := range troubles {
		t.Run(name, func(t *testing.T) {
			inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
				w.put("a")
				r := &reading{source: w.src, shard: shard0, cursor: trimHorizon(), limit: maxRecords}
				ask := func() (*Error, string) {
					p, err := r.poll(t.Context())
					p.release()
					var e *Error
					if err != nil && !errors.As(err, &e) {
						t.Fatal(err)
					}
					w.mu.Lock()
					defer w.mu.Unlock()
					return e, w.codes[len(w.codes)-1]
				}
				direct := func() bool { return w.src.poller.pattern.Load() != nil }
				if e, _ := ask(); e != nil || !direct() {
					t.Fatalf("got %v, and requests are direct: %t", e, direct())
				}
				defer w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: tr.do})()
				got, code := ask()
				if got == nil || direct() != (got.class == throttled || code == "GetRecords Timeout") {
					t.Fatalf("got %v, and requests are direct: %t", got, direct())
				}
				for _, onlyJSON := range []bool{false, true} {
					w.src.poller.encoding.onlyJSON.Store(onlyJSON)
					w.src.poller.pattern.Store(nil)
					want, wantCode := ask()
					for _, e := range []*Error{got, want} { // they differ from request to request
						e.RequestID, e.cause = "", nil
					}
					if got.Error() != want.Error() || got.class != want.class || got.Status != want.Status ||
						got.Code != want.Code || !errors.Is(got.is, want.is) || code != wantCode {
						t.Errorf("a direct request in CBOR fails with\n%+v %s\nthe SDK's (in JSON: %t) with\n%+v %s",
							got, code, onlyJSON, want, wantCode)
					}
				}
			})
		})
	}
}

// The request's id is that of the reply, as with the SDK.
func TestDirectRequestsNameTheirID(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.read(trimHorizon(), after(2))
		w.fail("GetRecords", 1, "InternalFailure", "", 500)
		errs := errorsOf(w.read(trimHorizon(), after(1)))
		wantRetrying(t, errs, 1)
		var e *Error
		if !errors.As(errs[0], &e) || e.RequestID == "" || e.Status != 500 {
			t.Errorf("got %+v", e)
		}
	})
}

// After a failure the SDK makes one request, and only one if that succeeds. A
// reader that is stopped during a request is no failure.
func TestDirectRequestsGoOnAfterTrouble(t *testing.T) {
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		sdks := func() (n int) {
			for _, r := range w.sent("GetRecords") {
				if bySDK(r.header) {
					n++
				}
			}
			return n
		}
		w.read(trimHorizon(), after(10))
		if n := sdks(); n != 1 {
			t.Errorf("the SDK made %d requests, want the first", n)
		}
		slow := w.srv.On(kinesistest.Hook{Operation: "GetRecords", Do: kinesistest.Delay(time.Minute)})
		w.readFor(time.Second, trimHorizon())
		slow()
		w.read(trimHorizon(), after(10))
		if n := sdks(); n != 1 {
			t.Errorf("the SDK made %d requests, want none after a reader has stopped", n)
		}
		w.fail("GetRecords", 1, "InternalFailure", "", 500)
		w.read(trimHorizon(), after(10))
		if n := sdks(); n != 2 {
			t.Errorf("the SDK made %d requests, want one after the failure", n)
		}
	})
}

// A local clock that jumps while a shard is read is no trouble: each refused
// request is made again at once until it is signed with the right time.
func TestDirectRequestsSurviveAJumpOfTheClock(t *testing.T) {
	for _, jump := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		inBubble(t, kinesistest.Options{NoLimits: true}, 1, nil, func(t *testing.T, w *world) {
			w.srv.On(kinesistest.Hook{Do: w.checkSignatureTime})
			jumped := false
			pairs := w.read(trimHorizon(), func(p pair) bool {
				if atTip(p) && !jumped {
					jumped = true
					w.srv.AdvanceClock(jump)
					w.put("a")
				}
				return len(p.Records) > 0
			})
			wantData(t, dataPairs(pairs), "a")
			wantRetrying(t, errorsOf(pairs), 0)
			before := len(w.sent("GetRecords"))
			next := gerritstream.Position{After: pairs[len(pairs)-1].Records[0].Seq}
			wantRetrying(t, errorsOf(w.readFor(10*time.Second, next)), 0)
			last := w.sent("GetRecords")
			for i, r := range last[before+1:] {
				if bySDK(r.header) {
					t.Errorf("request %d after the jump is the SDK's", i)
				}
			}
			if n := w.seen("GetRecords InvalidSignatureException"); n != 2 {
				t.Errorf("%d requests were refused, want one of ours and one of the SDK's", n)
			}
		})
	}
}

// A direct request is signed with the key of the moment.
func TestDirectRequestsUseTheLatestKey(t *testing.T) {
	var mu sync.Mutex
	id := "first"
	inBubble(t, kinesistest.Options{}, 1, nil, func(t *testing.T, w *world) {
		w.src.credentials.used = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			mu.Lock()
			defer mu.Unlock()
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: "s", SessionToken: "token of " + id}, nil
		})
		n := 0
		w.read(trimHorizon(), func(pair) bool {
			if n++; n == 5 {
				mu.Lock()
				id = "second"
				mu.Unlock()
			}
			return n == 10
		})
		sent := w.sent("GetRecords")
		for i, want := range map[int]string{1: "first", 4: "first", 5: "second", 9: "second"} {
			r := sent[i]
			token := r.header.Get("X-Amz-Security-Token")
			if r.key() != want || token != "token of "+want || bySDK(r.header) {
				t.Errorf("request %d is signed by %q with %q", i, r.key(), token)
			}
		}
	})
}

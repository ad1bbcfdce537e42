package webhook_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
	"github.com/gerritstream/gerritstream/webhook/webhooktest"
)

const (
	public = "93.184.215.14"
	oldKey = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	newKey = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
)

// event returns the event with a number, of a change.
func event(n, change int64) queue.Event {
	e := queue.Event{Number: n, Queued: time.Now(), Entry: gerritstream.Entry{
		Shard: "shard-1", Seq: gerritstream.SequenceNumber(strconv.FormatInt(n, 10)), Sub: gerritstream.NoSub,
		Arrived: time.Now().Add(-time.Second),
		Event: gerritstream.Event{
			Type: "patchset-created", Project: "tools/a b", Ref: "refs/heads/main", Change: change,
		},
		Payload: []byte(`{"type":"patchset-created", "n":` + strconv.FormatInt(n, 10) + `,"text":"\u003cä>"}`),
	}}
	e.Entry.ID = gerritstream.NewEventID(gerritstream.Stream{ARN: "arn"}, "shard-1", e.Entry.Seq, gerritstream.NoSub)
	return e
}

// idOf returns the id of the event with a number.
func idOf(n int64) string {
	e := event(n, 0)
	return e.Entry.ID.String()
}

// hook is a hook for a receiver at http://receiver.
func hook(t *testing.T) webhook.Hook {
	t.Helper()
	secrets, err := webhook.ParseSecrets(newKey + "\n" + oldKey)
	must(t, err)
	return webhook.Hook{Name: "ci", URL: "http://receiver/hook?token=s3cret", Secrets: secrets, AllowPrivate: true}
}

// place is a receiver on a network in memory.
type place struct {
	*webhooktest.Receiver
	network *webhooktest.Network
}

func newPlace(t *testing.T) place {
	t.Helper()
	p := place{webhooktest.NewReceiver(), webhooktest.NewNetwork()}
	p.network.Name("receiver", public)
	p.network.Listen(public, p.Receiver)
	t.Cleanup(func() { p.network.Stop(public) })
	return p
}

func (p place) config() webhook.SenderConfig {
	network := webhook.Network{Resolve: p.network.Resolve, Dial: p.network.Dial}
	return webhook.SenderConfig{Source: "arn:s", Network: network}
}

// sender returns a Sender to the place.
func (p place) sender(t *testing.T, h webhook.Hook) *webhook.Sender {
	t.Helper()
	s, err := webhook.NewSender(h, p.config())
	must(t, err)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bubble runs a test in a bubble, and ends what it began within.
func bubble(t *testing.T, f func(*testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// The library of Standard Webhooks accepts each request with either secret, and
// none of which a byte was changed.
func TestSignature(t *testing.T) {
	for _, format := range webhook.Formats() {
		t.Run(string(format), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPlace(t)
				h := hook(t)
				h.Format = format
				e := event(7, 1)
				if a := p.sender(t, h).Send(t.Context(), &e, false); a.Outcome != webhook.Delivered {
					t.Fatal(a.Err)
				}
				d := p.Deliveries()[0]
				for _, key := range []string{oldKey, newKey} {
					judge, err := standardwebhooks.NewWebhook(key)
					must(t, err)
					must(t, judge.Verify(d.Body, d.Header))
					if judge.Verify(append(bytes.Clone(d.Body), ' '), d.Header) == nil {
						t.Error("another body has the signature")
					}
					for name, value := range map[string]string{"Webhook-Id": "x", "Webhook-Timestamp": "946684801"} {
						changed := d.Header.Clone()
						changed.Set(name, value)
						if judge.Verify(d.Body, changed) == nil {
							t.Errorf("another %s has the signature", name)
						}
					}
				}
				if d.ID != e.Entry.ID.String() {
					t.Errorf("webhook-id %q", d.ID)
				}
			})
		})
	}
}

// The receiver's spans belong to the trace that the event carries. What is no
// span is not passed on as a header: no request fails because of it.
func TestATraceGoesOn(t *testing.T) {
	const value = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	bubble(t, func(t *testing.T) {
		for carried, want := range map[string]string{value: value, "": "", "a\r\nb: c": ""} {
			for _, format := range webhook.Formats() {
				p := newPlace(t)
				h := hook(t)
				h.Format = format
				e := event(7, 4711)
				if carried != "" {
					e.Entry.Event.Attributes = map[string]string{"traceparent": carried}
				}
				if a := p.sender(t, h).Send(t.Context(), &e, false); a.Outcome != webhook.Delivered {
					t.Fatalf("%q: %v", carried, a.Err)
				}
				got := p.Deliveries()[0].Header.Values("Traceparent")
				if want == "" && len(got) != 0 || want != "" && (len(got) != 1 || got[0] != want) {
					t.Errorf("%s: of %q the receiver gets %q", format, carried, got)
				}
			}
		}
	})
}

func TestFormats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPlace(t)
		send := func(f webhook.Format, e queue.Event, again bool) webhooktest.Delivery {
			h := hook(t)
			h.Format, h.Secrets = f, nil
			if a := p.sender(t, h).Send(t.Context(), &e, again); a.Outcome != webhook.Delivered {
				t.Fatal(a.Err)
			}
			all := p.Deliveries()
			return all[len(all)-1]
		}
		e := event(7, 4711)
		d := send(webhook.Raw, e, false)
		if string(d.Body) != string(e.Entry.Payload) || d.Header.Get("Content-Type") != "application/json" ||
			d.Header.Get("Gerritstream-Event") != "patchset-created" || d.Header.Get("Webhook-Signature") != "" {
			t.Errorf("raw: %q, %v", d.Body, d.Header)
		}
		d = send(webhook.CloudEvents, e, false)
		var structured struct {
			ID, Source, Type string
			Change           int64
			Data             json.RawMessage
		}
		must(t, json.Unmarshal(d.Body, &structured))
		if structured.ID != e.Entry.ID.String() || structured.Source != "arn:s" || structured.Change != 4711 ||
			string(structured.Data) != string(e.Entry.Payload) ||
			!strings.HasPrefix(d.Header.Get("Content-Type"), "application/cloudevents+json") {
			t.Errorf("cloudevents: %s, %v", d.Body, d.Header)
		}
		d = send(webhook.CloudEventsBinary, e, false)
		if string(d.Body) != string(e.Entry.Payload) || d.Header.Get("Ce-Id") != e.Entry.ID.String() ||
			d.Header.Get("Ce-Specversion") != "1.0" || d.Header.Get("Ce-Project") != "tools/a%20b" ||
			d.Header.Get("Ce-Change") != "4711" || d.Header.Get("Ce-Data") != "" ||
			d.Header.Get("Content-Type") != "application/json" {
			t.Errorf("binary: %q, %v", d.Body, d.Header)
		}
		e.Entry.Payload, e.Entry.Event.Type = []byte{0xff, 0}, "a\r\nb"
		d = send(webhook.CloudEventsBinary, e, false)
		if d.Header.Get("Content-Type") != "application/octet-stream" || d.Header.Get("Ce-Type") != "a%0D%0Ab" {
			t.Errorf("bytes: %v", d.Header)
		}
		for want, mark := range map[string]func(*queue.Event){
			"Gerritstream-Redelivered": func(e *queue.Event) { e.Redelivered = true },
			"Gerritstream-Replayed":    func(e *queue.Event) { e.Replayed = true },
		} {
			marked := event(8, 1)
			mark(&marked)
			if d := send(webhook.Raw, marked, false); d.Header.Get(want) != "true" {
				t.Errorf("no %s: %v", want, d.Header)
			}
		}
		if d := send(webhook.Raw, e, true); d.Header.Get("Gerritstream-Redelivered") != "true" {
			t.Errorf("a second attempt: %v", d.Header)
		}
	})
}

// Secrets that change sign from the next request on, and the beginning of an
// answer is kept if it is asked for.
func TestSecretsChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPlace(t)
		p.Always(func(w http.ResponseWriter, _ *http.Request) int {
			_, _ = w.Write([]byte("thank you"))
			return 200
		})
		secrets, err := webhook.ParseSecrets(oldKey)
		must(t, err)
		c := p.config()
		c.Secrets, c.KeepAnswer = func() []webhook.Secret { return secrets }, 5
		s, err := webhook.NewSender(hook(t), c)
		must(t, err)
		for i, key := range []string{oldKey, newKey} {
			e := event(1, 1)
			if a := s.Send(t.Context(), &e, false); a.Outcome != webhook.Delivered || string(a.Answer) != "thank" {
				t.Errorf("%s, %v, %q", a.Outcome, a.Err, a.Answer)
			}
			judge, err := standardwebhooks.NewWebhook(key)
			must(t, err)
			d := p.Deliveries()[i]
			must(t, judge.Verify(d.Body, d.Header))
			secrets, err = webhook.ParseSecrets(newKey)
			must(t, err)
		}
	})
}

// Each way in which a receiver can behave has its outcome, within the time-out.
func TestOutcomes(t *testing.T) {
	answers := map[int]webhook.Outcome{
		200: webhook.Delivered, 204: webhook.Delivered, 299: webhook.Delivered,
		301: webhook.Failed, 302: webhook.Failed, 307: webhook.Failed, 308: webhook.Failed,
		400: webhook.Refused, 409: webhook.Refused, 413: webhook.Refused, 415: webhook.Refused, 422: webhook.Refused,
		401: webhook.Failed, 403: webhook.Failed, 404: webhook.Failed, 408: webhook.Failed,
		410: webhook.Gone, 429: webhook.Throttled, 500: webhook.Failed, 503: webhook.Failed,
	}
	cases := map[string]struct {
		react webhooktest.Reaction
		want  webhook.Outcome
	}{
		"slow":           {webhooktest.After(9*time.Second, webhooktest.Answer(200)), webhook.Delivered},
		"too slow":       {webhooktest.After(11*time.Second, webhooktest.Answer(200)), webhook.TimedOut},
		"hangs":          {webhooktest.Hang, webhook.TimedOut},
		"hangs midway":   {webhooktest.HangMidAnswer, webhook.TimedOut},
		"drips":          {webhooktest.Drip(time.Second), webhook.TimedOut},
		"floods":         {webhooktest.Flood(64 << 20), webhook.Delivered},
		"answers twice":  {webhooktest.Twice, webhook.Delivered},
		"cuts":           {webhooktest.Cut, webhook.Failed},
		"cuts midway":    {webhooktest.CutMidAnswer, webhook.Failed},
		"large header":   {webhooktest.Answer(200, "X", strings.Repeat("x", 1<<20)), webhook.Failed},
		"redirects away": {webhooktest.Answer(302, "Location", "http://169.254.169.254/"), webhook.Failed},
	}
	for status, want := range answers {
		cases[strconv.Itoa(status)] = struct {
			react webhooktest.Reaction
			want  webhook.Outcome
		}{webhooktest.Answer(status), want}
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				p := newPlace(t)
				p.Always(c.react)
				h := hook(t)
				h.Timeout = 10 * time.Second
				began := time.Now()
				e := event(1, 1)
				a := p.sender(t, h).Send(t.Context(), &e, false)
				if a.Outcome != c.want || (a.Err == nil) != (c.want == webhook.Delivered) {
					t.Errorf("%s, %v, want %s", a.Outcome, a.Err, c.want)
				}
				if took := time.Since(began); took > h.Timeout || took != a.Took {
					t.Errorf("it took %v", took)
				}
				if a.Err != nil && strings.Contains(a.Err.Error(), "s3cret") {
					t.Errorf("the URL is in %v", a.Err)
				}
				if n := len(p.Deliveries()); n != 1 || len(p.network.Dialled()) != 1 {
					t.Errorf("%d deliveries over %d connections", n, len(p.network.Dialled()))
				}
			})
		})
	}
}

// What cannot be reached, or is no HTTP, is told without what it wrote.
func TestErrors(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPlace(t)
		p.network.Stop(public)
		e := event(1, 1)
		s := p.sender(t, hook(t))
		if a := s.Send(t.Context(), &e, false); a.Outcome != webhook.Failed ||
			!strings.Contains(a.Err.Error(), "connection refused") {
			t.Errorf("%s: %v", a.Outcome, a.Err)
		}
		h := hook(t)
		h.URL = "http://nowhere/s3cret"
		if a := p.sender(t, h).Send(t.Context(), &e, false); a.Outcome != webhook.Failed ||
			!strings.Contains(a.Err.Error(), "no such host") || strings.Contains(a.Err.Error(), "s3cret") {
			t.Errorf("%s: %v", a.Outcome, a.Err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("stopped"))
		if a := s.Send(ctx, &e, false); a.Outcome != webhook.Failed || a.Err.Error() != "stopped" {
			t.Errorf("%s: %v", a.Outcome, a.Err)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte("secret payload\r\n\r\n"))
			_ = c.Close()
		}
	}()
	for _, scheme := range []string{"http", "https"} {
		h := webhook.Hook{Name: "a", URL: webhook.URL(scheme + "://" + l.Addr().String()), AllowPrivate: true}
		s, err := webhook.NewSender(h, webhook.SenderConfig{})
		must(t, err)
		e := event(1, 1)
		a := s.Send(t.Context(), &e, false)
		if a.Outcome != webhook.Failed || strings.Contains(a.Err.Error(), "payload") {
			t.Errorf("%s: %s: %v", scheme, a.Outcome, a.Err)
		}
	}
}

// A receiver answers once more when it has already answered. What it writes
// then is no answer to the next request, which it has not seen.
func TestAnswersTwice(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	handled := make(chan string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				t.Error(err)
				return
			}
			handled <- r.Header.Get("Webhook-Id")
			const answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
			_, _ = c.Write([]byte(answer))
			_, _ = c.Read(make([]byte, 1)) // of the next request, if it comes this way
			_, _ = c.Write([]byte(answer))
			_ = c.Close()
		}
	}()
	h := webhook.Hook{Name: "a", URL: webhook.URL("http://" + l.Addr().String()), AllowPrivate: true}
	s, err := webhook.NewSender(h, webhook.SenderConfig{})
	must(t, err)
	for n := range int64(3) {
		e := event(n, 1)
		if a := s.Send(t.Context(), &e, false); a.Outcome != webhook.Delivered {
			t.Errorf("%s, %v", a.Outcome, a.Err)
		}
		select {
		case id := <-handled:
			if id != e.Entry.ID.String() {
				t.Errorf("%s came, want that of event %d", id, n)
			}
		case <-time.After(time.Second):
			t.Fatalf("event %d counts as delivered and never came", n)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	date := func(after time.Duration) string { return time.Now().Add(after).UTC().Format(http.TimeFormat) }
	for _, c := range []struct {
		headers func() []string
		want    time.Duration
	}{
		{func() []string { return nil }, 0},
		{func() []string { return []string{"Retry-After", "120"} }, 2 * time.Minute},
		{func() []string { return []string{"Retry-After", "0"} }, 0},
		{func() []string { return []string{"Retry-After", "-5"} }, 0},
		{func() []string { return []string{"Retry-After", "soon"} }, 0},
		{func() []string { return []string{"Retry-After", "99999999"} }, webhook.MaxRetryAfter},
		{func() []string { return []string{"Retry-After", "99999999999999999999"} }, webhook.MaxRetryAfter},
		{func() []string { return []string{"Retry-After", date(time.Minute)} }, time.Minute},
		{func() []string { return []string{"Retry-After", date(-time.Minute)} }, 0},
		{func() []string { return []string{"Retry-After", date(9e6 * time.Second)} }, webhook.MaxRetryAfter},
		{func() []string { // by a clock that is an hour ahead
			return []string{"Date", date(time.Hour), "Retry-After", date(time.Hour + time.Minute)}
		}, time.Minute},
	} {
		bubble(t, func(t *testing.T) {
			p := newPlace(t)
			headers := c.headers()
			p.Always(webhooktest.Answer(429, headers...))
			e := event(1, 1)
			if a := p.sender(t, hook(t)).Send(t.Context(), &e, false); a.RetryAfter != c.want {
				t.Errorf("%q: %v, want %v", headers, a.RetryAfter, c.want)
			}
		})
	}
}

func TestForbiddenAddresses(t *testing.T) {
	for _, address := range []string{
		"0.0.0.0", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.1.1", "169.254.169.254", "172.16.0.1",
		"192.168.1.1", "192.0.0.192", "192.0.2.1", "198.18.0.1", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"168.63.129.16", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1",
		"fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1", "ff02::1",
	} {
		if webhook.IsPublic(netip.MustParseAddr(address)) {
			t.Errorf("%s is public", address)
		}
	}
	for _, address := range []string{
		public, "1.1.1.1", "::ffff:1.1.1.1", "64:ff9b::101:101", "2606:4700:4700::1111", "2a00:1450::1",
	} {
		if !webhook.IsPublic(netip.MustParseAddr(address)) {
			t.Errorf("%s is not public", address)
		}
	}
}

// A hook without allow_private reaches no private address, by whatever name,
// also when its name changes between two requests, or within one.
func TestNamesThatChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPlace(t)
		inside := webhooktest.NewReceiver()
		for _, address := range []string{"127.0.0.1", "169.254.169.254", "::1"} {
			p.network.Listen(address, inside)
			defer p.network.Stop(address)
		}
		h := webhook.Hook{Name: "a", URL: "https://receiver/"}
		send := func(addresses ...string) error {
			p.network.Name("receiver", addresses...)
			e := event(1, 1)
			return p.sender(t, h).Send(t.Context(), &e, false).Err
		}
		for _, addresses := range [][]string{{"127.0.0.1"}, {"::ffff:127.0.0.1", "::1"}, {"169.254.169.254"}} {
			if err := send(addresses...); !errors.Is(err, webhook.ErrForbiddenAddress) {
				t.Errorf("%s: %v", addresses, err)
			}
		}
		h.URL = "https://127.0.0.1/"
		if err := send(public); !errors.Is(err, webhook.ErrForbiddenAddress) {
			t.Errorf("a literal: %v", err)
		}
		if dialled := p.network.Dialled(); len(dialled) > 0 || len(inside.Deliveries()) > 0 {
			t.Errorf("connected to %q", dialled)
		}
		h.URL = "https://receiver/"
		_ = send("127.0.0.1", public) // no TLS there
		if dialled := p.network.Dialled(); len(dialled) != 1 || dialled[0] != public {
			t.Errorf("connected to %q", dialled)
		}
	})
}

// A receiver that moves is found at its new address by the next request, also
// if the first of its addresses is dead.
func TestReceiverMoves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		p := newPlace(t)
		moved := webhooktest.NewReceiver()
		const other = "93.184.215.15"
		p.network.Listen(other, moved)
		defer p.network.Stop(other)
		s := p.sender(t, hook(t))
		for i, addresses := range [][]string{{public}, {other}, {"93.184.215.99", other}} {
			p.network.Name("receiver", addresses...)
			e := event(1, 1)
			if a := s.Send(t.Context(), &e, false); a.Outcome != webhook.Delivered || len(moved.Deliveries()) != i {
				t.Errorf("at %s: %s, %v; %d came where it moved", addresses, a.Outcome, a.Err, len(moved.Deliveries()))
			}
		}
	})
}

// TLS begins at 1.2, and certificates are verified.
func TestTLS(t *testing.T) {
	r := webhooktest.NewReceiver()
	for _, version := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		server := httptest.NewUnstartedServer(r)
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
		server.StartTLS()
		h := webhook.Hook{Name: "a", URL: webhook.URL(server.URL), AllowPrivate: true}
		roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs //nolint:errcheck // it is one
		s, err := webhook.NewSender(h, webhook.SenderConfig{RootCAs: roots})
		must(t, err)
		e := event(1, 1)
		a := s.Send(t.Context(), &e, false)
		if (a.Outcome == webhook.Delivered) != (version >= tls.VersionTLS12) {
			t.Errorf("%s: %s, %v", tls.VersionName(version), a.Outcome, a.Err)
		}
		untrusting, err := webhook.NewSender(h, webhook.SenderConfig{})
		must(t, err)
		if a := untrusting.Send(t.Context(), &e, false); a.Outcome != webhook.Failed {
			t.Errorf("an unknown certificate: %s", a.Outcome)
		}
		server.Close()
	}
}

// Proxies of the environment would look at no address.
func TestNoProxy(t *testing.T) {
	if webhook.HasProxy(newPlace(t).sender(t, hook(t))) {
		t.Error("there may be a proxy")
	}
}

package kinesis

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// frameOf makes a frame of its headers and its payload.
func frameOf(headers, payload []byte) []byte {
	b := make([]byte, preludeSize, emptyFrame+len(headers)+len(payload))
	binary.BigEndian.PutUint32(b, uint32(cap(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(len(headers)))
	binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
	b = append(append(b, headers...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// header is a header with a value of a type; strings and bytes with their
// length.
func header(name string, kind byte, value string) []byte {
	b := append([]byte{byte(len(name))}, name...)
	b = append(b, kind)
	if kind == headerString || kind == headerBytes {
		b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	}
	return append(b, value...)
}

func eventHeaders() []byte {
	return bytes.Join([][]byte{
		header(":message-type", headerString, "event"), header(":event-type", headerString, "SubscribeToShardEvent"),
		header(":content-type", headerString, "application/x-amz-json-1.1"),
	}, nil)
}

// Headers of any type are passed over.
func TestFramesHaveHeadersOfAnyType(t *testing.T) {
	others := bytes.Join([][]byte{
		header("a", 0, ""), header("b", 1, ""), header("c", 2, "x"), header("d", 3, "xx"), header("e", 4, "xxxx"),
		header("f", 5, "xxxxxxxx"), header("g", headerBytes, "any"), header("h", 8, "xxxxxxxx"),
		header("", headerUUID, strings.Repeat("x", 16)),
	}, nil)
	b := frameOf(append(others, eventHeaders()...), []byte("{}"))
	f, err := parseFrame(b)
	if err != nil || !f.isEvent() || string(f.payload.of(b)) != "{}" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestFramesThatReportFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		headers [][2]string
		payload string
		want    string
	}{
		"exception": {[][2]string{{":message-type", "exception"}, {":exception-type", "KMSDisabledException"}},
			`{"other":[1],"message":"the key\nis off"}`, "KMSDisabledException: the key\nis off"},
		"no message": {[][2]string{{":message-type", "exception"}, {":exception-type", "KMSDisabledException"}}, ``,
			"KMSDisabledException: "},
		"error": {[][2]string{{":message-type", "error"}, {":error-code", "500"}, {":error-message", "it is us"}},
			``, "500: it is us"},
		"nameless": {[][2]string{{":message-type", "exception"}}, `{}`, errBrokenHead.Error()},
		"other":    {[][2]string{{":message-type", "event"}, {":event-type", "of the future"}}, `{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var headers []byte
			for _, h := range tc.headers {
				headers = append(headers, header(h[0], headerString, h[1])...)
			}
			f, err := parseFrame(frameOf(headers, []byte(tc.payload)))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := f.fault(); err != nil {
				got = strings.TrimPrefix(err.Error(), "api error ")
			}
			if got != tc.want || f.isEvent() {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// whole reads a frame as a subscription does.
func whole(b []byte) (f frame, err error) {
	var head prelude
	in := bytes.NewReader(b)
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return f, err
	}
	length, err := head.length()
	if err != nil {
		return f, err
	}
	buf := make([]byte, length)
	copy(buf, head[:])
	if _, err := io.ReadFull(in, buf[preludeSize:]); err != nil {
		return f, err
	}
	return parseFrame(buf)
}

// No changed bit passes, wherever it is.
func TestCorruptFramesAreNoticed(t *testing.T) {
	good := frameOf(eventHeaders(), []byte(`{"Records":[],"MillisBehindLatest":0,"ContinuationSequenceNumber":"1"}`))
	if _, err := whole(good); err != nil {
		t.Fatal(err)
	}
	for i := range 8 * len(good) {
		b := bytes.Clone(good)
		b[i/8] ^= 1 << (i % 8)
		if _, err := whole(b); !errors.Is(err, errCorrupt) {
			t.Errorf("bit %d: %v", i, err)
		}
	}
}

// Lengths that cannot be are refused before anything is allocated for them.
func TestFramesOfImpossibleLength(t *testing.T) {
	for _, tc := range []struct {
		length, headers uint32
		want            error
	}{
		{emptyFrame - 1, 0, errBrokenHead}, {emptyFrame, 1, errBrokenHead}, {100, 85, errBrokenHead},
		{100, 1<<32 - 1, errBrokenHead}, {maxBody + 1, 0, errTooLarge}, {1<<32 - 1, 0, errTooLarge},
	} {
		var p prelude
		binary.BigEndian.PutUint32(p[:], tc.length)
		binary.BigEndian.PutUint32(p[4:], tc.headers)
		binary.BigEndian.PutUint32(p[8:], crc32.ChecksumIEEE(p[:8]))
		if _, err := p.length(); !errors.Is(err, tc.want) {
			t.Errorf("%d, %d: %v", tc.length, tc.headers, err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(eventHeaders(), []byte(`{"Records":[]}`))
	f.Add(header(":message-type", headerString, "exception"), []byte(`{"message":"x"}`))
	f.Add([]byte{0}, []byte{})
	f.Add([]byte{200, 1, 2}, []byte{})
	f.Fuzz(func(t *testing.T, headers, payload []byte) {
		b := frameOf(headers, payload)
		got, err := whole(b)
		if err != nil {
			return
		}
		if !bytes.Equal(got.payload.of(got.buf), payload) {
			t.Errorf("payload %q became %q", payload, got.payload.of(got.buf))
		}
		_ = got.fault()
		if got.isEvent() {
			_, _ = decodeEvent(&got)
		}
	})
}

// counted counts what is read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func (*counted) Close() error { return nil }

// aSubscription is one whose events are already there.
func aSubscription(budget *Budget, body io.ReadCloser) *subscription {
	b := &subscription{source: &Source{budget: budget, observer: noObserver{}}, body: body, began: time.Now(),
		service: time.Now()}
	b.ctx, b.cancel = context.WithCancelCause(context.Background())
	b.silent = time.AfterFunc(time.Hour, func() { b.cancel(errSilent) })
	b.silent.Stop()
	return b
}

// Without memory no more than a prelude is read: the rest stays with the
// service. Nobody waits for memory who has some.
func TestFramesAreReadOnceThereIsMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1 << 20)
		all, err := budget.Reserve(t.Context(), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		payload := `{"Records":[{"Data":"` + strings.Repeat("AAAA", 1000) +
			`","SequenceNumber":"7"}],"ContinuationSequenceNumber":"7"}`
		body := &counted{Reader: bytes.NewReader(frameOf(eventHeaders(), []byte(payload)))}
		b := aSubscription(budget, body)
		var p *page
		go func() {
			if p, err = b.next(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if body.n != preludeSize || p != nil {
			t.Errorf("%d bytes are read without memory", body.n)
		}
		all.Release()
		synctest.Wait()
		if p == nil || len(p.reply.records) != 1 || p.reply.next != "7" {
			t.Fatalf("got %+v", p)
		}
		if held := p.memory.room.held; held < int64(len(p.buf)) {
			t.Errorf("%d bytes are held for %d", held, len(p.buf))
		}
		p.release()
		if b.ctx.Err() != nil {
			t.Error("waiting for memory counts as silence")
		}
	})
}

// What is reserved for a frame is enough for whatever it may hold.
func TestFramesNeedNoMoreThanIsReserved(t *testing.T) {
	tiny := make([]kinesistest.UserRecord, 15_000)
	aggregate := base64.StdEncoding.EncodeToString(kinesistest.Aggregate(tiny...))
	const small = `{"SequenceNumber":"49543985749580000000","Data":"","PartitionKey":"",` +
		`"ApproximateArrivalTimestamp":1.441215410867E9},`
	for name, records := range map[string]string{
		"none":      "",
		"small":     strings.Repeat(small, 5000),
		"aggregate": `{"SequenceNumber":"49543985749580000000","Data":"` + aggregate + `"},`,
	} {
		payload := `{"Records":[` + strings.TrimSuffix(records, ",") + `],"ContinuationSequenceNumber":"7"}`
		b := frameOf(eventHeaders(), []byte(payload))
		s := aSubscription(NewBudget(frameReserve(len(b))), &counted{Reader: bytes.NewReader(b)})
		p, err := s.next(t.Context(), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if need, reserved := p.needs(min(p.total, maxRecords)), frameReserve(len(b)); need > reserved {
			t.Errorf("%s: %d bytes are reserved for %d", name, reserved, need)
		}
	}
}

// The service's time is carried on by a clock that may be a little too fast.
func TestSubscriptionsCarryTheServicesTimeOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := aSubscription(NewBudget(0), io.NopCloser(strings.NewReader("")))
		time.Sleep(5 * time.Minute)
		if slow := time.Since(b.now()); slow < 250*time.Millisecond || slow > time.Second {
			t.Errorf("it is %s early", slow)
		}
	})
}

// benchEvent is an event with as many records as a busy shard brings: 1 MiB.
func benchEvent() []byte {
	body := benchBody()
	at := bytes.LastIndex(body[:1<<20], []byte(`,{"Approx`))
	return frameOf(eventHeaders(), append(body[:at:at],
		`],"MillisBehindLatest":0,"ContinuationSequenceNumber":"49543985749580000000"}`...))
}

// BenchmarkEvent is what this package does with an event; compare it with
// BenchmarkPage.
func BenchmarkEvent(b *testing.B) {
	frame := benchEvent()
	body := &repeated{frame: frame}
	s := aSubscription(NewBudget(0), body)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		p, err := s.next(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		n := len(p.reply.records)
		u := unpacker{page: p}
		if records := u.next(n); len(records) != n || n < 500 {
			b.Fatal(len(records))
		}
		p.release()
	}
}

// repeated is the same frame again and again.
type repeated struct {
	frame []byte
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := copy(p, r.frame[r.at:])
	r.at = (r.at + n) % len(r.frame)
	return n, nil
}

func (*repeated) Close() error { return nil }

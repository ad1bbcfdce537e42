package sink_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sink"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ gs.Sink = (*sink.Stdout)(nil)

// entry returns the n-th entry of a shard.
func entry(shard string, n int, payload string) gs.Entry {
	return gs.Entry{
		ID:      gs.EventID{byte(n >> 8), byte(n)},
		Shard:   gs.ShardID(shard),
		Seq:     gs.SequenceNumber(fmt.Sprint(1000 + n)),
		Sub:     gs.NoSub,
		Arrived: time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC),
		Event:   gs.Event{Type: "ref-updated"},
		Payload: []byte(payload),
	}
}

// line is what a reader of the output sees.
type line struct {
	ID    string          `json:"id"`
	Shard string          `json:"shard"`
	Seq   string          `json:"seq"`
	Data  json.RawMessage `json:"data"`
}

// lines parses an output that must consist of whole lines.
func lines(t *testing.T, output []byte) []line {
	t.Helper()
	var all []line
	for text := range bytes.Lines(output) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil || text[len(text)-1] != '\n' {
			t.Fatalf("not a whole line: %v: %q", err, text)
		}
		all = append(all, l)
	}
	return all
}

// with returns an entry with attributes.
func with(e gs.Entry, attributes map[string]string) gs.Entry {
	e.Event.Attributes = attributes
	return e
}

func TestLine(t *testing.T) {
	arrived := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("east", 3600))
	full := gs.Entry{
		ID: gs.EventID{0xab, 0xcd}, Shard: "shardId-000000000001", Seq: "4965", Sub: 3, Arrived: arrived,
		Event: gs.Event{
			Type: "comment-added", Project: `example/"q\a"`, Ref: "refs/heads/main", Change: 48213,
			Created: time.Unix(1767225601, 0),
		},
	}
	bare := gs.Entry{Sub: gs.NoSub, Arrived: arrived}
	const (
		id       = `"specversion":"1.0","id":"abcd0000000000000000000000000000","source":"arn:aws:kinesis:x"`
		fullHead = `{` + id + `,"type":"comment-added","time":"2026-01-01T00:00:01Z",` +
			`"shard":"shardId-000000000001","seq":"4965","sub":3,"arrived":"2026-01-02T02:04:05.678Z",` +
			`"project":"example/\"q\\a\"","ref":"refs/heads/main","change":48213,`
		bareHead = `{"specversion":"1.0","id":"00000000000000000000000000000000","source":"arn:aws:kinesis:x",` +
			`"type":"record","time":"2026-01-02T02:04:05.678Z",` +
			`"shard":"","seq":"","arrived":"2026-01-02T02:04:05.678Z",`
		binary = `"datacontenttype":"application/octet-stream","data_base64":`
	)
	for _, c := range []struct {
		name    string
		entry   gs.Entry
		payload string
		want    string
	}{
		{"everything", full, `{"a":"\u003c", "b":1.50}`, fullHead + `"data":{"a":"\u003c", "b":1.50}}`},
		{"attributes", with(bare, map[string]string{
			"tenant": "a\"b", "key": "", "Key": "x", "a b": "x", "": "x", "seq": "x", "subject": "x",
			"data_base64": "x", "n1": "2",
		}), `{}`, bareHead + `"key":"","n1":"2","tenant":"a\"b","data":{}}`},
		{"nothing known", bare, `{}`, bareHead + `"data":{}}`},
		{"line breaks", bare, "\r\n{\n\t\"a\" :\r\n[1,\n2]\n}\n", bareHead + "\"data\":  { \t\"a\" :  [1, 2] } }"},
		{"escaped line break stays", bare, `"a\nb\r"`, bareHead + `"data":"a\nb\r"}`},
		{"not JSON", bare, "hello\n", bareHead + binary + `"aGVsbG8K"}`},
		{"two values", bare, "{}\n{}", bareHead + binary + `"e30Ke30="}`},
		{"empty", bare, "", bareHead + binary + `""}`},
		{"not UTF-8", bare, "\"\xff\"", bareHead + binary + `"Iv8i"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			c.entry.Payload = []byte(c.payload)
			if err := sink.NewStdout(&out, "arn:aws:kinesis:x").Deliver(t.Context(), []gs.Entry{c.entry}); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != c.want+"\n" {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if string(c.entry.Payload) != c.payload {
				t.Error("the payload was written to")
			}
			lines(t, out.Bytes())
		})
	}
}

// TestStrangeNames: whatever a type or a project is, the line is one line of
// valid JSON.
func TestStrangeNames(t *testing.T) {
	for _, name := range []string{"\x00\n\r\t\x1f", "\u2028", "\xff\xfe", `\"`, "😀", ""} {
		e := entry("s", 1, `{}`)
		e.Event.Type, e.Event.Project, e.Event.Ref, e.Event.Change = name, name, name, 1<<40
		var out bytes.Buffer
		if err := sink.NewStdout(&out, name).Deliver(t.Context(), []gs.Entry{e}); err != nil {
			t.Fatal(err)
		}
		var l map[string]any
		if err := json.Unmarshal(out.Bytes(), &l); err != nil || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
			t.Errorf("%q: %v: %q", name, err, out.Bytes())
		}
		if want := strings.ToValidUTF8(name, "\ufffd\ufffd"); want != "" &&
			(l["type"] != want || l["project"] != want || l["ref"] != want) {
			t.Errorf("%q became %q, %q, %q", name, l["type"], l["project"], l["ref"])
		}
		if l["type"] == "" || l["source"] == "" || l["change"] != nil {
			t.Errorf("not a CloudEvents event: %v", l)
		}
	}
}

// writes records each write.
type writes struct {
	sizes []int
	bytes.Buffer
}

func (w *writes) Write(b []byte) (int, error) {
	w.sizes = append(w.sizes, len(b))
	return w.Buffer.Write(b)
}

// TestShardsDoNotMix delivers from several shards at once: a write each, whole
// lines, each shard in its order.
func TestShardsDoNotMix(t *testing.T) {
	const shards, batches, each = 6, 50, 7
	var out writes // without a lock of its own: the race detector sees two writes at once
	s := sink.NewStdout(&out, "gerrit")
	var group sync.WaitGroup
	for shard := range shards {
		group.Go(func() {
			for b := range batches {
				var entries []gs.Entry
				for i := range each {
					entries = append(entries, entry(fmt.Sprint(shard), b*each+i, `{"x":1}`))
				}
				if err := s.Deliver(t.Context(), entries); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	next := map[string]int{}
	all := lines(t, out.Bytes())
	for _, l := range all {
		if l.Seq != fmt.Sprint(1000+next[l.Shard]) {
			t.Fatalf("shard %s: %s instead of %d", l.Shard, l.Seq, 1000+next[l.Shard])
		}
		next[l.Shard]++
	}
	if len(all) != shards*batches*each || len(out.sizes) != shards*batches {
		t.Errorf("%d lines in %d writes", len(all), len(out.sizes))
	}
}

// failing fails once for each limit, after that many bytes.
type failing struct {
	limits []int
	out    bytes.Buffer
}

func (f *failing) Write(b []byte) (int, error) {
	if len(f.limits) == 0 || len(b) <= f.limits[0] {
		return f.out.Write(b)
	}
	n := f.limits[0]
	f.limits = f.limits[1:]
	f.out.Write(b[:n])
	if n%2 == 0 {
		return n, nil // a writer that breaks io.Writer's rule
	}
	return n, syscall.ENOSPC
}

// TestLinesAreNeverCut fails writes at every byte, twice in a row, with another
// shard's delivery in between: the output still consists of whole lines, and
// nothing is missing.
func TestLinesAreNeverCut(t *testing.T) {
	mine := []gs.Entry{entry("a", 1, `{"a":1}`), entry("a", 2, `{"a":2}`)}
	other := []gs.Entry{entry("b", 3, `{"b":3}`)}
	var whole bytes.Buffer
	if err := sink.NewStdout(&whole, "gerrit").Deliver(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for first := range whole.Len() {
		f := &failing{limits: []int{first, rng.IntN(150)}}
		s := sink.NewStdout(f, "gerrit")
		for _, entries := range [][]gs.Entry{mine, other} {
			if err := s.Deliver(t.Context(), entries); err == nil || errors.As(err, new(*gs.RejectedError)) {
				t.Fatalf("cut at %d: %v", first, err)
			}
		}
		for _, entries := range [][]gs.Entry{other, mine} {
			if err := s.Deliver(t.Context(), entries); err != nil {
				t.Fatal(err)
			}
		}
		all := lines(t, f.out.Bytes())
		if n := len(all); n < 3 || all[n-1].Seq != "1002" || all[n-2].Seq != "1001" || all[n-3].Seq != "1003" {
			t.Fatalf("cut at %d: %s", first, f.out.Bytes())
		}
	}
}

// TestFailureBetweenLines: a write that fails at the end of a line leaves
// nothing to complete.
func TestFailureBetweenLines(t *testing.T) {
	entries := []gs.Entry{entry("a", 1, `{"a":1}`), entry("a", 2, `{"a":2}`)}
	var first bytes.Buffer
	if err := sink.NewStdout(&first, "gerrit").Deliver(t.Context(), entries[:1]); err != nil {
		t.Fatal(err)
	}
	f := &failing{limits: []int{first.Len()}}
	s := sink.NewStdout(f, "gerrit")
	if err := s.Deliver(t.Context(), entries); err == nil {
		t.Fatal("no error")
	}
	if err := s.Deliver(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines(t, f.out.Bytes()) {
		got = append(got, l.Seq)
	}
	if want := []string{"1001", "1001", "1002"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestLargeDeliveries are divided at line ends.
func TestLargeDeliveries(t *testing.T) {
	var out writes
	var entries []gs.Entry
	for n := range 40 {
		entries = append(entries, entry("s", n, `"`+strings.Repeat("x", 100<<10)+`"`))
	}
	entries = append(entries, entry("s", 40, `"`+strings.Repeat("y", 3<<20)+`"`))
	if err := sink.NewStdout(&out, "gerrit").Deliver(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	for i, size := range out.sizes {
		if last := i == len(out.sizes)-1; !last && size > 1<<20+1024 {
			t.Errorf("write %d has %d bytes", i, size)
		}
	}
	if got := len(lines(t, out.Bytes())); got != len(entries) || len(out.sizes) != 5 {
		t.Errorf("%d lines in %d writes", got, len(out.sizes))
	}
}

// TestReaderThatDoesNotRead: Deliver and Close end with their context, and a
// write that is under way has its own copy of the bytes.
func TestReaderThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		s := sink.NewStdout(writer, "gerrit")
		entries := []gs.Entry{entry("s", 1, `{"n":1}`)}
		for range 2 { // the first is in the write, the second waits for its turn
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, gs.ErrLeadershipLost)
			if err := s.Deliver(ctx, entries); !errors.Is(err, gs.ErrLeadershipLost) {
				t.Errorf("got %v, want the context's cause", err)
			}
			cancel()
		}
		for range 2 {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, gs.ErrLeadershipLost)
			if err := s.Close(ctx); !errors.Is(err, gs.ErrLeadershipLost) {
				t.Errorf("got %v, want the context's cause", err)
			}
			if err := s.Deliver(t.Context(), entries); err != sink.ErrClosed {
				t.Errorf("after Close got %v", err)
			}
			cancel()
		}
		copy(entries[0].Payload, `{"n":2}`)
		go func() {
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			writer.Close()
		}()
		out, err := io.ReadAll(reader)
		if err != nil {
			t.Fatal(err)
		}
		if all := lines(t, out); len(all) != 1 || string(all[0].Data) != `{"n":1}` {
			t.Errorf("got %s", out)
		}
	})
}

// TestReaderIsGone closes the reading end of a pipe of the operating system.
func TestReaderIsGone(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := sink.NewStdout(writer, "gerrit")
	entries := []gs.Entry{entry("s", 1, `{}`)}
	if err := s.Deliver(t.Context(), entries); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Gone():
		t.Fatal("gone while there is a reader")
	default:
	}
	reader.Close()
	if err := s.Deliver(t.Context(), entries); !errors.Is(err, sink.ErrReaderGone) || !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("got %v", err)
	}
	<-s.Gone()
	writer.Close()
	for range 2 {
		if err := s.Deliver(t.Context(), entries); err != sink.ErrReaderGone {
			t.Errorf("got %v, want it at once and without a write", err)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOtherErrorsPass: a full disk is not final.
func TestOtherErrorsPass(t *testing.T) {
	f := &failing{limits: []int{5}}
	s := sink.NewStdout(f, "gerrit")
	entries := []gs.Entry{entry("s", 1, `{}`)}
	if err := s.Deliver(t.Context(), entries); !errors.Is(err, syscall.ENOSPC) || errors.Is(err, sink.ErrReaderGone) {
		t.Fatalf("got %v", err)
	}
	if err := s.Deliver(t.Context(), entries); err != nil {
		t.Error(err)
	}
}

func TestNothingToDeliver(t *testing.T) {
	var out writes
	if err := sink.NewStdout(&out, "gerrit").Deliver(t.Context(), nil); err != nil || len(out.sizes) != 0 {
		t.Errorf("%v, %d writes", err, len(out.sizes))
	}
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out writes
	if err := sink.NewStdout(&out, "gerrit").Deliver(ctx, []gs.Entry{entry("s", 1, `{}`)}); !errors.Is(err,
		context.Canceled) {
		t.Errorf("got %v", err)
	}
	if out.Len() > 0 {
		t.Error("written after the context's end")
	}
}

func batchOf(n int) []gs.Entry {
	var entries []gs.Entry
	for i := range n {
		entries = append(entries, entry("shardId-000000000000", i,
			`{"comment":"`+strings.Repeat("lifelike ", 240)+`"}`))
	}
	return entries
}

// Payloads that are known to be JSON are written as those that are checked.
func TestKnownJSONIsWrittenLikeCheckedJSON(t *testing.T) {
	entries := batchOf(3)
	entries[1].Payload = []byte("{\"a\":\r\n1,\"b\":\"\u00e9\"}")
	var checked, known bytes.Buffer
	for w, s := range map[*bytes.Buffer]*sink.Stdout{
		&checked: sink.NewStdout(&checked, "gerrit"), &known: sink.NewStdoutOfJSON(&known, "gerrit"),
	} {
		if err := s.Deliver(t.Context(), entries); err != nil || w.Len() == 0 {
			t.Fatal(err)
		}
	}
	if checked.String() != known.String() || bytes.Count(known.Bytes(), []byte("\n")) != 3 {
		t.Errorf("got\n%s\nwant\n%s", &known, &checked)
	}
}

func TestAllocations(t *testing.T) {
	s := sink.NewStdout(io.Discard, "gerrit")
	entries := batchOf(100)
	allocated := testing.AllocsPerRun(20, func() {
		if err := s.Deliver(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	})
	// A write needs a channel and a goroutine; with the race detector
	// encoding/json allocates for some entries as well.
	if allocated >= 100 {
		t.Errorf("%v allocations for 100 entries", allocated)
	}
}

func BenchmarkDeliver(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	for name, s := range map[string]*sink.Stdout{
		"checked": sink.NewStdout(null, "gerrit"), "known": sink.NewStdoutOfJSON(null, "gerrit"),
	} {
		for _, n := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s %d", name, n), func(b *testing.B) { deliver(b, s, n) })
		}
	}
}

func deliver(b *testing.B, s *sink.Stdout, n int) {
	b.Helper()
	entries := batchOf(n)
	b.SetBytes(int64(n * len(entries[0].Payload)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Deliver(b.Context(), entries); err != nil {
			b.Fatal(err)
		}
	}
}

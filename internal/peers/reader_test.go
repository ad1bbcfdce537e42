package peers_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/gerrit"
	"github.com/gerritstream/gerritstream/internal/peers"
)

// root is a connection's node in Zuul.
const root = "/zuul/events/connection/gerrit"

const goodID = "0123456789abcdef0123456789abcdef"

// aUUID names side data.
const aUUID = "b5cd6e2f-8f5e-4a6e-9d6c-0a1b2c3d4e5f"

// queue is a connection's queue in a chroot of its own, and a reader of it.
type queue struct {
	conn   *zk.Conn
	chroot string
	kazoo  peers.KazooOptions
}

func newQueue(t *testing.T) *queue {
	t.Helper()
	peers.Require(t, peers.DebianZooKeeper, peers.Kazoo)
	server := peers.SharedZooKeeper(t, peers.ZooKeeperOptions{})
	chroot := peers.Chroot(t, server)
	q := &queue{connect(t, server.Hosts()), chroot, peers.KazooOptions{Hosts: server.Hosts() + chroot}}
	for i, c := range root {
		if i > 0 && c == '/' {
			q.create(t, root[:i], "")
		}
	}
	for _, path := range []string{"", "/events", "/events/queue", "/events/data"} {
		q.create(t, root+path, "")
	}
	return q
}

func (q *queue) create(t *testing.T, path, data string) {
	t.Helper()
	if _, err := q.conn.Create(q.chroot+path, []byte(data), 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatalf("create %s: %v", path, err)
	}
}

// put queues the bytes of a node.
func (q *queue) put(t *testing.T, data string) {
	t.Helper()
	path := q.chroot + root + "/events/queue/q"
	if _, err := q.conn.Create(path, []byte(data), zk.FlagSequence, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
}

// putBeside stores chunks as side data.
func (q *queue) putBeside(t *testing.T, uuid string, chunks ...string) {
	t.Helper()
	path := root + "/events/data/" + uuid
	q.create(t, path, "")
	for i, chunk := range chunks {
		q.create(t, fmt.Sprintf("%s/%010d", path, i), chunk)
	}
}

func (q *queue) count(t *testing.T, path string) int {
	t.Helper()
	children, _, err := q.conn.Children(q.chroot + root + path)
	if err != nil {
		t.Fatal(err)
	}
	return len(children)
}

// eventData returns the JSON of an event_data with a payload.
func eventData(payload string) string {
	return fmt.Sprintf(`{"payload": %s, "span_context": null, "timestamp": 1732.5, "zuul_event_id": %q}`, payload,
		goodID)
}

func node(payload string) string { return `{"event_data": ` + eventData(payload) + `}` }

func beside(uuid string) string {
	return fmt.Sprintf(`{"event_data_path": "%s/events/data/%s"}`, root, uuid)
}

func deflate(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	if _, err := w.Write([]byte(data)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// odd are payloads whose bytes change when they are parsed and written again.
var odd = []string{
	`{"type":"x"}`,
	`{ "type" : "comment-added","comment":"a \u003c b \u0026 \/ \ud83d\ude00 \" \\ } ] {" ,"z":1,"a":[ 1.50, 1e2, -0 ] }`,
	`{"type":"x","\"":{"\\":"\\"},"a":"\\\\","b":["\\\"","}"]}`,
	`{"type":"first","payload":{"payload":{}},"type":"second","event_data":null}`,
	"{\"type\":\"ref-updated\",\n\t\"refUpdate\":{\"refName\":\"refs/heads/ü\u2028\",\"project\":\"p\"}}",
}

func TestReaderPrintsPayloadsByteForByte(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for _, payload := range odd {
		q.put(t, node(payload))
	}
	large := `{"type":"comment-added","comment":"` + strings.Repeat(`\u003cé-`, 600_000) + `"}`
	whole := deflate(t, eventData(large))
	half := len(whole) / 2
	q.putBeside(t, aUUID, whole[:half], whole[half:])
	q.put(t, beside(aUUID))

	reader := peers.StartReader(t, q.kazoo, root)
	for _, read := range []func(context.Context) (peers.Pass, error){reader.Read, reader.Drain} {
		pass, err := read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := append(odd[:len(odd):len(odd)], large)
		if len(pass.Events) != len(want) {
			t.Fatalf("%d events, want %d", len(pass.Events), len(want))
		}
		for i, e := range pass.Events {
			sum := sha256.Sum256([]byte(want[i]))
			if string(e.Payload) != want[i] || e.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("event %d has %d other bytes, digest %s", i, len(e.Payload), e.SHA256)
			}
			if e.EventID != goodID || e.Node != fmt.Sprintf("q%010d", i) || e.Timestamp != 1732.5 {
				t.Errorf("event %d: %s, %s, %v", i, e.Node, e.EventID, e.Timestamp)
			}
		}
		if e := pass.Events[len(odd)]; !strings.HasSuffix(e.SideData, aUUID) {
			t.Errorf("the large event's side data is %q", e.SideData)
		}
	}
	if n := q.count(t, "/events/queue") + q.count(t, "/events/data"); n != 0 {
		t.Errorf("%d nodes are left", n)
	}
	if pass, err := reader.Drain(t.Context()); err != nil || len(pass.Events) != 0 || pass.SideData != 0 {
		t.Errorf("an empty queue: %+v, %v", pass, err)
	}
	if exists, _, err := q.conn.Exists(q.chroot + root + "/election"); !exists || err != nil {
		t.Errorf("the consumer's election: %v, %v", exists, err)
	}
	reader.Stop(t)
}

// TestReaderStumblesOverWhatHurtsZuul has a case, and its message, for each
// known problem.
func TestReaderStumblesOverWhatHurtsZuul(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	envelope := func(timestamp, id, span string) string {
		return fmt.Sprintf(`{"event_data": {"payload": {"type":"x"}, "span_context": %s, `+
			`"timestamp": %s, "zuul_event_id": %s}}`, span, timestamp, id)
	}
	without := func(member string) string {
		return strings.Replace(strings.Replace(node(`{"type":"x"}`), member, "", 1), ", }", "}", 1)
	}
	deep := func(n int) string {
		return `{"type":"x","a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	number := func(n string) string { return node(`{"type":"x","n":` + n + `}`) }
	future := fmt.Sprintf("%d.5", time.Now().Add(time.Hour).Unix())
	id := `"` + goodID + `"`
	sides := map[string][]string{
		"11111111-1111-4111-8111-111111111111": {"not zlib"},
		"22222222-2222-4222-8222-222222222222": {deflate(t, eventData(`{"type":"x"}`))[:20]},
		"33333333-3333-4333-8333-333333333333": {deflate(t, eventData(`{"type"`)), deflate(t, `:"x"}`)},
		"44444444-4444-4444-8444-444444444444": {},
		"55555555-5555-4555-8555-555555555555": {deflate(t, "[]")},
		"66666666-6666-4666-8666-666666666666": {deflate(t, eventData(`{"type":"x"}`)) + strings.Repeat("x", 1_000_000)},
	}
	for uuid, chunks := range sides {
		q.putBeside(t, uuid, chunks...)
	}
	side := func(digit string) string {
		for uuid := range sides {
			if strings.HasPrefix(uuid, digit) {
				return beside(uuid)
			}
		}
		return ""
	}
	reader := peers.StartReader(t, q.kazoo, root)
	span := `{"span_id": 67667974448284343, "trace_flags": 1, "trace_id": 100985939111033328018442752961257817910}`
	if e, err := reader.Judge(t.Context(), []byte(envelope("1.5", id, span))); err != nil ||
		e.Span != "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" {
		t.Errorf("a span: %+v, %v", e, err)
	}
	for _, c := range []struct{ name, data, reason string }{
		// dropped with a log line
		{"syntax error", `{"event_data": `, "not JSON"},
		{"syntax error in the payload", node(`{"type":}`), "not JSON"},
		{"trailing bytes", node(`{"type":"x"}`) + "x", "not JSON"},
		{"empty", "", "empty data"},
		{"missing side data", beside(aUUID), "side data is missing"},
		// acknowledged with a traceback
		{"no project name", node(`{"type":"cache-eviction"}`), "no project name"},
		// stuck
		{"no timestamp", without(`, "timestamp": 1732.5`), "event_data has the members"},
		{"timestamp a string", envelope(`"1"`, id, "null"), "timestamp is not a float"},
		{"timestamp null", envelope("null", id, "null"), "timestamp is not a float"},
		{"timestamp true", envelope("true", id, "null"), "timestamp is not a float"},
		{"timestamp whole", envelope("1", id, "null"), "timestamp is not a float"},
		{"timestamp in the future", envelope(future, id, "null"), "timestamp is in the future"},
		{"no payload", without(`"payload": {"type":"x"}, `), "event_data has the members"},
		{"payload null", node("null"), "payload is missing or not an object"},
		{"payload a list", node("[]"), "payload is missing or not an object"},
		{"ref-updated without refUpdate", node(`{"type":"ref-updated"}`), "no refUpdate.refName"},
		{"ref-updated without refName", node(`{"type":"ref-updated","refUpdate":{}}`), "no refUpdate.refName"},
		{"project-head-updated", node(`{"type":"project-head-updated","newHead":null}`), "no newHead"},
		{"change null", node(`{"type":"x","change":null}`), "change is not an object"},
		{"patchSet a list", node(`{"type":"x","patchSet":[]}`), "patchSet is not an object"},
		{"refUpdate a string", node(`{"type":"x","refUpdate":""}`), "refUpdate is not an object"},
		{"patchSetComments a number", node(`{"type":"x","patchSetComments":0}`), "patchSetComments is not an object"},
		{"change.project an object", node(`{"type":"x","change":{"project":{}}}`), "change.project is not a string"},
		{"no type", node(`{}`), "type is missing"},
		{"patchset-level comments an object", node(`{"type":"x","change":{"number":1},"patchSetComments":{"/PATCHSET_LEVEL":{"a":1}}}`),
			"the handler before summer 2025: 'str' object has no attribute 'get'"},
		{"patchset-level comments texts", node(`{"type":"x","change":{"number":1},"patchSetComments":{"/PATCHSET_LEVEL":["a"]}}`),
			"the handler before summer 2025"},
		{"patchset-level comments a number", node(`{"type":"x","change":{"number":1},"patchSetComments":{"/PATCHSET_LEVEL":7}}`),
			"the handler before summer 2025"},
		{"patchset-level comments of no change", node(`{"type":"x","patchSetComments":{"/PATCHSET_LEVEL":"a"}}`),
			"patchSetComments/~1PATCHSET_LEVEL is a str"},
		{"a branch without a project", node(`{"type":"ref-updated","refUpdate":{"refName":"refs/heads/a"}}`),
			"the handler before summer 2025"},
		{"project-head-updated without a project", node(`{"type":"project-head-updated","newHead":"refs/heads/a"}`), "no projectName"},
		// every member that is read has the type that Gerrit writes
		{"an approval's value a list", node(`{"type":"x","approvals":[{"value":[]}]}`), "approvals/*/value is a list"},
		{"a comment an object", node(`{"type":"x","comment":{}}`), "comment is a dict"},
		{"a number true", node(`{"type":"x","change":{"number":true}}`), "change/number is a bool"},
		{"an author a text", node(`{"type":"comment-added","author":"a"}`), "author is a str"},
		{"an author's email a list", node(`{"type":"comment-added","author":{"email":[]}}`), "author/email is a list"},
		// blocking the queue
		{"newRev a list", node(`{"type":"change-merged","newRev":[],"change":{"project":"p","number":7}}`), "the dispatcher of August 2025: "},
		{"a tag's newRev an object", node(`{"type":"ref-updated","refUpdate":{"refName":"refs/tags/v1","newRev":{},"project":"p"}}`),
			"the dispatcher of August 2025: "},
		{"a branch's newRev an object", node(`{"type":"ref-updated","refUpdate":{"refName":"refs/heads/a","newRev":{},"project":"p"}}`),
			"the dispatcher of August 2025: "},
		{"project a list", node(`{"type":"x","project":["p"],"ref":"a"}`), "August 2025 that waits for replication"},
		{"ref an object", node(`{"type":"x","project":"p","ref":{"a":1}}`), "August 2025 that waits for replication"},
		{"a replication's project an object", node(`{"type":"ref-replicated","project":{"name":"p"},"ref":"a"}`), "the dispatcher of August 2025: "},
		{"refUpdate.project a list", node(`{"type":"ref-updated","refUpdate":{"refName":"refs/tags/v1","project":["p"]}}`),
			"August 2025 that waits for replication"},
		{"refName an object", node(`{"type":"change-merged","refName":{"a":1},"change":{"project":"p"}}`), "August 2025 that waits for replication"},
		{"patchSet.ref a list", node(`{"type":"patchset-created","patchSet":{"ref":["a"]},"change":{"project":"p"}}`),
			"August 2025 that waits for replication"},
		{"not UTF-8", node("{\"type\":\"\xff\"}"), "invalid UTF-8"},
		{"a lone surrogate", node(`{"type":"x","a":["\ud800"]}`), "a lone surrogate"},
		{"a lone surrogate as a name", node(`{"type":"x","\udc00":1}`), "a lone surrogate"},
		{"top level a list", "[]", "the top level is not an object"},
		{"top level null", "null", "the top level is not an object"},
		{"no event_data", "{}", "the top level has the members"},
		{"event_data null", `{"event_data": null}`, "event_data is not an object"},
		{"event_data twice", `{"event_data": {}, "event_data": ` + eventData(`{"type":"x"}`) + `}`, "the top level has the members"},
		{"no zuul_event_id", without(`, "zuul_event_id": "` + goodID + `"`), "event_data has the members"},
		{"zuul_event_id null", envelope("1.5", "null", "null"), "zuul_event_id is not"},
		{"zuul_event_id in capitals", envelope("1.5", strings.ToUpper(id), "null"), "zuul_event_id is not"},
		{"partial span_context", envelope("1.5", id, `{"trace_id": 1}`), "span_context has the members ['trace_id']"},
		{"empty span_context", envelope("1.5", id, `{}`), "span_context has the members []"},
		{"span_context a text", envelope("1.5", id, `"00-1-2-01"`), "span_context is not an object"},
		{"span_id a text", envelope("1.5", id, `{"span_id": "2", "trace_flags": 1, "trace_id": 1}`), "span_id is no number"},
		{"trace_flags null", envelope("1.5", id, `{"span_id": 2, "trace_flags": null, "trace_id": 1}`), "trace_flags is no number"},
		{"trace_id too large", envelope("1.5", id, `{"span_id": 2, "trace_flags": 1, "trace_id": 1`+strings.Repeat("0", 39)+`}`),
			"trace_id is no number of 128 bits"},
		{"a span that nobody keeps", envelope("1.5", id, `{"span_id": 2, "trace_flags": 2, "trace_id": 1}`), "not sampled"},
		{"nested too deep", node(deep(201)), "nested deeper than 200"},
		{"nested too deep for Python", node(deep(20000)), "nested too deep for Python"},
		{"4301 digits", number(strings.Repeat("1", 4301)), "an integer of more than 4000"},
		{"4001 digits", number(strings.Repeat("1", 4001)), "an integer of more than 4000"},
		{"4001 characters", number("0." + strings.Repeat("1", 4000)), "a number of more than 4000"},
		{"no float", number("1e999"), "a number that no float holds"},
		{"NaN", number("NaN"), "NaN is not JSON"},
		{"Infinity", number("-Infinity"), "-Infinity is not JSON"},
		{"side data not zlib", side("1"), "side data is not zlib"},
		{"side data cut off", side("2"), "side data is cut off"},
		{"side data of old clusters", side("3"), "more than one zlib stream"},
		{"side data empty", side("4"), "side data without chunks"},
		{"side data no event", side("5"), "event_data is not an object"},
		{"side data in one large chunk", side("6"), "a chunk of 1000"},
		{"side data elsewhere", `{"event_data_path": "/zuul/events/data/` + aUUID + `"}`, "not a UUID below"},
		{"side data and an event", `{"event_data_path": "x", "event_data": {}}`, "the top level has the members"},
	} {
		e, err := reader.Judge(t.Context(), []byte(c.data))
		stumble := &peers.Stumble{}
		if !errors.As(err, &stumble) || !strings.Contains(stumble.Reason, c.reason) {
			t.Errorf("%s: %+v, %v, want %q", c.name, e, err, c.reason)
		}
	}
	for _, good := range append(odd, deep(200), `{"type":"x","n":`+strings.Repeat("1", 4000)+`}`,
		`{"type":"no-project"}`) {
		if e, err := reader.Judge(t.Context(), []byte(node(good))); err != nil || string(e.Payload) != good {
			t.Errorf("%.80q: %q, %v", good, e.Payload, err)
		}
	}
}

func TestReaderEndsWithAnErrorWhereItStumbles(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.put(t, node(`{"type":"x"}`))
	q.put(t, `{"event_data": null}`)
	q.put(t, node(`{"type":"x"}`))
	reader := peers.StartReader(t, q.kazoo, root)
	pass, err := reader.Drain(t.Context())
	stumble := &peers.Stumble{}
	if !errors.As(err, &stumble) || stumble.Node != "q0000000001" || len(pass.Events) != 1 {
		t.Errorf("%d events, then %v", len(pass.Events), err)
	}
	if n := q.count(t, "/events/queue"); n != 2 {
		t.Errorf("%d events are left, want the bad one and the next", n)
	}
	if _, err := reader.Drain(t.Context()); err == nil {
		t.Error("the reader goes on")
	}
}

func TestReaderFollows(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	q.put(t, node(`{"type":"before"}`))
	reader := peers.StartReader(t, q.kazoo, root)
	const all = 20
	seen := 0
	following, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	pass, err := reader.Follow(following, func(peers.QueuedEvent) bool {
		if seen++; seen < all {
			q.put(t, node(`{"type":"while following"}`))
		}
		return seen == all
	})
	if err != nil || len(pass.Events) != all {
		t.Errorf("%d events, %v", len(pass.Events), err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := reader.Follow(ctx, func(peers.QueuedEvent) bool { return true }); !errors.Is(err,
		context.DeadlineExceeded) {
		t.Errorf("nothing came: %v", err)
	}
	q.put(t, node(`{"type":"after"}`))
	if pass, err := reader.Drain(t.Context()); err != nil || len(pass.Events) != 1 {
		t.Errorf("after following: %d events, %v", len(pass.Events), err)
	}
}

func TestReaderTakesCheckpointsAsZuulDoes(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	for shard, data := range map[string]string{
		"sequence": `{"checkpoint": "49590338271490256608559692538361571095921575989136588898"}`,
		"extra":    `{"checkpoint": "7", "more": 1}`,
		"null":     `{"checkpoint": null}`,
		"empty":    ``,
		"syntax":   `{"checkpoint"`,
		"utf8":     "{\"checkpoint\": \"\xff\"}",
		"no-key":   `{}`,
		"list":     `["7"]`,
		"string":   `"7"`,
		"number":   `{"checkpoint": 7}`,
	} {
		q.create(t, root+"/checkpoint-aws_kinesis_"+shard, data)
	}
	got, err := peers.StartObserver(t, q.kazoo, root).Checkpoints(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for shard, c := range got {
		var kind string
		switch shard {
		case "sequence", "extra":
			kind = c.Sequence
		case "null", "empty", "syntax", "utf8":
			kind = c.None
		default:
			kind = c.Error
		}
		if kind == "" {
			t.Errorf("%s is taken for %+v", shard, c)
		}
	}
	if len(got) != 10 || got["extra"].Sequence != "7" {
		t.Errorf("checkpoints: %+v", got)
	}
	if exists, _, err := q.conn.Exists(q.chroot + root + "/election"); exists || err != nil {
		t.Errorf("an observer created Zuul's election: %v, %v", exists, err)
	}
}

// TestReaderAgreesWithScan compares the two definitions of a good event: the
// reader accepts what gerrit accepts, and stumbles over what gerrit refuses.
func TestReaderAgreesWithScan(t *testing.T) {
	t.Parallel()
	q := newQueue(t)
	reader := peers.StartReader(t, q.kazoo, root)
	filter, err := gerrit.NewFilter(gerrit.FilterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var passed, refused int
	files, err := filepath.Glob("../../gerrit/testdata/*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e, scanErr := gerrit.Scan(payload)
		if scanErr == nil && filter.Rule(&e) != "" {
			continue // it is never queued
		}
		_, err = reader.Judge(t.Context(), []byte(node(string(payload))))
		if (err == nil) != (scanErr == nil) {
			t.Errorf("%s: the reader says %v, Scan %v", filepath.Base(file), err, scanErr)
		}
		if err == nil {
			passed++
		} else {
			refused++
		}
	}
	if passed < 50 || refused < 50 {
		t.Errorf("%d of testdata passed, %d did not: are these the right files?", passed, refused)
	}
}

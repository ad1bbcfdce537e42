package zookeeper_test

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/storetest"
	"github.com/gerritstream/gerritstream/zookeeper"
)

const (
	// brief is how long a session lasts where a test waits for its end.
	brief = 5 * time.Second

	// steady is how long it lasts elsewhere: a busy machine stands still for
	// seconds.
	steady = time.Minute
)

var (
	single = peers.ZooKeeperOptions{Tick: 250 * time.Millisecond, MaxSessionTimeout: steady}
	three  = peers.ZooKeeperOptions{Tick: 250 * time.Millisecond, MaxSessionTimeout: steady, Servers: 3}
)

func TestStore(t *testing.T) {
	for name, opts := range map[string]peers.ZooKeeperOptions{"one server": single, "three servers": three} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, storetest.Harness{
				New:      func(t *testing.T) storetest.Backend { return newWorld(t, opts).backend() },
				Settle:   300 * time.Millisecond,
				Patience: time.Minute,
			})
		})
	}
}

// world is a chroot of its own, the stores opened on it, and a session to look
// at it and tamper with it.
type world struct {
	t      *testing.T
	hosts  []string
	chroot string
	raw    *zk.Conn

	mu     sync.Mutex
	faults map[storetest.Point][]storetest.Fault // under mu
}

const connection = "gerrit"

func newWorld(t *testing.T, opts peers.ZooKeeperOptions) *world {
	t.Helper()
	ensemble := peers.SharedZooKeeper(t, opts)
	w := &world{
		t: t, hosts: strings.Split(ensemble.Hosts(), ","), chroot: peers.Chroot(t, ensemble),
		faults: map[storetest.Point][]storetest.Fault{},
	}
	w.raw = rawConn(t, w.hosts)
	return w
}

// rawConn is a session that belongs to no Store.
func rawConn(t *testing.T, hosts []string) *zk.Conn {
	t.Helper()
	raw, _, err := zk.Connect(hosts, 10*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	return raw
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}

func (w *world) backend() storetest.Backend {
	return storetest.Backend{
		Open:        func() gerritstream.Store { return w.open(zookeeper.Config{SessionTimeout: brief}) },
		Kill:        func(store gerritstream.Store) { store.(*zookeeper.Store).Kill() },
		Entries:     w.entries,
		DeadLetters: w.deadLetters,
		WritePosition: func(epoch int, shard gerritstream.ShardID, raw []byte) {
			path := w.own(fmt.Sprintf("/e%d/positions/%s", epoch, shard))
			w.remove(path)
			if raw != nil {
				w.put(path, raw)
			}
		},
		WriteNewerOrigin: func() { w.put(w.own("/start"), []byte(`{"format":1000000}`)) },
		Expire:           w.expire,
		DamageReport: func(store gerritstream.Store) {
			w.put(w.own("/reports/"+store.(*zookeeper.Store).Process()), []byte("garbage"))
		},
		DamageMember: func(store gerritstream.Store) {
			w.put(w.own("/members/"+store.(*zookeeper.Store).Process()), []byte("garbage"))
		},
		Foreign:  w.foreign,
		Operator: func() gerritstream.Operator { return w.operator() },
		FailNext: func(p storetest.Point, f storetest.Fault) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.faults[p] = append(w.faults[p], f)
		},
	}
}

// foreign stands in a shard's line as kazoo does.
func (w *world) foreign(shard gerritstream.ShardID) (leave func()) {
	w.t.Helper()
	w.put(w.election(shard), nil)
	name := w.election(shard) + "/" + foreignName + "__lock__"
	path, err := w.raw.Create(name, nil, zk.FlagEphemeralSequential, zk.WorldACL(zk.PermAll))
	if err != nil {
		w.t.Fatal(err)
	}
	return func() { w.remove(path) }
}

// foreignName is what kazoo might have called a contender.
const foreignName = "00112233445566778899aabbccddeeff"

func (w *world) own(path string) string { return w.chroot + "/gerritstream/" + connection + path }
func (w *world) zuul(path string) string {
	return w.chroot + "/zuul/events/connection/" + connection + path
}

func (w *world) config(c zookeeper.Config) zookeeper.Config {
	c.Hosts, c.Chroot, c.Connection = w.hosts, w.chroot, connection
	if c.SessionTimeout == 0 {
		c.SessionTimeout = steady
	}
	return c
}

// open opens a store whose writes suffer the faults that were asked for.
func (w *world) open(c zookeeper.Config) *zookeeper.Store {
	w.t.Helper()
	store, err := zookeeper.Open(w.t.Context(), w.config(c))
	if err != nil {
		w.t.Fatal(err)
	}
	store.Intercept(func(p zookeeper.Point, write func() error) error {
		return suffer(w.fault(storetest.Point(p)), store, write)
	})
	w.t.Cleanup(func() {
		store.Kill()
		store.Reap()
	})
	return store
}

// operator opens an operator whose writes suffer the faults that were asked
// for. It is closed by whoever uses it.
func (w *world) operator() *zookeeper.Operator {
	w.t.Helper()
	o, err := zookeeper.OpenOperator(w.t.Context(), w.config(zookeeper.Config{}))
	if err != nil {
		w.t.Fatal(err)
	}
	o.Intercept(func(p zookeeper.Point, write func() error) error {
		return suffer(w.fault(storetest.Point(p)), nil, write)
	})
	return o
}

func (w *world) fault(p storetest.Point) storetest.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	queued := w.faults[p]
	if len(queued) == 0 {
		return storetest.NoFault
	}
	w.faults[p] = queued[1:]
	return queued[0]
}

// suffer has a fault befall a write.
func suffer(fault storetest.Fault, store *zookeeper.Store, write func() error) error {
	switch fault {
	case storetest.Refuse:
		return storetest.ErrInjected
	case storetest.RetryLater:
		return gerritstream.ErrRetryLater
	case storetest.ApplyButError:
		return errors.Join(write(), storetest.ErrInjected)
	case storetest.CrashBefore:
		store.Kill()
		return write()
	case storetest.CrashAfter:
		err := write()
		store.Kill()
		return errors.Join(err, storetest.ErrProcessDead)
	}
	return write()
}

// put makes or changes a node, and what is missing above it.
func (w *world) put(path string, data []byte) {
	w.t.Helper()
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if _, err := w.raw.Create(path[:i], []byte{}, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
				w.t.Fatalf("create %s: %v", path[:i], err)
			}
		}
	}
	_, err := w.raw.Create(path, data, 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		_, err = w.raw.Set(path, data, -1)
	}
	if err != nil {
		w.t.Fatalf("write %s: %v", path, err)
	}
}

// remove deletes a node and all below it, if it is there.
func (w *world) remove(path string) {
	w.t.Helper()
	for _, child := range w.children(path) {
		w.remove(path + "/" + child)
	}
	if err := w.raw.Delete(path, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
		w.t.Fatalf("delete %s: %v", path, err)
	}
}

// children lists a node's children, sorted, as they are now on every server.
func (w *world) children(path string) []string {
	w.t.Helper()
	if _, err := w.raw.Sync(path); err != nil {
		w.t.Fatalf("sync: %v", err)
	}
	names, _, err := w.raw.Children(path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		w.t.Fatalf("list %s: %v", path, err)
	}
	slices.Sort(names)
	return names
}

// get reads a node; nil: it is not there.
func (w *world) get(path string) []byte {
	w.t.Helper()
	if _, err := w.raw.Sync(path); err != nil {
		w.t.Fatalf("sync: %v", err)
	}
	data, _, err := w.raw.Get(path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		w.t.Fatalf("read %s: %v", path, err)
	}
	return data
}

func (w *world) election(shard gerritstream.ShardID) string {
	return w.zuul("/election-aws_kinesis_" + string(shard))
}

func (w *world) checkpointPath(shard gerritstream.ShardID) string {
	return w.zuul("/checkpoint-aws_kinesis_" + string(shard))
}

// expire removes the lock node of whoever leads a shard.
func (w *world) expire(shard gerritstream.ShardID) {
	w.t.Helper()
	line := w.children(w.election(shard))
	slices.SortFunc(line, func(a, b string) int { return strings.Compare(turn(a), turn(b)) })
	if len(line) == 0 {
		w.t.Fatalf("nobody leads %s", shard)
	}
	w.remove(w.election(shard) + "/" + line[0])
}

func turn(name string) string { return name[max(0, len(name)-10):] }

// queueNode is a node of Zuul's queue.
type queueNode struct {
	EventData json.RawMessage `json:"event_data"`
	Path      string          `json:"event_data_path"`
}

// eventData is the value of event_data.
type eventData struct {
	Payload   json.RawMessage `json:"payload"`
	Span      *int            `json:"span_context"`
	Timestamp float64         `json:"timestamp"`
	ID        string          `json:"zuul_event_id"`
}

func (w *world) entries() (entries []gerritstream.Entry) {
	w.t.Helper()
	for _, name := range w.children(w.zuul("/events/queue")) {
		var n queueNode
		w.decode(w.get(w.zuul("/events/queue/"+name)), &n)
		value := []byte(n.EventData)
		if n.Path != "" {
			value = w.sideData(n.Path)
		}
		var e eventData
		w.decode(value, &e)
		id, err := hex.DecodeString(e.ID)
		if err != nil || len(id) != 16 {
			w.t.Fatalf("event id %q", e.ID)
		}
		// encoding/json compacts nothing in a RawMessage, but leaves out the
		// blanks around it.
		entries = append(entries, gerritstream.Entry{ID: gerritstream.EventID(id), Payload: payloadOf(value, e.Payload)})
	}
	return entries
}

// payloadOf returns the bytes of the payload as they stand in the value, blanks
// around it included.
func payloadOf(value, payload []byte) []byte {
	const open = `{"payload": `
	end := bytes.LastIndex(value, []byte(`, "span_context": null, "timestamp": `))
	if !bytes.HasPrefix(value, []byte(open)) || end < 0 {
		return payload
	}
	return value[len(open):end]
}

func (w *world) decode(data []byte, into any) {
	w.t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		w.t.Fatalf("%v: %.200s", err, data)
	}
}

func (w *world) sideData(path string) []byte {
	w.t.Helper()
	var all []byte
	for _, name := range w.children(w.chroot + path) {
		all = append(all, w.get(w.chroot+path+"/"+name)...)
	}
	r, err := zlib.NewReader(bytes.NewReader(all))
	if err != nil {
		w.t.Fatalf("side data: %v", err)
	}
	value, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatalf("side data: %v", err)
	}
	return value
}

func (w *world) deadLetters() (letters []gerritstream.DeadLetter) {
	w.t.Helper()
	for _, name := range w.children(w.own("/dead")) {
		d, err := zookeeper.DecodeLetter(w.get(w.own("/dead/" + name)))
		if err != nil {
			w.t.Fatal(err)
		}
		letters = append(letters, d)
	}
	return letters
}

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
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/storetest"
	"github.com/gerritstream/gerritstream/zookeeper"
)

const (
	// brief is the session timeout where a test waits for the end of a session.
	brief = 5 * time.Second

	// steady is the session timeout elsewhere: a busy machine stalls for
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
				New:      func(t *testing.T) storetest.Backend { return newCluster(t, opts).backend() },
				Settle:   300 * time.Millisecond,
				Patience: time.Minute,
			})
		})
	}
}

// TestPauses uses three servers: a change goes through one, a commit through
// another.
func TestPauses(t *testing.T) {
	t.Parallel()
	storetest.RunPauses(t, storetest.Harness{
		New:      func(t *testing.T) storetest.Backend { return newCluster(t, three).backend() },
		Settle:   300 * time.Millisecond,
		Patience: time.Minute,
	})
}

// cluster is a chroot of its own on shared servers, the stores opened on it,
// and a session to inspect it and to tamper with it.
type cluster struct {
	t      *testing.T
	hosts  []string
	chroot string
	raw    *zk.Conn
	faults storetest.Faults
}

const connection = "gerrit"

func newCluster(t *testing.T, opts peers.ZooKeeperOptions) *cluster {
	t.Helper()
	ensemble := peers.SharedZooKeeper(t, opts)
	cl := &cluster{t: t, hosts: strings.Split(ensemble.Hosts(), ","), chroot: peers.Chroot(t, ensemble)}
	cl.raw = rawConn(t, cl.hosts)
	return cl
}

// rawConn opens a session that belongs to no Store.
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

func (cl *cluster) backend() storetest.Backend {
	return storetest.Backend{
		Open:        func() gerritstream.Store { return cl.open(zookeeper.Config{SessionTimeout: brief}) },
		Kill:        func(store gerritstream.Store) { store.(*zookeeper.Store).Kill() },
		Entries:     cl.entries,
		DeadLetters: cl.deadLetters,
		WritePosition: func(epoch int, shard gerritstream.ShardID, raw []byte) {
			path := cl.own(fmt.Sprintf("/e%d/positions/%s", epoch, shard))
			cl.remove(path)
			if raw != nil {
				cl.put(path, raw)
			}
		},
		WriteNewerOrigin: func() { cl.put(cl.own("/start"), []byte(`{"format":1000000}`)) },
		Expire:           cl.expire,
		DamageReport: func(store gerritstream.Store) {
			cl.put(cl.own("/reports/"+store.(*zookeeper.Store).Process()), []byte("garbage"))
		},
		DamageMember: func(store gerritstream.Store) {
			cl.put(cl.own("/members/"+store.(*zookeeper.Store).Process()), []byte("garbage"))
		},
		Foreign:  cl.kazooCandidate,
		Operator: func() gerritstream.Operator { return cl.operator() },
		FailNext: cl.faults.FailNext,
	}
}

// kazooCandidate makes a lock node as kazoo does.
func (cl *cluster) kazooCandidate(shard gerritstream.ShardID) (leave func()) {
	cl.t.Helper()
	cl.put(cl.election(shard), nil)
	name := cl.election(shard) + "/" + foreignName + "__lock__"
	path, err := cl.raw.Create(name, nil, zk.FlagEphemeralSequential, zk.WorldACL(zk.PermAll))
	if err != nil {
		cl.t.Fatal(err)
	}
	return func() { cl.remove(path) }
}

// foreignName is a name that kazoo might give a lock node.
const foreignName = "00112233445566778899aabbccddeeff"

func (cl *cluster) own(path string) string { return cl.chroot + "/gerritstream/" + connection + path }
func (cl *cluster) zuul(path string) string {
	return cl.chroot + "/zuul/events/connection/" + connection + path
}

func (cl *cluster) config(c zookeeper.Config) zookeeper.Config {
	c.Hosts, c.Chroot, c.Connection = cl.hosts, cl.chroot, connection
	if c.SessionTimeout == 0 {
		c.SessionTimeout = steady
	}
	return c
}

// open opens a store whose writes get the queued faults.
func (cl *cluster) open(c zookeeper.Config) *zookeeper.Store {
	cl.t.Helper()
	store, err := zookeeper.Open(cl.t.Context(), cl.config(c))
	if err != nil {
		cl.t.Fatal(err)
	}
	store.Intercept(cl.faults.Intercept(store.Kill))
	cl.t.Cleanup(func() {
		store.Kill()
		store.Reap()
	})
	return store
}

// operator opens an operator whose writes get the queued faults. The caller
// closes it.
func (cl *cluster) operator() *zookeeper.Operator {
	cl.t.Helper()
	o, err := zookeeper.OpenOperator(cl.t.Context(), cl.config(zookeeper.Config{}))
	if err != nil {
		cl.t.Fatal(err)
	}
	o.Intercept(cl.faults.Intercept(nil))
	return o
}

// put makes or changes a node, and what is missing above it.
func (cl *cluster) put(path string, data []byte) {
	cl.t.Helper()
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			if _, err := cl.raw.Create(path[:i], []byte{}, 0, zk.WorldACL(zk.PermAll)); err != nil &&
				!errors.Is(err, zk.ErrNodeExists) {
				cl.t.Fatalf("create %s: %v", path[:i], err)
			}
		}
	}
	_, err := cl.raw.Create(path, data, 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		_, err = cl.raw.Set(path, data, -1)
	}
	if err != nil {
		cl.t.Fatalf("write %s: %v", path, err)
	}
}

// remove deletes a node and all below it, if it is there.
func (cl *cluster) remove(path string) {
	cl.t.Helper()
	for _, child := range cl.children(path) {
		cl.remove(path + "/" + child)
	}
	if err := cl.raw.Delete(path, -1); err != nil && !errors.Is(err, zk.ErrNoNode) {
		cl.t.Fatalf("delete %s: %v", path, err)
	}
}

// children lists a node's children, sorted, as they are now on every server.
func (cl *cluster) children(path string) []string {
	cl.t.Helper()
	if _, err := cl.raw.Sync(path); err != nil {
		cl.t.Fatalf("sync: %v", err)
	}
	names, _, err := cl.raw.Children(path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		cl.t.Fatalf("list %s: %v", path, err)
	}
	slices.Sort(names)
	return names
}

// get reads a node; nil: it is not there.
func (cl *cluster) get(path string) []byte {
	cl.t.Helper()
	if _, err := cl.raw.Sync(path); err != nil {
		cl.t.Fatalf("sync: %v", err)
	}
	data, _, err := cl.raw.Get(path)
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		cl.t.Fatalf("read %s: %v", path, err)
	}
	return data
}

func (cl *cluster) election(shard gerritstream.ShardID) string {
	return cl.zuul("/election-aws_kinesis_" + string(shard))
}

func (cl *cluster) checkpointPath(shard gerritstream.ShardID) string {
	return cl.zuul("/checkpoint-aws_kinesis_" + string(shard))
}

// expire removes the lock node of a shard's leader.
func (cl *cluster) expire(shard gerritstream.ShardID) {
	cl.t.Helper()
	candidates := cl.children(cl.election(shard))
	slices.SortFunc(candidates, func(a, b string) int { return strings.Compare(sequenceOf(a), sequenceOf(b)) })
	if len(candidates) == 0 {
		cl.t.Fatalf("nobody leads %s", shard)
	}
	cl.remove(cl.election(shard) + "/" + candidates[0])
}

func sequenceOf(name string) string { return name[max(0, len(name)-10):] }

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

func (cl *cluster) entries() (entries []gerritstream.Entry) {
	cl.t.Helper()
	for _, name := range cl.children(cl.zuul("/events/queue")) {
		var n queueNode
		cl.decode(cl.get(cl.zuul("/events/queue/"+name)), &n)
		value := []byte(n.EventData)
		if n.Path != "" {
			value = cl.largeEvent(n.Path)
		}
		var e eventData
		cl.decode(value, &e)
		id, err := hex.DecodeString(e.ID)
		if err != nil || len(id) != 16 {
			cl.t.Fatalf("event id %q", e.ID)
		}
		// encoding/json compacts nothing in a RawMessage, but leaves out the
		// blanks around it.
		entries = append(entries, gerritstream.Entry{ID: gerritstream.EventID(id),
			Payload: payloadOf(value, e.Payload)})
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

func (cl *cluster) decode(data []byte, into any) {
	cl.t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		cl.t.Fatalf("%v: %.200s", err, data)
	}
}

func (cl *cluster) largeEvent(path string) []byte {
	cl.t.Helper()
	var all []byte
	for _, name := range cl.children(cl.chroot + path) {
		all = append(all, cl.get(cl.chroot+path+"/"+name)...)
	}
	r, err := zlib.NewReader(bytes.NewReader(all))
	if err != nil {
		cl.t.Fatalf("large event: %v", err)
	}
	value, err := io.ReadAll(r)
	if err != nil {
		cl.t.Fatalf("large event: %v", err)
	}
	return value
}

func (cl *cluster) deadLetters() (deadLetters []gerritstream.DeadLetter) {
	cl.t.Helper()
	for _, name := range cl.children(cl.own("/dead")) {
		d, err := zookeeper.DecodeDeadLetter(cl.get(cl.own("/dead/" + name)))
		if err != nil {
			cl.t.Fatal(err)
		}
		deadLetters = append(deadLetters, d)
	}
	return deadLetters
}

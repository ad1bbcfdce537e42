package soak

import (
	"bytes"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
)

const (
	connection     = "gerrit"
	sessionTimeout = 4 * time.Second
	queueLimit     = 400
)

// zookeeperStore is three servers, which each process reaches through links of
// its own. Its queue is taken as Zuul's scheduler does: the oldest event first,
// each read, handled and deleted.
type zookeeperStore struct {
	t        *testing.T
	s        *soak
	ensemble *peers.Ensemble
	links    [][]*peers.Link // by process, by server
	held     atomic.Bool     // the consumer is paused
	conn     atomic.Pointer[zk.Conn]
	depth    atomic.Int64 // of the queue, as last listed

	mu         sync.Mutex
	taken      []history.Item // in the order of the queue; under mu
	unreadable []unreadable   // nodes of the queue; under mu
}

// unreadable is a node of the queue that Zuul could not read. Only Python may
// queue such.
type unreadable struct {
	id, why string
}

func newZooKeeper(t *testing.T, s *soak) *zookeeperStore {
	z := &zookeeperStore{t: t, s: s, ensemble: peers.ZooKeeper(t, peers.ZooKeeperOptions{Servers: 3})}
	for range processes {
		var links []*peers.Link
		for _, server := range z.ensemble.Servers {
			links = append(links, peers.NewZooKeeperLink(t, server.Addr()))
		}
		z.links = append(z.links, links)
	}
	return z
}

func (z *zookeeperStore) name() string { return "zookeeper" }

func (z *zookeeperStore) args(worker int) []string {
	var hosts []string
	for _, link := range z.links[worker] {
		hosts = append(hosts, link.Addr())
	}
	return []string{
		"--store", "zookeeper://" + strings.Join(hosts, ","), "--connection", connection,
		"--zookeeper-session-timeout", sessionTimeout.String(), "--zookeeper-queue-limit", fmt.Sprint(queueLimit),
	}
}

func (z *zookeeperStore) timeout() time.Duration { return sessionTimeout }

const (
	root      = "/zuul/events/connection/" + connection
	queuePath = root + "/events/queue"
)

// consume takes the queue, whatever happens to the servers.
func (z *zookeeperStore) consume() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	conn, _, err := zk.Connect(strings.Split(z.ensemble.Hosts(), ","), 10*time.Second, zk.WithLogInfo(false),
		zk.WithLogger(silent{}))
	if err != nil {
		z.t.Fatal(err)
	}
	z.conn.Store(conn)
	go func() {
		defer close(stopped)
		for pause(ctx, 50*time.Millisecond) {
			if !z.held.Load() {
				z.take(ctx, conn)
			}
		}
	}()
	return func() {
		cancel()
		<-stopped
		conn.Close()
	}
}

type silent struct{}

func (silent) Printf(string, ...any) {}

// take takes what is queued now, until an error. An event counts as taken once
// it was read: deleting it may have to be retried.
func (z *zookeeperStore) take(ctx context.Context, conn *zk.Conn) {
	names, _, err := conn.Children(queuePath)
	if err != nil {
		return
	}
	z.depth.Store(int64(len(names)))
	slices.Sort(names)
	for _, name := range names {
		if ctx.Err() != nil || z.held.Load() {
			return
		}
		node := path.Join(queuePath, name)
		data, _, err := conn.Get(node)
		if err != nil {
			return
		}
		event, err := read(conn, data)
		if err != nil {
			if errors.Is(err, errPassing) {
				return
			}
			event.ID = idIn(data)
			z.mu.Lock()
			z.unreadable = append(z.unreadable, unreadable{event.ID, fmt.Sprintf("%s: %v", node, err)})
			z.mu.Unlock()
		}
		item := z.s.producer.seen(event.ID)
		item.Sum = history.Sum(event.Payload)
		z.mu.Lock()
		z.taken = append(z.taken, item)
		z.mu.Unlock()
		if !remove(ctx, conn, node) || event.side != "" && !removeAll(ctx, conn, event.side) {
			return
		}
	}
}

var eventID = regexp.MustCompile(`"zuul_event_id": "([0-9a-f]{32})"}}$`)

// idIn finds the id of an event in an unreadable node.
func idIn(data []byte) string {
	if m := eventID.FindSubmatch(data); m != nil {
		return string(m[1])
	}
	return ""
}

var errPassing = errors.New("ZooKeeper does not answer")

// queued is an event in the queue.
type queued struct {
	Payload   json.RawMessage `json:"payload"`
	Timestamp float64         `json:"timestamp"`
	ID        string          `json:"zuul_event_id"`

	side string // the path of its data; empty: in the queue's node
}

// read decodes a node of the queue.
func read(conn *zk.Conn, data []byte) (event queued, err error) {
	var node struct {
		Event json.RawMessage `json:"event_data"`
		Path  string          `json:"event_data_path"`
	}
	if err := json.Unmarshal(data, &node); err != nil {
		return event, err
	}
	if event.side = node.Path; event.side != "" {
		if node.Event, err = readSide(conn, event.side); err != nil {
			return event, err
		}
	}
	if err := json.Unmarshal(node.Event, &event); err != nil {
		return event, err
	}
	if ahead := event.Timestamp - float64(time.Now().UnixMilli())/1000; ahead > 1 {
		return event, fmt.Errorf("its timestamp is %.1f s ahead", ahead)
	}
	return event, nil
}

func readSide(conn *zk.Conn, dir string) ([]byte, error) {
	names, _, err := conn.Children(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPassing, err)
	}
	slices.Sort(names)
	var all []byte
	for _, name := range names {
		chunk, _, err := conn.Get(path.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errPassing, err)
		}
		all = append(all, chunk...)
	}
	r, err := zlib.NewReader(bytes.NewReader(all))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// remove deletes a node, retrying until ctx ends.
func remove(ctx context.Context, conn *zk.Conn, node string) bool {
	for {
		err := conn.Delete(node, -1)
		if err == nil || errors.Is(err, zk.ErrNoNode) {
			return true
		}
		if !pause(ctx, 100*time.Millisecond) {
			return false
		}
	}
}

func removeAll(ctx context.Context, conn *zk.Conn, dir string) bool {
	for {
		names, _, err := conn.Children(dir)
		if errors.Is(err, zk.ErrNoNode) {
			return true
		}
		if err == nil {
			for _, name := range names {
				if !remove(ctx, conn, path.Join(dir, name)) {
					return false
				}
			}
			return remove(ctx, conn, dir)
		}
		if !pause(ctx, 100*time.Millisecond) {
			return false
		}
	}
}

// pending is none: what the consumer sees is done with.
func (z *zookeeperStore) pending() int { return 0 }

func (z *zookeeperStore) deadLetters() int {
	conn := z.conn.Load()
	if conn == nil {
		return 0
	}
	names, _, err := conn.Children("/gerritstream/" + connection + "/dead")
	if err != nil {
		return 0
	}
	return len(names)
}

func (z *zookeeperStore) record(log *history.Writer) {
	ids, beside := z.s.python()
	z.mu.Lock()
	log.Add(history.Event{Kind: history.KindQueue, Items: z.taken})
	for _, node := range z.unreadable {
		if !ids[node.id] {
			z.t.Errorf("Zuul could not read %s", node.why)
		}
	}
	z.mu.Unlock()
	conn, _, err := zk.Connect(strings.Split(z.ensemble.Hosts(), ","), 10*time.Second, zk.WithLogger(silent{}))
	if err != nil {
		z.t.Fatal(err)
	}
	defer conn.Close()
	names, _, err := conn.Children("/gerritstream/" + connection + "/dead")
	if err != nil && !errors.Is(err, zk.ErrNoNode) {
		z.t.Fatal(err)
	}
	dead := history.Event{Kind: history.KindDeadLetters}
	for _, name := range names {
		item, err := deadLetterOf(name)
		if err != nil {
			z.t.Error(err)
		}
		dead.Items = append(dead.Items, item)
	}
	log.Add(dead)
	left, _, err := conn.Children(root + "/events/data")
	left = slices.DeleteFunc(left, func(name string) bool { return beside[root+"/events/data/"+name] })
	if err != nil || len(left) > 0 {
		z.t.Errorf("%d side data are left below events/data (%v)", len(left), err)
	}
}

// deadLetterOf reads the name of a dead letter's node: the shard, the sequence
// number, and the place in an aggregate.
func deadLetterOf(name string) (item history.Item, err error) {
	parts := strings.Split(name, "-") // shardId-000000000001-4917...-2
	if len(parts) < 3 {
		return item, fmt.Errorf("dead letter %q", name)
	}
	item = history.Item{
		Shard: gerritstream.ShardID(parts[0] + "-" +
			parts[1]), Seq: gerritstream.SequenceNumber(parts[2]), Sub: gerritstream.NoSub,
	}
	if len(parts) > 3 {
		_, err = fmt.Sscan(parts[3], &item.Sub)
	}
	return item, err
}

func (z *zookeeperStore) faults(n *nemesis) []fault {
	cut := func(how func(*peers.Link)) func(context.Context) bool {
		return func(ctx context.Context) bool { return z.cut(ctx, how) }
	}
	faults := []fault{
		{name: "cut from ZooKeeper", class: classCut, do: cut((*peers.Link).Cut)},
		{name: "half cut from ZooKeeper: no replies", class: classCut,
			do: cut(func(l *peers.Link) { l.Hold(peers.Replies) })},
		{name: "half cut from ZooKeeper: no requests", class: classCut,
			do: cut(func(l *peers.Link) { l.Hold(peers.Requests) })},
		{name: "slow ZooKeeper", do: cut(func(l *peers.Link) { l.Delay(200 * time.Millisecond) })},
		{name: "lost reply to a commit", do: z.loseReply},
		{name: "ZooKeeper server restarted", class: classServer, do: z.restart},
		{name: "quorum lost", class: classServer, do: z.loseQuorum},
		{name: "queue full", do: z.fill},
	}
	if *flagPython {
		faults = append(faults, (&python{n: n, z: z}).fault())
	}
	return faults
}

// awaitCandidate waits until a candidate with an identifier stands in a shard's
// election.
func (z *zookeeperStore) awaitCandidate(ctx context.Context, shard gerritstream.ShardID, identifier string) {
	ctx, cancel := context.WithTimeout(ctx, pythonPatience)
	defer cancel()
	election := root + "/election-aws_kinesis_" + string(shard)
	conn := z.conn.Load()
	for pause(ctx, 100*time.Millisecond) {
		names, _, err := conn.Children(election)
		if err != nil {
			continue
		}
		for _, name := range names {
			if data, _, err := conn.Get(path.Join(election, name)); err == nil && string(data) == identifier {
				return
			}
		}
	}
}

// cut does something to all links of a worker, for up to twice the session's
// timeout.
func (z *zookeeperStore) cut(ctx context.Context, how func(*peers.Link)) bool {
	n := &nemesis{s: z.s}
	w := n.leader()
	effect := w.alive() && w.leads()
	for _, link := range z.links[w.number] {
		how(link)
	}
	effect = pause(ctx, n.between(200*time.Millisecond, 2*sessionTimeout)) && effect
	for _, link := range z.links[w.number] {
		link.Restore()
	}
	return effect
}

// loseReply has a worker's next commit carried out, and its reply lost.
func (z *zookeeperStore) loseReply(ctx context.Context) bool {
	const multi = 14
	n := &nemesis{s: z.s}
	w := n.leader()
	lost := make(chan struct{}, len(z.links[w.number]))
	for _, link := range z.links[w.number] {
		done := link.LoseNextReply(func(request []byte) bool { return len(request) >= 8 && request[7] == multi })
		go func() {
			select {
			case <-done:
				lost <- struct{}{}
			case <-z.t.Context().Done():
			}
		}()
	}
	select {
	case <-lost:
		return true
	case <-time.After(5 * time.Second):
		return false
	case <-ctx.Done():
		return false
	}
}

func (z *zookeeperStore) restart(context.Context) bool {
	server := z.ensemble.Servers[z.s.rng.IntN(len(z.ensemble.Servers))]
	server.Kill(z.t)
	server.Restart(z.t)
	return true
}

func (z *zookeeperStore) loseQuorum(ctx context.Context) bool {
	down := z.s.rng.Perm(len(z.ensemble.Servers))[:2]
	for _, i := range down {
		z.ensemble.Servers[i].Kill(z.t)
	}
	n := &nemesis{s: z.s}
	pause(ctx, n.between(time.Second, 2*sessionTimeout))
	for _, i := range down {
		z.ensemble.Servers[i].Start(z.t)
	}
	z.ensemble.Await(z.t)
	return true
}

// fill lets the queue grow to its limit.
func (z *zookeeperStore) fill(ctx context.Context) bool {
	z.held.Store(true)
	defer z.held.Store(false)
	conn := z.conn.Load()
	for range 200 {
		_, stat, err := conn.Exists(queuePath)
		if err == nil && stat.NumChildren >= queueLimit {
			return pause(ctx, time.Second)
		}
		if !pause(ctx, 100*time.Millisecond) {
			return false
		}
	}
	return false
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream"
)

// bareZooKeeper is a session and some nodes.
type bareZooKeeper struct {
	target *zkTarget
	root   string
	conn   *zk.Conn
	wraps  sync.Map // from the first byte of a payload to the bytes of its node
}

func (t *zkTarget) bare(ctx context.Context, name string) (bareClient, error) {
	conn, err := t.connect(ctx, nil)
	if err != nil {
		return nil, err
	}
	b := &bareZooKeeper{target: t, root: t.own(t.name(name)), conn: conn}
	if err := b.make(); err != nil {
		conn.Close()
		return nil, err
	}
	return b, nil
}

func (b *bareZooKeeper) queue() string    { return b.root + "/queue" }
func (b *bareZooKeeper) election() string { return b.root + "/election" }
func (b *bareZooKeeper) position(shard int) string {
	return fmt.Sprintf("%s/position-%d", b.root, shard)
}

func (b *bareZooKeeper) make() error {
	nodes := []string{b.root, b.queue(), b.election()}
	for i := range bareShards {
		nodes = append(nodes, b.position(i))
	}
	for _, node := range nodes {
		if err := b.target.create(node, nil, 0); err != nil {
			return err
		}
	}
	return nil
}

// writers: as many as there are shards, each with a transaction under way.
func (b *bareZooKeeper) writers(shards, batch int) (count, each int) { return shards, batch }

// Around each payload Zuul's queue has about as many bytes.
const (
	nodeHead = `{"event_data": {"payload": `
	nodeTail = `, "span_context": null, "timestamp": 1795541048.364, ` +
		`"zuul_event_id": "9087352fa88c5e67ae2470076657a480"}}`
)

// node returns the bytes of a queue's node. They are made once for each
// payload: a bare client is handed them.
func (b *bareZooKeeper) node(payload []byte) []byte {
	if wrapped, ok := b.wraps.Load(&payload[0]); ok {
		return wrapped.([]byte) //nolint:errcheck,forcetypeassert // nothing else is stored
	}
	wrapped := []byte(nodeHead + string(payload) + nodeTail)
	b.wraps.Store(&payload[0], wrapped)
	return wrapped
}

func (b *bareZooKeeper) commit(_ context.Context, writer, _ int, entries []gerritstream.Entry) error {
	last := &entries[len(entries)-1]
	ops := make([]any, 0, len(entries)+1)
	ops = append(ops, &zk.SetDataRequest{
		Path: b.position(writer), Version: -1,
		Data: fmt.Appendf(nil, `{"after":%q,"term":1,"nonce":"0123456789abcdef01234567"}`, last.Seq),
	})
	for i := range entries {
		ops = append(ops, &zk.CreateRequest{
			Path: b.queue() + "/q", Data: b.node(entries[i].Payload), Acl: zk.WorldACL(zk.PermAll),
			Flags: zk.FlagSequence,
		})
	}
	_, err := b.conn.Multi(ops...)
	return err
}

func (b *bareZooKeeper) empty(context.Context) error { return b.target.removeChildren(b.queue()) }

// candidate makes the node of a candidate that leads, in a session, and returns
// it with the other session's watch of it.
func (b *bareZooKeeper) candidate(leads, waits *zk.Conn) (node string, gone <-chan zk.Event, err error) {
	node, err = leads.Create(b.election()+"/c", nil, zk.FlagEphemeralSequential, zk.WorldACL(zk.PermAll))
	if err != nil {
		return "", nil, err
	}
	present, _, gone, err := waits.ExistsW(node)
	if err == nil && !present {
		err = errors.New("a node that was just made is gone")
	}
	return node, gone, err
}

func (b *bareZooKeeper) handOver(ctx context.Context) (time.Duration, error) {
	other, err := b.target.connect(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer other.Close()
	node, gone, err := b.candidate(other, b.conn)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := other.Delete(node, -1); err != nil {
		return 0, err
	}
	select {
	case <-gone:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if _, _, err := b.conn.Children(b.election()); err != nil {
		return 0, err
	}
	_, _, err = b.conn.Get(b.position(0))
	return time.Since(began), err
}

// errCut refuses to connect again.
var errCut = errors.New("the connection was cut on purpose")

func (b *bareZooKeeper) takeOver(ctx context.Context) (time.Duration, error) {
	var link net.Conn // of the session that is cut
	other, err := b.target.connect(ctx, func(c net.Conn) (net.Conn, error) {
		if link != nil {
			return nil, errors.Join(errCut, c.Close())
		}
		link = c
		return c, nil
	})
	if err != nil {
		return 0, err
	}
	defer other.Close()
	_, gone, err := b.candidate(other, b.conn)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := link.Close(); err != nil {
		return 0, err
	}
	select {
	case <-gone:
		return time.Since(began), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (b *bareZooKeeper) close() { b.conn.Close() }

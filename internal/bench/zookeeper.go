package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// zkPrefix begins the names of connections that a bench makes.
const zkPrefix = "gerritstream-bench-"

const idLength = 8 // of what follows it

// zkTarget is a prefix of connections' names. Each part is a connection, and
// each bare client has nodes beside those of the connections.
//
//	gerritstream/PREFIX        names the nodes above that were made
//	gerritstream/PREFIX/alive  ephemeral
//	gerritstream/PREFIX-PART   what the store keeps of a part, or a bare
//	                           client's nodes
//	zuul/events/connection/PREFIX-PART  Zuul's nodes of a part
type zkTarget struct {
	config  config.Config
	prefix  string
	conn    *zk.Conn
	made    []string // nodes that all connections share, and were absent: to be removed in the end
	removed []string // of benches that were killed
}

// reachTimeout is how long a server is waited for.
const reachTimeout = 5 * time.Second

// maxChildren is how many nodes are removed in one transaction.
const maxChildren = 500

func claimZooKeeper(ctx context.Context, o *Options) (_ target, err error) {
	t := &zkTarget{config: o.Config, prefix: zkPrefix + strings.ToLower(rand.Text()[:idLength])}
	t.config.Store.ZooKeeper.QueueLimit = -1 // the bench empties its queues by itself
	if t.conn, err = t.connect(ctx, nil); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.conn.Close()
		}
	}()
	if chroot := t.config.Store.ZooKeeper.Chroot; chroot != "" {
		if present, _, err := t.conn.Exists(chroot); err != nil || !present {
			return nil, errors.Join(err, inUse("the chroot %s does not exist on %s: create it, or name another",
				chroot, t.config.Store.String()))
		}
	}
	uses, err := t.uses()
	if err != nil {
		return nil, fmt.Errorf("see who uses %s: %w", t.config.Store.String(), err)
	}
	if len(uses) > 0 && !o.Shared {
		return nil, inUse("%s is in use: %s; a bench would slow them down: name another ZooKeeper or chroot, "+
			"or allow it with --beside-others", t.config.Store.String(), strings.Join(uses, ", "))
	}
	if err := t.claim(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the bench's nodes: %w", err), t.remove(ctx))
	}
	return t, nil
}

// connect begins a session, and waits for it. dial, if not nil, wraps each
// connection.
func (t *zkTarget) connect(ctx context.Context, dial func(net.Conn) (net.Conn, error)) (*zk.Conn, error) {
	of := t.config.Store.ZooKeeper
	hosts := make([]string, len(of.Hosts))
	for i, h := range of.Hosts {
		hosts[i] = zk.FormatServers([]string{h})[0]
	}
	conn, events, err := zk.Connect(hosts, of.SessionTimeout, zk.WithLogger(silent{}),
		zk.WithDialer(func(network, address string, timeout time.Duration) (net.Conn, error) {
			c, err := (&net.Dialer{Timeout: timeout}).Dial(network, address) //nolint:noctx // bounded
			if tls := t.config.Store.TLS; err == nil && tls.CA != "" {
				c, err = tls.Handshake(ctx, c, address)
			}
			if err == nil && dial != nil {
				c, err = dial(c)
			}
			return c, err
		}))
	if err != nil {
		return nil, err
	}
	late := time.NewTimer(reachTimeout)
	defer late.Stop()
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return conn, nil
			}
		case <-late.C:
			conn.Close()
			return nil, fmt.Errorf("no server of %s answers", t.config.Store.String())
		case <-ctx.Done():
			conn.Close()
			return nil, ctx.Err()
		}
	}
}

// silent is a zk.Logger: what the library has to say shows in the errors.
type silent struct{}

func (silent) Printf(string, ...any) {}

func (t *zkTarget) root() string         { return t.config.Store.ZooKeeper.Chroot }
func (t *zkTarget) own(n string) string  { return t.root() + "/gerritstream/" + n }
func (t *zkTarget) zuul(n string) string { return t.root() + "/zuul/events/connection/" + n }
func (t *zkTarget) name(n string) string { return t.prefix + "-" + n }

// children lists a node's children. An absent node has none.
func (t *zkTarget) children(node string) ([]string, error) {
	names, _, err := t.conn.Children(node)
	if errors.Is(err, zk.ErrNoNode) {
		return nil, nil
	}
	return names, err
}

// uses says who uses this ZooKeeper: processes of Zuul and members, candidates
// and queues of connections. It removes what benches have left that were
// killed.
func (t *zkTarget) uses() (uses []string, err error) {
	kinds, err := t.children(t.root() + "/zuul/components")
	if err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		if uses, err = t.count(uses, "Zuul has ", kind, t.root()+"/zuul/components/"+kind); err != nil {
			return nil, err
		}
	}
	ours, err := t.children(path.Dir(t.own("-")))
	if err != nil {
		return nil, err
	}
	theirs, err := t.children(path.Dir(t.zuul("-")))
	if err != nil {
		return nil, err
	}
	names := slices.Concat(ours, theirs)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if strings.HasPrefix(name, zkPrefix) {
			uses, err = t.useOfBench(uses, name)
		} else {
			uses, err = t.useOf(uses, name)
		}
		if err != nil {
			return nil, err
		}
	}
	return uses, nil
}

// useOf adds what uses a connection.
func (t *zkTarget) useOf(uses []string, name string) ([]string, error) {
	of := "connection " + name + " has "
	uses, err := t.count(uses, of, "member", t.own(name)+"/members")
	if err == nil {
		uses, err = t.count(uses, of, "queued event", t.zuul(name)+"/events/queue")
	}
	if err != nil {
		return nil, err
	}
	nodes, err := t.children(t.zuul(name))
	if err != nil {
		return nil, err
	}
	candidates := 0
	for _, node := range nodes {
		if !strings.HasPrefix(node, "election-") {
			continue
		}
		waiting, err := t.children(t.zuul(name) + "/" + node)
		if err != nil {
			return nil, err
		}
		candidates += len(waiting)
	}
	if candidates > 0 {
		uses = append(uses, of+plural(candidates, "candidate"))
	}
	return uses, nil
}

// count adds a use if a node has children.
func (t *zkTarget) count(uses []string, who, thing, node string) ([]string, error) {
	names, err := t.children(node)
	if len(names) > 0 {
		uses = append(uses, who+plural(len(names), thing))
	}
	return uses, err
}

// useOfBench adds another bench that runs, or removes what one that was killed
// has left. A name is that of a bench or of a part.
func (t *zkTarget) useOfBench(uses []string, name string) ([]string, error) {
	base := name[:min(len(name), len(zkPrefix)+idLength)]
	alive, _, err := t.conn.Exists(t.own(base) + "/alive")
	switch {
	case err != nil:
		return nil, err
	case alive && name == base:
		return append(uses, "the bench "+base+" runs"), nil
	case alive:
		return uses, nil
	}
	if made, _, err := t.conn.Get(t.own(base)); err == nil && name == base {
		t.made = strings.Fields(string(made))
	}
	t.removed = append(t.removed, name)
	return uses, errors.Join(t.removeTree(t.own(name)), t.removeTree(t.zuul(name)))
}

// claim makes the node that shows that this bench runs.
func (t *zkTarget) claim() error {
	for _, node := range []string{"/zuul", "/zuul/events", "/zuul/events/connection", "/gerritstream"} {
		present, _, err := t.conn.Exists(t.root() + node)
		if err != nil {
			return err
		}
		if !present && !slices.Contains(t.made, t.root()+node) {
			t.made = append(t.made, t.root()+node)
		}
	}
	err := t.create(path.Dir(t.own("-")), nil, 0)
	if err == nil || errors.Is(err, zk.ErrNodeExists) {
		err = t.create(t.own(t.prefix), []byte(strings.Join(t.made, "\n")), 0)
	}
	if err == nil {
		err = t.create(t.own(t.prefix)+"/alive", nil, zk.FlagEphemeral)
	}
	return err
}

func (t *zkTarget) create(node string, data []byte, flags int32) error {
	_, err := t.conn.Create(node, data, flags, zk.WorldACL(zk.PermAll))
	return err
}

func (t *zkTarget) part(name string) (config.Config, error) {
	c := t.config
	c.Connection = t.name(name)
	return c, nil
}

func (t *zkTarget) empty(_ context.Context, name string) error {
	return t.removeChildren(t.zuul(t.name(name)) + "/events/queue")
}

func (t *zkTarget) drop(_ context.Context, name string) error {
	return errors.Join(t.removeTree(t.own(t.name(name))), t.removeTree(t.zuul(t.name(name))))
}

// flags returns how a process reaches the same servers.
func (t *zkTarget) flags() []string {
	flags := []string{
		"--zookeeper-queue-limit=1000000",
		"--zookeeper-session-timeout=" + t.config.Store.ZooKeeper.SessionTimeout.String(),
	}
	if tls := t.config.Store.TLS; tls.CA != "" {
		flags = append(flags, "--zookeeper-tls-cert="+tls.Cert, "--zookeeper-tls-key="+tls.Key,
			"--zookeeper-tls-ca="+tls.CA, "--zookeeper-tls-verify-hostname="+strconv.FormatBool(tls.VerifyHostname))
	}
	return flags
}

func (t *zkTarget) leftovers() (all []string) {
	for _, name := range t.removed {
		all = append(all, fmt.Sprintf("Removed %s, which a bench that was killed had left", name))
	}
	return all
}

// remove removes the bench's nodes, and those that were made with them and hold
// nothing else.
func (t *zkTarget) remove(context.Context) error {
	defer t.conn.Close()
	var errs []error
	for _, dir := range []string{path.Dir(t.own("-")), path.Dir(t.zuul("-"))} {
		names, err := t.children(dir)
		errs = append(errs, err)
		for _, name := range names {
			if strings.HasPrefix(name, t.prefix) && name != t.prefix {
				errs = append(errs, t.removeTree(dir+"/"+name))
			}
		}
	}
	errs = append(errs, t.removeTree(t.own(t.prefix))) // last: without it, another bench would take the rest for left
	for _, node := range slices.Backward(t.made) {
		err := t.conn.Delete(node, -1)
		if err != nil && !errors.Is(err, zk.ErrNotEmpty) && !errors.Is(err, zk.ErrNoNode) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeTree removes a node with everything below it.
func (t *zkTarget) removeTree(node string) error {
	for attempt := 0; ; attempt++ {
		names, err := t.children(node)
		if err != nil {
			return err
		}
		for _, name := range names {
			stat, _, err := t.conn.Children(node + "/" + name)
			if err == nil && len(stat) > 0 {
				err = t.removeTree(node + "/" + name)
			}
			if err != nil && !errors.Is(err, zk.ErrNoNode) {
				return err
			}
			if len(names) > maxChildren { // a queue: nodes without children
				break
			}
		}
		if err := t.removeChildren(node); err != nil {
			return err
		}
		err = t.conn.Delete(node, -1)
		if err == nil || errors.Is(err, zk.ErrNoNode) {
			return nil
		}
		if !errors.Is(err, zk.ErrNotEmpty) || attempt == 10 { // a process that has just ended may have written last
			return fmt.Errorf("remove %s: %w", node, err)
		}
	}
}

// removeChildren removes a node's children, which have none.
func (t *zkTarget) removeChildren(node string) error {
	names, err := t.children(node)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(names, maxChildren) {
		ops := make([]any, len(chunk))
		for i, name := range chunk {
			ops[i] = &zk.DeleteRequest{Path: node + "/" + name, Version: -1}
		}
		if _, err := t.conn.Multi(ops...); err != nil {
			if err = t.removeEach(node, chunk); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeEach removes children of which some are gone, or have children.
func (t *zkTarget) removeEach(node string, names []string) error {
	for _, name := range names {
		err := t.conn.Delete(node+"/"+name, -1)
		if err != nil && !errors.Is(err, zk.ErrNoNode) && !errors.Is(err, zk.ErrNotEmpty) {
			return fmt.Errorf("remove %s/%s: %w", node, name, err)
		}
	}
	return nil
}

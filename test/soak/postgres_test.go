package soak

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
)

// postgresStore is a primary of PostgreSQL with a synchronous standby. Each
// process reaches both through links of its own, and the last one through
// PgBouncer besides. The soak reads the tables without any of that.
type postgresStore struct {
	t        *testing.T
	s        *soak
	database string
	servers  []*peers.PostgreSQLServer // either may be the primary
	links    [][]*peers.Link           // by process, by server
	addrs    [][]string                // what a process connects to, likewise
	readers  []*reader                 // who read as a consumer
	hooked   *receiver
	settings string // file with the receiver's webhook

	primary int // which server it is; the nemesis' goroutine owns it
}

func newPostgres(t *testing.T, s *soak) *postgresStore {
	first := peers.StartPostgreSQL(t, peers.PostgreSQLOptions{})
	second := peers.StartStandby(t, first, peers.StandbyOptions{Synchronous: true})
	p := &postgresStore{
		t: t, s: s, database: "postgres", servers: []*peers.PostgreSQLServer{first, second}, hooked: newReceiver(s),
	}
	p.settings = p.hooked.config()
	for i := range processes {
		var links []*peers.Link
		var addrs []string
		for _, server := range p.servers {
			link := peers.NewPostgreSQLLink(t, server.Addr())
			addr := link.Addr()
			if i == processes-1 {
				addr = peers.StartPgBouncer(t, addr).Addr()
			}
			links, addrs = append(links, link), append(addrs, addr)
		}
		p.links, p.addrs = append(p.links, links), append(p.addrs, addrs)
	}
	return p
}

func (p *postgresStore) name() string { return "postgres" }

// url is the address of whichever of several servers takes writes.
func (p *postgresStore) url(addrs []string) string {
	return peers.PostgreSQLURL(p.database, "disable&target_session_attrs=read-write", addrs...)
}

func (p *postgresStore) args(worker int) []string {
	return []string{"--store", p.url(p.addrs[worker]), "--retention", "1h", "--config", p.settings}
}

func (p *postgresStore) timeout() time.Duration { return postgres.DefaultLeaseTTL }

// direct is how the soak itself and the readers connect.
func (p *postgresStore) direct() string {
	return p.url([]string{p.servers[0].Addr(), p.servers[1].Addr()})
}

func (p *postgresStore) config() postgres.Config {
	return postgres.Config{URL: p.direct(), Schema: "gerritstream_gerrit"}
}

func (p *postgresStore) faults(n *nemesis) []fault {
	cut := func(how func(*peers.Link)) func(context.Context) bool {
		return func(ctx context.Context) bool { return p.cut(ctx, n, how) }
	}
	faults := append(readerFaults(n, func() []*reader { return p.readers }, postgres.DefaultLeaseTTL),
		receiverFaults(n, p.hooked)...)
	return append(faults,
		fault{name: "cut from PostgreSQL", class: classCut, do: cut((*peers.Link).Cut)},
		fault{name: "half cut from PostgreSQL: no replies", class: classCut,
			do: cut(func(l *peers.Link) { l.Hold(peers.Replies) })},
		fault{name: "half cut from PostgreSQL: no requests", class: classCut,
			do: cut(func(l *peers.Link) { l.Hold(peers.Requests) })},
		fault{name: "slow PostgreSQL", do: cut(func(l *peers.Link) { l.Delay(200 * time.Millisecond) })},
		fault{name: "connections dropped", do: cut((*peers.Link).Drop)},
		fault{name: "lost reply to a commit", weight: 2, do: func(ctx context.Context) bool {
			return p.loseReply(ctx, n)
		}},
		fault{name: "PostgreSQL restarted, fast", class: classDatabase, do: p.restart(peers.Fast)},
		fault{name: "PostgreSQL restarted, immediate", class: classDatabase, do: p.restart(peers.Immediate)},
		fault{name: "PostgreSQL killed", class: classDatabase, do: p.kill},
		fault{name: "PostgreSQL frozen", class: classDatabase, do: func(ctx context.Context) bool {
			return p.freeze(ctx, n)
		}},
		fault{name: "standby restarted", do: func(ctx context.Context) bool { return p.stopStandby(ctx, n) }},
		fault{name: "standby promoted", class: classPromotion, do: p.promote},
	)
}

// The classes of faults of PostgreSQL.
const (
	classDatabase  = "postgres_restarts"
	classPromotion = "promotions"
)

// cut does something to all links of a worker, for up to twice the lease's
// time.
func (p *postgresStore) cut(ctx context.Context, n *nemesis, how func(*peers.Link)) bool {
	w := n.leader()
	effect := w.alive() && w.leads()
	for _, link := range p.links[w.number] {
		how(link)
	}
	effect = pause(ctx, n.between(200*time.Millisecond, 2*postgres.DefaultLeaseTTL)) && effect
	for _, link := range p.links[w.number] {
		link.Restore()
	}
	return effect
}

// loseReply has a worker's next request with events carried out, and its reply
// lost.
func (p *postgresStore) loseReply(ctx context.Context, n *nemesis) bool {
	w := n.leader()
	lost := p.links[w.number][p.primary].LoseNextReply(func(request []byte) bool {
		return bytes.Contains(request, []byte(`"eventCreatedOn"`))
	})
	select {
	case <-lost:
		return true
	case <-time.After(metWithin):
	case <-ctx.Done():
	}
	return false
}

func (p *postgresStore) restart(how peers.Shutdown) func(context.Context) bool {
	return func(context.Context) bool {
		p.servers[p.primary].Restart(p.t, how)
		return true
	}
}

func (p *postgresStore) kill(context.Context) bool {
	p.servers[p.primary].Kill(p.t)
	p.servers[p.primary].Start(p.t)
	return true
}

// freeze stops the primary where it stands, for longer than a lease or shorter.
func (p *postgresStore) freeze(ctx context.Context, n *nemesis) bool {
	p.servers[p.primary].Freeze(p.t)
	defer p.servers[p.primary].Thaw(p.t)
	return pause(ctx, n.between(time.Second, 2*postgres.DefaultLeaseTTL))
}

// stopStandby has commits wait for a standby that is away.
func (p *postgresStore) stopStandby(ctx context.Context, n *nemesis) bool {
	standby := p.servers[1-p.primary]
	standby.Stop(p.t, peers.Fast)
	effect := pause(ctx, n.between(time.Second, postgres.DefaultLeaseTTL))
	standby.Start(p.t)
	return effect
}

// promote kills the primary, promotes the standby, and makes the old primary
// its standby. What the primary has confirmed, the standby has.
func (p *postgresStore) promote(context.Context) bool {
	old, next := p.servers[p.primary], p.servers[1-p.primary]
	old.AwaitStandby(p.t, next, true) // it may just have been restarted
	old.Kill(p.t)
	next.Promote(p.t)
	p.primary = 1 - p.primary
	old.Follow(p.t, next, peers.StandbyOptions{Synchronous: true})
	return true
}

// consume has readers read as a consumer, and looks at new events itself now
// and then.
func (p *postgresStore) consume() (stop func()) {
	readers, stopReaders := startReaders(p.s, p.direct())
	p.readers = readers
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		var last int64
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			_ = p.each(last, func(e queue.Event) { // no server may run, or have the schema
				last = e.Number
				p.s.producer.seen(e.Entry.ID.String())
			})
		}
	}()
	return func() {
		stopReaders()
		close(done)
		<-stopped
	}
}

// pending opens the queue as consumers do.
func (p *postgresStore) pending() (n int) {
	ctx := context.Background()
	r, err := postgres.OpenReader(ctx, p.config())
	if err != nil {
		return 1 // look again
	}
	defer func() { _ = r.Close(ctx) }()
	infos, err := r.Consumers(ctx)
	if err != nil {
		return 1
	}
	for i := range infos {
		n += int(infos[i].Pending)
	}
	return n
}

func (p *postgresStore) each(after int64, do func(queue.Event)) error {
	ctx := context.Background()
	r, err := postgres.OpenReader(ctx, p.config())
	if err != nil {
		return err
	}
	defer func() { _ = r.Close(ctx) }()
	for e, err := range r.Events(ctx, after) {
		if err != nil {
			return err
		}
		do(e)
	}
	return nil
}

func (p *postgresStore) deadLetters() int {
	in, err := postgres.Inspect(context.Background(), p.config())
	if err != nil {
		return 0
	}
	return int(in.DeadLetters + in.Discarded)
}

func (p *postgresStore) record(log *history.Writer) {
	queued := history.Event{Kind: history.KindQueue}
	err := p.each(0, func(e queue.Event) {
		queued.Items = append(queued.Items, history.EntryItem(&e.Entry))
	})
	if err != nil {
		p.t.Fatal(err)
	}
	log.Add(queued)
	recordBatches(p.s)
	operator, err := postgres.OpenOperator(context.Background(), p.config())
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = operator.Close(context.Background()) }()
	dead := history.Event{Kind: history.KindDeadLetters}
	for letter, err := range operator.DeadLetters(context.Background()) {
		if err != nil {
			p.t.Fatal(err)
		}
		dead.Items = append(dead.Items, history.DeadLetterItem(&letter.DeadLetter))
	}
	slices.Reverse(dead.Items) // the oldest first
	log.Add(dead)
	in, err := postgres.Inspect(context.Background(), p.config())
	if err != nil {
		p.t.Fatal(err)
	}
	log.Add(history.Event{Kind: history.KindDiscarded, Count: int(in.Discarded)})
}

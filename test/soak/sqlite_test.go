package soak

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

// sqliteStore is one file, which the processes share and the soak reads.
type sqliteStore struct {
	t       *testing.T
	s       *soak
	path    string
	readers []*reader // who read as a consumer
	hooked  *receiver
	config  string // file with the receiver's webhook
}

func newSQLite(t *testing.T, s *soak) *sqliteStore {
	q := &sqliteStore{t: t, s: s, path: filepath.Join(s.folder, "events.db"), hooked: newReceiver(s)}
	q.config = q.hooked.config()
	return q
}

func (q *sqliteStore) name() string { return "sqlite" }

func (q *sqliteStore) args(int) []string {
	return []string{"--store", "sqlite:" + q.path, "--retention", "1h", "--config", q.config}
}

func (q *sqliteStore) timeout() time.Duration { return sqlite.DefaultLeaseTTL }

func (q *sqliteStore) faults(n *nemesis) []fault {
	faults := append(readerFaults(n, func() []*reader { return q.readers }, sqlite.DefaultLeaseTTL), receiverFaults(n,
		q.hooked)...)
	return append(faults,
		fault{name: "database file replaced", do: func(ctx context.Context) bool { return q.replace(ctx, n) }})
}

// replaceNotice is how soon each process must end when its file was moved away.
const replaceNotice = 30 * time.Second

// replace moves the file away while processes use it, with or without a copy in
// its place, as in restoring a backup; waits until each has ended because of
// that; and undoes it.
func (q *sqliteStore) replace(ctx context.Context, n *nemesis) bool {
	away := q.path + ".away"
	move := func(from, to string) {
		for _, part := range []string{"", "-wal", "-shm"} {
			if err := os.Rename(from+part, to+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
				q.t.Errorf("move the database: %v", err)
			}
		}
	}
	running := slices.DeleteFunc(slices.Clone(q.s.workers), func(w *worker) bool { return !w.alive() })
	starting := func(w *worker) bool { return w.alive() && !w.opened() } // it would create the file
	if !n.await(ctx, replaceNotice, func() bool { return !slices.ContainsFunc(running, starting) }) {
		return false
	}
	move(q.path, away)
	if q.s.faults["database file replaced"]%2 == 1 {
		if out, err := exec.CommandContext(ctx, "cp", away, q.path).CombinedOutput(); err != nil {
			q.t.Errorf("copy the database: %v: %s", err, out)
		}
	}
	ended := n.await(ctx, replaceNotice, func() bool { return !slices.ContainsFunc(running, (*worker).alive) })
	for _, w := range running {
		if w.alive() {
			q.t.Errorf("process %d-%d continues without its database:\n%s", w.number, w.starts, w.tail())
			w.kill()
		} else if code := w.program.State().ExitCode(); code != 1 {
			q.t.Errorf("process %d-%d ended with exit code %d when its database was replaced, want 1:\n%s", w.number,
				w.starts, code, w.tail())
		}
	}
	for _, part := range []string{"", "-wal", "-shm"} {
		_ = os.Remove(q.path + part) // the copy, if there was one
	}
	move(away, q.path)
	for _, w := range running {
		w.start()
	}
	return ended && len(running) > 0
}

// consume has readers read as a consumer, and looks at new events itself now
// and then.
func (q *sqliteStore) consume() (stop func()) {
	readers, stopReaders := startReaders(q.s, "sqlite:"+q.path)
	q.readers = readers
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
			_ = q.each(last, func(e queue.Event) { // the file may be locked, or not exist yet
				last = e.Number
				q.s.producer.seen(e.Entry.ID.String())
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
func (q *sqliteStore) pending() (n int) {
	ctx := context.Background()
	store, err := sqlite.OpenQueue(ctx, sqlite.Config{Path: q.path})
	if err != nil {
		return 1 // look again
	}
	defer func() { _ = store.Close(ctx) }()
	infos, err := store.Consumers(ctx)
	if err != nil {
		return 1
	}
	for i := range infos {
		n += int(infos[i].Pending)
	}
	return n
}

func (q *sqliteStore) each(after int64, do func(queue.Event)) error {
	ctx := context.Background()
	r, err := sqlite.OpenReader(ctx, q.path)
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

func (q *sqliteStore) deadLetters() int {
	in, err := sqlite.Inspect(context.Background(), q.path)
	if err != nil {
		return 0
	}
	return int(in.DeadLetters + in.Discarded)
}

func (q *sqliteStore) record(log *history.Writer) {
	queued := history.Event{Kind: history.KindQueue}
	err := q.each(0, func(e queue.Event) {
		queued.Items = append(queued.Items, history.EntryItem(&e.Entry))
	})
	if err != nil {
		q.t.Fatal(err)
	}
	log.Add(queued)
	recordBatches(q.s)
	r, err := sqlite.OpenReader(context.Background(), q.path)
	if err != nil {
		q.t.Fatal(err)
	}
	defer func() { _ = r.Close(context.Background()) }()
	held, err := r.DeadLetters(context.Background())
	if err != nil {
		q.t.Fatal(err)
	}
	dead := history.Event{Kind: history.KindDeadLetters}
	for i := range held {
		dead.Items = append(dead.Items, history.DeadLetterItem(&held[i]))
	}
	log.Add(dead)
	in, err := sqlite.Inspect(context.Background(), q.path)
	if err != nil {
		q.t.Fatal(err)
	}
	log.Add(history.Event{Kind: history.KindDiscarded, Count: int(in.Discarded)})
}

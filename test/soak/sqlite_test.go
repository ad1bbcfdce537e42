package soak

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/sqlite"
)

// sqliteStore is one file, which the processes share. Its queue is read where it is.
type sqliteStore struct {
	t    *testing.T
	s    *soak
	path string
}

func newSQLite(t *testing.T, s *soak) *sqliteStore {
	return &sqliteStore{t: t, s: s, path: filepath.Join(s.folder, "events.db")}
}

func (q *sqliteStore) name() string { return "sqlite" }

func (q *sqliteStore) args(int) []string { return []string{"--store", "sqlite:" + q.path} }

func (q *sqliteStore) timeout() time.Duration { return sqlite.DefaultLeaseTTL }

func (q *sqliteStore) faults(*nemesis) []fault { return nil }

// consume looks at what is new, every now and then.
func (q *sqliteStore) consume() (stop func()) {
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
			_ = q.each(last, func(e sqlite.Event) { // the file may be locked, or not be there yet
				last = e.Number
				q.s.producer.seen(e.ID.String())
			})
		}
	}()
	return func() { close(done); <-stopped }
}

func (q *sqliteStore) each(after int64, do func(sqlite.Event)) error {
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

func (q *sqliteStore) letters() int {
	in, err := sqlite.Inspect(context.Background(), q.path)
	if err != nil {
		return 0
	}
	return int(in.DeadLetters + in.Discarded)
}

func (q *sqliteStore) record(log *history.Writer) {
	queue := history.Event{Kind: history.KindQueue}
	err := q.each(0, func(e sqlite.Event) {
		queue.Items = append(queue.Items, history.Item{
			Shard: e.Shard, Seq: e.Seq, Sub: e.Sub, ID: e.ID.String(), Sum: history.Sum(e.Payload),
		})
	})
	if err != nil {
		q.t.Fatal(err)
	}
	log.Add(queue)
	r, err := sqlite.OpenReader(context.Background(), q.path)
	if err != nil {
		q.t.Fatal(err)
	}
	defer func() { _ = r.Close(context.Background()) }()
	held, err := r.DeadLetters(context.Background())
	if err != nil {
		q.t.Fatal(err)
	}
	letters := history.Event{Kind: history.KindLetters}
	for i := range held {
		letters.Items = append(letters.Items, history.Item{Shard: held[i].Shard, Seq: held[i].Seq, Sub: held[i].Sub, ID: held[i].ID.String()})
	}
	log.Add(letters)
	in, err := sqlite.Inspect(context.Background(), q.path)
	if err != nil {
		q.t.Fatal(err)
	}
	log.Add(history.Event{Kind: history.KindDiscarded, Count: int(in.Discarded)})
}

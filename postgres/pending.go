package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// backlog is a storekit.Backlog. Each of its questions is one statement,
// however many consumers there are.
type backlog struct{ lookout *lookout }

// countPending counts what consumers have not acknowledged.
func countPending(ctx context.Context, l *lookout, infos []queue.Info) error {
	var newest int64
	err := l.each(ctx, func(rows pgx.Rows) error { return rows.Scan(&newest) },
		`SELECT coalesce(max(n), 0) FROM @.events`)
	if err != nil || len(infos) == 0 {
		return err
	}
	return storekit.CountPending(ctx, &backlog{l}, newest, infos)
}

// CountAfter implements storekit.Backlog. It reads an index once.
func (b *backlog) CountAfter(ctx context.Context, numbers []int64) ([]int64, error) {
	counts := make([]int64, len(numbers))
	// Where n is after i of the numbers, it is in the bucket i.
	err := b.lookout.each(ctx, func(rows pgx.Rows) error {
		var bucket int
		var n int64
		err := rows.Scan(&bucket, &n)
		for i := range counts[:bucket] {
			counts[i] += n
		}
		return err
	}, `SELECT width_bucket(n - 1, $1::bigint[]), count(*) FROM @.events WHERE n > $2 GROUP BY 1`, numbers, numbers[0])
	return counts, err
}

// CountIn implements storekit.Backlog.
func (b *backlog) CountIn(ctx context.Context, lists [][]queue.Range) ([]int64, error) {
	var list []int32
	var first, last []int64
	for i, ranges := range lists {
		for _, r := range ranges {
			list, first, last = append(list, int32(i)), append(first, r.First), append(last, r.Last)
		}
	}
	counts := make([]int64, len(lists))
	err := b.lookout.each(ctx, func(rows pgx.Rows) error {
		var i int
		var n int64
		err := rows.Scan(&i, &n)
		counts[i] = n
		return err
	}, `SELECT r.list, sum(e.n)::bigint FROM unnest($1::int[], $2::bigint[], $3::bigint[]) r (list, first, last)
		CROSS JOIN LATERAL (SELECT count(*) AS n FROM @.events WHERE n BETWEEN r.first AND r.last) e GROUP BY 1`,
		list, first, last)
	return counts, err
}

// EachAfter implements storekit.Backlog.
func (b *backlog) EachAfter(ctx context.Context, after int64, see storekit.See) error {
	return b.lookout.each(ctx, func(rows pgx.Rows) error { return show(rows, see) },
		`SELECT n, queued_at, type, project, ref FROM @.events WHERE n > $1 ORDER BY n`, after)
}

// show passes a row on.
func show(rows pgx.Rows, see storekit.See) error {
	var e gerritstream.Event
	var n int64
	var queued time.Time
	err := rows.Scan(&n, &queued, &e.Type, &e.Project, &e.Ref)
	if err == nil {
		see(n, queued.UnixMilli(), &e)
	}
	return err
}

// CountAdditions implements storekit.Backlog.
func (b *backlog) CountAdditions(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	err := b.lookout.each(ctx, func(rows pgx.Rows) error {
		var name string
		var n int64
		err := rows.Scan(&name, &n)
		counts[name] = n
		return err
	}, `SELECT consumer, count(*) FROM @.additions GROUP BY consumer`)
	return counts, err
}

// EachAddition implements storekit.Backlog.
func (b *backlog) EachAddition(ctx context.Context, consumers []string, see func(string) storekit.See) error {
	return b.lookout.each(ctx, func(rows pgx.Rows) error {
		var name string
		var e gerritstream.Event
		var n int64
		var queued time.Time
		err := rows.Scan(&name, &n, &queued, &e.Type, &e.Project, &e.Ref)
		if err == nil {
			see(name)(n, queued.UnixMilli(), &e)
		}
		return err
	}, `SELECT consumer, n, queued_at, type, project, ref FROM @.additions WHERE consumer = ANY ($1::text[])`,
		consumers)
}

// FirstAfter implements storekit.Backlog.
func (b *backlog) FirstAfter(ctx context.Context, places []storekit.Place) ([]storekit.Waiting, error) {
	consumers, after := make([]string, len(places)), make([]int64, len(places))
	for i, p := range places {
		consumers[i], after[i] = p.Consumer, p.After
	}
	found := make([]storekit.Waiting, len(places))
	err := b.lookout.each(ctx, func(rows pgx.Rows) error {
		var i int
		var n int64
		var queued time.Time
		err := rows.Scan(&i, &n, &queued)
		if err == nil {
			found[i-1] = storekit.Waiting{Number: n, Queued: queued.UnixMilli()}
		}
		return err
	}, `SELECT p.i, f.n, f.queued_at
		FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY p (consumer, after, i) CROSS JOIN LATERAL (
			SELECT n, queued_at FROM (
				(SELECT n, queued_at FROM @.events WHERE n > p.after ORDER BY n LIMIT 1) UNION ALL
				(SELECT n, queued_at FROM @.additions WHERE consumer = p.consumer AND n > p.after ORDER BY n LIMIT 1)) e
			ORDER BY n LIMIT 1) f`, consumers, after)
	return found, err
}

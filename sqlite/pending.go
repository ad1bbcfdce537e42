package sqlite

import (
	"context"
	"database/sql"
	"strings"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/queue"
)

// sumsAtOnce is how many places one reading of the index counts for.
const sumsAtOnce = 16

// backlog is a storekit.Backlog. Payloads fill the table's pages; an index is a
// hundredth of it.
type backlog struct {
	tx     *sql.Tx
	newest int64 // number
}

// countPending counts what consumers have not acknowledged.
func countPending(ctx context.Context, tx *sql.Tx, infos []queue.Info) error {
	b := &backlog{tx: tx}
	if _, err := get(ctx, tx, []any{&b.newest}, `SELECT coalesce(max(n), 0) FROM events`); err != nil {
		return err
	}
	return storekit.CountPending(ctx, b, b.newest, infos)
}

// CountAfter implements storekit.Backlog. Near the end of the queue it counts
// in the table itself.
func (b *backlog) CountAfter(ctx context.Context, numbers []int64) ([]int64, error) {
	counts, far := make([]int64, len(numbers)), 0
	for i, n := range numbers {
		if n < b.newest-storekit.NearWindow {
			far = i + 1
			continue
		}
		if _, err := get(ctx, b.tx, []any{&counts[i]}, `SELECT count(*) FROM events WHERE n > ?`, n); err != nil {
			return nil, err
		}
	}
	for i := 0; i < far; i += sumsAtOnce {
		some := numbers[i:min(i+sumsAtOnce, far)]
		args, dest := make([]any, len(some)), make([]any, len(some))
		for k, n := range some {
			args[k], dest[k] = n, &counts[i+k]
		}
		query := `SELECT ` + strings.TrimSuffix(strings.Repeat(`coalesce(sum(n > ?), 0), `, len(some)), `, `) +
			` FROM events INDEXED BY events_held_from`
		if err := b.tx.QueryRowContext(ctx, query, args...).Scan(dest...); err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// CountIn implements storekit.Backlog.
func (b *backlog) CountIn(ctx context.Context, lists [][]queue.Range) ([]int64, error) {
	counts := make([]int64, len(lists))
	for i, ranges := range lists {
		_, err := get(ctx, b.tx, []any{&counts[i]},
			`SELECT sum((SELECT count(*) FROM events WHERE n BETWEEN value->>0 AND value->>1)) FROM json_each(?)`,
			queue.EncodeRanges(ranges))
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// EachAfter implements storekit.Backlog.
func (b *backlog) EachAfter(ctx context.Context, after int64, see storekit.See) error {
	return each(ctx, b.tx, func(rows *sql.Rows) error { return show(rows, see) },
		`SELECT n, queued_at, type, project, ref FROM events WHERE n > ? ORDER BY n`, after)
}

// show passes a row on.
func show(rows *sql.Rows, see storekit.See) error {
	var e gerritstream.Event
	var n, queued int64
	err := rows.Scan(&n, &queued, &e.Type, &e.Project, &e.Ref)
	if err == nil {
		see(n, queued, &e)
	}
	return err
}

// CountAdditions implements storekit.Backlog.
func (b *backlog) CountAdditions(ctx context.Context) (map[string]int64, error) {
	counts := map[string]int64{}
	err := each(ctx, b.tx, func(rows *sql.Rows) error {
		var name string
		var n int64
		err := rows.Scan(&name, &n)
		counts[name] = n
		return err
	}, `SELECT consumer, count(*) FROM additions GROUP BY consumer`)
	return counts, err
}

// EachAddition implements storekit.Backlog.
func (b *backlog) EachAddition(ctx context.Context, consumers []string, see func(string) storekit.See) error {
	for _, name := range consumers {
		err := each(ctx, b.tx, func(rows *sql.Rows) error { return show(rows, see(name)) },
			`SELECT n, queued_at, type, project, ref FROM additions WHERE consumer = ?`, name)
		if err != nil {
			return err
		}
	}
	return nil
}

// FirstAfter implements storekit.Backlog.
func (b *backlog) FirstAfter(ctx context.Context, places []storekit.Place) ([]storekit.Waiting, error) {
	found := make([]storekit.Waiting, len(places))
	for i, p := range places {
		_, err := get(ctx, b.tx, []any{&found[i].Number, &found[i].Queued},
			`SELECT * FROM (SELECT n, queued_at FROM events WHERE n > ?1 ORDER BY n LIMIT 1)
			UNION ALL SELECT * FROM
				(SELECT n, queued_at FROM additions WHERE consumer = ?2 AND n > ?1 ORDER BY n LIMIT 1)
			ORDER BY 1 LIMIT 1`, p.After, p.Consumer)
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

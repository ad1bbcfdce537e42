package postgres_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/postgres"
)

// A candidate whose heartbeat comes while it tries to take the lease keeps its
// place in the order of succession.
func TestACandidateThatTriesKeepsItsPlace(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	read := func(query string) (ids []string) {
		s.each(query, func(rows pgx.Rows) error {
			var id string
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		})
		return ids
	}
	config := postgres.Config{LeaseTTL: time.Hour} // no heartbeat but the first comes by itself
	first, second := s.openWith(config), s.openWith(config)
	eventually(t, "both have a heartbeat", func() bool { return len(read(`SELECT id FROM processes`)) == 2 })
	for _, p := range []*postgres.Store{first, second} {
		shards := []gerritstream.ShardID{shardA}
		must(t, p.Beat(within(t), shards, shards))
	}
	must(t, first.Beat(within(t), []gerritstream.ShardID{shardA}, nil))
	want := []string{first.ID(), second.ID()}
	if order := read(`SELECT process FROM candidates ORDER BY n`); !slices.Equal(order, want) {
		t.Errorf("the candidates are %q, want %q", order, want)
	}
}

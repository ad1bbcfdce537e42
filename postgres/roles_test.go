package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/postgres"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/webhook"
)

// as returns a configuration for a new role of the server with the privileges
// of a role of ours.
func as(t *testing.T, server *peers.PostgreSQLServer, database, schema string, role postgres.Role) postgres.Config {
	t.Helper()
	name := database + "_" + string(role)
	server.SQL(t, database, fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'x'; %s", name, postgres.Grants(schema, role, name)))
	t.Cleanup(func() {
		_, _ = server.TrySQL(database, fmt.Sprintf("DROP OWNED BY %[1]s; DROP ROLE %[1]s", name))
	})
	url := strings.Replace(server.URL(database), "postgres@", name+":x@", 1)
	return postgres.Config{URL: url, Schema: schema}
}

// TestRolesHaveWhatTheyNeed has each role do what it is for, and tries what it
// must not do.
func TestRolesHaveWhatTheyNeed(t *testing.T) {
	t.Parallel()
	server, database, owner := emptyDatabase(t)
	fine(t, postgres.Create(t.Context(), owner))
	configs := map[postgres.Role]postgres.Config{}
	for _, role := range postgres.Roles() {
		configs[role] = as(t, server, database, owner.Schema, role)
	}
	for _, do := range []struct {
		role postgres.Role
		do   func(*testing.T, postgres.Config)
	}{
		{postgres.RoleWriter, writes}, {postgres.RoleConsumer, consumes}, {postgres.RoleOperator, operates},
		{postgres.RoleReader, reads},
	} {
		do.do(t, configs[do.role])
	}
	// A writer may write to every table but the one with the version.
	if got := server.SQL(t, database, fmt.Sprintf(`SELECT relname FROM pg_class WHERE relkind = 'r'
		AND relnamespace = '%[1]s'::regnamespace AND NOT has_table_privilege('%[2]s_writer', oid, 'UPDATE')`,
		owner.Schema, database)); got != "gerritstream" {
		t.Errorf("a writer may not write to %q", got)
	}
	for role, may := range map[postgres.Role][]string{
		postgres.RoleWriter:   {"events", "positions"},
		postgres.RoleConsumer: nil,
		postgres.RoleOperator: {"events", "positions"},
		postgres.RoleReader:   nil,
	} {
		for _, table := range []string{"events", "positions", "start", "gerritstream"} {
			got := server.SQL(t, database, fmt.Sprintf(`SELECT has_table_privilege('%s_%s', '%s.%s', 'INSERT')`,
				database, role, owner.Schema, table))
			want := "f"
			for _, allowed := range append(may, map[postgres.Role]string{postgres.RoleWriter: "start"}[role]) {
				if allowed == table {
					want = "t"
				}
			}
			if got != want {
				t.Errorf("%s may insert into %s: %s", role, table, got)
			}
		}
	}
	elsewhere := configs[postgres.RoleWriter]
	elsewhere.Schema = "elsewhere"
	if there, err := postgres.Exists(t.Context(), elsewhere); there || !errors.Is(err, gerritstream.ErrDenied) {
		t.Errorf("a role that may not make a schema: %v, %v", there, err)
	}
	if _, err := postgres.Open(t.Context(), elsewhere); !errors.Is(err, gerritstream.ErrDenied) {
		t.Errorf("it made one: %v", err)
	}
}

func opened(t *testing.T, config postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), config)
	fine(t, err)
	return s
}

func writes(t *testing.T, config postgres.Config) {
	t.Helper()
	ctx := t.Context()
	s := opened(t, config)
	fine(t, s.SetOrigin(ctx, nil, gerritstream.Origin{
		Stream: gerritstream.Stream{ARN: "arn:aws:kinesis:us-east-1:000000000000:stream/s", Created: arrived},
		From:   gerritstream.StartingPosition{TrimHorizon: true},
	}))
	fine(t, s.Advertise(ctx, gerritstream.MemberInfo{Host: "h"}))
	term, err := s.Campaign(ctx, 0, "shard")
	fine(t, err)
	fine(t, term.Commit(ctx, gerritstream.Commit{
		Position: gerritstream.Position{After: "1", Arrived: arrived},
		Entries:  []gerritstream.Entry{oldEntry(1), oldEntry(2)},
		DeadLetters: []gerritstream.DeadLetter{
			{ID: gerritstream.EventID{8}, Shard: "shard", Seq: "8", Arrived: arrived},
			{ID: gerritstream.EventID{9}, Shard: "shard", Seq: "9", Arrived: arrived},
		},
	}))
	fine(t, s.Report(ctx, gerritstream.Status{}))
	fine(t, s.Register(ctx, "webhook:ci", queue.Filter{}, 0))
	_, err = s.Lease(ctx, "webhook:ci")
	fine(t, err)
	event := queue.Event{Number: 1, Entry: oldEntry(1)}
	fine(t, s.PutAside(ctx, webhook.Letter{Hook: "ci", Event: event, Detail: "410"}))
	fine(t, s.ReportHook(ctx, "ci", webhook.Report{}))
	_, err = s.RemoveExpired(time.Now().Add(-time.Hour))
	fine(t, err)
	fine(t, term.Resign(ctx))
	fine(t, s.Close(ctx))
}

func consumes(t *testing.T, config postgres.Config) {
	t.Helper()
	ctx := t.Context()
	s, err := postgres.OpenQueue(ctx, config)
	fine(t, err)
	fine(t, s.Register(ctx, "indexer", queue.Filter{}, 0))
	lease, err := s.Lease(ctx, "indexer")
	fine(t, err)
	_, err = s.Append(ctx, "indexer", []gerritstream.Entry{oldEntry(3)})
	fine(t, err)
	events, err := s.Read(ctx, "indexer", 0, 10)
	if err != nil || len(events) != 3 {
		t.Errorf("%d events, %v", len(events), err)
	}
	fine(t, lease.Deliver(ctx, 1, 1))
	fine(t, lease.Ack(ctx, queue.Set{UpTo: 1}))
	fine(t, lease.Release(ctx))
	fine(t, s.Seek(ctx, "indexer", 2))
	fine(t, s.Remove(ctx, "indexer"))
	fine(t, s.Close(ctx))
}

func operates(t *testing.T, config postgres.Config) {
	t.Helper()
	ctx := t.Context()
	o, err := postgres.OpenOperator(ctx, config)
	fine(t, err)
	fine(t, o.SetPosition(ctx, 0, "shard", func(*gerritstream.StoredPosition) (gerritstream.Position, error) {
		return gerritstream.Position{After: "2", Arrived: arrived, Ended: true}, nil
	}))
	redriven := gerritstream.Entry{ID: gerritstream.EventID{8}, Shard: "shard", Seq: "8", Arrived: arrived}
	fine(t, o.RedriveDeadLetter(ctx, redriven))
	if n, err := o.DropDeadLetters(ctx, []gerritstream.EventID{{9}}); n != 1 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
	for _, err := range o.DeadLetters(ctx) {
		fine(t, err)
	}
	key := webhook.LetterKey{Hook: "ci", ID: gerritstream.EventID{1}}
	fine(t, o.RedriveHookLetter(ctx, key))
	if _, err := o.DropHookLetters(ctx, []webhook.LetterKey{key}); err != nil {
		t.Error(err)
	}
	for _, err := range o.HookLetters(ctx) {
		fine(t, err)
	}
	fine(t, o.Close(context.WithoutCancel(ctx)))
	s, err := postgres.OpenQueue(ctx, config) // as webhook pause does
	fine(t, err)
	fine(t, s.PauseHook(ctx, "ci", webhook.Pause{Why: "upgrade"}))
	fine(t, s.ResumeHook(ctx, "ci"))
	fine(t, s.Close(ctx))
}

func reads(t *testing.T, config postgres.Config) {
	t.Helper()
	ctx := t.Context()
	r, err := postgres.OpenReader(ctx, config)
	fine(t, err)
	n := 0
	for _, err := range r.Events(ctx, 0) {
		fine(t, err)
		n++
	}
	if n != 3 {
		t.Errorf("%d events", n)
	}
	_, err = r.Consumers(ctx)
	fine(t, err)
	_, err = r.HookStates(ctx)
	fine(t, err)
	fine(t, r.Close(ctx))
	if in, err := postgres.Inspect(ctx, config); err != nil || in.Queue != 3 {
		t.Errorf("%+v, %v", in, err)
	}
	if s, err := postgres.Open(ctx, config); err == nil {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := s.Campaign(ctx, 0, "shard"); err == nil {
			t.Error("a reader leads a shard")
		}
		_ = s.Close(ctx)
	} else if !errors.Is(err, gerritstream.ErrDenied) {
		t.Error(err)
	}
}

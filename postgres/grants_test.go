package postgres_test

import (
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/postgres"
)

// asRole returns the schema as a role of its own sees it, which has what Grants
// gives to it.
func (s *shared) asRole(role postgres.Role) *shared {
	s.t.Helper()
	name := "granted_" + string(role)
	s.exec(`CREATE ROLE ` + name + ` LOGIN PASSWORD 'secret'`)
	s.exec(postgres.Grants(s.schema, role, name))
	as := &shared{t: s.t, url: strings.Replace(s.url, "postgres@", name+":secret@", 1), schema: s.schema, raw: s.raw}
	return as
}

// A process and an operator can do all their work with what Grants gives them.
func TestGrantsSuffice(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	s.openAndClose()
	store := s.asRole(postgres.RoleWriter).openWith(postgres.Config{LeaseTTL: patience})
	must(t, store.SetOrigin(within(t), nil, gerritstream.Origin{Stream: gerritstream.Stream{ARN: "arn"}}))
	must(t, store.Advertise(within(t), gerritstream.MemberInfo{Host: "here"}))
	must(t, store.Report(within(t), gerritstream.Status{}))
	term := elect(t, store, shardA)
	whole := gerritstream.DeadLetter{
		ID: entry(shardA, "2", 0).ID, Shard: shardA, Seq: "2", Payload: []byte("x"), Length: 1,
	}
	other := gerritstream.DeadLetter{ID: gerritstream.EventID{1}, Shard: shardA, Seq: "3"}
	c := commitOf("3", entry(shardA, "1", 10))
	c.DeadLetters = []gerritstream.DeadLetter{whole, other}
	must(t, term.Commit(within(t), c))
	_, err := store.RemoveExpired(entry(shardA, "1", 0).Arrived)
	must(t, err)
	must(t, term.Resign(within(t)))

	o := s.asRole(postgres.RoleOperator).operator()
	defer o.Close(within(t))
	set := func(*gerritstream.StoredPosition) (gerritstream.Position, error) { return position("0"), nil }
	for _, shard := range []gerritstream.ShardID{shardA, shardB} { // the other one was never led
		must(t, o.SetPosition(within(t), 0, shard, set))
	}
	must(t, o.RedriveDeadLetter(within(t), entry(shardA, "2", 1)))
	if n, err := o.DropDeadLetters(within(t), []gerritstream.EventID{other.ID}); n != 1 || err != nil {
		t.Errorf("%d dropped, %v", n, err)
	}
	_, err = o.ChangePauses(within(t), func(pauses.Set) (pauses.Set, error) { return pauses.Set{}, nil })
	must(t, err)
	s.hasQueued("1", "2")
}

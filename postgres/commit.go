package postgres

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/lease"
	"github.com/gerritstream/gerritstream/internal/storekit"
	"github.com/gerritstream/gerritstream/pauses"
)

// pendingCommit is one commit under way.
type pendingCommit struct {
	term        *term
	nonce       string
	follows     string // the nonce of the position stored before
	position    string
	ended       bool
	now         time.Time // the local clock's
	queuedAt    time.Time
	entries     []gerritstream.Entry
	deadLetters []gerritstream.DeadLetter
	discarded   []gerritstream.DeadLetter // those without room, once it is written
}

// commit writes a commit if the term still has its lease, and the position is
// the one that it follows. The events' payloads are not copied.
func (t *term) commit(ctx context.Context, c *gerritstream.Commit) error {
	if t.held.Context().Err() != nil {
		return context.Cause(t.held.Context())
	}
	s := t.store
	s.clock.Saw(c.Now)
	if err := c.Check(limits); err != nil {
		return err
	}
	now := s.config.Now()
	p := &pendingCommit{
		term: t, nonce: rand.Text(), follows: t.nonce, ended: c.Position.Ended,
		now: now, queuedAt: storekit.Dated(c.Now, now),
		entries: c.Entries, deadLetters: c.DeadLetters,
	}
	p.position = string(storekit.EncodePosition(c.Position, gerritstream.Stamp{Term: t.held.Number, Nonce: p.nonce}))
	err := s.writer.intercept.Write(storekit.PointCommit, func() error { return p.run(ctx) })
	if err != nil {
		return err
	}
	t.nonce = p.nonce
	s.discards.Log(p.discarded)
	return nil
}

// recoverPause is the pause before a commit is sent again whose fate is not
// known; it doubles.
const recoverPause = 20 * time.Millisecond

// run has the commit written. If the reply was lost, it is sent again, the same
// as before: as all its copies name the position that they follow, at most one
// of them is carried out, in whatever order they arrive. A copy that the server
// still works on has the lease locked, and is waited for. If a copy was carried
// out before, the stored nonce is that of this commit.
func (p *pendingCommit) run(ctx context.Context) error {
	term, w, doubt := p.term.held.Context(), p.term.store.writer, false
	for pause := recoverPause; ; pause = min(2*pause, time.Second) {
		err := w.do(ctx, &job{commit: p, term: term, weight: p.weight()})
		doubt = doubt || errors.Is(err, errUnknownOutcome)
		switch {
		case err == nil:
			return nil
		case term.Err() != nil:
			return fmt.Errorf("%w: %w", context.Cause(term), err)
		case w.store.life.Err() != nil, ctx.Err() != nil:
			return err
		case !doubt:
			return explain(err)
		case !passing(err) && !errors.Is(err, errUnknownOutcome):
			return err
		}
		storekit.Sleep(ctx, pause)
	}
}

func (p *pendingCommit) weight() (weight int) {
	for i := range p.entries {
		weight += p.entries[i].Weight()
	}
	for i := range p.deadLetters {
		weight += p.deadLetters[i].Weight()
	}
	return weight
}

// flush is one transaction with the commits of several terms.
type flush struct {
	store  *Store
	group  []*job
	shards shardColumns
	events eventColumns
	dead   deadColumns
	ended  bool

	repeated bool // some of the events may be there already

	under, deadUnder []string // of events and dead letters: the shards whose terms commit them

	written   map[string]bool // by shard
	discarded map[gerritstream.EventID]bool
	stored    map[string]fence // by shard, of those that were not written
}

// fence is what is stored where a commit was not written.
type fence struct {
	leased bool // the lease is the term's
	epoch  int  // of the origin
	nonce  string
}

// shardColumns are the parameters of writePositions.
type shardColumns struct {
	shard, position, nonce, follows []string
	term                            []int64
	epoch                           []int32
	committed                       []time.Time
}

func newFlush(s *Store, group []*job) *flush {
	f := &flush{store: s, group: group}
	for _, j := range group {
		p, c := j.commit, &f.shards
		shard := string(p.term.shard)
		c.shard, c.position = append(c.shard, shard), append(c.position, p.position)
		c.nonce, c.follows = append(c.nonce, p.nonce), append(c.follows, p.follows)
		c.term, c.epoch = append(c.term, int64(p.term.held.Number)), append(c.epoch, int32(p.term.epoch))
		c.committed = append(c.committed, p.now)
		f.ended = f.ended || p.ended
		for i := range p.entries {
			f.events.add(&p.entries[i], p.queuedAt)
			f.under = append(f.under, shard)
		}
		for i := range p.deadLetters {
			f.dead.add(&p.deadLetters[i], p.now)
			f.deadUnder = append(f.deadUnder, shard)
		}
	}
	return f
}

// writePositions moves the positions of those shards ($2 to $8) whose leases
// this process ($1) has in the given term, in an epoch that is not over, that
// are not paused, and whose positions are those that the commits follow. That
// is the fence. It locks the leases, in the order of their names. A transaction
// that takes a lease or sets its position waits until this one has ended, and
// the other way round. The epoch and the pauses cannot change meanwhile:
// changing them locks the whole table of leases.
const writePositions = `c AS MATERIALIZED (
		SELECT * FROM unnest($2::text[], $3::bigint[], $4::integer[], $5::text[], $6::text[], $7::text[],
			$8::timestamptz[]) c (shard, term, epoch, position, nonce, follows, committed)),
	held AS MATERIALIZED (
		SELECT l.shard FROM @.leases l JOIN c ON c.shard = l.shard AND c.term = l.term
		WHERE l.process = $1 ORDER BY l.shard FOR NO KEY UPDATE OF l),
	w AS (
		INSERT INTO @.positions AS p (epoch, shard, position, nonce, follows, committed)
		SELECT c.epoch, c.shard, c.position, c.nonce, c.follows, c.committed FROM held JOIN c ON c.shard = held.shard
		WHERE c.epoch >= ` + currentEpoch + ` AND NOT ` + isPaused + ` AND (c.follows = ''
			OR EXISTS (SELECT FROM @.positions o WHERE o.epoch = c.epoch AND o.shard = c.shard))
		ON CONFLICT (epoch, shard) DO UPDATE SET position = excluded.position, nonce = excluded.nonce,
			follows = excluded.follows, committed = excluded.committed
		WHERE p.nonce = excluded.follows
		RETURNING p.shard)`

// writeEvents numbers and queues the events ($9 to $23) of the shards in w. The
// numbers are taken once the fence has been passed. The events of a shard whose
// fence refuses it leave gaps. unnest in the list of columns hands out row by
// row; in FROM it would first write all of them to a temporary file.
//
// An event that is there already fails the statement with uniqueViolation.
var writeEvents = `h AS (
		UPDATE @.head SET n = n + $9::bigint WHERE $9 > 0 AND (SELECT count(*) FROM w) > 0
		RETURNING n - $9 AS base),
	i AS (
		INSERT INTO @.events (` + eventNames + `)
		SELECT (SELECT base FROM h) + i, ` + eventValues + `
		FROM (SELECT generate_series(1, $9) i, unnest($10::text[]) under,
			` + unnested(11, eventValues, eventTypes) + `) e
		WHERE under IN (SELECT shard FROM w)`

// skipRepeated is for the end of writeEvents: the events that are there already
// are left alone, and leave gaps. It costs a second look at the index and a
// second record in the log of the server for every event, so it is added only
// where there are such events.
const skipRepeated = `
		ON CONFLICT (id) DO NOTHING`

// The columns of events.
const (
	eventNames  = `n, ` + eventValues
	eventValues = `id, shard, seq, sub, arrived, type, project, ref, change, created, queued_at, payload, attributes`
)

// eventTypes are the types of eventValues.
var eventTypes = []string{
	"uuid", "text", "text", "integer", "timestamptz", "text", "text", "text", "bigint", "timestamptz", "timestamptz",
	"bytea", "json",
}

// unnested returns a list of columns of rows whose values are in parameters
// from first on: one array a column.
func unnested(first int, names string, types []string) string {
	columns := strings.Split(names, ", ")
	for i, name := range columns {
		columns[i] = fmt.Sprintf("unnest($%d::%s[]) %s", first+i, types[i], name)
	}
	return strings.Join(columns, ", ")
}

// The statements of a flush: of positions alone, with events, and with dead
// letters as well; the last two also for when some events may be there already.
var (
	commitPositions = `WITH ` + writePositions + ` SELECT shard, NULL::uuid FROM w`

	commitNewEvents = commitEvents("")
	commitAnyEvents = commitEvents(skipRepeated)
	commitNewAll    = commitAll("")
	commitAnyAll    = commitAll(skipRepeated)
)

func commitEvents(repeated string) string {
	return `WITH ` + writePositions + `, ` + writeEvents + repeated + `) SELECT shard, NULL::uuid FROM w`
}

func commitAll(repeated string) string {
	return `WITH RECURSIVE ` + writePositions + `, ` + writeDeadLetters + `, ` + writeEvents + repeated + `)
		SELECT shard, NULL::uuid FROM w UNION ALL SELECT '', id FROM walk JOIN d USING (i) WHERE NOT kept`
}

// add adds the flush to a transaction. One statement has the events and the
// fence: no lock is held while the server waits for more of them to arrive.
func (f *flush) add(b *batch) {
	c := &f.shards
	withEvents, withAll := commitNewEvents, commitNewAll
	if f.repeated {
		withEvents, withAll = commitAnyEvents, commitAnyAll
	}
	text, args := commitPositions, f.fenced(c.position, c.nonce, c.follows, c.committed)
	if len(f.events.id)+len(f.dead.id) > 0 {
		text, args = withEvents, append(append(args, int64(len(f.events.id)), f.under), f.events.columns()...)
	}
	if len(f.dead.id) > 0 {
		text, args = withAll, append(append(args, f.deadUnder), f.dead.columns()...)
	}
	f.written, f.discarded = map[string]bool{}, map[gerritstream.EventID]bool{}
	b.each(func(rows pgx.Rows) error {
		var shard string
		var discarded *[16]byte
		err := rows.Scan(&shard, &discarded)
		if f.written[shard] = true; discarded != nil {
			f.discarded[*discarded] = true
		}
		return err
	}, text, args...)
	if f.ended { // others wait to read the shard's children
		b.exec(notifyEnded, f.store.config.Schema)
	}
}

// fenced returns parameters that begin with the process, its shards, and their
// terms and epochs.
func (f *flush) fenced(others ...any) []any {
	return append([]any{f.store.id, f.shards.shard, f.shards.term, f.shards.epoch}, others...)
}

// lookAtFences reads what is stored of shards.
const lookAtFences = `SELECT c.shard, l.shard IS NOT NULL, ` + currentEpoch + `, coalesce(p.nonce, '')
	FROM unnest($2::text[], $3::bigint[], $4::integer[]) c (shard, term, epoch)
		LEFT JOIN @.positions p ON p.epoch = c.epoch AND p.shard = c.shard
		LEFT JOIN @.leases l ON l.shard = c.shard AND l.term = c.term AND l.process = $1`

// look finds out why commits were not written, if any were not. It reads after
// the transaction, which held the leases that there are.
func (f *flush) look(ctx context.Context) error {
	f.stored = map[string]fence{}
	if len(f.written) >= len(f.group) {
		return nil
	}
	return f.store.db.each(ctx, func(rows pgx.Rows) error {
		var shard string
		var s fence
		err := rows.Scan(&shard, &s.leased, &s.epoch, &s.nonce)
		f.stored[shard] = s
		return err
	}, lookAtFences, f.fenced()...)
}

// result returns what became of a commit, once the transaction is durable.
func (f *flush) result(p *pendingCommit) error {
	shard := string(p.term.shard)
	s := f.stored[shard]
	switch {
	case f.written[shard]:
		for i := range p.deadLetters {
			if f.discarded[p.deadLetters[i].ID] {
				p.discarded = append(p.discarded, p.deadLetters[i])
			}
		}
		return nil
	case s.nonce == p.nonce: // written by an earlier copy, whose reply was lost
		return nil
	case !s.leased:
		return fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, lease.ErrTaken)
	}
	if err := storekit.CheckEpoch(p.term.epoch, s.epoch); err != nil {
		return err
	}
	if s.nonce == p.follows { // it is paused, or was, and is not any more: then the next attempt succeeds
		return pauses.ErrPaused
	}
	return fmt.Errorf("%w: %w", gerritstream.ErrLeadershipLost, errMoved)
}

// eventColumns are the columns of events, without n.
type eventColumns struct {
	id                [][16]byte
	shard, seq        []string
	sub               []int32
	arrived           []time.Time
	typ, project, ref []string
	change            []*int64
	created           []*time.Time
	queuedAt          []time.Time
	payload           [][]byte
	attributes        []*string
}

func (c *eventColumns) add(e *gerritstream.Entry, queuedAt time.Time) {
	c.id = append(c.id, e.ID)
	c.shard, c.seq = append(c.shard, string(e.Shard)), append(c.seq, string(e.Seq))
	c.sub, c.arrived = append(c.sub, int32(e.Sub)), append(c.arrived, e.Arrived)
	c.typ, c.project, c.ref = append(c.typ, clean(e.Event.Type)), append(c.project, clean(e.Event.Project)),
		append(c.ref, clean(e.Event.Ref))
	var change *int64
	if e.Event.Change != 0 {
		change = &e.Event.Change
	}
	var created *time.Time
	if !e.Event.Created.IsZero() {
		created = &e.Event.Created
	}
	var attributes *string
	if len(e.Event.Attributes) > 0 {
		text, _ := json.Marshal(e.Event.Attributes) // a map of strings has a form
		attributes = new(string(text))
	}
	c.change, c.created, c.attributes = append(c.change, change), append(c.created, created),
		append(c.attributes, attributes)
	c.queuedAt = append(c.queuedAt, queuedAt.Truncate(time.Millisecond)) // as times are everywhere
	c.payload = append(c.payload, notNull(e.Payload))
}

// columns returns the parameters of unnested.
func (c *eventColumns) columns() []any {
	return []any{
		c.id, c.shard, c.seq, c.sub, c.arrived, c.typ, c.project, c.ref, c.change, c.created, c.queuedAt,
		c.payload, c.attributes,
	}
}

// clean returns text as PostgreSQL keeps it: in UTF-8, without NUL.
func clean(text string) string {
	if strings.ContainsRune(text, 0) {
		text = strings.ReplaceAll(text, "\x00", "\ufffd")
	}
	return strings.ToValidUTF8(text, "\ufffd")
}

// notNull keeps an empty payload from being stored as NULL.
func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

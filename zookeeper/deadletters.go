package zookeeper

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
	"github.com/go-zookeeper/zk"
	"golang.org/x/sync/errgroup"
)

// letterFormat is the version of the stored form of a dead letter.
const deadLetterFormat = 1

// storedLetter is the stored form: one JSON object.
type storedDeadLetter struct {
	Format  int                         `json:"format"`
	ID      string                      `json:"id"`
	Shard   gerritstream.ShardID        `json:"shard"`
	Seq     gerritstream.SequenceNumber `json:"sequence"`
	Sub     *int                        `json:"sub,omitempty"` // absent: not a part of an aggregate
	Arrived time.Time                   `json:"arrived,omitzero"`
	Reason  string                      `json:"reason"`
	Detail  string                      `json:"detail,omitempty"`
	Length  int                         `json:"length"`
	SHA256  string                      `json:"sha256"`
	Payload []byte                      `json:"payload"` // base64
}

// What is stored of a letter's texts, in bytes as they are written: some
// characters take six times as many as in memory.
const (
	maxDetail = 1024
	maxReason = 128
)

// clip returns as much of a text as takes no more than so many bytes in JSON.
// What is not UTF-8 becomes question marks.
func clip(text string, most int) string {
	text = strings.ToValidUTF8(text, "?")
	for i, r := range text {
		switch {
		case r < ' ', r == '<', r == '>', r == '&', r == '\u2028', r == '\u2029':
			most -= len(`\u2028`)
		case r == '"', r == '\\':
			most -= 2
		default:
			most -= utf8.RuneLen(r)
		}
		if most < 0 {
			return text[:i]
		}
	}
	return text
}

func encodeDeadLetter(d *gerritstream.DeadLetter) []byte {
	stored := storedDeadLetter{
		Format: deadLetterFormat, ID: d.ID.String(), Shard: d.Shard, Seq: d.Seq, Arrived: d.Arrived.UTC(),
		Reason: clip(d.Reason, maxReason), Detail: clip(d.Detail, maxDetail),
		Length: d.Length, SHA256: hex.EncodeToString(d.SHA256[:]), Payload: notNull(d.Payload),
	}
	if d.Sub != gerritstream.NoSub {
		stored.Sub = &d.Sub
	}
	b, err := json.Marshal(stored)
	if err != nil { // a time beyond year 9999: no service sends one
		panic(fmt.Sprintf("encode dead letter: %v", err))
	}
	return b
}

// decodeLetter reads the stored form. Its error says what is wrong with it.
func decodeDeadLetter(b []byte) (gerritstream.DeadLetter, error) {
	var stored storedDeadLetter
	if err := json.Unmarshal(b, &stored); err != nil {
		return gerritstream.DeadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	if stored.Format > deadLetterFormat {
		return gerritstream.DeadLetter{}, fmt.Errorf("read dead letter: format %d, known up to %d: %w",
			stored.Format, deadLetterFormat, gerritstream.ErrNewerFormat)
	}
	d := gerritstream.DeadLetter{
		Shard: stored.Shard, Seq: stored.Seq, Sub: gerritstream.NoSub, Arrived: stored.Arrived, Reason: stored.Reason,
		Detail: stored.Detail, Length: stored.Length, Payload: stored.Payload,
	}
	if stored.Sub != nil {
		d.Sub = *stored.Sub
	}
	id, err := hex.DecodeString(stored.ID)
	if err != nil || len(id) != len(d.ID) {
		return gerritstream.DeadLetter{}, fmt.Errorf("read dead letter: %q is no event id", stored.ID)
	}
	sum, err := hex.DecodeString(stored.SHA256)
	if err != nil || len(sum) != len(d.SHA256) {
		return gerritstream.DeadLetter{}, fmt.Errorf("read dead letter: %q is no digest", stored.SHA256)
	}
	copy(d.ID[:], id)
	copy(d.SHA256[:], sum)
	return d, nil
}

// admit sorts the dead letters into those that there is room for and the rest.
// Those that are held already are neither.
func (a *commitAttempt) admitDeadLetters(ctx context.Context) error {
	if len(a.deadLetters) == 0 {
		return nil
	}
	t := a.term
	held, err := t.session.stat(ctx, t.store.at.deadLetters())
	if err != nil {
		return err
	}
	count, bytes := int(held.stat.NumChildren), 0
	if roomy := gerritstream.MaxDeadLetterStorage / gerritstream.MaxDeadLetterBytes; count < gerritstream.MaxDeadLetters && count+len(a.deadLetters) > roomy {
		if bytes, err = t.deadLetterBytes(ctx); err != nil {
			return err
		}
	}
	room := func(d *gerritstream.DeadLetter) bool {
		if count >= gerritstream.MaxDeadLetters || bytes+len(d.Payload) > gerritstream.MaxDeadLetterStorage {
			return false
		}
		count, bytes = count+1, bytes+len(d.Payload)
		return true
	}
	var beyond []gerritstream.DeadLetter
	var paths []string
	kept := a.deadLetters[:0:0]
	for i := range a.deadLetters {
		if d := &a.deadLetters[i]; room(d) {
			kept = append(kept, *d)
		} else {
			beyond, paths = append(beyond, *d), append(paths, t.store.at.deadLetter(d))
		}
	}
	nodes, err := t.session.statAll(ctx, paths)
	if err != nil {
		return err
	}
	for i := range beyond {
		if !nodes[i].present {
			a.discarded = append(a.discarded, beyond[i])
		}
	}
	a.deadLetters = kept
	if len(a.discarded) > 0 && !t.discards.known {
		return t.discards.read(ctx, t)
	}
	return nil
}

// letterBytes estimates the payload of all dead letters held, from the sizes of
// their nodes.
func (t *term) deadLetterBytes(ctx context.Context) (int, error) {
	at := t.store.at
	names, err := t.session.children(ctx, at.deadLetters())
	if err != nil {
		return 0, err
	}
	sizes := make([]int, len(names))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i, name := range names {
		all.Go(func() error {
			n, err := t.session.stat(ctx, at.deadLetters()+"/"+name)
			sizes[i] = base64.StdEncoding.DecodedLen(max(0, int(n.stat.DataLength)-deadLetterOverhead))
			return err
		})
	}
	err = all.Wait()
	sum := 0
	for _, size := range sizes {
		sum += size
	}
	return sum, err
}

// letterOverhead is about what a stored letter has besides its payload.
const deadLetterOverhead = 400

// dropHeld leaves out the dead letters that are held already.
func (a *commitAttempt) dropHeldDeadLetters(ctx context.Context) error {
	t := a.term
	held := make([]bool, len(a.deadLetters))
	all, ctx := errgroup.WithContext(ctx)
	all.SetLimit(readsAtOnce)
	for i := range a.deadLetters {
		all.Go(func() error {
			n, err := t.session.stat(ctx, t.store.at.deadLetter(&a.deadLetters[i]))
			held[i] = n.present
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	kept := a.deadLetters[:0:0]
	for i := range a.deadLetters {
		if !held[i] {
			kept = append(kept, a.deadLetters[i])
		}
	}
	a.deadLetters = kept
	return nil
}

// counter counts the dead letters of a shard of which only the count is left.
// Only the shard's leader writes it.
type counter struct {
	known   bool
	count   int64
	version int32
}

// read reads the counter.
func (c *counter) read(ctx context.Context, t *term) error {
	n, err := t.session.get(ctx, t.store.at.discarded(t.shard))
	if err != nil {
		return err
	}
	*c = counter{known: true, count: decodeCount(n.data), version: absent}
	if n.present {
		c.version = n.stat.Version
	}
	return t.session.ensure(ctx, t.store.at.discardedCounts())
}

// request counts more.
func (c *counter) request(path string, more int) any {
	data := strconv.AppendInt(nil, c.count+int64(more), 10)
	if c.version == absent {
		return &zk.CreateRequest{Path: path, Data: data, Acl: openACL}
	}
	return &zk.SetDataRequest{Path: path, Data: data, Version: c.version}
}

// wrote notes that request was carried out.
func (c *counter) wrote(more int) { c.count, c.version = c.count+int64(more), c.version+1 }

// decodeCount reads a counter. What is no number counts as none.
func decodeCount(data []byte) int64 {
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

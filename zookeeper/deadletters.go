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
	"github.com/gerritstream/gerritstream/internal/storekit"
)

// deadLetterFormat is the version of the stored form of a dead letter.
const deadLetterFormat = 1

// storedDeadLetter is the stored form: one JSON object.
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

// The maximum length of a dead letter's texts, in bytes of JSON: some
// characters take six times as many there as in memory.
const (
	maxDetail = 1024
	maxReason = 128
)

// clip returns as much of a text as takes at most limit bytes in JSON. Invalid
// UTF-8 becomes question marks.
func clip(text string, limit int) string {
	text = strings.ToValidUTF8(text, "?")
	for i, r := range text {
		switch {
		case r < ' ', r == '<', r == '>', r == '&', r == '\u2028', r == '\u2029':
			limit -= len(`\u2028`)
		case r == '"', r == '\\':
			limit -= 2
		default:
			limit -= utf8.RuneLen(r)
		}
		if limit < 0 {
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

// decodeDeadLetter reads the stored form. Its error says what is wrong with it.
func decodeDeadLetter(raw []byte) (gerritstream.DeadLetter, error) {
	var stored storedDeadLetter
	var d gerritstream.DeadLetter
	err := storekit.CheckFormat(raw, deadLetterFormat)
	if err == nil {
		err = json.Unmarshal(raw, &stored)
	}
	if err == nil {
		err = decodeHex(d.ID[:], stored.ID)
	}
	if err == nil {
		err = decodeHex(d.SHA256[:], stored.SHA256)
	}
	if err != nil {
		return gerritstream.DeadLetter{}, fmt.Errorf("read dead letter: %w", err)
	}
	d.Shard, d.Seq, d.Sub, d.Arrived = stored.Shard, stored.Seq, gerritstream.NoSub, stored.Arrived
	d.Reason, d.Detail, d.Length, d.Payload = stored.Reason, stored.Detail, stored.Length, stored.Payload
	if stored.Sub != nil {
		d.Sub = *stored.Sub
	}
	return d, nil
}

// decodeHex fills b from hexadecimal digits.
func decodeHex(b []byte, digits string) error {
	decoded, err := hex.DecodeString(digits)
	if err != nil || len(decoded) != len(b) {
		return fmt.Errorf("%q is not %d hexadecimal digits", digits, 2*len(b))
	}
	copy(b, decoded)
	return nil
}

// admitDeadLetters leaves out the dead letters that there is no room for. Those
// among them that are not held already are discarded: only their number is
// kept.
func (a *commitAttempt) admitDeadLetters(ctx context.Context) error {
	if len(a.deadLetters) == 0 {
		return nil
	}
	t, at := a.term, a.term.store.at
	held, err := t.session.stat(ctx, at.deadLetters())
	if err != nil {
		return err
	}
	room := storekit.DeadLetterRoom{Held: int(held.stat.NumChildren)}
	const fitInAnyCase = gerritstream.MaxDeadLetterStorage / gerritstream.MaxDeadLetterBytes
	if room.Held < gerritstream.MaxDeadLetters && room.Held+len(a.deadLetters) > fitInAnyCase {
		if room.Bytes, err = t.deadLetterBytes(ctx); err != nil {
			return err
		}
	}
	var beyond []gerritstream.DeadLetter
	var paths []string
	kept := a.deadLetters[:0:0]
	for i := range a.deadLetters {
		if d := &a.deadLetters[i]; room.Admit(d) {
			kept = append(kept, *d)
		} else {
			beyond, paths = append(beyond, *d), append(paths, at.deadLetter(d))
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
	if len(a.discarded) > 0 && !t.discarded.known {
		return t.readDiscarded(ctx)
	}
	return nil
}

// deadLetterOverhead is about what a stored dead letter has besides its
// payload.
const deadLetterOverhead = 400

// deadLetterBytes estimates the payloads of all dead letters held, from the
// sizes of their nodes.
func (t *term) deadLetterBytes(ctx context.Context) (sum int, err error) {
	dir := t.store.at.deadLetters()
	names, err := t.session.children(ctx, dir)
	if err != nil {
		return 0, err
	}
	nodes, err := t.session.statAll(ctx, below(dir, names))
	for i := range nodes {
		sum += base64.StdEncoding.DecodedLen(max(0, int(nodes[i].stat.DataLength)-deadLetterOverhead))
	}
	return sum, err
}

// dropHeldDeadLetters leaves out the dead letters that are held already.
func (a *commitAttempt) dropHeldDeadLetters(ctx context.Context) error {
	paths := make([]string, len(a.deadLetters))
	for i := range a.deadLetters {
		paths[i] = a.term.store.at.deadLetter(&a.deadLetters[i])
	}
	nodes, err := a.term.session.statAll(ctx, paths)
	if err != nil {
		return err
	}
	kept := a.deadLetters[:0:0]
	for i := range a.deadLetters {
		if !nodes[i].present {
			kept = append(kept, a.deadLetters[i])
		}
	}
	a.deadLetters = kept
	return nil
}

// counter is the number of discarded dead letters of a shard, which only the
// shard's leader writes.
type counter struct {
	known   bool
	count   int64
	version int32
}

// readDiscarded reads the counter of discarded dead letters.
func (t *term) readDiscarded(ctx context.Context) error {
	n, err := t.session.get(ctx, t.store.at.discarded(t.shard))
	if err != nil {
		return err
	}
	t.discarded = counter{known: true, count: decodeCount(n.data), version: n.version()}
	return t.session.ensure(ctx, t.store.at.discardedCounts())
}

// decodeCount reads a counter. What is not a number counts as 0.
func decodeCount(data []byte) int64 {
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

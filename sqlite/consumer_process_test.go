package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/history"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
)

var flagKills = flag.Int("kills", 4, "how many consumers TestConsumersAreKilled kills")

// consumerTTL may be shorter than a busy machine pauses a process: who loses
// the lease for that reason must skip and acknowledge nothing either.
const consumerTTL = 500 * time.Millisecond

const roleConsumer = "consumer"

func init() { roles[roleConsumer] = consumeChild }

// consumeChild reads as "work" until its input ends, in either order. What it
// does with events is a line in a file each, before it acknowledges them; what
// it acknowledged is a line afterwards.
func consumeChild(path string) error {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that counts
		cancel()
	}()
	done, err := os.OpenFile(path+".done", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	store, err := sqlite.OpenQueue(context.Background(), sqlite.Config{Path: path, LeaseTTL: consumerTTL})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		var options []queue.Option
		if rand.IntN(2) == 0 { // there is one shard, which keeps its order
			options = append(options, queue.ByArrival(50*time.Millisecond))
		}
		c, err := queue.Open(ctx, store, "work", options...)
		for err == nil {
			err = work(ctx, c, done)
		}
		if ctx.Err() == nil && !errors.Is(err, queue.ErrLeaseLost) && !errors.Is(err, gerritstream.ErrRetryLater) {
			return err
		}
		if errors.Is(err, queue.ErrLeaseLost) {
			_, _ = fmt.Fprintf(done, "lost %d\n", os.Getpid())
		}
		if c != nil {
			_ = c.Close(context.WithoutCancel(ctx)) // or the lease expires
		}
	}
	return store.Close(context.Background())
}

// work handles a batch. Now and then it says so and is slow to acknowledge, so
// that it is killed just then.
func work(ctx context.Context, c *queue.Consumer, done io.Writer) error {
	events, err := c.Next(ctx, 1+rand.IntN(300))
	if err != nil {
		return err
	}
	var lines []byte
	for i := range events {
		lines = fmt.Appendf(lines, "handled %d %d %s\n", os.Getpid(), events[i].Number, events[i].Entry.Seq)
	}
	if _, err := done.Write(lines); err != nil {
		return err
	}
	last := events[len(events)-1].Number
	if rand.IntN(20) == 0 {
		fmt.Println("handed", last)
		time.Sleep(time.Duration(50+rand.IntN(50)) * time.Millisecond)
	}
	if err := c.Ack(context.WithoutCancel(ctx), last); err != nil {
		return err
	}
	_, err = fmt.Fprintf(done, "acked %d %d\n", os.Getpid(), last)
	return err
}

// Consumers are killed between reading and acknowledging, under traffic and
// beside leaders that are killed as well, with two more of the same name
// standing by. Each event is handled at least once, the first times in order,
// and what was acknowledged does not come again.
func TestConsumersAreKilled(t *testing.T) {
	f := newFleet(t)
	makeStore(t, f.path)
	register(t, f.path)
	must(t, os.WriteFile(f.path+".done", nil, 0o600))
	for range 2 {
		f.add()
	}
	for range 3 {
		f.addAs(roleConsumer)
	}
	leader, handed := f.leads(0), uint64(0)
	for i := range *flagKills {
		l := f.next("handed", func(l line) bool { return l.term > handed && f.children[l.pid] != nil })
		handed = l.term
		f.kill(l.pid)
		f.addAs(roleConsumer)
		if i%3 == 2 {
			f.kill(leader.pid)
			f.add()
			leader = f.leads(leader.term)
		}
	}
	f.dismissAll("")
	awaitDrained(t, f.path)
	f.dismissAll(roleConsumer)
	f.readers.Wait()
	judgeConsumers(t, f.path)
}

// register makes the consumer "work".
func register(t *testing.T, path string) {
	t.Helper()
	q, err := sqlite.OpenQueue(t.Context(), sqlite.Config{Path: path})
	must(t, err)
	must(t, q.Register(t.Context(), "work", queue.Filter{}, 0))
	must(t, q.Close(t.Context()))
}

// awaitDrained waits until nothing is pending.
func awaitDrained(t *testing.T, path string) {
	t.Helper()
	q, err := sqlite.OpenQueue(t.Context(), sqlite.Config{Path: path})
	must(t, err)
	defer func() { must(t, q.Close(t.Context())) }()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		infos, err := q.Consumers(t.Context())
		must(t, err)
		if infos[0].Pending == 0 {
			return
		}
	}
	t.Fatal("events are still pending")
}

// judgeConsumers compares what was done with what the queue holds.
func judgeConsumers(t *testing.T, path string) {
	t.Helper()
	done, err := os.Open(path + ".done")
	must(t, err)
	defer done.Close()
	var handled []history.Item
	seen, repeated, acked := map[int64]bool{}, 0, int64(0)
	late := map[int]int64{} // by process: an event that was acknowledged already
	for lines := bufio.NewScanner(done); lines.Scan(); {
		var word, seq string
		var pid int
		var n int64
		_, _ = fmt.Sscan(lines.Text(), &word, &pid, &n, &seq) // not all have all
		switch {
		case word == "acked":
			acked = max(acked, n)
		case word == "lost": // it was paused for longer than the lease: what it did meanwhile came to it before
			delete(late, pid)
		case n <= acked:
			late[pid] = n
		case seen[n]:
			repeated++
		default:
			seen[n] = true
			handled = append(handled, item(seq))
		}
	}
	for pid, n := range late {
		t.Errorf("event %d came to process %d after it was acknowledged", n, pid)
	}
	r, err := sqlite.OpenReader(t.Context(), path)
	must(t, err)
	defer func() { must(t, r.Close(t.Context())) }()
	var queued []history.Item
	for e, err := range r.Events(t.Context(), 0) {
		must(t, err)
		queued = append(queued, item(string(e.Entry.Seq)))
	}
	report := history.Compare(queued, handled, nil)
	if err := report.Err(); err != nil {
		t.Error(err)
	}
	if repeated == 0 {
		t.Error("nothing came again: nobody was killed between reading and acknowledging")
	}
	t.Logf("%d events, %d came again", len(queued), repeated)
}

// item is a record of the only shard, as the judge compares it.
func item(seq string) history.Item {
	return history.Item{Shard: shardA, Seq: gerritstream.SequenceNumber(seq), Sub: gerritstream.NoSub, ID: seq,
		Outcome: history.Queued}
}

// newFleet returns a fleet without children, which are killed with the test.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{
		t: t, path: filepath.Join(t.TempDir(), "store.db"), lines: make(chan line, 1000),
		children: map[int]*exec.Cmd{}, inputs: map[int]io.Closer{}, roles: map[int]string{},
	}
	t.Cleanup(func() {
		for pid := range f.children {
			f.kill(pid)
		}
		f.readers.Wait()
	})
	return f
}

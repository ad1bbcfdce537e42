package kinesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"unsafe"

	"golang.org/x/sync/semaphore"

	"github.com/gerritstream/gerritstream"
)

// Budget bounds the bytes of pages that a process holds at once (guarantee 5 of
// the README). All shards of a process share it.
//
// A reader reserves what a read may need before it reads, and shrinks that to
// what the page took. The holder of a reservation never waits for more in order
// to finish, so waiting for one cannot deadlock. Waiters are served in turn.
type Budget struct {
	total int64
	sem   *semaphore.Weighted
}

// DefaultBudget is the size of a Budget without a size of its own: 256 MiB.
const DefaultBudget = 256 << 20

// NewBudget returns a budget of so many bytes; 0 or less means DefaultBudget.
func NewBudget(bytes int64) *Budget {
	if bytes <= 0 {
		bytes = DefaultBudget
	}
	return &Budget{total: bytes, sem: semaphore.NewWeighted(bytes)}
}

// Reserve waits until n bytes are free and takes them. It takes the whole
// budget for any larger n: such a holder is then alone. The error is the
// context's.
func (b *Budget) Reserve(ctx context.Context, n int64) (*Reservation, error) {
	n = min(max(n, 0), b.total)
	if err := b.sem.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return &Reservation{budget: b, held: n}, nil
}

// Reservation is a part of a Budget. Its methods may be called by several
// goroutines.
type Reservation struct {
	budget *Budget

	mu   sync.Mutex
	held int64 // under mu
}

// Shrink gives back all but n bytes. It never takes more: a larger n changes
// nothing.
func (r *Reservation) Shrink(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n = max(n, 0); n < r.held {
		r.budget.sem.Release(r.held - n)
		r.held = n
	}
}

// TryGrow takes what is missing to n bytes if it is free now and nobody waits
// for it. It reports whether n bytes are held, and does not wait. The whole
// budget is enough for any n.
func (r *Reservation) TryGrow(n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, r.budget.total)
	if n <= r.held {
		return true
	}
	if !r.budget.sem.TryAcquire(n - r.held) {
		return false
	}
	r.held = n
	return true
}

// Release gives back everything. Further calls do nothing.
func (r *Reservation) Release() { r.Shrink(0) }

// What a page needs at worst. A page has at most 10 MiB of data and keys and
// 10,000 records: 13.4 MiB of base64 and up to 2 MiB of JSON around it, and
// then one gerritstream.Record and one sequence number a record. A reply that
// needs more (keys full of escapes) is asked for again with half as many
// records.
const (
	maxRecords  = 10_000
	maxBody     = 16 << 20
	rawRoom     = int64(unsafe.Sizeof(rawRecord{}))
	recordRoom  = int64(unsafe.Sizeof(gerritstream.Record{})) + maxSequenceDigits
	pageReserve = maxBody + maxRecords*(rawRoom+recordRoom) + maxKeys*keyRoom
)

// PageReserve is the most that a Source reserves of its budget for a read:
// about 19 MiB. It reserves that much for a reader that lags; at the tip it
// reserves twice what pages have lately taken. A larger page there takes more
// if that is free, and is otherwise dropped and read again with PageReserve. A
// Source keeps what the page takes, and nothing while it waits for the next
// one. As many reads run at once as PageReserve fits into the budget; a smaller
// budget is exceeded by one read.
const PageReserve = pageReserve

// smallestPart is less than what the smallest record within an aggregate takes
// of a frame: four bytes of protobuf, in base64.
const smallestPart = 4

// frameReserve is the most that a frame of so many bytes needs once it is
// decoded.
func frameReserve(length int) int64 {
	records := int64(min(length/smallestPart, maxRecords))
	return int64(length) + int64(expectedRecords(length, maxRecords))*rawRoom + records*recordRoom + maxKeys*keyRoom
}

// minReserve is the least that is reserved for a page: thousands of bytes of
// events, and a thousand reads at once in the default budget.
const minReserve = 256 << 10

// maxUnknownBody bounds a reply of unknown length.
const maxUnknownBody = 14 << 20

var (
	errTooLarge error = &replyError{"TooLarge", tooLarge, "the reply exceeds what a page may have"}
	errNoRoom   error = &replyError{"NoRoom", noRoom, "the reply exceeds its reservation"}
)

// readBody reads a reply into one buffer. length is -1 if it is unknown. Before
// it allocates, it asks grow whether there is room for so many bytes in all.
func readBody(body io.Reader, length int64, grow func(int64) bool) ([]byte, error) {
	if length > maxBody {
		return nil, errTooLarge
	}
	if length >= 0 {
		if !grow(length) {
			return nil, errNoRoom
		}
		buf := make([]byte, length)
		if _, err := io.ReadFull(body, buf); err != nil {
			return nil, cutShort(err)
		}
		return buf, nil
	}
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, cutShort(err)
		case len(buf) < cap(buf):
		case cap(buf) == maxUnknownBody:
			return nil, errTooLarge
		default: // the old and the new buffer together stay below the reserve: at most 4 and 14 MiB
			larger := min(4*cap(buf), maxUnknownBody)
			if !grow(int64(cap(buf) + larger)) {
				return nil, errNoRoom
			}
			buf = append(make([]byte, 0, larger), buf...)
		}
	}
}

func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read the reply: %w", err)
}

// memory is the reservation of a page that is handed out in parts, one after
// the other. It is released when no part is left and the last one is done.
type memory struct {
	room *Reservation

	mu   sync.Mutex
	out  bool // under mu: a part is out
	more bool // under mu: another part will follow
}

// lend hands out a part. done ends that, and closes returned.
func (m *memory) lend(more bool) (done func(), returned <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out, m.more = true, more
	back := make(chan struct{})
	return sync.OnceFunc(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.out = false
		if !m.more {
			m.room.Release()
		}
		close(back)
	}), back
}

// finish ends the handing out: no part will follow.
func (m *memory) finish() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.more = false
	if !m.out {
		m.room.Release()
	}
}

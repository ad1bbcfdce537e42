package lease

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

const (
	ttl   = 5 * time.Second
	shard = gerritstream.ShardID("shard")
)

// database is a Database whose heartbeats do what a test wants.
type database struct {
	beat func(ctx context.Context) (map[gerritstream.ShardID]uint64, error)
	free []map[gerritstream.ShardID]uint64
}

func (d *database) Beat(ctx context.Context, _ Waiting) (map[gerritstream.ShardID]uint64, error) {
	return d.beat(ctx)
}

func (d *database) Free(_ context.Context, leases map[gerritstream.ShardID]uint64) error {
	d.free = append(d.free, leases)
	return nil
}

func (d *database) Read(*State) (changed bool, err error) { return false, nil }

// beating starts a Heartbeat for the time of a test.
func beating(t *testing.T, d *database) *Heartbeat {
	t.Helper()
	life, end := context.WithCancel(t.Context())
	h, _ := New(Config{
		Life: life, Database: d, TTL: ttl, Log: slog.New(slog.DiscardHandler),
	})
	over := make(chan struct{})
	go func() { h.Run(); close(over) }()
	t.Cleanup(func() { end(); <-over })
	return h
}

// Trust counts from when a heartbeat, or the taking of a lease, began: other
// processes may count from then.
func TestTrustCountsFromTheBeginning(t *testing.T) {
	failed := errors.New("no heartbeat")
	for name, tc := range map[string]struct {
		taking  time.Duration // how long it takes to take the lease
		beating time.Duration // how long the heartbeat takes that succeeds; 0: none does
		want    time.Duration // for how long the term is trusted
	}{
		"a lease":     {taking: 1500 * time.Millisecond, want: ttl * 4 / 5},
		"a heartbeat": {beating: 1500 * time.Millisecond, want: ttl/5 + ttl*4/5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				beats, began := 0, time.Now()
				h := beating(t, &database{beat: func(context.Context) (map[gerritstream.ShardID]uint64, error) {
					if beats++; beats != 2 || tc.beating == 0 {
						return nil, failed
					}
					time.Sleep(tc.beating)
					return map[gerritstream.ShardID]uint64{shard: 8}, nil
				}})
				term, err := h.take(shard, 7, func(*Term) error { time.Sleep(tc.taking); return nil })
				if err != nil {
					t.Fatal(err)
				}
				if term.Number != 8 {
					t.Errorf("term %d follows 7", term.Number)
				}
				<-term.Context().Done()
				if trusted := time.Since(began); trusted != tc.want {
					t.Errorf("the term was trusted for %v, want %v", trusted, tc.want)
				}
				if cause := context.Cause(term.Context()); !errors.Is(cause, gerritstream.ErrLeadershipLost) {
					t.Errorf("the term ended with %v", cause)
				}
			})
		})
	}
}

// A lease that the process may have taken without knowing it is freed, and its
// term's number is not used again.
func TestALeaseOfNoTermIsFreed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &database{}
		d.beat = func(context.Context) (map[gerritstream.ShardID]uint64, error) {
			return map[gerritstream.ShardID]uint64{shard: 8}, nil
		}
		h, _ := New(Config{
			Life: t.Context(), Database: d, TTL: ttl, Log: slog.New(slog.DiscardHandler),
		})
		unknown := errors.New("unknown whether it was written")
		if _, err := h.take(shard, 7, func(*Term) error {
			if err := h.Renew(); err != nil || len(d.free) != 0 {
				t.Errorf("freed %v (%v) while it was being taken", d.free, err)
			}
			return unknown
		}); !errors.Is(err, unknown) {
			t.Fatal(err)
		}
		if err := h.Renew(); err != nil {
			t.Fatal(err)
		}
		if len(d.free) != 1 || d.free[0][shard] != 8 {
			t.Errorf("freed %v", d.free)
		}
		term, err := h.take(shard, 7, func(*Term) error { return nil })
		if err != nil || term.Number != 9 {
			t.Errorf("term %+v: %v", term, err)
		}
	})
}

// A process that leaves takes nothing more, and what it was just taking is no
// term of it: it would live until the process ends.
func TestAProcessThatLeavesWinsNothing(t *testing.T) {
	left := errors.New("left")
	h, _ := New(Config{Life: t.Context(), Database: &database{}, TTL: ttl, Log: slog.New(slog.DiscardHandler)})
	if _, err := h.take(shard, 7, func(*Term) error { h.Leave(left); return nil }); !errors.Is(err, left) {
		t.Errorf("the process left meanwhile, and won: %v", err)
	}
	if _, err := h.take(shard, 8, func(*Term) error { t.Error("it tried"); return nil }); !errors.Is(err, left) {
		t.Errorf("the process has left, and won: %v", err)
	}
	if !h.Idle() {
		t.Error("a term lives")
	}
}

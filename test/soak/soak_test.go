package soak

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gerritstream/gerritstream/internal/history"
)

var (
	flagDuration = flag.Duration("soak.duration", 12*time.Second, "how long faults are injected")
	flagSeed     = flag.Uint64("soak.seed", 1, "seed of the faults")
	flagStore    = flag.String("soak.store", "", "zookeeper, sqlite or postgres; empty: the first two")
	flagPython   = flag.Bool("soak.python", false,
		"a listener like Zuul's own takes shards and gives them back; ZooKeeper only")
	flagRead  = flag.String("soak.read", "poll", "how the processes read: poll, fan-out or auto")
	flagCheck = flag.String("soak.check", "", "judge the histories in this folder instead")
)

// TestSoak runs a soak on the chosen store; on SQLite and ZooKeeper if none is
// chosen, for PostgreSQL has twice as many faults.
func TestSoak(t *testing.T) {
	if *flagCheck != "" {
		events, err := history.Read(*flagCheck)
		if err != nil {
			t.Fatal(err)
		}
		report := history.Check(events)
		printJSON(t, report)
		if err := report.Err(); err != nil {
			t.Error(err)
		}
		return
	}
	if *flagPython && *flagStore != "zookeeper" {
		t.Fatal("Zuul's own listener uses only ZooKeeper: -soak.python needs -soak.store=zookeeper")
	}
	stores := []string{"sqlite", "zookeeper"}
	if *flagStore != "" {
		stores = []string{*flagStore}
	}
	for _, store := range stores {
		t.Run(store, func(t *testing.T) {
			s := newSoak(t, store)
			s.run()
		})
	}
}

// result is what a soak prints.
type result struct {
	Store    string         `json:"store"`
	Seed     uint64         `json:"seed"`
	Seconds  float64        `json:"seconds"`
	Totals   map[string]int `json:"totals"` // of the faults that took effect, by class
	Faults   map[string]int `json:"faults"` // how often each took effect
	NoEffect []string       `json:"no_effect,omitempty"`
	history.Report
}

// faulty returns why a soak fails.
func (r *result) faulty() (why []string) {
	if len(r.NoEffect) > 0 {
		why = append(why, fmt.Sprintf("faults without effect: %q", r.NoEffect))
	}
	if r.Put == 0 || r.Queued == 0 {
		why = append(why, "nothing happened")
	}
	if err := r.Err(); err != nil {
		why = append(why, err.Error())
	}
	return why
}

// withoutEffect returns, sorted, the faults that never took effect.
func withoutEffect(faults map[string]int) (names []string) {
	for name, times := range faults {
		if times == 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func printJSON(t *testing.T, r any) {
	t.Helper()
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%s\n", out)
}

// soak is one run.
type soak struct {
	t        *testing.T
	rng      *rand.Rand // of the nemesis
	folder   string     // of histories and logs; kept on failure
	stream   *stream
	store    store
	workers  []*worker
	producer *producer
	log      *history.Writer
	faults   map[string]int // what took effect
}

// processes is their number.
const processes = 3

func newSoak(t *testing.T, name string) *soak {
	folder, err := os.MkdirTemp("", "gerritstream-soak-") //nolint:usetesting // it is kept on failure
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(folder, "soak.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	s := &soak{
		t: t, rng: rand.New(rand.NewPCG(*flagSeed, 1)), folder: folder,
		log: history.NewWriter(out, "soak"), faults: map[string]int{},
	}
	s.stream = newStream(t, s.log)
	s.producer = newProducer(s.stream, *flagSeed)
	switch name {
	case "sqlite":
		s.store = newSQLite(t, s)
	case "postgres":
		s.store = newPostgres(t, s)
	case "zookeeper":
		s.store = newZooKeeper(t, s)
	default:
		t.Fatalf("unknown store %q", name)
	}
	for i := range processes {
		s.workers = append(s.workers, newWorker(s, i))
	}
	return s
}

// run injects faults for the duration, waits for every record, and judges.
func (s *soak) run() {
	began := time.Now()
	for _, w := range s.workers {
		w.start()
	}
	stopProducer := s.producer.start()
	stopConsumer := s.store.consume()
	n := newNemesis(s)
	n.run(*flagDuration)
	stopProducer()
	if *flagPython {
		s.producer.mark() // what Python lost never arrives
	}
	s.settle()
	for _, w := range s.workers {
		w.stop()
	}
	stopConsumer()
	s.store.record(s.log)
	if err := s.log.Err(); err != nil {
		s.t.Fatal(err)
	}
	s.judge(time.Since(began), n.totals())
}

// settlePatience is how long the last records may take.
const settlePatience = 3 * time.Minute

// settle waits until every good record was seen in the queue, and every bad one
// among the dead letters.
func (s *soak) settle() {
	deadline := time.Now().Add(settlePatience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for s.producer.waiting(s.store) > 0 && !s.t.Failed() {
		if time.Now().After(deadline) {
			s.t.Logf("after %v %d records are missing", settlePatience, s.producer.waiting(s.store))
			return
		}
		<-tick.C
	}
}

// python returns the ids of the events that Python queued or was about to, and
// where it put the data of large ones.
func (s *soak) python() (ids, beside map[string]bool) {
	ids, beside = map[string]bool{}, map[string]bool{}
	events, err := history.Read(s.folder)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range events {
		if e := &events[i]; e.Kind == history.KindForeignQueues {
			beside[e.Note] = true
			for _, item := range e.Items {
				ids[item.ID] = true
			}
		}
	}
	return ids, beside
}

// judge checks the history and prints the result.
func (s *soak) judge(took time.Duration, totals map[string]int) {
	events, err := history.Read(s.folder)
	if err != nil {
		s.t.Fatal(err)
	}
	r := result{
		Store: s.store.name(), Seed: *flagSeed, Seconds: took.Seconds(), Totals: totals, Faults: s.faults,
		NoEffect: withoutEffect(s.faults), Report: history.Check(events),
	}
	printJSON(s.t, r)
	for _, why := range r.faulty() {
		s.t.Error(why)
	}
	if !s.t.Failed() {
		_ = os.RemoveAll(s.folder)
	} else {
		s.t.Logf("seed %d; histories and logs are kept: go test ./test/soak -run TestSoak -soak.check %s", *flagSeed,
			s.folder)
	}
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// Options say what is measured, and how thoroughly.
type Options struct {
	// Config names the store and how it is reached, how shards are read and,
	// with Stream, the user's stream.
	Config config.Config

	Stream   bool // measure the user's stream, too, which is only read
	Unpaced  bool // read it without pace: other readers are throttled
	Shared   bool // measure a ZooKeeper or PostgreSQL that others use
	Only     []string
	Ceiling  time.Duration // how long each ceiling is measured, ours and the raw one together half each
	Batches  []int         // events of a commit
	Shards   []int         // that commit at once
	Rate     int           // events a second while the delay is measured
	Delay    time.Duration // how long the delay is measured
	Handed   int           // hand-overs
	Taken    int           // take-overs
	Program  string        // a gerritstream to start as members
	Version  string
	Progress io.Writer
}

// Names returns the names of the measurements, in their order.
func Names() []string {
	names := make([]string, len(measurements))
	for i := range measurements {
		names[i] = measurements[i].name
	}
	return names
}

// Help lists the measurements for the help of a command.
func Help() string {
	var b strings.Builder
	for i := range measurements {
		writeWrapped(&b, measurements[i].name, measurements[i].ours)
	}
	return b.String()
}

// helpWidth is where a line of text ends.
const helpWidth = 118

// writeWrapped writes a name and a text beside it, in lines.
func writeWrapped(b *strings.Builder, name, text string) {
	line := fmt.Sprintf("  %-15s", name)
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > helpWidth {
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", 17)
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}

// Duration returns about how long a run takes.
func (o *Options) Duration() time.Duration {
	total := 2 * time.Second // to fill the embedded stream
	for i := range measurements {
		if m := &measurements[i]; o.wants(m.name) {
			total += m.takes(o)
		}
	}
	return total
}

func (o *Options) wants(name string) bool { return len(o.Only) == 0 || slices.Contains(o.Only, name) }

// bench is one run.
type bench struct {
	Options
	report *Report
	target target
	events *events
	limits gerritstream.Limits // of the store's commits
	stream userStream          // with Stream
	began  time.Time
}

const embedded = "embedded Kinesis, on loopback"

// Run measures until it is done or ctx ends, and removes what it made. An
// interrupted run has no error, and a Report of what was measured before. A
// store that somebody uses is a *daemon.ConfigError, before anything is made.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	b := &bench{Options: o, events: makeEvents(), began: time.Now()}
	b.report = &Report{
		Version: o.Version, Began: b.began.UTC().Truncate(time.Second), Machine: describeMachine(),
		Store: o.Config.Store.String(), Stream: embedded, EventBytes: math.Round(b.events.mean()),
		Figures: []Figure{}, Measured: map[string]string{}, Raw: map[string]string{},
	}
	if o.Stream {
		if err := b.findStream(ctx); err != nil {
			return nil, err
		}
	}
	if b.target, err = claim(ctx, &b.Options); err != nil {
		return nil, err
	}
	for _, left := range b.target.leftovers() {
		b.note("%s", left)
	}
	defer func() {
		b.progress("removing what was made")
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanTimeout)
		defer cancel()
		if failed := b.target.remove(clean); failed != nil {
			err = errors.Join(err, fmt.Errorf("remove what the bench made: %w", failed))
		}
		b.report.Seconds = math.Round(time.Since(b.began).Seconds()*10) / 10
	}()
	err = b.measure(ctx)
	if ctx.Err() != nil {
		b.report.Interrupted, err = true, nil // the context's end explains the error
	}
	return b.report, err
}

// cleanTimeout bounds the clean-up.
const cleanTimeout = time.Minute

// measure runs the measurements that are wanted.
func (b *bench) measure(ctx context.Context) error {
	if err := b.tryStore(ctx); err != nil {
		return err
	}
	b.progress("measuring for about %s", b.Duration().Round(time.Second))
	for i := range measurements {
		m := &measurements[i]
		if !b.wants(m.name) {
			continue
		}
		if m.members && b.Program == "" {
			b.note("No %s was measured: the path of this program is not known, so that it can start no process", m.name)
			continue
		}
		b.progress("%s: %s", m.name, m.ours)
		err := m.run(b, ctx)
		if slices.ContainsFunc(b.report.Figures, func(f Figure) bool { return f.Name == m.name }) {
			b.report.Measured[m.name], b.report.Raw[m.name] = m.ours, m.raw
			if b.Stream && m.rawOfStream != "" {
				b.report.Raw[m.name+ofStream] = m.rawOfStream
			}
		}
		if err != nil {
			return fmt.Errorf("measure %s: %w", m.name, err)
		}
	}
	return nil
}

// note notes something for the report.
func (b *bench) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.report.Notes = append(b.report.Notes, text)
	b.progress("%s", text)
}

// add adds a figure and reports it.
func (b *bench) add(f Figure) {
	b.report.Figures = append(b.report.Figures, f)
	digits, beside := 0, ""
	if f.Unit == UnitTime {
		digits = 1
	}
	if f.Raw > 0 {
		beside = fmt.Sprintf(", raw %.*f, ratio %.2f", digits, f.Raw, f.Ratio)
	}
	b.progress("  %s: %.*f %s%s", f.Case, digits, f.Ours, f.Unit, beside)
}

// progress writes a line on progress.
func (b *bench) progress(format string, args ...any) {
	fmt.Fprintf(b.Progress, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// sample is what one side of a comparison did.
type sample struct {
	events    int
	took, cpu time.Duration
}

func (s sample) rate() float64 { return float64(s.events) / s.took.Seconds() }

// cpuEach is the processor time of an event, in microseconds; 0: not known.
func (s sample) cpuEach() float64 { return float64(s.cpu.Microseconds()) / float64(s.events) }

// side measures for about a duration, and may stop early or late.
type side func(ctx context.Context, d time.Duration) (sample, error)

// turns is how often ours and the raw client take turns.
const turns = 5

// compare measures two sides in turns, which begin with another one each, and
// adds the figure.
func (b *bench) compare(ctx context.Context, name, kase string, ours, raw side) error {
	var of [2][]sample
	for turn := range turns {
		for i := range of {
			which := (turn + i) % 2
			s, err := []side{ours, raw}[which](ctx, b.Ceiling/(2*turns))
			if err != nil {
				return err
			}
			if s.events == 0 {
				return errors.New("no event in the time given: choose a longer --duration")
			}
			of[which] = append(of[which], s)
		}
	}
	ratios := make([]float64, turns)
	for i := range ratios {
		ratios[i] = of[0][i].rate() / of[1][i].rate()
	}
	b.add(Figure{
		Name: name, Case: kase, Unit: UnitRate,
		Ours: median(each(of[0], sample.rate)), Raw: median(each(of[1], sample.rate)), Ratio: median(ratios),
		CPU: median(each(of[0], sample.cpuEach)), RawCPU: median(each(of[1], sample.cpuEach)),
	})
	return nil
}

func each(samples []sample, of func(sample) float64) []float64 {
	all := make([]float64, len(samples))
	for i, s := range samples {
		all[i] = of(s)
	}
	return all
}

// median returns the middle of some numbers; of an even count the lower one.
func median(numbers []float64) float64 {
	sorted := slices.Sorted(slices.Values(numbers))
	return sorted[(len(sorted)-1)/2]
}

// stopwatch measures time and processor time.
type stopwatch struct {
	began time.Time
	cpu   time.Duration
}

func startWatch() stopwatch { return stopwatch{time.Now(), processorTime()} }

func (w stopwatch) sample(events int) sample {
	return sample{events, time.Since(w.began), processorTime() - w.cpu}
}

// shardNamed returns the ID of a made-up shard.
func shardNamed(i int) gerritstream.ShardID {
	return gerritstream.ShardID(fmt.Sprintf("shardId-%012d", i))
}

package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Report is the result of a run.
type Report struct {
	Version     string            `json:"version"`
	Began       time.Time         `json:"began"`
	Seconds     float64           `json:"seconds"`
	Machine     Machine           `json:"machine"`
	Store       string            `json:"store"`
	Stream      string            `json:"stream"`          // the embedded one, or the user's ARN
	EventBytes  float64           `json:"event_bytes"`     // of a made-up event, in the mean
	Interrupted bool              `json:"interrupted"`     // the figures are those measured before
	Figures     []Figure          `json:"figures"`         // in the order in which they were measured
	Measured    map[string]string `json:"measured"`        // by the name of a measurement: what it is
	Raw         map[string]string `json:"raw"`             // likewise: what its raw figure is
	Notes       []string          `json:"notes,omitempty"` // what was left out, and why; a sentence each
}

// Figure is one figure beside the raw one. A rate is better when it is higher,
// a time when it is lower.
type Figure struct {
	Name  string  `json:"name"`           // of the measurement
	Case  string  `json:"case,omitempty"` // "100 events x 8 shards"
	Unit  string  `json:"unit"`           // UnitRate or UnitTime
	Ours  float64 `json:"ours"`           // the median
	Raw   float64 `json:"raw,omitempty"`  // likewise; 0: there is none
	Ratio float64 `json:"ratio,omitempty"`

	// CPU is the processor time of this process for an event, in microseconds.
	// It includes the embedded Kinesis, and not a ZooKeeper server.
	CPU    float64 `json:"cpu_us_per_event,omitempty"`
	RawCPU float64 `json:"raw_cpu_us_per_event,omitempty"`

	Times    *Times `json:"times,omitempty"` // of a figure that is a time
	RawTimes *Times `json:"raw_times,omitempty"`
}

// The units of figures.
const (
	UnitRate = "events/s"
	UnitTime = "ms"
)

// Times is how times are distributed, in milliseconds.
type Times struct {
	Samples int     `json:"samples"`
	P50     float64 `json:"p50"`
	P90     float64 `json:"p90"`
	P99     float64 `json:"p99"`
	Max     float64 `json:"max"`
}

// timesOf returns the distribution of times; nil: there are none.
func timesOf(times []time.Duration) *Times {
	if len(times) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(times))
	at := func(percent int) float64 { // the least that so many do not exceed
		return milliseconds(sorted[(len(sorted)*percent+99)/100-1])
	}
	return &Times{Samples: len(sorted), P50: at(50), P90: at(90), P99: at(99), Max: at(100)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// timed returns the figure of times; raw may be empty.
func timed(name, kase string, ours, raw []time.Duration) Figure {
	f := Figure{Name: name, Case: kase, Unit: UnitTime, Times: timesOf(ours), RawTimes: timesOf(raw)}
	if f.Times != nil {
		f.Ours = f.Times.P50
	}
	if f.RawTimes != nil {
		f.Raw = f.RawTimes.P50
	}
	if f.Raw > 0 {
		f.Ratio = f.Ours / f.Raw
	}
	return f
}

// WriteTable writes the report for people.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "gerritstream %s on %s, %s\n", r.Version, r.Machine, r.Began.Format("2006-01-02 15:04"))
	fmt.Fprintf(&b, "store   %s\nstream  %s\nevents  %.0f bytes in the mean\n", r.Store, r.Stream, r.EventBytes)
	r.writeRates(&b)
	r.writeTimes(&b)
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\n%s.\n", note)
	}
	if len(r.Raw) > 0 {
		b.WriteString("\nraw is, in the same run and in turns with ours:\n")
	}
	for _, m := range measurements {
		if text := r.Raw[m.name]; text != "" {
			writeWrapped(&b, m.name, text)
		}
		if text := r.Raw[m.name+ofStream]; text != "" {
			writeWrapped(&b, "", "of your stream: "+text)
		}
	}
	if r.Interrupted {
		b.WriteString("\nInterrupted: the rest was not measured.\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) writeRates(b *strings.Builder) {
	rows := [][]string{{"EVENTS A SECOND", "", "OURS", "RAW", "OURS/RAW", "CPU/EVENT", "RAW CPU"}}
	for _, f := range r.Figures {
		if f.Unit == UnitRate {
			rows = append(rows, []string{
				f.Name, f.Case, fmt.Sprintf("%.0f", f.Ours), known(f.Raw, "%.0f"), known(f.Ratio, "%.2f"),
				known(f.CPU, "%.1f us"), known(f.RawCPU, "%.1f us"),
			})
		}
	}
	if writeRows(b, rows) {
		b.WriteString("CPU is that of this process, the embedded Kinesis included, and a server's not.\n")
	}
}

func (r *Report) writeTimes(b *strings.Builder) {
	rows := [][]string{{"MILLISECONDS", "", "P50", "P90", "P99", "MAX", "SAMPLES", "OURS/RAW"}}
	add := func(name, kase string, d *Times, ratio string) {
		if d != nil {
			rows = append(rows, []string{
				name, kase, fmt.Sprintf("%.1f", d.P50), fmt.Sprintf("%.1f", d.P90), fmt.Sprintf("%.1f", d.P99),
				fmt.Sprintf("%.1f", d.Max), fmt.Sprint(d.Samples), ratio,
			})
		}
	}
	for _, f := range r.Figures {
		add(f.Name, f.Case, f.Times, known(f.Ratio, "%.2f"))
		add("", "raw", f.RawTimes, "")
	}
	writeRows(b, rows)
}

// writeRows writes a header and rows, the first two columns flush left. Where
// there are no rows, it writes nothing and returns false.
func writeRows(b *strings.Builder, rows [][]string) bool {
	if len(rows) == 1 {
		return false
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	b.WriteByte('\n')
	for _, row := range rows {
		line := fmt.Sprintf("%-*s  %-*s", widths[0], row[0], widths[1], row[1])
		for i := 2; i < len(row); i++ {
			line += fmt.Sprintf("  %*s", widths[i], row[i])
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return true
}

// ofStream follows the name of a measurement whose raw figure is that of a
// user's stream.
const ofStream = " of the stream"

// known writes a number in its format, and a dash for none.
func known(n float64, format string) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf(format, n)
}

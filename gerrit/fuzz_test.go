package gerrit_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

// FuzzScan compares Scan with an independent parser: the same verdict, a
// correct reason, and the same fields.
func FuzzScan(f *testing.F) {
	filter := zuulFilter(f)
	for _, data := range allRecords(f) {
		f.Add(data)
	}
	for _, c := range encodings {
		f.Add([]byte(c.spoil(`{"type":"ref-updated","refUpdate":{"refName":"refs/tags/v1"}}`)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		got, err := gerrit.Scan(data)
		if !bytes.Equal(before, data) {
			t.Fatal("Scan wrote to the record")
		}
		want, reasons := oracle(data)
		if err == nil != (len(reasons) == 0) {
			t.Fatalf("Scan returns %v, the other parser %v", err, reasons)
		}
		if err != nil {
			checkFault(t, err, reasons, data)
			return
		}
		same := bytes.Equal(got.Type, want.Type) && bytes.Equal(got.Project, want.Project) &&
			bytes.Equal(got.Ref, want.Ref)
		if !same || got.Change != want.Change || got.Created != want.Created {
			t.Fatalf("got  %q %q %q %d %d\nwant %q %q %q %d %d", got.Type, got.Project, got.Ref, got.Change,
				got.Created,
				want.Type, want.Project, want.Ref, want.Change, want.Created)
		}
		if rule := filter.Rule(&got); rule != "" && !slices.Contains(gerrit.Rules(), rule) {
			t.Fatalf("unknown rule %q", rule)
		}
	})
}

func checkFault(t *testing.T, err error, reasons []gerrit.Reason, data []byte) {
	t.Helper()
	var fault *gerrit.Fault
	if !errors.As(err, &fault) {
		t.Fatalf("not a *Fault: %v", err)
	}
	if !slices.Contains(reasons, fault.Reason) {
		t.Fatalf("reason %q, the other parser returns %v", fault.Reason, reasons)
	}
	if fault.Offset < 0 || fault.Offset > len(data) || len(fault.Detail) >= 200 || fault.Detail == "" {
		t.Fatalf("offset %d of %d, detail %q", fault.Offset, len(data), fault.Detail)
	}
}

// allRecords returns every record of testdata.
func allRecords(tb testing.TB) [][]byte {
	tb.Helper()
	files, err := filepath.Glob("testdata/*/*.json")
	if err != nil || len(files) < 200 {
		tb.Fatalf("%d files: %v", len(files), err)
	}
	var all [][]byte
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, data)
	}
	return all
}

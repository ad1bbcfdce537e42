package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Read reads every history in a folder ("*.ndjson"), in the order of their
// times. A last line that was cut, as by a full disk, is an error: a killed
// process leaves none.
func Read(folder string) ([]Event, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.ndjson"))
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("read history: there is no *.ndjson in %s", folder)
	}
	var events []Event
	for _, path := range paths {
		more, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("read history %s: %w", path, err)
		}
		events = append(events, more...)
	}
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(b.At) })
	return events, nil
}

func readFile(path string) (events []Event, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	dec := json.NewDecoder(bufio.NewReaderSize(f, 1<<20))
	dec.DisallowUnknownFields()
	for n := 1; ; n++ {
		var e Event
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return events, nil
		} else if err != nil {
			return nil, fmt.Errorf("event %d: %w", n, err)
		}
		events = append(events, e)
	}
}

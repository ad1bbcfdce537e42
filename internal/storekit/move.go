package storekit

import (
	"context"
	"iter"
)

// Table is a table that one store gives to another, which takes it over.
type Table struct {
	Name    string
	Columns []string
	Count   int64 // of its rows

	// Rows yields the rows, by ascending key: a value for each column, which is
	// an int64, a string, bytes or nil. An error is the last pair. A row is
	// valid until the next is asked for.
	Rows func(ctx context.Context) iter.Seq2[[]any, error]
}

package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A log that nobody reads costs a second once, and nothing after; what was
// dropped is reported when it is read again.
func TestABlockedLogHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		p := newLossyWriter(writer)
		began := time.Now()
		for n := range 10 {
			if _, err := fmt.Fprintf(p, "line %d\n", n); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != writeTimeout {
			t.Errorf("ten lines took %v, want %v for the first", took, writeTimeout)
		}
		var got strings.Builder
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(&got, reader)
		}()
		synctest.Wait()
		if _, err := fmt.Fprintln(p, "line 10"); err != nil {
			t.Fatal(err)
		}
		writer.Close()
		<-read
		want := "line 0\ngerritstream: 9 log lines were dropped because nothing read them\nline 10\n"
		if got.String() != want {
			t.Errorf("got\n%swant\n%s", got.String(), want)
		}
	})
}

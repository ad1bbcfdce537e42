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
// dropped is told when it is read again.
func TestABlockedLogHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, writer := io.Pipe()
		p := newPatient(writer)
		began := time.Now()
		for n := range 10 {
			if _, err := fmt.Fprintf(p, "line %d\n", n); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != linePatience {
			t.Errorf("ten lines took %v, want %v for the first", took, linePatience)
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
		want := "line 0\ngerritstream: 9 lines were not written here, for nothing took them\nline 10\n"
		if got.String() != want {
			t.Errorf("got\n%swant\n%s", got.String(), want)
		}
	})
}

package trouble

import (
	"errors"
	"fmt"
	"testing"

	gs "github.com/gerritstream/gerritstream"
)

// An error keeps the kind that was settled first, its text, and what it wraps.
func TestMark(t *testing.T) {
	plain := errors.New("plain")
	for _, tt := range []struct {
		err  error
		want Kind
	}{
		{plain, Stalled},
		{Mark(plain, SourceFails), SourceFails},
		{fmt.Errorf("more: %w", Mark(plain, SourceFails)), SourceFails},
		{Mark(Mark(plain, Sink), SourceFails), Sink},
		{Mark(fmt.Errorf("x: %w", gs.ErrDenied), SourceFails), AccessDenied},
		{fmt.Errorf("x: %w", gs.ErrStreamNotFound), StreamGone},
	} {
		if got := KindOf(tt.err, Stalled); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.err, got, tt.want)
		}
	}
	if err := Mark(plain, Sink); err.Error() != "plain" || !errors.Is(err, plain) {
		t.Errorf("it was changed: %v", err)
	}
	if Mark(nil, Sink) != nil {
		t.Error("no error became one")
	}
}

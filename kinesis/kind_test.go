package kinesis

import (
	"cmp"
	"fmt"
	"testing"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/trouble"
)

// Each code of the service is trouble of some kind, and so is no answer.
func TestEachCodeHasItsKind(t *testing.T) {
	known := map[class]trouble.Kind{
		throttled: trouble.Throttled, denied: trouble.AccessDenied, keyDenied: trouble.AccessDenied,
	}
	wants := map[*Error]trouble.Kind{
		{Message: "no route to host"}: trouble.SourceAway,
		{Code: "ResourceNotFoundException", class: notFound, is: gerritstream.ErrStreamNotFound}: trouble.StreamGone,
		{Status: 502}: trouble.SourceFails,
	}
	for code, c := range classes {
		wants[&Error{Code: code, Status: 400, class: c}] = cmp.Or(known[c], trouble.SourceFails)
	}
	for e, want := range wants {
		if got := trouble.KindOf(fmt.Errorf("read: %w", retrying(e)), "none"); got != want {
			t.Errorf("%v: got %q, want %q", e, got, want)
		}
	}
}

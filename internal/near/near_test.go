package near

import "testing"

func TestNearest(t *testing.T) {
	words := []string{"latest", "trim-horizon", "halt"}
	for text, want := range map[string]string{"latets": "latest", "Latest": "latest", "trim_horizon": "trim-horizon",
		"hatl": "halt", "x": "", "newest": ""} {
		if got := Nearest(text, words); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", text, got, want)
		}
	}
}

package config

import (
	"testing"
	"time"
)

func TestParseSize(t *testing.T) {
	tests := []struct {
		text string
		want int64 // -1: a fault
	}{
		{"256MiB", 256 << 20}, {"1.5GiB", 3 << 29}, {"64mib", 64 << 20}, {"4096", 4096}, {"10 MB", 10e6}, {"1KB", 1000},
		{"1KiB", 1024}, {"2GB", 2e9}, {"7B", 7}, {"0", 0},
		{"", -1}, {"MiB", -1}, {"-1", -1}, {"1TiB", -1}, {"9999999999GiB", -1}, {"NaN", -1}, {"1e999", -1}, {"1 2MiB", -1},
	}
	for _, tt := range tests {
		got, err := parseSize(tt.text)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1000: "1000B", 1024: "1KiB", 256 << 20: "256MiB",
		3 << 29: "1536MiB", 1 << 30: "1GiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	day := 24 * time.Hour
	for text, want := range map[string]time.Duration{"250ms": 250 * time.Millisecond, "7d": 7 * day,
		"1h30m": 90 * time.Minute, "0": 0} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "7", "-1d", "1.5d", "99999d", "soon"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v", text, got)
		}
	}
}

// TestChrootIsReadAsInZuulConf: slashes in a store's address mean what they
// mean in the hosts of a zuul.conf.
func TestChrootIsReadAsInZuulConf(t *testing.T) {
	for chroot, want := range map[string]string{"": "", "/": "", "//": "", "/zuul": "/zuul", "/zuul/": "/zuul",
		"//zuul//ci/": "/zuul/ci"} {
		var store Store
		err := store.Set("zookeeper://h:2181" + chroot)
		if err != nil || store.ZooKeeper.Chroot != want || len(store.ZooKeeper.Hosts) != 1 {
			t.Errorf("%q: got %+v, %v, want %q", chroot, store, err, want)
		}
	}
}

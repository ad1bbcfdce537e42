package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
)

// TestJournalGetsText: in the journal each line has its level in front, and no
// time; a format that was asked for, and another output, stay what they are.
func TestJournalGetsText(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	var s syscall.Stat_t
	if err := syscall.Fstat(int(write.Fd()), &s); err != nil {
		t.Fatal(err)
	}
	here := fmt.Sprintf("JOURNAL_STREAM=%d:%d", s.Dev, s.Ino)
	p := process{stderr: newLossyWriter(write), environ: []string{"HOME=/", here}}
	log := newLogger(p, config.Log{Format: config.LogAuto})
	log.Info("heard", "shard", 1)
	log.With("shard", 2).Warn("slow")
	log.WithGroup("g").Error("gone", "err", "kept")
	log.Debug("not written")
	newLogger(p, config.Log{Format: config.LogJSON}).Info("asked for")
	p.environ[1] = fmt.Sprintf("JOURNAL_STREAM=%d:%d", s.Dev, s.Ino+1)
	newLogger(p, config.Log{Format: config.LogAuto}).Info("elsewhere")
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	want := []string{
		"<6>level=INFO msg=heard shard=1", "<4>level=WARN msg=slow shard=2", "<3>level=ERROR msg=gone g.err=kept",
	}
	if len(lines) != 5 || !slices.Equal(lines[:3], want) || !strings.HasPrefix(lines[3], `{"time":`) ||
		!strings.HasPrefix(lines[4], `{"time":`) {
		t.Errorf("the journal has\n%s", text)
	}
}

// TestJournalGetsErrors: what ends the program is an error in the journal.
func TestJournalGetsErrors(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := process{stdout: io.Discard, stderr: file, environ: []string{"JOURNAL_STREAM=" + fileID(file.Fd())}}
	if code := execute([]string{"run", "--strem"}, p); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "<3>gerritstream: ") {
			t.Errorf("the journal has %q", line)
		}
	}
	if len(text) == 0 {
		t.Error("the journal has nothing")
	}
}

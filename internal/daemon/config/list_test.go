package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// listSettings returns the settings that are lists, with two valid values each.
func listSettings() map[string][2]string {
	values := map[string][2]string{}
	for _, s := range Settings() {
		if s.IsList() {
			values[s.Key] = [2]string{"one.example", "two.example"}
		}
	}
	values["sinks"] = [2]string{SinkStdout, ""}
	return values
}

// TestSpaceInListsIsIgnored: people write "a, b" and "a,", and an entry with a
// leading space would match nothing. This holds for every list, from each
// source.
func TestSpaceInListsIsIgnored(t *testing.T) {
	for key, v := range listSettings() {
		s := lookup(Settings(), key)
		want := []string{v[0]}
		if v[1] != "" {
			want = append(want, v[1])
		}
		var quoted []string
		for _, text := range spaced(want) {
			quoted = append(quoted, fmt.Sprintf("%q", text))
		}
		file := key + ": [" + strings.Join(quoted, ", ") + "]"
		if section, name, nested := strings.Cut(key, "."); nested {
			file = section + ":\n  " + name + ": [" + strings.Join(quoted, ", ") + "]"
		}
		for source, src := range map[string]Sources{
			"environment": {Environ: []string{s.Env() + "= " + strings.Join(want, " ,\t") + ", ,"}},
			"flags":       {Flags: map[string][]string{s.Flag: append([]string{" "}, spaced(want)...)}},
			"file":        {File: write(t, "stream: s\naws: {region: us-east-1}\n"+file+"\n")},
		} {
			src.Environ = append(src.Environ, "HOME=/home/x", "GERRITSTREAM_STREAM=s",
				"GERRITSTREAM_AWS_REGION=us-east-1")
			c, err := Load(src)
			if err != nil {
				t.Errorf("%s by %s: %v", key, source, err)
				continue
			}
			if got := *lookup(settingsOf(&c), key).value.list; !reflect.DeepEqual(got, want) {
				t.Errorf("%s by %s: %q, want %q", key, source, got, want)
			}
		}
	}
}

func spaced(texts []string) []string {
	var list []string
	for _, text := range texts {
		list = append(list, " "+text+"\n")
	}
	return list
}

// TestByteOrderMark: some editors begin a file with one.
func TestByteOrderMark(t *testing.T) {
	const text = "stream: s\naws: {region: us-east-1}\n"
	environ := []string{"HOME=/home/x"}
	c, err := Load(Sources{File: write(t, "\ufeff"+text), Environ: environ})
	if err != nil || c.Kinesis.Stream != "s" {
		t.Errorf("stream %q: %v", c.Kinesis.Stream, err)
	}
	for _, mark := range []string{"\xff\xfe", "\xfe\xff"} {
		_, err = Load(Sources{File: write(t, mark+text), Environ: environ})
		if err == nil || !strings.Contains(err.Error(), "UTF-16") || strings.Contains(err.Error(), "not set") {
			t.Errorf("of UTF-16: %v", err)
		}
	}
}

// TestManyEntries: loading as many entries as a file can hold takes linear
// time. Comparing each with each takes 7 s.
func TestManyEntries(t *testing.T) {
	var b strings.Builder
	b.WriteString("stream: s\naws: {region: us-east-1}\nfilter:\n  projects:\n")
	for i := range 60_000 {
		fmt.Fprintf(&b, "  - p%d\n", i)
	}
	name := write(t, b.String())
	began := time.Now()
	c, err := Load(Sources{File: name, Environ: []string{"HOME=/home/x"}})
	if err != nil || len(c.Filter.Projects) != 60_000 {
		t.Fatalf("%d entries: %v", len(c.Filter.Projects), err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("loading took %v", took)
	}
}

// TestDoubts: entries that match no event of Gerrit are reported with the
// nearest type, up to a limit.
func TestDoubts(t *testing.T) {
	c := Defaults()
	c.Filter.Types = []string{
		"patchset-created", "ref-*", "^change-", "patchset-craeted", "Comment-Added", "example-scan", "^scan", "ref-replicated", "cache-*",
	}
	want := []string{
		`filter.types: "patchset-craeted" is the type of no event that Gerrit or a widespread plugin writes; did you mean "patchset-created"?`,
		`filter.types: "Comment-Added" is the type of no event that Gerrit or a widespread plugin writes; did you mean "comment-added"?`,
		`filter.types: "example-scan" is the type of no event that Gerrit or a widespread plugin writes`,
		`filter.types: "^scan" is the type of no event that Gerrit or a widespread plugin writes`,
		`filter.types: "ref-replicated" keeps nothing: the preset zuul drops such events`,
		`filter.types: "cache-*" keeps nothing: the preset zuul drops such events`,
	}
	if got := c.Doubts(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	c.Filter.Replication = true
	if got := c.Doubts(); len(got) != len(want)-1 {
		t.Errorf("with replication: %q", got)
	}
	for i := range 30_000 {
		c.Filter.Types = append(c.Filter.Types, fmt.Sprint("type-", i))
	}
	if got := c.Doubts(); len(got) != maxDoubts+1 || !strings.Contains(got[maxDoubts], "29995 more") {
		t.Errorf("%d doubts, the last %q", len(got), got[len(got)-1])
	}
}

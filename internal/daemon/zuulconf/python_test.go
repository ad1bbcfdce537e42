package zuulconf

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream/internal/peers"
)

// readAsZuul reads files a line each, as JSON {"raw": in base64, "environ":
// {...}}, with Python's own parser set up as Zuul sets it up, and answers each
// with {"error": ..., "lines": [...]} or with every key of every section: its
// value, or null where it does not interpolate. [DEFAULT] is the section
// without a name.
const readAsZuul = `
import base64, configparser, io, json, sys

def lines_of(e):
    if isinstance(e, configparser.MissingSectionHeaderError) or not isinstance(e, configparser.ParsingError):
        return [e.lineno] if getattr(e, "lineno", None) else []
    return [number for number, _ in e.errors]

def values(parser, section):
    found = {}
    for key in parser._sections.get(section, {}) | parser._defaults:
        try:
            found[key] = parser.get(section, key)
        except configparser.InterpolationError:
            found[key] = None
    return found

for line in sys.stdin:
    job = json.loads(line)
    try:
        parser = configparser.ConfigParser(job["environ"])
        raw = base64.b64decode(job["raw"])
        parser.read_file(io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"), "zuul.conf")
    except (configparser.Error, UnicodeDecodeError) as e:
        print(json.dumps({"error": type(e).__name__, "lines": lines_of(e)}))
        continue
    found = {section: values(parser, section) for section in parser.sections()}
    found[""] = values(parser, "DEFAULT")
    print(json.dumps({"order": parser.sections(), "values": found}))
`

// answer is Python's reading of a file.
type answer struct {
	Error  string                        `json:"error"`
	Lines  []int                         `json:"lines"`
	Order  []string                      `json:"order"`
	Values map[string]map[string]*string `json:"values"`
}

// zuulEnviron is the environment of these tests, with a variable that is not
// Zuul's.
var zuulEnviron = []string{"ZUUL_HOME=/home/zuul", "ZUUL_EMPTY=", "ZUUL_BAD=50%", "ZUUL_SECRET_TAIL=tail", "HOME=/root"}

// askPython returns Python's answers for files.
func askPython(t *testing.T, files [][]byte) []answer {
	t.Helper()
	peers.Require(t, peers.Python)
	environ := map[string]string{}
	for _, variable := range zuulEnviron {
		if name, value, _ := strings.Cut(variable, "="); strings.HasPrefix(name, envPrefix) {
			environ[name] = value
		}
	}
	var input bytes.Buffer
	enc := json.NewEncoder(&input)
	for _, raw := range files {
		if err := enc.Encode(map[string]any{"raw": raw, "environ": environ}); err != nil {
			t.Fatal(err)
		}
	}
	answers := make([]answer, 0, len(files))
	dec := json.NewDecoder(runPython(t, readAsZuul, &input))
	for range files {
		var a answer
		if err := dec.Decode(&a); err != nil {
			t.Fatalf("answer %d: %v", len(answers), err)
		}
		answers = append(answers, a)
	}
	return answers
}

// runPython runs a program's text and returns what it prints.
func runPython(t *testing.T, program string, input *bytes.Buffer) *bytes.Buffer {
	t.Helper()
	cmd := peers.PythonCommand(t.Context(), program)
	var out, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return &out
}

// TestPython compares Parse and interpolation with Python's own parser: on the
// corpus, and on thousands of files assembled or damaged at random.
func TestPython(t *testing.T) {
	files := corpus(t)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 4000 {
		files = append(files, madeUp(rng))
	}
	for _, raw := range corpus(t) {
		for range 60 {
			files = append(files, damaged(rng, raw))
		}
	}
	read, refused, unresolved := 0, 0, 0
	for i, a := range askPython(t, files) {
		f, err := Parse("zuul.conf", files[i], zuulEnviron)
		if a.Error != "" {
			refused++
		} else {
			read++
		}
		for _, values := range a.Values {
			for _, v := range values {
				if v == nil {
					unresolved++
				}
			}
		}
		if diff := compare(files[i], f, err, a); diff != "" {
			t.Errorf("%s; the file:\n%q", diff, files[i])
		}
	}
	if t.Logf("%d read, %d refused, %d values that do not interpolate", read, refused, unresolved); read < 1500 ||
		refused < 1000 || unresolved < 1000 {
		t.Error("the files are too much alike")
	}
}

// compare returns a difference between our reading and Python's; "": none.
func compare(raw []byte, f *File, err error, a answer) string {
	if a.Error != "" {
		if err == nil {
			return "it is read, and Python has a " + a.Error
		}
		ours := linesOf(err)
		if !utf8.Valid(raw) { // we look at that first
			return ""
		}
		for _, line := range a.Lines {
			if !slices.Contains(ours, line) {
				text, _ := json.Marshal([]any{a, err.Error()})
				return "a line of Python's is missing: " + string(text)
			}
		}
		return ""
	}
	if err != nil {
		return "it is refused, and Python reads it: " + err.Error()
	}
	var order []string
	found := map[string]map[string]*string{"": f.all(&section{name: defaultSection})}
	for _, s := range f.sections {
		order = append(order, s.name)
		found[s.name] = f.all(s)
	}
	if !slices.Equal(order, a.Order) {
		return "sections " + strings.Join(order, "|") + ", in Python " + strings.Join(a.Order, "|")
	}
	got, _ := json.Marshal(found)
	want, _ := json.Marshal(a.Values)
	if !bytes.Equal(got, want) {
		return "values\n" + string(got) + ", in Python\n" + string(want)
	}
	return ""
}

// all returns every key's value as the Python program does.
func (f *File) all(s *section) map[string]*string {
	found := map[string]*string{}
	keys := maps.Clone(f.defaults)
	maps.Copy(keys, s.values)
	for key := range keys {
		if v, _, fault := f.get(s, key, false); fault == nil {
			found[key] = &v.text
		} else {
			found[key] = nil
		}
	}
	return found
}

// linesOf returns the lines of the faults that an error joins.
func linesOf(err error) []int {
	var found []int
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, err := range joined.Unwrap() {
		var fault *Fault
		if errors.As(err, &fault) {
			found = append(found, fault.Place.Line)
		}
	}
	return found
}

// corpus returns the files of testdata/corpus.
func corpus(tb testing.TB) [][]byte {
	tb.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "corpus", "*.conf"))
	if err != nil || len(names) < 9 {
		tb.Fatalf("%d files: %v", len(names), err)
	}
	var all [][]byte
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, append([]byte{}, raw...)) // never nil
	}
	return all
}

// pieces are what files are assembled from.
var pieces = []string{
	"[zookeeper]", "[connection gerrit]", "[DEFAULT]", "[default]", "[gerrit] x", "hosts", "Hosts", "tls_ca", "x", "y", "z", "é", "İ", "K",
	"=", ":", " = ", ": ", "=\t", "%", "%%", "%(x)s", "%(Y)s", "%(hosts)s", "%(none)s", "%(zuul_home)s", "%(ZUUL_BAD)s", "%(é)s",
	"value", "a b", "#", ";", " # no comment", "\t", " ", "  ", "    ", "\u00a0", "\u2003", "\x1c", "\x85", "\u0085", "\x00", "\f", "\ufeff", "[", "]",
	"\n", "\n", "\n", "\n", "\n ", "\n  ", "\r\n", "\r", "\n\n", "\n[a]\n", "\n[b]\n", "\nx = ", "\ny: ", "\nz=%(x)s", "\nx=%(y)s\n",
}

// madeUp returns a file put together from pieces at random, mostly with a
// section first.
func madeUp(rng *rand.Rand) []byte {
	b := bytes.NewBuffer([]byte{})
	if rng.IntN(10) > 0 {
		b.WriteString("[a]\n")
	}
	if rng.IntN(3) > 0 { // one that is likely to be read
		for _, i := range rng.Perm(8)[:1+rng.IntN(8)] {
			b.WriteString([]string{"x", "y", "z", "v", "w", "hosts", "  more", "Z2"}[i] +
				[]string{"=", " : ", "= "}[rng.IntN(3)])
			for range rng.IntN(4) {
				b.WriteString(pieces[rng.IntN(len(pieces))])
			}
			b.WriteString([]string{"\n", "\n\n", "\n  more\n", "\r\n"}[rng.IntN(4)])
		}
		return b.Bytes()
	}
	for range rng.IntN(25) {
		b.WriteString(pieces[rng.IntN(len(pieces))])
	}
	return b.Bytes()
}

// damaged returns a file with some bytes changed, lines moved or pieces put in.
func damaged(rng *rand.Rand, raw []byte) []byte {
	raw = append([]byte{}, raw...) // never nil
	for range 1 + rng.IntN(3) {
		if len(raw) == 0 {
			break
		}
		i := rng.IntN(len(raw))
		switch rng.IntN(3) {
		case 0:
			raw[i] = "=:#;%()[] \n\r\tas\xc3"[rng.IntN(16)]
		case 1:
			raw = slices.Insert(raw, i, []byte(pieces[rng.IntN(len(pieces))])...)
		default:
			raw = slices.Delete(raw, i, min(len(raw), i+1+rng.IntN(4)))
		}
	}
	return raw
}

// readNumbers reads numbers as JSON texts, a line each, and answers each with
// the number, or null where Python has none or none that is finite.
const readNumbers = `
import json, math, sys
for line in sys.stdin:
    try:
        n = float(json.loads(line))
        print(json.dumps(n if math.isfinite(n) else None))
    except ValueError:
        print("null")
`

func TestNumbersAsPython(t *testing.T) {
	peers.Require(t, peers.Python)
	texts := []string{
		"10", "10.0", " 10 ", "1e1", "1_000", "1__0", "_1", "1_", "1_.5", "1._5", ".5", "5.", ".", "", "+5", "-5", "--5", "1e", "1e+2", "1e_2", "1e1_0",
		"0x10", "inf", "Infinity", "nan", "1e999", "1,5", "10s", "1 0", "\u00a010\x1c", "1.2.3", "e5", "0", "-0", "00010", "\n10\n",
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for range 5000 {
		var b strings.Builder
		for range rng.IntN(7) {
			b.WriteByte("0123456789._eE+- "[rng.IntN(17)])
		}
		texts = append(texts, b.String())
	}
	var input bytes.Buffer
	for _, text := range texts {
		line, _ := json.Marshal(text)
		input.Write(append(line, '\n'))
	}
	dec := json.NewDecoder(runPython(t, readNumbers, &input))
	for _, text := range texts {
		var want *float64
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if got, ok := number(text); ok != (want != nil) || ok && got != *want {
			t.Errorf("number(%q) = %v, %v", text, got, ok)
		}
	}
}

// readHosts reads hosts as JSON texts, a line each, with kazoo, the client that
// Zuul uses, and answers each with its servers and chroot, or null where kazoo
// has an error.
const readHosts = `
import json, sys
from kazoo.hosts import collect_hosts
from kazoo.protocol.paths import normpath
for line in sys.stdin:
    try:
        servers, chroot = collect_hosts(json.loads(line))
        print(json.dumps({"servers": servers, "chroot": normpath(chroot) if chroot else ""}))
    except ValueError:
        print("null")
`

// TestHostsAsKazoo: kazoo reads what we read the same way. We refuse more.
func TestHostsAsKazoo(t *testing.T) {
	peers.Require(t, peers.Kazoo)
	texts := []string{
		"zk1", "zk1:2281", "zk1:2281,zk2:2281", " zk1:2281, zk2 ", "zk1 ,zk2", "zk1,\nzk2:1", "[::1]", "[::1]:2281,[fe80::1]", "127.0.0.1:1", "zk1:",
		"zk1/zuul", "zk1:2281,zk2:2281/a/b", "zk1/", "zk1//a//b/", "zk1/a/../b", "zk1,/a", "", "/a", "zk1,,zk2", "::1", "zk1:x", "zk1:99999", "ZK1:1",
	}
	var input bytes.Buffer
	for _, text := range texts {
		line, _ := json.Marshal(text)
		input.Write(append(line, '\n'))
	}
	dec := json.NewDecoder(runPython(t, readHosts, &input))
	for _, text := range texts {
		var want *struct {
			Servers [][2]any `json:"servers"`
			Chroot  string   `json:"chroot"`
		}
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		servers, chroot, err := SplitHosts(text)
		switch {
		case err != nil:
			continue
		case want == nil:
			t.Errorf("%q: we read %q", text, servers)
			continue
		}
		got, _ := json.Marshal(map[string]any{"servers": pairs(servers), "chroot": chroot})
		kazoo, _ := json.Marshal(map[string]any{"servers": want.Servers, "chroot": want.Chroot})
		if !strings.EqualFold(string(got), string(kazoo)) {
			t.Errorf("%q: %s, in kazoo %s", text, got, kazoo)
		}
	}
}

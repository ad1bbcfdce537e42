package gerrit_test

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gerritstream/gerritstream/gerrit"
)

// judgeAsZuul is the file of package peers that judges payloads.
const judgeAsZuul = "../internal/peers/python/payload.py"

// readAsZuul reads records, one a line in base64, as Zuul reads its queue, and
// replies to each with the event's type in base64, or with the error.
const readAsZuul = `
import base64, json, sys
NEVER_QUEUED.clear()  # the filter drops those
for line in sys.stdin:
    try:
        event = json.loads(base64.b64decode(line))
        json.dumps({"event_data": {"payload": event}}, allow_nan=False, ensure_ascii=False).encode("utf-8")
        judge_payload(event)
        print("ok " + base64.b64encode(event["type"].encode()).decode())
    except Exception as e:
        print("error " + repr(e)[:200])
`

// TestPython compares Scan with the parser that Zuul uses and with what Zuul
// does with an event: what passes Scan, Zuul reads and writes again, with the
// same type and without an error. Records are those of testdata, those with
// each member of each type, and some thousands damaged at random.
func TestPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is missing: apt-get install python3")
	}
	judge, err := os.ReadFile(judgeAsZuul)
	if err != nil {
		t.Fatal(err)
	}
	var passed []gerrit.Event
	var input bytes.Buffer
	for _, data := range append(damaged(t), ofEveryType()...) {
		if e, err := gerrit.Scan(data); err == nil {
			passed = append(passed, e)
			input.WriteString(base64.StdEncoding.EncodeToString(data) + "\n")
		}
	}
	if len(passed) < 1000 {
		t.Fatalf("only %d records passed", len(passed))
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", string(judge)+readAsZuul)
	cmd.Stdin = &input
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(answers) != len(passed) {
		t.Fatalf("%d answers for %d records", len(answers), len(passed))
	}
	for i, answer := range answers {
		if want := "ok " + base64.StdEncoding.EncodeToString(passed[i].Type); answer != want {
			t.Errorf("record %d of type %q: %s", i, passed[i].Type, answer)
		}
	}
}

// damaged returns every record of testdata, and each of them several times with
// some bytes changed.
func damaged(tb testing.TB) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	const bits = `"\{}[]:,0123456789eE+-.utrn nullNaN` + "\x00\x1f\x7f\x80\xc3\xff"
	all := allRecords(tb)
	for _, data := range all[:len(all):len(all)] {
		for range 40 {
			if len(data) == 0 || len(data) > 10000 {
				break
			}
			bad := bytes.Clone(data)
			for range 1 + rng.IntN(2) {
				bad[rng.IntN(len(bad))] = bits[rng.IntN(len(bits))]
			}
			all = append(all, bad)
		}
	}
	return all
}

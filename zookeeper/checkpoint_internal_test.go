package zookeeper

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"testing"
	"unicode/utf8"

	"github.com/gerritstream/gerritstream"
)

// errModel is the model's error for what it does not accept.
var errModel = errors.New("no checkpoint")

// modelCheckpoint reads Zuul's node token by token, as Python's json does: one
// object in UTF-8; names are case-sensitive, and the last of equal ones counts;
// "checkpoint" is null or the digits of an integer as Kinesis writes it. Empty:
// none.
func modelCheckpoint(raw []byte) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if first, err := dec.Token(); err != nil || first != json.Delim('{') || !utf8.Valid(raw) {
		return "", errModel
	}
	var last any
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return "", errModel
		}
		var value any
		if err := dec.Decode(&value); err != nil {
			return "", errModel
		}
		if name == "checkpoint" {
			last = value
		}
	}
	if end, err := dec.Token(); err != nil || end != json.Delim('}') {
		return "", errModel
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return "", errModel
	}
	switch v := last.(type) {
	case nil:
		return "", nil
	case string:
		n, ok := new(big.Int).SetString(v, 10)
		if !ok || n.Sign() < 0 || n.String() != v || len(v) > 128 {
			return "", errModel
		}
		return v, nil
	}
	return "", errModel
}

// FuzzCheckpoint compares the reading of Zuul's checkpoint with a model, and
// checks that what is read is written the same again.
func FuzzCheckpoint(f *testing.F) {
	for _, raw := range []string{
		``, `null`, `{}`, `[]`, `{"checkpoint": null}`,
		`{"checkpoint": "49590338271490256608559692538361571095921575989136588898"}`,
		`{"checkpoint": 7}`, `{"checkpoint": "07"}`, `{"checkpoint": ""}`, `{"checkpoint": "-1"}`,
		`{"checkpoint": "7"} x`, `{"checkpoint": "7"`,
		`{"Checkpoint": "7"}`, `{"checkpoint": "7", "CHECKPOINT": "8"}`, `{"checkpoint": "7", "checkpoint": "8"}`,
		`{"checkpoint": {}, "checkpoint": "8"}`,
		`{"checkpoint": "7", "checkpoint": null}`, `{"\u0063heckpoint": "\u0037"}`, `{"x": {"checkpoint": "7"}}`,
		`{"x": 1e999, "checkpoint": "7"}`,
		"{\"x\": \"\xff\", \"checkpoint\": \"7\"}", ` {"checkpoint" : "0"} `, `{"checkpoint": "LATEST"}`,
		`{"checkpoint": ["7"]}`,
	} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := bytes.Clone(raw)
		z := checkpointOf(node{present: true, data: raw})
		got, err := z.sequence()
		want, wantErr := modelCheckpoint(raw)
		if string(got) != want || (err != nil) != (wantErr != nil) {
			t.Fatalf("read as %q, %v; the model reads %q, %v", got, err, want, wantErr)
		}
		if !bytes.Equal(raw, before) {
			t.Fatal("the node's bytes were written to")
		}
		if err != nil {
			return
		}
		again := checkpointOf(node{present: true, data: encodeCheckpoint(got)})
		if back, err := again.sequence(); back != got || err != nil {
			t.Fatalf("%q is written as %s and read as %q, %v", got, again.node.data, back, err)
		}
		b := reconcile(shardState{position: gerritstream.Position{}, zuul: z})
		if b.found.Stored != (got != "") || b.found.Position.After != got {
			t.Fatalf("a term that finds %q begins with %+v", got, b.found.Position)
		}
	})
}

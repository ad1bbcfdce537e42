package gerritstream

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Other versions and other programs read the status: its keys stay flat,
// whatever its fields are grouped into.
func TestShardStatusIsFlatInJSON(t *testing.T) {
	const text = `{"shard":"s","parents":["p"],"state":"reading","since":"2026-05-01T12:00:00Z","waiting_for":["p"],` +
		`"term":3,"position":{"after":"7","arrived":"2026-05-01T12:00:00Z"},"at_tip":true,"behind_ns":5,` +
		`"open_after_end":true,"handled_until":"2026-05-01T12:00:00Z","trouble":"t","leader":"l",` +
		`"foreign":true,"planned_for":"m","foreign_unread_since":"2026-05-01T12:00:00Z",` +
		`"last_event":"2026-05-01T12:00:00Z","last_page":"2026-05-01T12:00:00Z","last_commit":"2026-05-01T12:00:00Z",` +
		`"read":1,"queued":2,"filtered":3,"dead":4}`
	var s ShardStatus
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	for i, v := 0, reflect.ValueOf(s); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("%s was not read", v.Type().Field(i).Name)
		}
	}
	back, err := json.Marshal(Status{Shards: []ShardStatus{s}}.Shards)
	if err != nil || string(back) != "["+text+"]" {
		t.Errorf("%v, got\n%s\nwant\n%s", err, back, text)
	}
	const none = `{"shard":"","state":"","position":{},"at_tip":false,"behind_ns":0,` +
		`"read":0,"queued":0,"filtered":0,"dead":0}`
	if empty, err := json.Marshal(ShardStatus{}); err != nil || string(empty) != none {
		t.Errorf("%s, %v", empty, err)
	}
}

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/sqlite"
)

func cmdQueued(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "queued FILE COUNT")
	path, want := ts.MkAbs(args[0]), number(ts, args[1])
	eventually(ts, func() (bool, string) {
		in, err := sqlite.Inspect(context.Background(), path)
		return err == nil && in.Queue >= int64(want), fmt.Sprintf("%d events are queued, %v", in.Queue, err)
	})
	r, err := sqlite.OpenReader(context.Background(), path)
	ts.Check(err)
	defer r.Close(context.Background())
	ids, payloads, n := map[gerritstream.EventID]bool{}, map[string]bool{}, 0
	for e, err := range r.Events(context.Background(), 0) {
		ts.Check(err)
		ids[e.Entry.ID], payloads[string(e.Entry.Payload)] = true, true
		n++
	}
	if n != want || len(ids) != want || len(payloads) != want {
		ts.Fatalf("%d events, %d identities, %d payloads, want %d of each", n, len(ids), len(payloads), want)
	}
}

func cmdReported(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "reported FILE [PATTERN]")
	pattern := regexp.MustCompile(strings.Join(args[1:], ""))
	eventually(ts, func() (bool, string) {
		in, err := sqlite.Inspect(context.Background(), ts.MkAbs(args[0]))
		said, _ := json.Marshal(in.Reports)
		return err == nil && len(in.Reports) > 0 && pattern.Match(said), fmt.Sprintf("reports %s, %v", said, err)
	})
}

// openRaw opens a database as a program of another making would.
func openRaw(ts *testscript.TestScript, file string) *sql.DB {
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs(file)+"?_pragma=busy_timeout(5000)")
	ts.Check(err)
	db.SetMaxOpenConns(1)
	return db
}

func cmdLock(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if len(args) != 1 {
		ts.Fatalf("usage: [!] lock FILE")
	}
	if neg {
		w.locks[args[0]]()
		delete(w.locks, args[0])
		return
	}
	db := openRaw(ts, args[0])
	_, err := db.Exec("BEGIN IMMEDIATE")
	ts.Check(err)
	w.locks[args[0]] = func() { _ = db.Close() } // rolls back
	ts.Defer(func() {
		if unlock := w.locks[args[0]]; unlock != nil {
			unlock()
		}
	})
}

func cmdSQL(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "sql FILE STATEMENT")
	db := openRaw(ts, args[0])
	_, err := db.Exec(args[1])
	ts.Check(err)
	ts.Check(db.Close())
}

func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 3, "http CODE URL PATTERN")
	code, pattern := number(ts, args[0]), regexp.MustCompile("(?m)"+args[2])
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	eventually(ts, func() (bool, string) {
		res, err := client.Get(args[1])
		if err != nil {
			return false, err.Error()
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return err == nil && res.StatusCode == code &&
			pattern.Match(body), fmt.Sprintf("%s: %s\n%s", args[1], res.Status, body)
	})
}

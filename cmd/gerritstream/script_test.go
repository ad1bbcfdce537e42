package main

import (
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/gerritstream/gerritstream/internal/peers"
	"github.com/gerritstream/gerritstream/kinesistest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gerritstream": main})
}

// TestScripts runs the real command line, one behaviour a file. Each script has
// an embedded Kinesis of its own at $ENDPOINT, served by this process so that
// scripts can make it fail, credentials that it takes, a free port in $PORT,
// and a server's certificate in $TLS_CERT and $TLS_KEY, of the authority in
// $TLS_CA.
func TestScripts(t *testing.T) {
	certificates := peers.MakeCertificates(t)
	postgresql := newScriptPostgres(t, certificates)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TLS_CERT", certificates.Server.Cert)
			env.Setenv("TLS_KEY", certificates.Server.Key)
			env.Setenv("TLS_CA", certificates.CA)
			return setup(env)
		},
		Condition: func(name string) (bool, error) {
			if name != "postgres" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			return peers.PostgreSQL.Wanted(), nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			// exits CODE PROGRAM ARGS...: it ends with that exit code.
			"exits": cmdExits,
			// start NAME ARGS...: runs gerritstream beside the script, with its
			// output in NAME.out and NAME.err.
			"start": cmdStart,
			// unread output|all NAME ARGS...: the same, with standard output,
			// or all output, into a pipe that is full and that nobody reads.
			"unread": cmdUnread,
			// signal NAME TERM|INT|KILL
			"signal": cmdSignal,
			// ends NAME CODE [WITHIN]: waits until it ends, with that exit
			// code.
			"ends": cmdEnds,
			// until FILE PATTERN: waits until the file has it.
			"until": cmdUntil,
			// lines FILE COUNT: it has so many.
			"lines": cmdLines,
			// stream NAME SHARDS: makes a stream.
			"stream": cmdStream,
			// remake NAME SHARDS: deletes a stream and makes it again.
			"remake": cmdRemake,
			// clock DURATION: the service's clock goes ahead by that.
			"clock": cmdClock,
			// put STREAM COUNT: puts so many events, and goes on counting where
			// it left off.
			"put": cmdPut,
			// raw STREAM TEXT [COUNT]: puts a record as it is, so many times.
			"raw": cmdRaw,
			// split STREAM SHARD
			"split": cmdSplit,
			// fail OPERATION CODE MESSAGE: it fails so from now on. ! fail: it
			// works again.
			"fail": cmdFail,
			// queued FILE COUNT: waits until the store holds so many events,
			// and checks that they are all different.
			"queued": cmdQueued,
			// reported FILE [PATTERN]: waits until a process has said how it
			// does, or, in JSON, this.
			"reported": cmdReported,
			// lock FILE: nobody else can write to the database. ! lock: they
			// can again.
			"lock": cmdLock,
			// sql FILE STATEMENT: changes the database behind everybody's back.
			"sql": cmdSQL,
			// http CODE URL PATTERN: waits until the answer has both.
			"http": cmdHTTP,
			// receiver NAME PORT STATUS: a webhook's receiver listens there,
			// notes its requests in the file NAME and answers with the status.
			// Again: it has another status from now on. 0: it never answers.
			"receiver": cmdReceiver,
			// documented PAGE: each command of docs/PAGE ends well, or finds
			// trouble.
			"documented": cmdDocumented,
			// postgres [secure] [OPTIONS OF CREATE DATABASE]: makes a database,
			// whose address is in $PG.
			"postgres": postgresql.database,
			// psql STATEMENT...: runs them there; ! psql is not possible.
			"psql": postgresql.psql,
			// named URL: the metrics there have what alerts name.
			"named": cmdNamed,
		},
	})
}

// world is what a script has besides its files.
type world struct {
	kinesis  *kinesistest.Server
	put      int                 // events put so far
	healed   func()              // takes the fault back
	programs map[string]*program // by name
	locks    map[string]func()   // by file: gives the lock back

	receivers map[string]*receiver // by name
}

type worldKey struct{}

func worldOf(ts *testscript.TestScript) *world {
	return ts.Value(worldKey{}).(*world) //nolint:errcheck,forcetypeassert // set by setup
}

// setup gives a script its world and an environment in which nothing of this
// machine is found.
func setup(env *testscript.Env) error {
	w := &world{
		kinesis:  kinesistest.New(kinesistest.Options{NoLimits: true}),
		programs: map[string]*program{},
		locks:    map[string]func(){},

		receivers: map[string]*receiver{},
	}
	server := httptest.NewServer(w.kinesis)
	env.Defer(server.Close)
	port, err := freePort()
	if err != nil {
		return err
	}
	env.Values[worldKey{}] = w
	env.Vars = append(slices.DeleteFunc(env.Vars, func(v string) bool { return strings.HasPrefix(v, "AWS_") }),
		"ENDPOINT="+server.URL, "PORT="+port, "HOME="+env.WorkDir, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=AKIDTEST", "AWS_SECRET_ACCESS_KEY=hunter2hunter2", "AWS_REGION=us-east-1",
		"GERRITSTREAM_ADMIN=off",
		"GORACE=atexit_sleep_ms=0", // under the race detector each program would wait for a second before it is gone
	)
	return nil
}

// freePort returns a port that was free a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "exits CODE PROGRAM ARGS...")
	want := number(ts, args[0])
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdStream(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "stream NAME SHARDS")
	_, err := worldOf(ts).kinesis.CreateStream(args[0], number(ts, args[1]))
	ts.Check(err)
}

func cmdRemake(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "remake NAME SHARDS")
	ts.Check(worldOf(ts).kinesis.DeleteStream(args[0]))
	cmdStream(ts, neg, args)
}

func cmdClock(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 1, "clock DURATION")
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	worldOf(ts).kinesis.AdvanceClock(d)
}

func cmdPut(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "put STREAM COUNT")
	w := worldOf(ts)
	for range number(ts, args[1]) {
		w.put++
		event := fmt.Sprintf(`{"type":"ref-updated","refUpdate":{"project":"p","refName":"refs/heads/main"},"n":%d}`,
			w.put)
		_, _, err := w.kinesis.Put(args[0], strconv.Itoa(w.put), []byte(event))
		ts.Check(err)
	}
}

func cmdRaw(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "raw STREAM TEXT [COUNT]")
	count := 1
	if len(args) > 2 {
		count = number(ts, args[2])
	}
	for range count {
		_, _, err := worldOf(ts).kinesis.Put(args[0], "raw", []byte(args[1]))
		ts.Check(err)
	}
}

func cmdSplit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "split STREAM SHARD")
	_, _, err := worldOf(ts).kinesis.Split(args[0], args[1])
	ts.Check(err)
}

func cmdFail(ts *testscript.TestScript, neg bool, args []string) {
	w := worldOf(ts)
	if neg {
		w.healed()
		return
	}
	need(ts, neg, args, 3, "fail OPERATION CODE MESSAGE")
	w.healed = w.kinesis.On(kinesistest.Hook{Operation: args[0], Do: kinesistest.Fail(args[1], args[2], 400)})
}

func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, args, 2, "lines FILE COUNT")
	if got := strings.Count(ts.ReadFile(args[0]), "\n"); got != number(ts, args[1]) {
		ts.Fatalf("%s has %d lines, not %s", args[0], got, args[1])
	}
}

// need checks a command's arguments.
func need(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

// environ returns the environment of a script.
func environ(ts *testscript.TestScript) []string {
	names := []string{"PATH", "HOME", "ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION",
		"AWS_EC2_METADATA_DISABLED", "GERRITSTREAM_ADMIN", "HTTPS_PROXY"}
	env := []string{"TMPDIR=" + os.TempDir()}
	names = append(names, "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_PROTOCOL",
		"OTEL_TRACES_SAMPLER")
	for _, name := range names {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

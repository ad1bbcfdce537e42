package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// serving is `demo --serve`: processes of this program read an embedded Kinesis
// into one file, until interrupted.
type serving struct {
	demo      *demonstration
	out       *screen
	colour    bool
	endpoint  string // of the embedded Kinesis
	processes []*demoProcess
	producer  *producer
	faults    demoFaults
}

const (
	// reportEvery is how often the screen says how the processes do.
	reportEvery = 5 * time.Second

	// maxSocketPath is what every system takes as the path of a socket.
	maxSocketPath = 100
)

// serve runs the processes, the stream and its traffic until ctx ends or nobody
// reads the output any more.
func (d *demonstration) serve(ctx context.Context) (err error) {
	if d.beside, err = filepath.Abs(d.beside); err != nil {
		return fmt.Errorf("find the database: %w", err)
	}
	if d.isFile() {
		d.database, d.address = d.beside, "sqlite:"+d.beside
	}
	l, err := listenNear("127.0.0.1:4567")
	if err != nil {
		return fmt.Errorf("serve the embedded Kinesis: %w", err)
	}
	s := &serving{demo: d, out: newScreen(d.process.stdout), colour: d.process.hasColour()}
	s.endpoint = "http://" + l.Addr().String()
	s.producer = newTraffic(d.stream)
	if err := s.prepare(); err != nil {
		_ = l.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		s.out.run()
		cancel() // a failed write ends everything
	}()
	s.out.show(ctx, s.introduction())
	err = s.run(ctx, l)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	s.farewell(context.WithoutCancel(ctx))
	if failed := s.out.finish(lastLines); failed != nil && !errors.Is(failed, syscall.EPIPE) {
		err = errors.Join(err, fmt.Errorf("write a line: %w", failed))
	}
	return err
}

// listenNear listens at an address, or at a free port if that one is taken.
func listenNear(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	return l, nil
}

// prepare gives each process its addresses. Their ports are free now; a process
// that finds its own taken says so.
func (s *serving) prepare() error {
	for i, name := range []string{"A", "B", "C"} {
		l, err := listenNear(fmt.Sprintf("127.0.0.1:%d", 9419+i))
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		defer func() { _ = l.Close() }() // once all are chosen
		p := &demoProcess{name: name, serving: s, admin: l.Addr().String()}
		beside := s.demo.beside + "-" + strings.ToLower(name)
		p.socket, p.log = beside+".sock", beside+".log"
		if len(p.socket) > maxSocketPath {
			return &usageError{"gerritstream demo", fmt.Errorf("--db %s is too long: sockets are made beside it, "+
				"whose paths may have %d bytes", s.demo.beside, maxSocketPath)}
		}
		s.processes = append(s.processes, p)
	}
	s.demo.stream.server.On(s.faults.hook())
	return nil
}

// run runs everything until ctx ends. The stream is served until the processes
// have ended.
func (s *serving) run(ctx context.Context, l net.Listener) error {
	stream, closeStream := context.WithCancel(context.WithoutCancel(ctx))
	defer closeStream()
	all, ctx := errgroup.WithContext(ctx)
	server := &http.Server{Handler: s.demo.stream.server, ReadHeaderTimeout: 10 * time.Second}
	all.Go(func() error { return serveUntil(stream, l, server) })
	all.Go(func() error {
		defer closeStream()
		var ended sync.WaitGroup
		for _, p := range s.processes {
			ended.Go(func() { p.run(ctx) })
		}
		ended.Wait()
		return ctx.Err()
	})
	all.Go(func() error { return s.producer.pace(ctx, s.demo.traffic) })
	all.Go(func() error { return s.report(ctx) })
	all.Go(func() error { return s.disturb(ctx) })
	return all.Wait()
}

// say shows a line with the time.
func (s *serving) say(ctx context.Context, how, format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if how != "" {
		line = paint(s.colour, how, line)
	}
	s.out.show(ctx, time.Now().Format(time.TimeOnly)+"  "+line)
}

// report shows every few seconds how the processes do, as any other program
// sees it in the file.
func (s *serving) report(ctx context.Context) error {
	for before := int64(0); ; {
		if err := pause(ctx, reportEvery); err != nil {
			return err
		}
		in, err := s.demo.inspect(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.say(ctx, red, "cannot look into the database: %v", err)
			}
			continue
		}
		leads := map[*demoProcess]int{}
		for _, shard := range in.Shards {
			if p := s.processOf(shard.Leader); p != nil {
				leads[p]++
			}
		}
		reads := make([]string, len(s.processes))
		for i, p := range s.processes {
			reads[i] = fmt.Sprintf("%s %d", p.name, leads[p])
		}
		s.say(ctx, "", "%s queued, %d a second, %s; shards read by %s", thousands(int(in.Queue)),
			max(0, in.Queue-before)/int64(reportEvery/time.Second), plural(int(in.DeadLetters), "dead letter"),
			strings.Join(reads, ", "))
		before = in.Queue
	}
}

// processOf returns the process that a leader's name is of: HOST-PID-START.
func (s *serving) processOf(leader string) *demoProcess {
	for _, p := range s.processes {
		if pid := p.pid(); pid != 0 && strings.Contains(leader, fmt.Sprintf("-%d-", pid)) {
			return p
		}
	}
	return nil
}

// introduction says what runs and which commands to try.
func (s *serving) introduction() string {
	program, store := quoted(programName()), s.demo.shown()
	a := s.processes[0]
	var b strings.Builder
	b.WriteString("Made-up Gerrit traffic, through Kinesis, into a queue: three processes share the shards. " +
		"Ctrl-C ends it.\n")
	fmt.Fprintf(&b, `  stream   an embedded Kinesis with %s at %s, and %s of traffic
  queue    %s, %s, which is kept
`, plural(s.demo.shards, "shard"), s.endpoint, s.demo.traffic.String(), s.demo.database, s.demo.kind())
	for _, p := range s.processes {
		fmt.Fprintf(&b, "  %s        \"gerritstream run\", with its status page at http://%s/\n", p.name, p.admin)
	}
	fmt.Fprintf(&b, `
Try in other terminals:
  %[1]s status --store %[2]s
  %[1]s tail --store %[2]s
  %[1]s tail --store %[2]s --socket %[3]s --verdict filtered,dead
  %[1]s queue read --store %[2]s --consumer me --create first --max 3 --ack
  %[1]s queue read --store %[2]s --consumer me --follow -- wc -l
  %[1]s queue ls --store %[2]s
  curl -s http://%[4]s/metrics | grep ^gerritstream_
  tail -f %[5]s
  printf 'HTTP/1.1 204 No Content\r\n\r\n' | nc -l 127.0.0.1 8080
  %[1]s webhook test --url http://127.0.0.1:8080/

`, program, store, quoted("unix:"+a.socket), a.admin, quoted(a.log))
	b.WriteString("Press a letter and Enter for a fault: " + faultKeys())
	if s.demo.every > 0 {
		fmt.Fprintf(&b, "\nOne of them happens by itself every %s.", s.demo.every)
	}
	return b.String() + "\n"
}

// farewell shows what was done.
func (s *serving) farewell(ctx context.Context) {
	queued := "nothing"
	if in, err := s.demo.inspect(ctx); err == nil {
		queued = thousands(int(in.Queue)) + " queued, " + plural(int(in.DeadLetters), "dead letter")
	}
	s.out.show(ctx, fmt.Sprintf("\nStopped after %s: %s; the rest was filtered or is still in the stream.",
		plural(int(s.producer.published.Load()), "event"), queued))
	s.out.show(ctx, fmt.Sprintf("The queue stays in %s.", s.demo.database))
}

// programName is what starts this program in another terminal: a name that is
// in the PATH, or its path.
func programName() string {
	if !strings.ContainsRune(os.Args[0], filepath.Separator) {
		return os.Args[0]
	}
	if path, err := filepath.Abs(os.Args[0]); err == nil {
		return path
	}
	return os.Args[0]
}

// quoted writes a text as a word of the shell.
func quoted(s string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:+@%,="
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

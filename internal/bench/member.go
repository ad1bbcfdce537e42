package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gerritstream/gerritstream/internal/daemon/config"
	"github.com/gerritstream/gerritstream/kinesistest"
)

// member is a process that runs `gerritstream run`. The embedded Kinesis knows
// it by the key that it signs with.
type member struct {
	key    string
	cmd    *exec.Cmd
	stderr bytes.Buffer  // read once it has ended
	ended  chan struct{} // closed once it is gone
}

// group are members of one store and one stream.
type group struct {
	bench   *bench
	feed    *feed
	started int
	members []*member

	mu     sync.Mutex
	listed map[string]bool      // under mu: keys of members that have listed the stream
	read   map[string]time.Time // under mu: when a member's last page was on its way
	change chan struct{}        // under mu: closed and replaced with each of these
}

const (
	groupPart   = "members"
	memberStart = 20 * time.Second       // for a member to join
	memberReads = 2 * time.Minute        // for the next leader
	joined      = 700 * time.Millisecond // for the others to learn of it
)

// newGroup starts a feed of one shard, without members.
func (b *bench) newGroup() (*group, error) {
	f, err := newFeed(kinesistest.Options{}, 1)
	if err != nil {
		return nil, err
	}
	g := &group{
		bench: b, feed: f, listed: map[string]bool{}, read: map[string]time.Time{}, change: make(chan struct{}),
	}
	for _, operation := range []string{"ListShards", "GetRecords"} {
		f.server.On(kinesistest.Hook{Operation: operation, Do: kinesistest.Observe(g.note)})
	}
	return g, nil
}

// note is shown each request.
func (g *group) note(r *kinesistest.Request, reply *kinesistest.Reply) {
	if reply.Status != http.StatusOK {
		return
	}
	_, key, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	key, _, _ = strings.Cut(key, "/")
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Operation == "ListShards" {
		g.listed[key] = true
	} else {
		g.read[key] = time.Now()
	}
	close(g.change)
	g.change = make(chan struct{})
}

// start starts a member, with nothing of this process' setup.
func (g *group) start() (*member, error) {
	c, err := g.bench.target.part(groupPart)
	if err != nil {
		return nil, err
	}
	// A process is not told a password by flags: they are seen by everybody.
	flags, environment := []string{"--store=" + c.Store.String()}, []string{}
	if p := &c.Store.Postgres; p.Address != "" {
		flags, environment = nil, []string{
			config.EnvPrefix + "STORE=postgres://" + p.Address,
			config.EnvPrefix + "POSTGRES_PASSWORD_COMMAND=" + p.PasswordCommand,
		}
	}
	g.started++
	m := &member{key: fmt.Sprintf("BENCH%d", g.started), ended: make(chan struct{})}
	args := append([]string{
		"run", "--stream=" + streamName, "--endpoint=" + g.feed.url, "--region=" + region,
		"--connection=" + c.Connection, "--start-at=trim-horizon", "--admin=off",
		"--log-level=warn", "--log-format=text",
	}, append(flags, g.bench.target.flags()...)...)
	m.cmd = exec.Command(g.bench.Program, args...) //nolint:gosec,noctx // this program; ended by stop
	m.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		return strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "GERRITSTREAM_") || name == "NO_PROXY"
	}), "AWS_ACCESS_KEY_ID="+m.key, "AWS_SECRET_ACCESS_KEY=any", "AWS_CONFIG_FILE="+os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE="+os.DevNull, "AWS_EC2_METADATA_DISABLED=true", "NO_PROXY=127.0.0.1")
	m.cmd.Env = append(m.cmd.Env, environment...)
	m.cmd.Stderr, m.cmd.SysProcAttr = &m.stderr, childAttributes()
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a member: %w", err)
	}
	go func() {
		defer close(m.ended)
		_ = m.cmd.Wait() // ProcessState tells
	}()
	g.members = append(g.members, m)
	return m, nil
}

// await waits until a condition on what was noted holds.
func (g *group) await(ctx context.Context, within time.Duration, what string, holds func() bool) error {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		g.mu.Lock()
		ok, change := holds(), g.change
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		case <-late.C:
			return fmt.Errorf("%s: not within %v%s", what, within, g.complaints())
		}
	}
}

// complaints returns what the members that have ended said last.
func (g *group) complaints() (text string) {
	for _, m := range g.members {
		select {
		case <-m.ended:
			if said := strings.TrimSpace(m.stderr.String()); said != "" {
				text += "; a member: " + said[strings.LastIndexByte(said, '\n')+1:]
			}
		default:
		}
	}
	return text
}

// complete has two members run, and returns the one that leads and the other.
func (g *group) complete(ctx context.Context) (leader, next *member, err error) {
	for len(g.members) < 2 {
		m, err := g.start()
		if err != nil {
			return nil, nil, err
		}
		if err := g.await(ctx, memberStart, "a member joins", func() bool { return g.listed[m.key] }); err != nil {
			return nil, nil, err
		}
	}
	g.mu.Lock()
	began := time.Now()
	g.mu.Unlock()
	err = g.await(ctx, memberReads, "a member leads", func() bool {
		for i, m := range g.members {
			if g.read[m.key].After(began) {
				leader, next = m, g.members[1-i]
				return true
			}
		}
		return false
	})
	if err != nil {
		return nil, nil, err
	}
	// The others know of it, and the moment is any moment of the heartbeats.
	if !sleep(ctx, nil, joined+rand.N(500*time.Millisecond)) {
		return nil, nil, ctx.Err()
	}
	return leader, next, nil
}

// replace sends the leader a signal and returns how long it takes until the
// other member has read the shard.
func (g *group) replace(ctx context.Context, signal os.Signal) (time.Duration, error) {
	leader, next, err := g.complete(ctx)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := leader.cmd.Process.Signal(signal); err != nil {
		return 0, fmt.Errorf("end a member: %w", err)
	}
	var read time.Time
	err = g.await(ctx, memberReads, "the next member reads", func() bool {
		read = g.read[next.key]
		return read.After(began)
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-leader.ended:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	g.members = slices.DeleteFunc(g.members, func(m *member) bool { return m == leader })
	return read.Sub(began), nil
}

// stop ends all members, and drops their store.
func (g *group) stop(ctx context.Context) error {
	for _, m := range g.members {
		_ = m.cmd.Process.Signal(endSignal) // it may have ended
	}
	late := time.NewTimer(closeWithin + time.Second)
	defer late.Stop()
	for _, m := range g.members {
		select {
		case <-m.ended:
		case <-late.C:
			_ = m.cmd.Process.Kill()
			<-m.ended
		}
	}
	g.feed.close()
	return g.bench.target.drop(context.WithoutCancel(ctx), groupPart)
}

func (b *bench) handOvers(ctx context.Context) error {
	return b.replacements(ctx, "hand-over", b.Handed, endSignal, bareClient.handOver)
}

func (b *bench) takeOvers(ctx context.Context) error {
	return b.replacements(ctx, "take-over", b.Taken, os.Kill, bareClient.takeOver)
}

// replacements measures a number of them, ours and the bare client's.
func (b *bench) replacements(ctx context.Context, name string, count int, signal os.Signal,
	bare func(bareClient, context.Context) (time.Duration, error), //nolint:revive // a method expression
) (err error) {
	g, err := b.newGroup()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.stop(ctx)) }()
	raw, closeRaw, err := b.newBare(ctx, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeRaw()) }()
	var ours, theirs []time.Duration
	for i := range count {
		took, err := g.replace(ctx, signal)
		if err != nil {
			return err
		}
		ours = append(ours, took)
		if took, err = bare(raw.client, ctx); err != nil {
			return err
		}
		theirs = append(theirs, took)
		b.progress("  %d of %d: %.1f ms", i+1, count, milliseconds(ours[i]))
	}
	b.add(timed(name, "1 shard, 2 processes", ours, theirs))
	return nil
}

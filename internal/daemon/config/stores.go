package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/internal/daemon/zuulconf"
	"github.com/gerritstream/gerritstream/internal/hooks"
	"github.com/gerritstream/gerritstream/pauses"
	"github.com/gerritstream/gerritstream/queue"
	"github.com/gerritstream/gerritstream/sqlite"
	"github.com/gerritstream/gerritstream/webhook"
	"github.com/gerritstream/gerritstream/zookeeper"
)

// Store is the address of a store, with the configuration of each kind. Only
// that of its own kind counts.
type Store struct {
	Kind      *StoreKind    // nil: no store is named
	SQLite    sqlite.Config // what it says of retention is PostgreSQL's as well
	Postgres  Postgres
	ZooKeeper zookeeper.Config
	TLS       zookeeper.TLS // of ZooKeeper; zero: none

	// StateHome is the user's state folder if a SQLite file lies there by
	// default; it may have to be created.
	StateHome string
}

// StoreKind is one row of the table of stores: all that differs between them
// outside of their packages.
type StoreKind struct {
	prefix string // of addresses: "sqlite:"
	form   string // of addresses, for errors

	// Reread is for people: what the queue does with events that are read
	// again.
	Reread string

	reasons []string // for dead letters, besides the general ones

	// tlsFiles are the keys of the files that together make TLS, tlsOptions
	// those of further settings of it. They contradict other stores.
	tlsFiles, tlsOptions []string

	options []string // the keys of other settings that contradict other stores

	parse   func(s *Store, address string) error // reads what follows the prefix
	address func(s *Store) string                // writes it

	// retention says how long the store keeps events, on which all processes
	// must agree. nil: until they are consumed.
	retention func(s *Store) string

	// absent reports whether opening the store would create it. nil: never.
	absent func(s *Store) bool

	// missing reports whether the server lacks the store, which run would make,
	// and returns why it could not. nil: it is made while it is opened.
	missing func(ctx context.Context, c *Config) (bool, error)

	// mayPass reports whether opening failed for a reason that may pass by
	// itself. nil: never.
	mayPass func(error) bool

	open     func(ctx context.Context, c *Config, r Runtime) (OpenStore, error)
	operator func(ctx context.Context, c *Config) (gerritstream.Operator, error)
	inspect  func(ctx context.Context, c *Config) (gerritstream.Inspection, error)

	// pauses reads the pauses in force. nil: shards cannot be paused.
	pauses func(ctx context.Context, c *Config) (pauses.Set, error)

	// queue opens the queue for a process that reads it. nil: others do that.
	queue func(ctx context.Context, c *Config, r Runtime) (OpenQueue, error)

	// reader opens the queue to look at it, without taking part in anything.
	// nil: queue is nil.
	reader func(ctx context.Context, c *Config) (QueueReader, error)

	consumedBy string // who reads the queue if queue is nil

	// readers says for people who reads the queue. It is an error if nobody
	// ever will.
	readers func(ctx context.Context, c *Config) (string, error)
}

// Runtime is what a store needs besides its settings.
type Runtime struct {
	Process string
	Logger  *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// OpenStore is a store with its end.
type OpenStore interface {
	gerritstream.Store
	Close(ctx context.Context) error
}

// OpenQueue is a queue with its end.
type OpenQueue interface {
	webhook.Store
	Close(ctx context.Context) error
}

// QueueReader is a queue to look at. Its methods are those of sqlite.Reader and
// of postgres.Reader.
type QueueReader interface {
	Events(ctx context.Context, after int64) iter.Seq2[queue.Event, error]
	Follow(ctx context.Context, after int64) iter.Seq2[queue.Event, error]
	Since(ctx context.Context, t time.Time) (int64, error)
	Last(ctx context.Context, count int, m queue.Matcher) (int64, error)
	Extent(ctx context.Context) (queue.Extent, error)
	Number(ctx context.Context, id gerritstream.EventID) (int64, error)
	FirstArrival(ctx context.Context, after, upTo int64, from time.Time) (time.Time, error)
	Consumers(ctx context.Context) ([]queue.Info, error)
	HookStates(ctx context.Context) ([]webhook.State, error)
	Close(ctx context.Context) error
}

const zookeeperPrefix = "zookeeper://"

// stores is the table of stores. It is never written to.
var stores = []*StoreKind{
	{
		prefix: "sqlite:",
		form:   "sqlite:PATH",
		Reread: "Events that the queue still holds are not queued again; those it has already removed are.",
		parse: func(s *Store, address string) error {
			if s.SQLite.Path, s.StateHome = address, ""; address == "" {
				return errors.New("sqlite: needs the path of a file: sqlite:/var/lib/gerritstream/gerrit.db")
			}
			return nil
		},
		address: func(s *Store) string { return s.SQLite.Path },
		retention: func(s *Store) string {
			c := &s.SQLite
			return fmt.Sprint(c.Retention, ", ", c.RetentionMax, ", ", c.RetentionMaxBytes)
		},
		absent: func(s *Store) bool {
			_, err := os.Stat(s.SQLite.Path)
			return errors.Is(err, fs.ErrNotExist)
		},
		open: func(ctx context.Context, c *Config, r Runtime) (OpenStore, error) {
			if home := c.Store.StateHome; home != "" {
				if err := os.MkdirAll(home, 0o700); err != nil {
					return nil, fmt.Errorf("create the user's state folder: %w", err)
				}
			}
			s := c.Store.SQLite
			s.Process, s.Logger, s.Now = r.Process, r.Logger, r.Now
			return sqlite.Open(ctx, s)
		},
		operator: func(ctx context.Context, c *Config) (gerritstream.Operator, error) {
			return sqlite.OpenOperator(ctx, c.Store.SQLite.Path)
		},
		inspect: func(ctx context.Context, c *Config) (gerritstream.Inspection, error) {
			return sqlite.Inspect(ctx, c.Store.SQLite.Path)
		},
		pauses: func(ctx context.Context, c *Config) (pauses.Set, error) {
			r, err := sqlite.OpenReader(ctx, c.Store.SQLite.Path)
			if err != nil {
				return nil, err
			}
			set, err := r.Pauses(ctx)
			return set, errors.Join(err, r.Close(ctx))
		},
		queue: func(ctx context.Context, c *Config, r Runtime) (OpenQueue, error) {
			s := c.Store.SQLite
			s.Process, s.Logger, s.Now = r.Process, r.Logger, r.Now
			return sqlite.OpenQueue(ctx, s)
		},
		reader: func(ctx context.Context, c *Config) (QueueReader, error) {
			return sqlite.OpenReader(ctx, c.Store.SQLite.Path)
		},
		readers: consumersOf,
	},
	postgresKind,
	{
		prefix:  zookeeperPrefix,
		form:    "zookeeper://HOST:PORT,HOST:PORT/CHROOT",
		Reread:  "Zuul's queue does not recognise duplicates: Zuul handles each of these events again.",
		reasons: []string{zookeeper.ReasonTooLarge},

		tlsFiles:   []string{"zookeeper.tls.cert", "zookeeper.tls.key", "zookeeper.tls.ca"},
		tlsOptions: []string{"zookeeper.tls.verify_hostname"},

		parse: func(s *Store, address string) (err error) {
			s.ZooKeeper.Hosts, s.ZooKeeper.Chroot, err = zuulconf.SplitHosts(address)
			return err
		},
		address: func(s *Store) string { return strings.Join(s.ZooKeeper.Hosts, ",") + s.ZooKeeper.Chroot },
		open: func(ctx context.Context, c *Config, r Runtime) (OpenStore, error) {
			zk := zooKeeper(c)
			zk.Process, zk.Logger, zk.Now = r.Process, r.Logger, r.Now
			return zookeeper.Open(ctx, zk)
		},
		operator: func(ctx context.Context, c *Config) (gerritstream.Operator, error) {
			return zookeeper.OpenOperator(ctx, zooKeeper(c))
		},
		inspect: func(ctx context.Context, c *Config) (gerritstream.Inspection, error) {
			return zookeeper.Inspect(ctx, zooKeeper(c))
		},
		pauses: func(ctx context.Context, c *Config) (pauses.Set, error) {
			s, err := zookeeper.Open(ctx, zooKeeper(c))
			if err != nil {
				return nil, err
			}
			set, err := s.Pauses(ctx)
			return set, errors.Join(err, s.Close(ctx))
		},
		consumedBy: "Zuul",
		readers: func(ctx context.Context, c *Config) (string, error) {
			n, err := zookeeper.Schedulers(ctx, zooKeeper(c))
			if err == nil && n == 0 {
				err = errors.New("no scheduler of Zuul is registered, so nobody reads the queue; " +
					"start one, or correct the chroot")
			}
			return fmt.Sprintf("schedulers of Zuul: %d", n), err
		},
	},
}

// zooKeeper completes the configuration of a ZooKeeper store.
func zooKeeper(c *Config) zookeeper.Config {
	zk := c.Store.ZooKeeper
	zk.Connection = c.Connection
	if tls := c.Store.TLS; tls.CA != "" {
		zk.TLS = &tls
	}
	return zk
}

// MayPass reports whether OpenStore failed for a reason that may pass by
// itself, such as a server that is being restarted.
func (s *Store) MayPass(err error) bool { return s.Kind.mayPass != nil && s.Kind.mayPass(err) }

// OpenStore opens the store to read a stream into it. Who opened it closes it.
func (c *Config) OpenStore(ctx context.Context, r Runtime) (OpenStore, error) {
	return c.Store.Kind.open(ctx, c, r)
}

// QueueLimit returns how many events the queue may hold before reading waits;
// 0: any number.
func (s *Store) QueueLimit() int64 {
	switch {
	case !strings.HasPrefix(s.String(), zookeeperPrefix), s.ZooKeeper.QueueLimit < 0:
		return 0
	case s.ZooKeeper.QueueLimit == 0:
		return zookeeper.DefaultQueueLimit
	}
	return int64(s.ZooKeeper.QueueLimit)
}

// OpenOperator opens the store for an operator, who closes it.
func (c *Config) OpenOperator(ctx context.Context) (gerritstream.Operator, error) {
	return c.Store.Kind.operator(ctx, c)
}

// Inspect looks at the store without taking part in anything.
func (c *Config) Inspect(ctx context.Context) (gerritstream.Inspection, error) {
	return c.Store.Kind.inspect(ctx, c)
}

// Pauses returns the pauses in force, without taking part in anything; none
// where shards cannot be paused.
func (c *Config) Pauses(ctx context.Context) (pauses.Set, error) {
	if c.Store.Kind.pauses == nil {
		return nil, nil
	}
	return c.Store.Kind.pauses(ctx, c)
}

// Consumers returns the consumers of the store's queue, and what is known of
// webhooks, without taking part in anything; none where another program reads
// it.
func (c *Config) Consumers(ctx context.Context) (known hooks.Known, err error) {
	known.Receivers = c.Receivers()
	if c.Store.Kind.reader == nil {
		return known, nil
	}
	r, err := c.Store.Kind.reader(ctx, c)
	if err != nil {
		return known, err
	}
	if known.Consumers, err = r.Consumers(ctx); err == nil {
		known.States, err = r.HookStates(ctx)
	}
	return known, errors.Join(err, r.Close(ctx))
}

// QueueReaders says for people who reads the store's queue.
func (c *Config) QueueReaders(ctx context.Context) (string, error) {
	return c.Store.Kind.readers(ctx, c)
}

// consumersOf is readers for a store with consumers.
func consumersOf(ctx context.Context, c *Config) (string, error) {
	known, err := c.Consumers(ctx)
	if err != nil {
		return "", err
	}
	texts := make([]string, len(known.Consumers))
	var faults []error
	for i := range known.Consumers {
		info := &known.Consumers[i]
		texts[i] = info.Name + " (nobody reads now)"
		if info.Reader != "" {
			texts[i] = info.Name + " (" + info.Reader + ")"
		}
		if info.Fault != "" {
			faults = append(faults, fmt.Errorf("consumer %s: %s", info.Name, info.Fault))
		}
	}
	if len(texts) == 0 {
		return "no consumers yet: queue read makes one, a webhook has one, and your own SQL needs none", nil
	}
	return "consumers: " + strings.Join(texts, ", "), errors.Join(faults...)
}

// OpenQueueReader opens the queue of a store to look at it, without taking part
// in anything. Who opened it closes it. ErrForeignQueue.
func (c *Config) OpenQueueReader(ctx context.Context) (QueueReader, error) {
	if err := c.CheckQueue(); err != nil {
		return nil, err
	}
	return c.Store.Kind.reader(ctx, c)
}

// CheckQueue returns ErrForeignQueue if another program reads the store's
// queue.
func (c *Config) CheckQueue() error {
	if c.Store.Kind.reader != nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s consumes it; consumers need a store such as %s",
		&c.Store, ErrForeignQueue, c.Store.Kind.consumedBy, stores[0].form)
}

// ErrForeignQueue says that another program reads the store's queue.
var ErrForeignQueue = errors.New("the queue has a reader of its own")

// OpenQueue opens the queue of a store for a process that reads it. Who opened
// it closes it. ErrForeignQueue.
func (c *Config) OpenQueue(ctx context.Context, r Runtime) (OpenQueue, error) {
	if err := c.CheckQueue(); err != nil {
		return nil, err
	}
	return c.Store.Kind.queue(ctx, c, r)
}

// StoreReasons returns the reasons for dead letters that only certain stores
// know.
func StoreReasons() (all []string) {
	for _, kind := range stores {
		all = append(all, kind.reasons...)
	}
	return all
}

// Absent reports whether opening the store would create it.
func (s *Store) Absent() bool { return s.Kind.absent != nil && s.Kind.absent(s) }

// Remote reports whether the store is a service, which may be away for a while.
func (s *Store) Remote() bool { return s.Kind.absent == nil }

// Missing reports whether the store's server lacks the store, and returns an
// error where opening it could not make it.
func (c *Config) Missing(ctx context.Context) (bool, error) {
	if c.Store.Kind.missing == nil {
		return false, nil
	}
	return c.Store.Kind.missing(ctx, c)
}

// CheckAbsent returns why opening a store that is absent could not create it.
func (s *Store) CheckAbsent() error {
	folder := filepath.Dir(s.SQLite.Path)
	if s.StateHome != "" {
		folder = s.StateHome
	}
	for missing := 0; ; missing++ { // of a path one folder is created, of the user's state folder all
		_, err := os.Stat(folder)
		switch {
		case err == nil:
			return canWrite(folder)
		case !errors.Is(err, fs.ErrNotExist) || folder == filepath.Dir(folder):
			return fmt.Errorf("look for its folder: %w", err)
		case missing > 0 && s.StateHome == "":
			return fmt.Errorf("%s does not exist: create it, or mount the volume", folder)
		}
		folder = filepath.Dir(folder)
	}
}

// canWrite makes a file in a folder, and removes it.
func canWrite(folder string) error {
	f, err := os.CreateTemp(folder, ".gerritstream-check-")
	if err != nil {
		return fmt.Errorf("write to %s: %w", folder, errors.Unwrap(err)) // without the file's name
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Set reads a store's address: the value of the setting. Its error may join
// several.
func (s *Store) Set(address string) error {
	s.Kind = nil
	if rest, ok := strings.CutPrefix(address, "postgresql://"); ok { // libpq takes both
		address = postgresPrefix + rest
	}
	forms := make([]string, len(stores))
	for i, kind := range stores {
		forms[i] = kind.form
		rest, ok := strings.CutPrefix(address, kind.prefix)
		if !ok {
			continue
		}
		if err := kind.parse(s, rest); err != nil {
			return err
		}
		s.Kind = kind
		return nil
	}
	return fmt.Errorf("%q is not a store; use %s", redactURL(address), orList(forms))
}

// String returns the address; "": no store is named.
func (s *Store) String() string {
	if s.Kind == nil {
		return ""
	}
	return s.Kind.prefix + s.Kind.address(s)
}

// checkStore looks at how the settings of stores go together, and with the
// store that is used.
func (l *loader) checkStore() {
	store := &l.config.Store
	l.config.exposed = store.Kind == postgresKind && l.place("store").Name == "--store" &&
		store.String() != postgresPrefix+store.Postgres.Address
	for _, kind := range stores {
		switch {
		case store.Kind == nil: // which is a fault already
		case store.Kind == kind:
			l.checkTLS(kind)
		default:
			for _, key := range slices.Concat(kind.tlsFiles, kind.tlsOptions, kind.options) {
				if at := l.place(key); at != (Place{}) {
					l.faults.add(at, key, "given, but the store is %s; the setting is for %s", store, kind.form)
				}
			}
		}
	}
}

// checkTLS looks for what is missing: both sides identify themselves, or there
// is no TLS.
func (l *loader) checkTLS(kind *StoreKind) {
	var given, missing []string
	for _, key := range kind.tlsFiles {
		if l.show(key) != "" {
			given = append(given, key)
		} else {
			missing = append(missing, key)
		}
	}
	if len(given) > 0 && len(missing) > 0 {
		l.faults.add(l.place(given[0]), given[0], "given without %s; TLS needs all of %s",
			strings.Join(missing, " and "), strings.Join(kind.tlsFiles, ", "))
	}
	for _, key := range kind.tlsOptions {
		if len(given) == 0 && l.show(key) == "true" {
			l.faults.add(l.place(key), key, "given without TLS; also give %s", strings.Join(kind.tlsFiles, ", "))
		}
	}
	l.checkReadable(kind.tlsFiles...)
}

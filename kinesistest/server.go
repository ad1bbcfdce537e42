package kinesistest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// Options configure a Server. The zero value is a region like AWS', except that
// changes take effect at once.
type Options struct {
	Region  string // default "us-east-1"
	Account string // twelve digits; default "000000000000"

	// NoLimits turns off the rates, the ShardLimit and the steps of
	// UpdateShardCount. The sizes of pages, records and requests stay limited.
	NoLimits bool

	// ShardLimit is how many open shards the account may have, 10,000 at most;
	// 0 means 1000.
	ShardLimit int

	// CreateDelay, UpdateDelay and DeleteDelay are how long a stream stays
	// CREATING, UPDATING and DELETING. A change of shards takes place at the
	// end of its UPDATING. Zero: at once.
	CreateDelay, UpdateDelay, DeleteDelay time.Duration

	// ScanSpan, if not zero, is how much arrival time one GetRecords scans for
	// a record. As at AWS, a reader whose next record or whose tip is further
	// away reads empty pages with MillisBehindLatest above zero before.
	ScanSpan time.Duration

	// EmptyLastPage ends a closed shard with a page without records. Otherwise
	// the page of the last records is the last one.
	EmptyLastPage bool
}

// Server is the embedded Kinesis. Its methods may be called by several
// goroutines at once.
type Server struct {
	opts       Options
	operations map[string]operation
	seal       cipher.AEAD // of iterators and page tokens
	hooks      hooks

	mu      sync.Mutex
	offset  time.Duration         // under mu: of the service's clock
	streams map[string]*stream    // under mu: by name
	created map[string]int64      // under mu: by name, when the last such stream was created, in ms
	calls   map[string]*callMeter // under mu: by operation and stream
}

// New returns a server without streams. It starts nothing and needs no closing.
func New(opts Options) *Server {
	if opts.Region == "" {
		opts.Region = "us-east-1"
	}
	if opts.Account == "" {
		opts.Account = "000000000000"
	}
	if opts.ShardLimit == 0 {
		opts.ShardLimit = 1000
	}
	// No step can fail: crypto/rand never does, and AES accepts the key's
	// length.
	var key [32]byte
	_, _ = rand.Read(key[:])
	block, _ := aes.NewCipher(key[:])
	seal, _ := cipher.NewGCMWithRandomNonce(block)
	return &Server{
		opts:       opts,
		operations: operations(),
		seal:       seal,
		streams:    map[string]*stream{},
		created:    map[string]int64{},
		calls:      map[string]*callMeter{},
	}
}

// AdvanceClock moves the service's clock by d, for tests of retention, expiry
// and skew outside a bubble. It then goes on with the real clock, or with the
// bubble's.
func (s *Server) AdvanceClock(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// Now returns the service's time, to the millisecond.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Server) now() time.Time {
	return time.Now().Add(s.offset).UTC().Truncate(time.Millisecond)
}

// Transport returns a transport to the server without a network. Each request
// is answered in the goroutine that makes it; a request whose context ends
// while a hook delays it fails with the context's error.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

func (s *Server) arn(name string) string {
	return fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", s.opts.Region, s.opts.Account, name)
}

// settle brings all streams up to date and returns the time: it applies the
// changes that are due, and removes the shards past retention. mu is held.
func (s *Server) settle() time.Time {
	now := s.now()
	for _, st := range s.streams {
		if st.pending != nil && !now.Before(st.pending.due) {
			change := st.pending
			st.pending = nil
			change.apply(change.due)
		}
		st.trimShards(now)
	}
	return now
}

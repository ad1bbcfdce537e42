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

// Options shape a Server. The zero value is a region like AWS', whose changes
// take effect at once.
type Options struct {
	Region  string // default "us-east-1"
	Account string // twelve digits; default "000000000000"

	// NoLimits switches the rates off: reads, writes and calls a second, bytes
	// a second, the ShardLimit, the steps of UpdateShardCount. The sizes of
	// pages, records and requests stay limited.
	NoLimits bool

	// ShardLimit is how many open shards the account may have, 10,000 at most;
	// 0 means 1000.
	ShardLimit int

	// CreateDelay, UpdateDelay and DeleteDelay are how long a stream stays
	// CREATING, UPDATING and DELETING. A change of shards takes place at the
	// end of its UPDATING. Zero: at once.
	CreateDelay, UpdateDelay, DeleteDelay time.Duration

	// ScanSpan, if not zero, is how much arrival time one GetRecords looks
	// through for a record: a reader whose next record, or whose tip, is
	// further away walks there over empty pages with MillisBehindLatest above
	// zero, as it does at AWS.
	ScanSpan time.Duration

	// EmptyLastPage makes the last page of a closed shard one of its own,
	// without records. Otherwise the last records come with it.
	EmptyLastPage bool
}

// Server is the embedded Kinesis. All its methods may be called by several
// goroutines at once.
type Server struct {
	opts       Options
	operations map[string]operation
	seal       cipher.AEAD // of iterators and page tokens
	hooks      hooks

	mu      sync.Mutex
	offset  time.Duration         // under mu: of the service's clock
	streams map[string]*stream    // under mu: by name
	born    map[string]int64      // under mu: when a stream of that name was made last, in ms
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
	return &Server{
		opts:       opts,
		operations: operations(),
		seal:       newSeal(),
		streams:    map[string]*stream{},
		born:       map[string]int64{},
		calls:      map[string]*callMeter{},
	}
}

// newSeal returns a cipher under a key of its own. Neither step can fail:
// crypto/rand does not, and the key has a length AES takes.
func newSeal() cipher.AEAD {
	var key [32]byte
	_, _ = rand.Read(key[:])
	block, _ := aes.NewCipher(key[:])
	seal, _ := cipher.NewGCMWithRandomNonce(block)
	return seal
}

// AdvanceClock moves the service's clock by d from where it is: for tests of
// retention, expiry and skew outside a bubble. It goes on from there with the
// real clock, or with the bubble's.
func (s *Server) AdvanceClock(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset += d
}

// Now is the service's clock, to the millisecond.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

func (s *Server) now() time.Time {
	return time.Now().Add(s.offset).UTC().Truncate(time.Millisecond)
}

// Transport returns the way to the server without a network. Each request is
// answered in the goroutine that makes it; a request whose context ends while a
// hook delays it fails with the context's error.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

func (s *Server) arn(name string) string {
	return fmt.Sprintf("arn:aws:kinesis:%s:%s:stream/%s", s.opts.Region, s.opts.Account, name)
}

// settle brings a stream up to date: changes whose time has come take place,
// what is past retention goes. mu is held.
func (s *Server) settle(st *stream, now time.Time) {
	if st.pending != nil && !now.Before(st.pending.due) {
		change := st.pending
		st.pending = nil
		change.apply(change.due)
	}
	st.trimShards(now)
}

// settleAll is settle for every stream. mu is held.
func (s *Server) settleAll(now time.Time) {
	for _, st := range s.streams {
		s.settle(st, now)
	}
}

package consumer_test

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	gs "github.com/gerritstream/gerritstream"
	"github.com/gerritstream/gerritstream/consumer"
	"github.com/gerritstream/gerritstream/kinesistest"
	"github.com/gerritstream/gerritstream/storetest"
)

// troubles are faults of any request that mean nothing for a position, by kind.
var troubles = map[string][]kinesistest.Action{
	"throttling": {
		kinesistest.Fail("ProvisionedThroughputExceededException", "Rate exceeded for shard", 0),
		kinesistest.Fail("LimitExceededException", "Rate exceeded for stream", 0),
		kinesistest.Fail("", "", http.StatusTooManyRequests),
		kinesistest.Fail("KMSThrottlingException", "slow down", 0),
	},
	"the service": {
		kinesistest.Fail("InternalFailure", "", http.StatusInternalServerError),
		kinesistest.Fail("ServiceUnavailable", "", http.StatusServiceUnavailable),
		kinesistest.Fail("SurpriseException", "boo", 0),
	},
	"the network": {kinesistest.CutRequest, kinesistest.CutReply, kinesistest.CutBody(20),
		kinesistest.Delay(time.Hour)},
	"permission": {
		kinesistest.Fail("AccessDeniedException", "User: u is not authorized to perform: kinesis:X", 0),
		kinesistest.Fail("UnrecognizedClientException", "The security token is invalid", 0),
		kinesistest.Fail("ExpiredTokenException", "expired", 0),
	},
	"KMS": {
		kinesistest.Fail("KMSAccessDeniedException", "not authorized to decrypt", 0),
		kinesistest.Fail("KMSDisabledException", "disabled", 0),
		kinesistest.Fail("KMSInvalidStateException", "pending deletion", 0),
		kinesistest.Fail("KMSNotFoundException", "no key", 0),
		kinesistest.Fail("KMSOptInRequired", "not subscribed", 0),
	},
}

// Throttling, faults of the network and of the service, missing permissions and
// every KMS error, at each moment of a shard's life, for each start and the
// boldest policy for bad checkpoints: nothing is reported lost, missed or
// queued twice, and no position jumps.
func TestNothingJumpsWhateverTheTrouble(t *testing.T) {
	for start, startAt := range map[string]gs.StartingPosition{
		"latest": {}, "trim horizon": {TrimHorizon: true},
		"a time": {Time: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)},
	} {
		for kind, trouble := range troubles {
			t.Run(start+"/"+kind, func(t *testing.T) {
				atTheTip(t, func(_ *testing.T, k *kinesisCluster) {
					(&outage{kinesisCluster: k, startAt: startAt, troubles: trouble}).all()
				})
			})
		}
	}
}

// outage leads processes through all troubles of a kind, at one moment after
// the other.
type outage struct {
	*kinesisCluster
	startAt  gs.StartingPosition
	troubles []kinesistest.Action
	p        *process
	from     int           // index in sent of the first record to be queued
	before   []gs.Position // committed by processes that have ended
}

const (
	outageFor   = 15 * time.Second
	recoversFor = 45 * time.Second // more than any back-off
)

var listing = []string{"DescribeStreamSummary", "ListShards"}

func (o *outage) all() {
	o.put(s0, "before all")
	time.Sleep(time.Hour)
	o.birth()
	o.middle()
	o.resume("resuming after a record", time.Minute)
	time.Sleep(6 * time.Minute)
	o.resume("resuming by the time at which all was handled", time.Hour)
	o.end()
	o.judge()
}

// birth: the first listing fails, and later the one by which the shard is
// anchored.
func (o *outage) birth() {
	first := o.begin(listing...)
	o.run()
	o.hold(first, "before it began")
	if o.startAt == (gs.StartingPosition{}) {
		o.from = len(o.sent)
	}
	if in, err := o.memory.Inspect(); err != nil || in.Origin != nil || len(in.Shards) != 0 {
		o.t.Fatalf("something was decided without a listing: %+v, %v", in, err)
	}
	anchoring := make(chan *hitch, 1)
	o.memory.SetHook(func(w storetest.Write) storetest.Fault {
		if w.Point == storetest.PointCampaign && len(anchoring) == 0 {
			anchoring <- o.begin(listing...)
		}
		return storetest.NoFault
	})
	first.remove()
	o.runAgain()
	second := <-anchoring
	o.memory.SetHook(nil)
	o.hold(second, "anchoring")
	if p, ok := o.memory.Position(0, s0); ok {
		o.t.Errorf("anchored at %+v without a listing", p)
	}
	seek := o.begin("GetShardIterator")
	second.remove()
	o.hold(seek, "starting: seek")
	o.read(seek, "starting")
}

// middle: a page fails; then an iterator has expired, and there is no other.
func (o *outage) middle() {
	read := o.begin("GetRecords")
	o.hold(read, "reading: read")
	read.remove()
	o.recover("reading")
	seek := o.begin("GetShardIterator")
	o.server.On(kinesistest.Hook{Operation: "GetRecords", Times: 1,
		Do: kinesistest.Fail("ExpiredIteratorException", "Iterator expired.", 0)})
	o.hold(seek, "reading: seek")
	seek.remove()
	o.recover("seeking again")
}

// resume has another process take over after a while, which at first can
// neither list nor seek nor read.
func (o *outage) resume(moment string, after time.Duration) {
	o.end()
	o.put(s0, moment+", meanwhile")
	time.Sleep(after)
	list := o.begin(listing...)
	o.run()
	o.hold(list, moment+": list")
	seek := o.begin("GetShardIterator")
	list.remove()
	o.runAgain()
	o.hold(seek, moment+": seek")
	o.read(seek, moment)
}

// read: an iterator is found at last, and the first page fails.
func (o *outage) read(seek *hitch, moment string) {
	o.t.Helper()
	read := o.begin("GetRecords")
	seek.remove()
	o.hold(read, moment+": read")
	read.remove()
	o.recover(moment)
}

// hitch is a trouble that lasts.
type hitch struct {
	operations []string
	met        atomic.Int32 // requests
	remove     func()
}

// begin makes all requests of these operations fail, each by the next trouble
// of the kind.
func (o *outage) begin(operations ...string) *hitch {
	s := &hitch{operations: operations}
	s.remove = o.server.On(kinesistest.Hook{
		Match: func(r *kinesistest.Request) bool { return slices.Contains(operations, r.Operation) },
		Do: func(next kinesistest.Handler) kinesistest.Handler {
			n := int(s.met.Add(1))
			return o.troubles[n%len(o.troubles)](next)
		},
	})
	return s
}

// hold lets a hitch last until each trouble of the kind has occurred, with
// records put meanwhile.
func (o *outage) hold(s *hitch, moment string) {
	o.t.Helper()
	o.put(s0, moment+", 1")
	for range 300 {
		if int(s.met.Load()) >= len(o.troubles) {
			break
		}
		o.runAgain()
		time.Sleep(time.Second)
	}
	o.put(s0, moment+", 2")
	time.Sleep(outageFor)
	if n := s.met.Load(); int(n) < len(o.troubles) {
		o.t.Fatalf("%s: %d requests for %s came\n%s", moment, n, s.operations, o.p.log)
	}
}

// recover lets the process go on, and checks the queue.
func (o *outage) recover(moment string) {
	o.t.Helper()
	o.put(s0, moment+", after")
	time.Sleep(recoversFor)
	if got, want := o.queued(), o.payloads()[o.from:]; !slices.Equal(got, want) {
		o.t.Fatalf("%s: queued %q, want %q\n%s", moment, got, want, o.p.log)
	}
}

func (o *outage) run() {
	o.p = o.start(func(c *consumer.Config) { c.StartAt, c.OnBadCheckpoint = o.startAt, consumer.BadCheckpointLatest })
}

// runAgain restarts a process that has ended because it may not list, as its
// supervisor would.
func (o *outage) runAgain() {
	o.t.Helper()
	select {
	case <-o.p.done:
		if !errors.Is(o.p.err, gs.ErrDenied) {
			o.t.Fatalf("run: %v", o.p.err)
		}
		o.run()
	default:
	}
}

// end ends the process, checks its reports, and keeps what it committed.
func (o *outage) end() {
	o.t.Helper()
	o.p.end()
	o.wantLoss(o.p, "", nil)
	if slices.ContainsFunc(o.p.ended, func(err error) bool { return err != nil }) {
		o.t.Errorf("a leadership was lost: %v", o.p.ended)
	}
	o.before = append(o.before, o.p.positions...)
}

// judge checks every position that was committed: each is after the one before,
// and the first is where the stream was to begin.
func (o *outage) judge() {
	o.t.Helper()
	in, err := o.memory.Inspect()
	if err != nil || len(o.before) == 0 || o.before[0].From != in.Origin.From || o.before[0].After != "" {
		o.t.Fatalf("begun at %+v, %v; committed %+v", in.Origin, err, o.before)
	}
	for i := 1; i < len(o.before); i++ {
		was, is := &o.before[i-1], &o.before[i]
		if is.After.Compare(was.After) < 0 || is.HandledUntil().Before(was.HandledUntil()) || len(is.Lost) > 0 ||
			is.After == "" && is.From != was.From {
			o.t.Errorf("a jump: %+v, then %+v", was, is)
		}
	}
}

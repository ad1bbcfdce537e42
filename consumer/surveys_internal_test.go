package consumer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

// A survey lists, then reads positions. One that is in progress when a term is
// won may have done both before: the term gets the next one, with all who asked
// meanwhile.
func TestATermSharesNoSurveyThatBeganBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurveys()
		made := 0
		look := func(context.Context) survey {
			made++
			began := time.Now()
			time.Sleep(time.Second)
			return survey{listing: gerritstream.Listing{Now: began}}
		}
		type got struct {
			survey
			asked time.Time
			err   error
		}
		const terms = 50
		answers := make(chan got)
		// The first makes a survey alone; the others ask while it, and the next
		// one, are in progress.
		for i := range terms {
			go func() {
				time.Sleep(time.Duration(i) * 30 * time.Millisecond)
				asked := time.Now()
				seen, err := s.next(t.Context(), 0, look)
				answers <- got{seen, asked, err}
			}()
		}
		for range terms {
			a := <-answers
			if a.err != nil || a.survey.err != nil || a.listing.Now.Before(a.asked) {
				t.Errorf("asked at %v, a survey that began at %v; %v, %v", a.asked, a.listing.Now, a.err, a.survey.err)
			}
		}
		if made != 3 {
			t.Errorf("%d surveys, want 3: one for the first, and two for those who asked meanwhile", made)
		}
		if seen, err := s.next(t.Context(), 1, look); err != nil || made != 4 || seen.epoch != 1 {
			t.Errorf("a term of another epoch got a survey of epoch %d, the one numbered %d of %d; %v", seen.epoch,
				seen.number, made, err)
		}
	})
}

// A term that ends while it makes a survey leaves that to the others. A survey
// that fails fails for all who share it, and the next one is made later and
// later.
func TestSurveysThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSurveys()
		broken := errors.New("no route")
		made := 0
		look := func(ctx context.Context) survey {
			made++
			if made == 1 {
				<-ctx.Done()
				return survey{err: ctx.Err()}
			}
			return survey{err: broken}
		}
		ended, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		first := make(chan error)
		go func() {
			_, err := s.next(ended, 0, look)
			first <- err
		}()
		synctest.Wait()
		second := make(chan survey)
		go func() {
			seen, err := s.next(t.Context(), 0, look)
			if err != nil {
				t.Error(err)
			}
			second <- seen
		}()
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a term that has ended got %v", err)
		}
		if seen := <-second; !errors.Is(seen.err, broken) || seen.number != 2 {
			t.Errorf("the other one got %+v", seen)
		}
		began := time.Now()
		for range 10 {
			if seen, err := s.next(t.Context(), 0, look); err != nil || !errors.Is(seen.err, broken) {
				t.Errorf("a survey that failed: %+v, %v", seen, err)
			}
		}
		if took := time.Since(began); took < 30*time.Second || took > 2*time.Minute {
			t.Errorf("ten failures took %v", took)
		}
	})
}

package storekit

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gerritstream/gerritstream"
)

func TestInterceptWrapsEachWrite(t *testing.T) {
	wrote, failed := 0, errors.New("failed")
	write := func() error { wrote++; return nil }
	if err := Intercept(nil).Write(PointCommit, write); err != nil || wrote != 1 {
		t.Errorf("without an intercept: %v, %d writes", err, wrote)
	}
	refuse := Intercept(func(p Point, _ func() error) error {
		if p != PointResign {
			t.Errorf("intercepted at %q", p)
		}
		return failed
	})
	if err := refuse.Write(PointResign, write); !errors.Is(err, failed) || wrote != 1 {
		t.Errorf("with an intercept: %v, %d writes", err, wrote)
	}
}

func TestSignalWakesOnce(t *testing.T) {
	s := NewSignal()
	s.Set()
	s.Set()
	<-s
	select {
	case <-s:
		t.Error("woken twice")
	default:
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if !Sleep(ctx, 400*time.Millisecond) || time.Since(began) != 400*time.Millisecond {
			t.Errorf("slept %v", time.Since(began))
		}
		if Sleep(ctx, time.Hour) || time.Since(began) != time.Second {
			t.Errorf("returned after %v", time.Since(began))
		}
	})
}

// The number of dead letters and the bytes of their payloads are bounded, and a
// small one fits where a large one did not.
func TestDeadLetterRoom(t *testing.T) {
	var room DeadLetterRoom
	for range gerritstream.MaxDeadLetters {
		if !room.Admit(&gerritstream.DeadLetter{}) {
			t.Fatalf("no room beside %+v", room)
		}
	}
	if room.Admit(&gerritstream.DeadLetter{}) {
		t.Errorf("admitted beyond the number: %+v", room)
	}
	room = DeadLetterRoom{Held: 1, Bytes: gerritstream.MaxDeadLetterStorage - 2}
	for _, tt := range []struct {
		bytes int
		want  bool
	}{{3, false}, {2, true}, {1, false}, {0, true}} {
		if got := room.Admit(&gerritstream.DeadLetter{Payload: make([]byte, tt.bytes)}); got != tt.want {
			t.Errorf("%d bytes: %v, want %v", tt.bytes, got, tt.want)
		}
	}
}

func TestSetPayloadClips(t *testing.T) {
	record := make([]byte, gerritstream.MaxDeadLetterBytes+1)
	var d gerritstream.DeadLetter
	SetPayload(&d, record)
	if len(d.Payload) != len(record)-1 || d.Length != len(record) || d.SHA256 != sha256.Sum256(record) {
		t.Errorf("payload of %d bytes, length %d", len(d.Payload), d.Length)
	}
	SetPayload(&d, record[:3])
	if len(d.Payload) != 3 || d.Length != 3 || d.SHA256 != sha256.Sum256(record[:3]) {
		t.Errorf("payload of %d bytes, length %d", len(d.Payload), d.Length)
	}
}

func TestDamagedMembersAreMembers(t *testing.T) {
	m := DecodeMember("a", []byte(`{"host":"h","readable":true}`))
	if m.ID != "a" || m.Damaged != nil || m.Info.Host != "h" || !m.Info.Readable {
		t.Errorf("decoded %+v", m)
	}
	m = DecodeMember("a", []byte(`{"host":"h","readable":1}`))
	if m.ID != "a" || m.Damaged == nil || m.Info.Host != "" {
		t.Errorf("decoded %+v", m)
	}
}

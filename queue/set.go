package queue

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
)

// Set is a set of event numbers: all up to one, and ranges beyond it. The zero
// Set is empty.
type Set struct {
	UpTo   int64
	Beyond []Range // ascending; no two touch, and the first does not touch UpTo
}

// Range is the numbers from First to Last. As JSON it is a list of both.
type Range struct{ First, Last int64 }

// MaxRanges is how many ranges a Set that is stored may have at most.
const MaxRanges = 10_000

// ErrScattered says that the events acknowledged lie in more than MaxRanges
// ranges. Acknowledge older events first. A program that never has more than
// MaxRanges events that were read and not acknowledged does not see it.
var ErrScattered = errors.New("too many ranges of events are acknowledged beyond one that is not")

// Has reports whether a number is in the set.
func (s Set) Has(number int64) bool {
	if number <= s.UpTo {
		return true
	}
	i := endingFrom(s.Beyond, number)
	return i < len(s.Beyond) && s.Beyond[i].First <= number
}

// Last returns the greatest number in the set.
func (s Set) Last() int64 {
	if n := len(s.Beyond); n > 0 {
		return s.Beyond[n-1].Last
	}
	return s.UpTo
}

// With returns the set with the numbers from first to last added. It may use
// the memory of s.Beyond.
func (s Set) With(first, last int64) Set {
	if first <= last && last > s.UpTo {
		s.Beyond = addRange(s.Beyond, Range{first, last})
	}
	for len(s.Beyond) > 0 && s.Beyond[0].First <= s.UpTo+1 {
		s.UpTo = max(s.UpTo, s.Beyond[0].Last)
		s.Beyond = s.Beyond[1:]
	}
	return s
}

// Union returns a set with the numbers of both. It shares no memory with
// either.
func (s Set) Union(other Set) Set {
	all := Set{UpTo: max(s.UpTo, other.UpTo), Beyond: slices.Concat(s.Beyond, other.Beyond)}
	slices.SortFunc(all.Beyond, func(a, b Range) int { return int(a.First - b.First) })
	merged := all.Beyond[:0]
	for _, r := range all.Beyond {
		if n := len(merged); n > 0 && r.First <= merged[n-1].Last+1 {
			merged[n-1].Last = max(merged[n-1].Last, r.Last)
		} else {
			merged = append(merged, r)
		}
	}
	all.Beyond = merged
	return all.With(0, 0)
}

// Check reports what is wrong with a set that is to be stored.
func (s Set) Check() error {
	if len(s.Beyond) > MaxRanges {
		return fmt.Errorf("%w: %d", ErrScattered, len(s.Beyond))
	}
	last := s.UpTo
	for _, r := range s.Beyond {
		if r.First <= last+1 || r.Last < r.First {
			return fmt.Errorf("the range %d to %d is not beyond %d", r.First, r.Last, last)
		}
		last = r.Last
	}
	return nil
}

// endingFrom returns the index of the first range that ends at a number or
// later.
func endingFrom(ranges []Range, number int64) int {
	return sort.Search(len(ranges), func(i int) bool { return ranges[i].Last >= number })
}

// addRange adds a range to ascending ones, and joins what touches.
func addRange(ranges []Range, r Range) []Range {
	i := endingFrom(ranges, r.First-1)
	j := i
	for j < len(ranges) && ranges[j].First <= r.Last+1 {
		r.First, r.Last = min(r.First, ranges[j].First), max(r.Last, ranges[j].Last)
		j++
	}
	return slices.Replace(ranges, i, j, r)
}

// removeNumber removes a number from ascending ranges, and reports whether it
// was there.
func removeNumber(ranges []Range, number int64) ([]Range, bool) {
	i := endingFrom(ranges, number)
	if i == len(ranges) || ranges[i].First > number {
		return ranges, false
	}
	switch r := ranges[i]; {
	case r.First == r.Last:
		ranges = slices.Delete(ranges, i, i+1)
	case r.First == number:
		ranges[i].First++
	case r.Last == number:
		ranges[i].Last--
	default:
		ranges[i].First = number + 1
		ranges = slices.Insert(ranges, i, Range{r.First, number - 1})
	}
	return ranges, true
}

// MarshalJSON implements json.Marshaler.
func (r Range) MarshalJSON() ([]byte, error) { return json.Marshal([2]int64{r.First, r.Last}) }

// UnmarshalJSON implements json.Unmarshaler.
func (r *Range) UnmarshalJSON(text []byte) error {
	var pair [2]int64
	err := json.Unmarshal(text, &pair)
	r.First, r.Last = pair[0], pair[1]
	return err
}

// EncodeRanges returns ranges as stores keep them: a JSON list of lists of two
// numbers; "" for none.
func EncodeRanges(ranges []Range) string {
	if len(ranges) == 0 {
		return ""
	}
	text, _ := json.Marshal(ranges) // numbers have a form
	return string(text)
}

// DecodeRanges reads what EncodeRanges wrote.
func DecodeRanges(text string) (ranges []Range, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &ranges); err != nil {
		return nil, fmt.Errorf("decode ranges: %w", err)
	}
	return ranges, nil
}

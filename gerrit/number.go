package gerrit

import (
	"fmt"
	"math"
	"strconv"
)

// number checks the number at i.
func (s *scanner) number(i int) int {
	start := i
	if s.data[i] == '-' {
		i++
	}
	first := i
	switch c := s.at(i); {
	case c == '0':
		i++
	case '1' <= c && c <= '9':
		i = s.digits(i)
	case c == 'I':
		return s.notFinite(start, "-Infinity")
	default:
		return s.unexpected(i, "where a digit must be")
	}
	whole := i - first
	i, inexact, exponent := s.fraction(i)
	if i < 0 {
		return i
	}
	if i-start > MaxNumber {
		return s.fail(ReasonNumber, start, fmt.Sprintf("a number of more than %d characters", MaxNumber))
	}
	// 308 digits and no exponent are less than the largest float64.
	if inexact && (exponent || whole > 308) && overflows(s.data[start:i]) {
		return s.fail(ReasonNumber, start, "a number that is too large for a float64")
	}
	return i
}

// fraction checks what may follow a number's whole part, and says whether it is
// no integer and whether it has an exponent.
func (s *scanner) fraction(i int) (end int, inexact, exponent bool) {
	if s.at(i) == '.' {
		inexact = true
		if end = s.digits(i + 1); end == i+1 {
			return s.unexpected(end, "where a digit must be"), false, false
		}
		i = end
	}
	if c := s.at(i); c == 'e' || c == 'E' {
		inexact, exponent = true, true
		i++
		if c := s.at(i); c == '+' || c == '-' {
			i++
		}
		if end = s.digits(i); end == i {
			return s.unexpected(end, "where a digit must be"), false, false
		}
		i = end
	}
	return i, inexact, exponent
}

func (s *scanner) digits(i int) int {
	for i < len(s.data) && s.data[i]-'0' <= 9 {
		i++
	}
	return i
}

// overflows reports whether a parser would make an infinity of a number.
func overflows(number []byte) bool {
	f, err := strconv.ParseFloat(string(number), 64)
	return err != nil && math.IsInf(f, 0)
}

// notFinite notes one of the words that Python writes and reads for numbers
// that JSON does not have.
func (s *scanner) notFinite(i int, word string) int {
	end := i + len(word)
	if end > len(s.data) || string(s.data[i:end]) != word {
		return s.fail(ReasonJSON, i, "a literal that JSON does not have")
	}
	return s.fail(ReasonNumber, i, "NaN or Infinity")
}

package kinesis

import "errors"

// lastArrival is the end of year 9999 in ms: no later time can be written down
// everywhere.
const lastArrival = 253_402_300_799_999

var errArrival = errors.New("an arrival time is no number of seconds between 1970 and 9999")

// parseSeconds turns a JSON number of seconds into milliseconds, exactly: what
// is finer is rounded to the nearest one. The service writes "1441215410.867"
// or, more often, "1.441215410867E9".
func parseSeconds(number []byte) (ms int64, err error) {
	mantissa, exponent, ok := splitDecimal(number)
	if !ok {
		return 0, errArrival
	}
	exponent += 3 // seconds to milliseconds
	for ; exponent > 0 && mantissa <= lastArrival; exponent-- {
		mantissa *= 10
	}
	rest := int64(0)
	for ; exponent < 0 && (mantissa > 0 || rest > 0); exponent++ {
		mantissa, rest = mantissa/10, mantissa%10
	}
	if rest >= 5 {
		mantissa++
	}
	if mantissa > lastArrival {
		return 0, errArrival
	}
	return mantissa, nil
}

// maxMantissa bounds the mantissa so that one more digit fits.
const maxMantissa = (1<<63 - 10) / 10

// splitDecimal splits an unsigned JSON number into mantissa and decimal
// exponent. Digits beyond the eighteenth only count for the exponent.
func splitDecimal(number []byte) (mantissa int64, exponent int, ok bool) {
	i, fraction := 0, false
	for ; i < len(number); i++ {
		c := number[i]
		switch {
		case c == '.':
			fraction = true
			continue
		case c < '0' || c > '9':
		case mantissa <= maxMantissa:
			mantissa = mantissa*10 + int64(c-'0')
			if fraction {
				exponent--
			}
			continue
		default:
			if !fraction {
				exponent++
			}
			continue
		}
		break
	}
	if i == len(number) {
		return mantissa, exponent, true
	}
	power, ok := parseExponent(number[i:])
	return mantissa, exponent + power, ok
}

// parseExponent reads "E9" or "e-3". What is too large to matter is cut to a
// thousand.
func parseExponent(text []byte) (power int, ok bool) {
	if text[0] != 'e' && text[0] != 'E' {
		return 0, false
	}
	text = text[1:]
	sign := 1
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		if text[0] == '-' {
			sign = -1
		}
		text = text[1:]
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		power = min(power*10+int(c-'0'), 1000)
	}
	return sign * power, len(text) > 0
}

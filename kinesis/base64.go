package kinesis

// invalidDigit marks a byte that is no base64 digit. A digit's value takes 24
// bits at its place in a group of four, so that an invalid one shows in the
// bits above after the four are joined.
const invalidDigit = 0xff << 24

// digits holds the value of every byte as the first, second, third and fourth
// digit of a group of four.
var digits = newDigits()

func newDigits() (t [4][256]uint32) {
	for place := range t {
		for b := range t[place] {
			t[place][b] = invalidDigit
		}
		for value, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
			t[place][b] = uint32(value) << (18 - 6*place)
		}
	}
	return t
}

// decodeInPlace decodes canonical base64, padded and without line breaks, into
// the beginning of its own bytes, and returns how many they are. ok is false
// for anything else; text is then partly overwritten from its beginning on.
func decodeInPlace(text []byte) (n int, ok bool) {
	if len(text)%4 != 0 {
		return 0, false
	}
	whole := len(text)
	if whole > 0 && text[whole-1] == '=' {
		whole -= 4
	}
	d0, d1, d2, d3 := &digits[0], &digits[1], &digits[2], &digits[3]
	bad := uint32(0)
	for i := 0; i < whole; i += 4 {
		in := text[i : i+4 : i+4]
		v := d0[in[0]] | d1[in[1]] | d2[in[2]] | d3[in[3]]
		bad |= v
		out := text[n : n+3 : n+3] // n <= i: what is written has been read
		out[0], out[1], out[2] = byte(v>>16), byte(v>>8), byte(v)
		n += 3
	}
	if bad >= 1<<24 {
		return 0, false
	}
	if whole == len(text) {
		return n, true
	}
	return decodeLast(text, whole, n)
}

// decodeLast decodes the group at which text is padded to the place n.
func decodeLast(text []byte, at, n int) (int, bool) {
	if text[at+2] == '=' { // two digits, one byte
		v := digits[0][text[at]] | digits[1][text[at+1]]
		text[n] = byte(v >> 16)
		return n + 1, v < 1<<24
	}
	v := digits[0][text[at]] | digits[1][text[at+1]] | digits[2][text[at+2]]
	text[n], text[n+1] = byte(v>>16), byte(v>>8)
	return n + 2, v < 1<<24
}

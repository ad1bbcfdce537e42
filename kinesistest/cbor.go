package kinesistest

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// A request in application/x-amz-cbor-1.1 is turned into JSON on its way in,
// and its reply into CBOR on its way out, so that operations and hooks see JSON
// only. The two differ in this: data is bytes instead of base64, and a time is
// an integer of milliseconds with the tag 1 instead of a number of seconds. As
// AWS does, replies leave the lengths of maps and arrays open.
const cborType = "application/x-amz-cbor-1.1"

const (
	maxNesting   = 32
	cborEpoch    = 0xc1 // tag 1
	cborOpenList = 0x9f
	cborOpenMap  = 0xbf
	cborEnd      = 0xff
)

var errCBOR = errors.New("malformed CBOR")

// cborReader turns CBOR into JSON.
type cborReader struct{ rest []byte }

// jsonOfCBOR returns a request in JSON.
func jsonOfCBOR(body []byte) ([]byte, error) {
	r := cborReader{body}
	out, err := r.value(nil, 0, false)
	if err == nil && len(r.rest) > 0 {
		err = errCBOR
	}
	return out, err
}

// cborHead is what an item begins with.
type cborHead struct {
	major byte
	value uint64 // the integer, the length, or the bits of a float64
	open  bool   // it ends with a break; of major type 7: value is a float
}

// head takes the beginning of an item.
func (r *cborReader) head() (h cborHead, err error) {
	if len(r.rest) == 0 {
		return h, errCBOR
	}
	first := r.rest[0]
	h.major, r.rest = first>>5, r.rest[1:]
	switch info := first & 31; {
	case info < 24:
		h.value = uint64(info)
	case info <= 27:
		size := 1 << (info - 24)
		if len(r.rest) < size {
			return h, errCBOR
		}
		for _, b := range r.rest[:size] {
			h.value = h.value<<8 | uint64(b)
		}
		r.rest = r.rest[size:]
		if h.major == 7 { // a float, or a simple value
			h.value, h.open = math.Float64bits(float(size, h.value)), true
		}
	case info == 31 && h.major >= 2 && h.major <= 5:
		h.open = true
	default:
		return h, errCBOR
	}
	return h, nil
}

// float returns the value of a float of so many bytes; those of two bytes are
// not understood.
func float(size int, bits uint64) float64 {
	switch size {
	case 4:
		return float64(math.Float32frombits(uint32(bits))) //nolint:gosec // four bytes
	case 8:
		return math.Float64frombits(bits)
	}
	return math.NaN()
}

// ended takes the break of an open item.
func (r *cborReader) ended() bool {
	if len(r.rest) > 0 && r.rest[0] == cborEnd {
		r.rest = r.rest[1:]
		return true
	}
	return false
}

// value appends the next item as JSON. isTime: it has the tag of a time.
func (r *cborReader) value(out []byte, depth int, isTime bool) ([]byte, error) {
	if depth > maxNesting {
		return nil, errCBOR
	}
	h, err := r.head()
	if err != nil {
		return nil, err
	}
	switch h.major {
	case 0, 1:
		return appendInteger(out, h.major, h.value, isTime)
	case 2, 3:
		text, err := r.text(h)
		if err != nil {
			return nil, err
		}
		if h.major == 2 {
			return append(base64.StdEncoding.AppendEncode(append(out, '"'), text), '"'), nil
		}
		quoted, _ := json.Marshal(string(text)) // a string can always be marshalled
		return append(out, quoted...), nil
	case 4, 5:
		return r.container(out, h, depth)
	case 6:
		return r.value(out, depth+1, h.value == 1)
	}
	return appendSimple(out, h.value, h.open)
}

func appendInteger(out []byte, major byte, n uint64, isTime bool) ([]byte, error) {
	switch {
	case n > math.MaxInt64:
		return nil, errCBOR
	case major == 1:
		return strconv.AppendInt(out, -1-int64(n), 10), nil
	case isTime:
		return appendSeconds(out, int64(n)), nil
	}
	return strconv.AppendUint(out, n, 10), nil
}

// appendSimple appends false, true, null or a float.
func appendSimple(out []byte, n uint64, isFloat bool) ([]byte, error) {
	if isFloat {
		f := math.Float64frombits(n)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, errCBOR
		}
		return strconv.AppendFloat(out, f, 'f', -1, 64), nil
	}
	switch n {
	case 20:
		return append(out, "false"...), nil
	case 21:
		return append(out, "true"...), nil
	case 22, 23:
		return append(out, "null"...), nil
	}
	return nil, errCBOR
}

// text takes the bytes of a string.
func (r *cborReader) text(h cborHead) (text []byte, err error) {
	if !h.open {
		return r.chunk(h)
	}
	for !r.ended() {
		next, err := r.head()
		if err != nil || next.major != h.major || next.open {
			return nil, errCBOR
		}
		chunk, err := r.chunk(next)
		if err != nil {
			return nil, err
		}
		text = append(text, chunk...)
	}
	return text, nil
}

func (r *cborReader) chunk(h cborHead) ([]byte, error) {
	if h.value > uint64(len(r.rest)) {
		return nil, errCBOR
	}
	chunk := r.rest[:h.value]
	r.rest = r.rest[h.value:]
	return chunk, nil
}

// container appends the elements of an array or a map.
func (r *cborReader) container(out []byte, h cborHead, depth int) (_ []byte, err error) {
	brackets := [2]byte{'[', ']'}
	if h.major == 5 {
		brackets = [2]byte{'{', '}'}
	}
	out = append(out, brackets[0])
	for i := uint64(0); h.open && !r.ended() || !h.open && i < h.value; i++ {
		if i > 0 {
			out = append(out, ',')
		}
		if h.major == 5 {
			if len(r.rest) == 0 || r.rest[0]>>5 != 3 {
				return nil, errCBOR // a key that is no text
			}
			if out, err = r.value(out, depth+1, false); err != nil {
				return nil, err
			}
			out = append(out, ':')
		}
		if out, err = r.value(out, depth+1, false); err != nil {
			return nil, err
		}
	}
	return append(out, brackets[1]), nil
}

// cborOfJSON returns a reply in CBOR. It fails if the reply is no JSON, as that
// of a hook may be.
func cborOfJSON(body []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	out, err := appendCBOR(nil, dec, "")
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return out, nil
}

// appendCBOR appends the next value, that of a member of this name.
func appendCBOR(out []byte, dec *json.Decoder, name string) ([]byte, error) {
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case nil:
		return append(out, 0xf6), nil
	case bool:
		if v {
			return append(out, 0xf5), nil
		}
		return append(out, 0xf4), nil
	case string:
		data, err := base64.StdEncoding.DecodeString(v)
		if name == "Data" && err == nil {
			return append(appendHead(out, 2, uint64(len(data))), data...), nil
		}
		return appendText(out, v), nil
	case json.Number:
		return appendNumber(out, v, name)
	}
	isMap := token == json.Delim('{')
	if isMap {
		out = append(out, cborOpenMap)
	} else {
		out = append(out, cborOpenList)
	}
	for dec.More() {
		name := ""
		if isMap {
			key, err := dec.Token()
			if err != nil {
				return nil, err
			}
			name, _ = key.(string) // the decoder takes no other keys
			out = appendText(out, name)
		}
		if out, err = appendCBOR(out, dec, name); err != nil {
			return nil, err
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	return append(out, cborEnd), nil
}

func appendNumber(out []byte, number json.Number, name string) ([]byte, error) {
	f, err := number.Float64()
	if err != nil {
		return nil, fmt.Errorf("read a number: %w", err)
	}
	if strings.HasSuffix(name, "Timestamp") && f >= 0 {
		return appendTime(out, int64(f*1000+0.5)), nil
	}
	switch n, err := number.Int64(); {
	case err != nil:
		return binary.BigEndian.AppendUint64(append(out, 0xfb), math.Float64bits(f)), nil
	case n < 0:
		return appendHead(out, 1, uint64(-1-n)), nil //nolint:gosec // not negative
	default:
		return appendHead(out, 0, uint64(n)), nil //nolint:gosec // not negative
	}
}

func appendTime(out []byte, ms int64) []byte {
	return appendHead(append(out, cborEpoch), 0, uint64(ms)) //nolint:gosec // not negative
}

func appendText(out []byte, s string) []byte { return append(appendHead(out, 3, uint64(len(s))), s...) }

// appendHead appends the beginning of an item in its shortest form.
func appendHead(out []byte, major byte, n uint64) []byte {
	switch kind := major << 5; {
	case n < 24:
		return append(out, kind|byte(n))
	case n <= math.MaxUint8:
		return append(out, kind|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, kind|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, kind|26), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(out, kind|27), n)
	}
}

// inCBOR returns the reply as a request in CBOR gets it.
func (r *Reply) inCBOR() *Reply {
	out := *r
	switch {
	case r.events != nil:
		return r
	case r.page != nil:
		out.parts, out.page, out.cbor = r.page.renderCBOR(), nil, true
	case r.length() == 0:
		out.cbor = true
	default:
		body, err := cborOfJSON(r.Body())
		if err != nil {
			return r
		}
		out.parts, out.cbor = [][]byte{body}, true
	}
	return &out
}

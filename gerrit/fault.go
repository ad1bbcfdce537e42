package gerrit

// Reason is a kind of fault, of a bounded set: it labels a metric.
type Reason string

// The reasons for which Scan refuses a record.
const (
	ReasonJSON      Reason = "json"      // it is not one JSON value (RFC 8259): empty, cut, trailing bytes, a syntax error
	ReasonUTF8      Reason = "utf8"      // it holds bytes that are not UTF-8; a JVM with a C locale writes such
	ReasonSurrogate Reason = "surrogate" // a \uD800..\uDFFF escape without its other half: no character at all
	ReasonDepth     Reason = "depth"     // it nests deeper than MaxDepth
	ReasonNumber    Reason = "number"    // NaN, Infinity, a number no float64 can hold, or longer than MaxNumber
	ReasonShape     Reason = "shape"     // it is JSON, but a member has not the shape that consumers rely on
	ReasonType      Reason = "type"      // it has no "type" that is a string
)

// Reasons returns every Reason there is.
func Reasons() []Reason {
	return []Reason{ReasonJSON, ReasonUTF8, ReasonSurrogate, ReasonDepth, ReasonNumber, ReasonShape, ReasonType}
}

// Fault says why a record is no event that could be handed on. It holds nothing
// of the record's contents.
type Fault struct {
	Reason Reason
	Offset int    // of the first byte that is wrong; of the whole record, 0, when a member is missing
	Detail string // what is wrong and where, in words, and what Looks says; less than 200 bytes

	// Looks is what the record looks like instead of an event: "gzip", "base64
	// of JSON", "several events in one record"; empty: nothing that is known. A
	// producer that encodes wrongly does so with every record. It is a guess.
	Looks string
}

// looked adds what the record looks like.
func (f *Fault) looked(data []byte) *Fault {
	if f.Looks = looksLike(data, f); f.Looks != "" {
		f.Detail += "; it looks like " + f.Looks
	}
	return f
}

// Error returns the reason and the detail.
func (f *Fault) Error() string { return string(f.Reason) + ": " + f.Detail }

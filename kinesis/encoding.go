package kinesis

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	awskinesis "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Pages are asked for in CBOR, as AWS' SDKs for Java do: records then come as
// bytes, a quarter smaller than in base64, and need no decoding. All other
// requests are JSON, which costs them nothing. A service that does not speak
// CBOR shows it at the first page, and is asked in JSON from then on.
//
// The variable disableCBOR is that of AWS' SDKs for Java. It is for what stands
// between and breaks bytes, or answers what does not show why.
const (
	cborType    = "application/x-amz-cbor-1.1"
	disableCBOR = "AWS_CBOR_DISABLE"
)

// cborDisabled reports whether the environment asks for JSON.
func cborDisabled() bool {
	value := os.Getenv(disableCBOR)
	disabled, err := strconv.ParseBool(value)
	return disabled || err != nil && value != ""
}

// encodings is what is known of the encodings that a service speaks.
type encodings struct {
	onlyJSON atomic.Bool  // pages are not asked for in CBOR
	answered atomic.Bool  // the service has answered in CBOR
	failures atomic.Int32 // before that, of requests in CBOR
}

// maxFailures is how many failures of a service that has never answered in CBOR
// are needed to blame the encoding.
const maxFailures = 3

// judge looks at the error of a request in CBOR. If it means that JSON would be
// understood, its class becomes otherEncoding: AWS understands both. Services
// say it by a code or by a status, or just fail; so do proxies.
func (s *Source) judge(err error) error {
	var e *Error
	known := &s.poller.encoding
	switch {
	case !errors.As(err, &e):
	case e.refusesEncoding():
		s.useJSON(err)
		return &Error{class: otherEncoding, summary: err.Error()}
	case e.Status >= http.StatusInternalServerError && !known.answered.Load() &&
		known.failures.Add(1) == maxFailures:
		s.useJSON(err)
	}
	return err
}

func (e *Error) refusesEncoding() bool {
	switch e.Code {
	case "SerializationException", "UnknownOperationException", "UnsupportedMediaTypeException":
		return true
	case "", unknownError:
		return slices.Contains([]int{400, 404, 405, 406, 415, 501}, e.Status)
	}
	return e.Status == http.StatusUnsupportedMediaType
}

// useJSON has all further pages asked for in JSON, because of an error.
func (s *Source) useJSON(err error) {
	if !s.poller.encoding.onlyJSON.Swap(true) {
		s.log.Info("service does not speak CBOR; reading pages in JSON", "err", err)
	}
}

// decode decodes a page in the encoding that it is in. The service's CBOR is
// not trusted again once it was not understood.
func (s *Source) decode(body []byte, limit int) (*reply, error) {
	if !isCBOR(body) {
		return decodeReply(body, limit)
	}
	decoded, err := decodeCBOR(body, limit)
	if err != nil {
		s.useJSON(err)
		return nil, err
	}
	s.poller.encoding.answered.Store(true)
	return decoded, nil
}

// appendGetRecords appends the CBOR of a request for a page.
func appendGetRecords(b []byte, in *awskinesis.GetRecordsInput) []byte {
	members := uint64(2)
	if in.StreamARN != nil {
		members++
	}
	b = appendHead(b, cborMap, members)
	b = appendText(appendText(b, "ShardIterator"), aws.ToString(in.ShardIterator))
	b = appendHead(appendText(b, "Limit"), cborUint, uint64(aws.ToInt32(in.Limit))) //nolint:gosec // at least 1
	if in.StreamARN != nil {
		b = appendText(appendText(b, "StreamARN"), *in.StreamARN)
	}
	return b
}

func appendText(b []byte, text string) []byte {
	return append(appendHead(b, cborText, uint64(len(text))), text...)
}

func appendHead(b []byte, major byte, value uint64) []byte {
	if value < 24 {
		return append(b, major<<5|byte(value))
	}
	return binary.BigEndian.AppendUint32(append(b, major<<5|26), uint32(value)) //nolint:gosec // texts are short
}

// unknownError is what the SDK has for a code or a message that is not there.
const unknownError = "UnknownError"

// pageProtocol is the SDK's own protocol, except that it passes a successful
// reply to receive, and that a request for a page may be CBOR. It goes into the
// options of a single GetRecords or SubscribeToShard call; signing and
// endpoints stay the SDK's.
type pageProtocol struct {
	smithyhttp.ClientProtocol
	receive func(*smithyhttp.Response) error
	cbor    *awskinesis.GetRecordsInput // what is asked for in CBOR; nil: the request is JSON
}

// SerializeRequest implements [smithyhttp.ClientProtocol].
func (p *pageProtocol) SerializeRequest(ctx context.Context, schema *smithy.OperationSchema, in smithy.Serializable,
	req *smithyhttp.Request,
) error {
	if p.cbor == nil {
		return p.ClientProtocol.SerializeRequest(ctx, schema, in, req)
	}
	written, err := req.SetStream(bytes.NewReader(appendGetRecords(nil, p.cbor)))
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	*req = *written
	req.Method = http.MethodPost
	if req.URL.Path == "" {
		req.URL.Path = "/"
	}
	req.Header.Set("Content-Type", cborType)
	req.Header.Set("X-Amz-Target", "Kinesis_20131202.GetRecords")
	return nil
}

// DeserializeResponse implements [smithyhttp.ClientProtocol].
func (p *pageProtocol) DeserializeResponse(ctx context.Context, schema *smithy.OperationSchema,
	types *smithy.TypeRegistry, resp *smithyhttp.Response, out smithy.Deserializable,
) error {
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return p.receive(resp)
	}
	if p.cbor != nil {
		fault, err := cborFaultOf(resp)
		switch {
		case err != nil:
			return err
		case fault != nil:
			return fault
		}
	}
	return p.ClientProtocol.DeserializeResponse(ctx, schema, types, resp, out)
}

// maxFault bounds what is read of an answer that reports a fault.
const maxFault = 64 << 10

// cborFaultOf returns the fault that an answer in CBOR reports, as the SDK
// would that of one in JSON. It leaves any other answer as it was, and returns
// nil.
func cborFaultOf(resp *smithyhttp.Response) (*smithy.GenericAPIError, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFault))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if !isCBOR(body) {
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), resp.Body))
		return nil, nil
	}
	fault := decodeFault(body)
	code := resp.Header.Get("X-Amzn-ErrorType")
	if code == "" {
		code = fault.code
	}
	code, _, _ = strings.Cut(code[strings.LastIndexByte(code, '#')+1:], ":") // "com.amazonaws#Code:http://..."
	return &smithy.GenericAPIError{Code: cmp.Or(code, unknownError), Message: cmp.Or(fault.message, unknownError)}, nil
}

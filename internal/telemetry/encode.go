package telemetry

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of opentelemetry/proto/trace/v1/trace.proto and the files beside
// it that are written here.
const (
	requestResourceSpans = 1

	resourceSpansResource   = 1
	resourceSpansScopeSpans = 2
	resourceAttributes      = 1

	scopeSpansScope = 1
	scopeSpansSpans = 2
	scopeName       = 1
	scopeVersion    = 2

	spanTraceID    = 1
	spanSpanID     = 2
	spanName       = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttributes = 9
	spanEvents     = 11
	spanStatus     = 15
	spanFlags      = 16

	eventTime       = 1
	eventName       = 2
	eventAttributes = 3

	statusMessage = 2
	statusCode    = 3

	keyValueKey   = 1
	keyValueValue = 2
	anyString     = 1
	anyInt        = 3

	statusError = 2 // Status.StatusCode.STATUS_CODE_ERROR
)

// encode returns an ExportTraceServiceRequest of spans. All of them are of one
// process and one scope, and the first of their traces.
func encode(spans []sdktrace.ReadOnlySpan) []byte {
	if len(spans) == 0 {
		return nil
	}
	about, by := spans[0].Resource(), spans[0].InstrumentationScope()
	return message(nil, requestResourceSpans, func(b []byte) []byte {
		b = message(b, resourceSpansResource, func(b []byte) []byte {
			return appendAttributes(b, resourceAttributes, about.Attributes())
		})
		return message(b, resourceSpansScopeSpans, func(b []byte) []byte {
			b = message(b, scopeSpansScope, func(b []byte) []byte {
				return text(text(b, scopeName, by.Name), scopeVersion, by.Version)
			})
			for _, s := range spans {
				b = message(b, scopeSpansSpans, func(b []byte) []byte { return appendSpan(b, s) })
			}
			return b
		})
	})
}

func appendSpan(b []byte, s sdktrace.ReadOnlySpan) []byte {
	trace, span := s.SpanContext().TraceID(), s.SpanContext().SpanID()
	b = protowire.AppendBytes(protowire.AppendTag(b, spanTraceID, protowire.BytesType), trace[:])
	b = protowire.AppendBytes(protowire.AppendTag(b, spanSpanID, protowire.BytesType), span[:])
	b = text(b, spanName, s.Name())
	b = number(b, spanKind, uint64(s.SpanKind())) //nolint:gosec // an enumeration
	b = fixed(b, spanStart, s.StartTime().UnixNano())
	b = fixed(b, spanEnd, s.EndTime().UnixNano())
	b = appendAttributes(b, spanAttributes, s.Attributes())
	for _, e := range s.Events() {
		b = message(b, spanEvents, func(b []byte) []byte {
			b = fixed(b, eventTime, e.Time.UnixNano())
			return appendAttributes(text(b, eventName, e.Name), eventAttributes, e.Attributes)
		})
	}
	if is := s.Status(); is.Code == codes.Error {
		b = message(b, spanStatus, func(b []byte) []byte {
			return number(text(b, statusMessage, is.Description), statusCode, statusError)
		})
	}
	b = protowire.AppendTag(b, spanFlags, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, uint32(s.SpanContext().TraceFlags()))
}

// appendAttributes appends attributes. Those of a span are texts and integers;
// anything else, which only a resource may have, becomes a text.
func appendAttributes(b []byte, field protowire.Number, all []attribute.KeyValue) []byte {
	for _, a := range all {
		b = message(b, field, func(b []byte) []byte {
			return message(text(b, keyValueKey, string(a.Key)), keyValueValue, func(b []byte) []byte {
				if a.Value.Type() == attribute.INT64 {
					b = protowire.AppendTag(b, anyInt, protowire.VarintType)
					return protowire.AppendVarint(b, uint64(a.Value.AsInt64())) //nolint:gosec // two's complement
				}
				b = protowire.AppendTag(b, anyString, protowire.BytesType) // an empty text too is a value
				return protowire.AppendString(b, strings.ToValidUTF8(a.Value.String(), "?"))
			})
		})
	}
	return b
}

// message appends a message within a message.
func message(b []byte, field protowire.Number, content func([]byte) []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content(nil))
}

func text(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), strings.ToValidUTF8(s, "?"))
}

func number(b []byte, field protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func fixed(b []byte, field protowire.Number, n int64) []byte {
	b = protowire.AppendTag(b, field, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, uint64(n)) //nolint:gosec // after 1970
}

package kinesis

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/gerritstream/gerritstream/kinesistest"
)

// aggregatedRecord is the KPL's message for protobuf's own unmarshaller. A
// record's tags are left to be unknown: what is in them is of no use here, and
// not looked at.
var aggregatedRecord = newAggregatedRecord()

func newAggregatedRecord() protoreflect.MessageDescriptor {
	type label = descriptorpb.FieldDescriptorProto_Label
	field := func(name string, number int32, of label,
		kind descriptorpb.FieldDescriptorProto_Type) *descriptorpb.FieldDescriptorProto {
		return &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Label: &of, Type: &kind}
	}
	const (
		optional, required, repeated = descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL,
			descriptorpb.FieldDescriptorProto_LABEL_REQUIRED,
			descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		text, number  = descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_TYPE_UINT64
		data, message = descriptorpb.FieldDescriptorProto_TYPE_BYTES, descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
	)
	records := field("records", recordsField, repeated, message)
	records.TypeName = proto.String(".kpl.Record")
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("kpl.proto"), Package: proto.String("kpl"), Syntax: proto.String("proto2"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("AggregatedRecord"), Field: []*descriptorpb.FieldDescriptorProto{
				field("partition_key_table", 1, repeated, text), field("explicit_hash_key_table", 2, repeated, text),
				records,
			}},
			{Name: proto.String("Record"), Field: []*descriptorpb.FieldDescriptorProto{
				field("partition_key_index", 1, required, number),
				field("explicit_hash_key_index", 2, optional, number),
				field("data", dataField, required, data),
			}},
		},
	}, nil)
	if err != nil {
		panic(err)
	}
	return file.Messages().ByName("AggregatedRecord")
}

// unpackTheirs returns the records that protobuf's unmarshaller finds in a
// message; nil if a record or the aggregate is invalid by the rules of this
// package: it is empty, or has a field of ours with a type that protobuf keeps
// as unknown.
func unpackTheirs(message []byte) (all []string) {
	m := dynamicpb.NewMessage(aggregatedRecord)
	if (proto.UnmarshalOptions{AllowPartial: true}).Unmarshal(message, m) != nil || isUnknownField(m, recordsField) {
		return nil
	}
	records := m.Get(aggregatedRecord.Fields().ByNumber(recordsField)).List()
	for i := range records.Len() {
		r := records.Get(i).Message()
		data := r.Descriptor().Fields().ByNumber(dataField)
		if !r.Has(data) || isUnknownField(r, dataField) {
			return nil
		}
		all = append(all, string(r.Get(data).Bytes()))
	}
	return all
}

// isUnknownField reports whether a field is among the unknown ones of a
// message.
func isUnknownField(m protoreflect.Message, field protowire.Number) bool {
	for unknown := []byte(m.GetUnknown()); len(unknown) > 0; {
		number, _, n := protowire.ConsumeField(unknown)
		if number == field || n < 0 {
			return true
		}
		unknown = unknown[n:]
	}
	return false
}

// FuzzAggregateIsReadLikeProtobuf: this package and protobuf unpack the same
// messages, with the same result.
func FuzzAggregateIsReadLikeProtobuf(f *testing.F) {
	bytesField := func(number protowire.Number, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
	}
	twice := append(bytesField(dataField, []byte("first")), bytesField(dataField, []byte("last"))...)
	group := protowire.AppendTag(protowire.AppendTag(nil, 7, protowire.StartGroupType), 7, protowire.EndGroupType)
	number := protowire.AppendVarint(protowire.AppendTag(nil, dataField, protowire.VarintType), 7)
	f.Add(aggregateMessage(kinesistest.Aggregate(kinesistest.UserRecord{PartitionKey: "a", Data: []byte("one")},
		kinesistest.UserRecord{PartitionKey: "b", ExplicitHashKey: "7"})))
	f.Add([]byte{})
	f.Add(bytesField(recordsField, twice))
	f.Add(bytesField(recordsField, nil))
	f.Add(bytesField(recordsField, append(twice, group...)))
	f.Add(bytesField(recordsField, append(twice, number...)))
	f.Add(bytesField(recordsField, append(twice, bytesField(4, []byte{0xff})...)))
	f.Add(append(bytesField(recordsField, twice), group...))
	f.Add(append(bytesField(recordsField, twice), number...))
	f.Add(append(bytesField(recordsField, twice), bytesField(99, []byte("unknown"))...))
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Add([]byte{0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	// a field number that is too large
	f.Add(bytesField(recordsField, append(twice, 0x80, 0xff, 0xff, 0xff, 0x30, 0x30)))
	f.Fuzz(func(t *testing.T, message []byte) {
		ours, theirs := unpackAll(seal(message)), unpackTheirs(message)
		if !slices.Equal(ours, theirs) {
			t.Fatalf("we read %q, protobuf reads %q", ours, theirs)
		}
	})
}
